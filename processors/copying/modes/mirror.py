"""The leader's position times the ratio."""

from decimal import Decimal
from typing import Any

from processors.copying.modes import Follows, Need, SizeRequest


class MirrorMode:
    """Holds `ratio` of the leader's position, on its side; 2.0 BTC long at ratio 0.2 is 0.4 BTC long."""

    name = "mirror"
    needs: frozenset[Need] = frozenset({"position"})
    opposite = False
    share = False

    def follows(self, settings: Any) -> Follows:
        """Return what it copies."""
        return "position"

    def wish(self, settings: Any, request: SizeRequest) -> Decimal:
        """Return the wish, exact and in own units."""
        assert request.leader_position is not None
        return request.leader_position * request.ratio / request.contract_size


MODE = MirrorMode()
