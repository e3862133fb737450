"""No more entries of the subscription in one UTC day (log time)."""

from processors.account.risk import Finding, Proposal
from schemas.reasons import RefusalReason


class DayOrders:
    """Refuses at `max_day_orders`."""

    name = "day_orders"
    rank = 62
    on_exits = False
    after_sizing = False

    def check(self, proposal: Proposal) -> Finding | None:
        """Return None if the order may pass, else the reason and its numbers."""
        most = proposal.subscription.max_day_orders
        if most is None or proposal.day_orders < most:
            return None
        return RefusalReason.DAY_ORDERS, {"day_orders": str(proposal.day_orders), "max_day_orders": str(most)}


CHECK = DayOrders()
