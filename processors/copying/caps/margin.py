"""Not more than the free margin carries, fees for the way in and out included."""

from decimal import Decimal

from processors.copying.caps import CapRequest, Room
from schemas.reasons import RefusalReason

_ZERO = Decimal(0)


class Margin:
    """Leaves the notional that the free margin of the account carries; it is never off."""

    name = "margin"
    rank = 50
    refusal = RefusalReason.INSUFFICIENT_MARGIN

    def room(self, request: CapRequest) -> Room | None:
        """Return what is left."""
        free = max(request.margin_free, _ZERO)
        return Room(free / request.margin_rate, free)


CAP = Margin()
