"""The same notional each time."""

from decimal import Decimal
from typing import Any

from processors.copying.modes import Follows, Need, SizeRequest


class FixedNotionalMode:
    """Buys or sells for `notional` at our price; 600 at 60,000 is 0.01 BTC."""

    name = "fixed_notional"
    needs: frozenset[Need] = frozenset()
    opposite = False
    share = True

    def follows(self, settings: Any) -> Follows:
        """Return what it copies."""
        return "change"

    def wish(self, settings: Any, request: SizeRequest) -> Decimal:
        """Return the wish, exact and in own units."""
        notional: Decimal = settings.notional
        return notional * request.ratio / (request.price * request.contract_size)


MODE = FixedNotionalMode()
