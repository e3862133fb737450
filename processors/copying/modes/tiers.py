"""The leader's size times a multiplier that depends on its notional."""

from decimal import Decimal
from typing import Any

from processors.copying.modes import Follows, Need, SizeRequest


class TiersMode:
    """Multiplies by the first tier whose `up_to` is not below the leader's notional; the last tier has no bound."""

    name = "tiers"
    needs: frozenset[Need] = frozenset({"size"})
    opposite = False
    share = True

    def follows(self, settings: Any) -> Follows:
        """Return what it copies."""
        return "change"

    def wish(self, settings: Any, request: SizeRequest) -> Decimal:
        """Return the wish, exact and in own units."""
        assert request.leader_size is not None
        notional = request.leader_size * request.leader_price
        multiplier = next(tier.multiplier for tier in settings.tiers if tier.up_to is None or notional <= tier.up_to)
        return request.leader_size * Decimal(multiplier) * request.ratio / request.contract_size


MODE = TiersMode()
