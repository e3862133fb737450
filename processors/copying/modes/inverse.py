"""Against the leader: its size, or its position, on the other side."""

from decimal import Decimal
from typing import Any

from processors.copying.modes import Follows, Need, SizeRequest


class InverseMode:
    """Sells what the leader buys: each change, or the position (its setting `follows`); 1.0 BTC long is 1.0 short."""

    name = "inverse"
    needs: frozenset[Need] = frozenset({"size"})
    opposite = True
    share = False

    def follows(self, settings: Any) -> Follows:
        """Return what it copies."""
        follows: Follows = settings.follows
        return follows

    def wish(self, settings: Any, request: SizeRequest) -> Decimal:
        """Return the wish, exact and in own units."""
        if settings.follows == "position":
            assert request.leader_position is not None
            return -request.leader_position * request.ratio / request.contract_size
        assert request.leader_size is not None
        return request.leader_size * request.ratio / request.contract_size


MODE = InverseMode()
