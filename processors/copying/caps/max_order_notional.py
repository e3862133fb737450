"""No single entry larger than this."""

from processors.copying.caps import CapRequest, Room
from schemas.reasons import RefusalReason


class MaxOrderNotional:
    """Leaves `max_order_notional`, whatever is held."""

    name = "max_order_notional"
    rank = 10
    refusal = RefusalReason.MAX_ORDER

    def room(self, request: CapRequest) -> Room | None:
        """Return what is left, None while the cap is off."""
        most = request.params.max_order_notional
        return None if most is None else Room(most, most)


CAP = MaxOrderNotional()
