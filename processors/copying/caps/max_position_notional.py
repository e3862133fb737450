"""No larger position of the subscription in one instrument."""

from decimal import Decimal

from processors.copying.caps import CapRequest, Room
from schemas.reasons import RefusalReason

_ZERO = Decimal(0)


class MaxPositionNotional:
    """Leaves what the subscription does not hold of the instrument yet."""

    name = "max_position_notional"
    rank = 20
    refusal = RefusalReason.MAX_POSITION

    def room(self, request: CapRequest) -> Room | None:
        """Return what is left, None while the cap is off."""
        most = request.params.max_position_notional
        return None if most is None else Room(max(most - request.held, _ZERO), most)


CAP = MaxPositionNotional()
