"""The leader's size in proportion to the equity of both."""

from decimal import Decimal
from typing import Any

from processors.copying.modes import Follows, Need, SizeRequest

_ZERO = Decimal(0)


class EquityProportionalMode:
    """Copies each change times own equity over the leader's; with a tenth of its equity, 1.0 BTC is 0.1 BTC."""

    name = "equity_proportional"
    needs: frozenset[Need] = frozenset({"size", "equity"})
    opposite = False
    share = False

    def follows(self, settings: Any) -> Follows:
        """Return what it copies."""
        return "change"

    def wish(self, settings: Any, request: SizeRequest) -> Decimal:
        """Return the wish, exact and in own units."""
        assert request.leader_size is not None and request.leader_equity is not None
        if request.leader_equity <= _ZERO or request.equity <= _ZERO:  # no proportion to nothing or to debt
            return _ZERO
        return request.leader_size * request.equity * request.ratio / (request.leader_equity * request.contract_size)


MODE = EquityProportionalMode()
