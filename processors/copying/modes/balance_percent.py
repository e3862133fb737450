"""A fraction of own equity as notional."""

from decimal import Decimal
from typing import Any

from processors.copying.modes import Follows, Need, SizeRequest

_ZERO = Decimal(0)


class BalancePercentMode:
    """Buys or sells for `fraction` of equity; 6 % of 10,000 at 60,000 is 0.01 BTC."""

    name = "balance_percent"
    needs: frozenset[Need] = frozenset()
    opposite = False
    share = True

    def follows(self, settings: Any) -> Follows:
        """Return what it copies."""
        return "change"

    def wish(self, settings: Any, request: SizeRequest) -> Decimal:
        """Return the wish, exact and in own units."""
        fraction: Decimal = settings.fraction
        if request.equity <= _ZERO:
            return _ZERO
        return request.equity * fraction * request.ratio / (request.price * request.contract_size)


MODE = BalancePercentMode()
