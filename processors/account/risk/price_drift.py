"""No entry once the price has left the leader's, in either direction."""

from decimal import Decimal

from processors.account.money import BPS, shown
from processors.account.risk import Finding, Proposal
from schemas.reasons import RefusalReason

_SHOWN = Decimal("0.01")


class PriceDrift:
    """Refuses when the touch is further than `max_price_drift_bps` from the leader's price."""

    name = "price_drift"
    rank = 40
    on_exits = False
    after_sizing = False

    def check(self, proposal: Proposal) -> Finding | None:
        """Return None if the order may pass, else the reason and its numbers."""
        most = proposal.subscription.max_price_drift_bps
        leader_price = proposal.event.price
        difference = abs(proposal.price - leader_price) * BPS
        if most is None or difference <= most * leader_price:  # multiplied out: no rounding decides
            return None
        return RefusalReason.PRICE_DRIFT, {
            "drift_bps": shown(difference / leader_price, _SHOWN),
            "max_price_drift_bps": str(most),
            "price": str(proposal.price),
            "leader_price": str(leader_price),
        }


CHECK = PriceDrift()
