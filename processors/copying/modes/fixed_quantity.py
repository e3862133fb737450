"""The same quantity each time."""

from decimal import Decimal
from typing import Any

from processors.copying.modes import Follows, Need, SizeRequest


class FixedQuantityMode:
    """Buys or sells `quantity` base units, whatever the leader's size."""

    name = "fixed_quantity"
    needs: frozenset[Need] = frozenset()
    opposite = False
    share = True

    def follows(self, settings: Any) -> Follows:
        """Return what it copies."""
        return "change"

    def wish(self, settings: Any, request: SizeRequest) -> Decimal:
        """Return the wish, exact and in own units."""
        quantity: Decimal = settings.quantity
        return quantity * request.ratio / request.contract_size


MODE = FixedQuantityMode()
