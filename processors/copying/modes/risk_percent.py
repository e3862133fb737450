"""A share of own equity at risk: the stop-loss of each copy costs the same."""

from decimal import Decimal
from typing import Any

from processors.copying.modes import Follows, Need, SizeRequest

_ZERO = Decimal(0)


class RiskPercentMode:
    """Loses `risk_per_trade` of equity at the stop-loss; 2 % of 10,000 with a stop 600 away is 0.333 BTC."""

    name = "risk_percent"
    needs: frozenset[Need] = frozenset()
    opposite = False
    share = True

    def follows(self, settings: Any) -> Follows:
        """Return what it copies."""
        return "change"

    def wish(self, settings: Any, request: SizeRequest) -> Decimal:
        """Return the wish, exact and in own units."""
        if request.loss_per_unit <= _ZERO or request.equity <= _ZERO:  # no stop-loss known, or nothing to risk
            return _ZERO
        return request.equity * request.risk_per_trade * request.ratio / request.loss_per_unit


MODE = RiskPercentMode()
