"""No entry while too many entries and exits of the account are in flight."""

from processors.account.risk import Finding, Proposal
from schemas.reasons import RefusalReason


class OpenOrders:
    """Refuses at `max_open_orders`."""

    name = "open_orders"
    rank = 80
    on_exits = False
    after_sizing = False

    def check(self, proposal: Proposal) -> Finding | None:
        """Return None if the order may pass, else the reason and its numbers."""
        most = proposal.account.max_open_orders
        if most is None or proposal.open_orders < most:
            return None
        return RefusalReason.OPEN_ORDERS, {"open_orders": str(proposal.open_orders), "max_open_orders": str(most)}


CHECK = OpenOrders()
