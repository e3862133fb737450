"""Not more than this in entries of one UTC day (log time)."""

from decimal import Decimal

from processors.copying.caps import CapRequest, Room
from schemas.reasons import RefusalReason

_ZERO = Decimal(0)


class MaxDayNotional:
    """Leaves what the subscription has not entered since 00:00 UTC."""

    name = "max_day_notional"
    rank = 40
    refusal = RefusalReason.DAY_AMOUNT

    def room(self, request: CapRequest) -> Room | None:
        """Return what is left, None while the cap is off."""
        most = request.params.max_day_notional
        return None if most is None else Room(max(most - request.day_notional, _ZERO), most)


CAP = MaxDayNotional()
