"""Not more than this behind one leader, all instruments together."""

from decimal import Decimal

from processors.copying.caps import CapRequest, Room
from schemas.reasons import RefusalReason

_ZERO = Decimal(0)


class MaxLeaderNotional:
    """Leaves what the subscription does not hold in all instruments yet."""

    name = "max_leader_notional"
    rank = 30
    refusal = RefusalReason.MAX_LEADER

    def room(self, request: CapRequest) -> Room | None:
        """Return what is left, None while the cap is off."""
        most = request.params.max_leader_notional
        return None if most is None else Room(max(most - request.leader_held, _ZERO), most)


CAP = MaxLeaderNotional()
