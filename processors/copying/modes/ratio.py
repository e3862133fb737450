"""The leader's size times the ratio."""

from decimal import Decimal
from typing import Any

from processors.copying.modes import Follows, Need, SizeRequest


class RatioMode:
    """Copies each of the leader's changes at `ratio` of its size; 1.0 BTC at ratio 0.1 is 0.1 BTC."""

    name = "ratio"
    needs: frozenset[Need] = frozenset({"size"})
    opposite = False
    share = False

    def follows(self, settings: Any) -> Follows:
        """Return what it copies."""
        return "change"

    def wish(self, settings: Any, request: SizeRequest) -> Decimal:
        """Return the wish, exact and in own units."""
        assert request.leader_size is not None
        return request.leader_size * request.ratio / request.contract_size


MODE = RatioMode()
