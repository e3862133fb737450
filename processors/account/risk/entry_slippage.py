"""No entry at a price too much worse than the leader's."""

from processors.account.risk import Finding, Proposal
from processors.account.slippage import too_far
from schemas.reasons import Leg, RefusalReason


class EntrySlippage:
    """Refuses when the touch costs more than `entry_slippage` allows; a better price always passes."""

    name = "entry_slippage"
    rank = 42
    on_exits = False
    after_sizing = False

    def check(self, proposal: Proposal) -> Finding | None:
        """Return None if the order may pass, else the reason and its numbers."""
        if proposal.leg is not Leg.ENTRY:
            return None
        numbers = too_far(
            proposal.subscription.entry_slippage, proposal.side, proposal.price, proposal.event.price, proposal.tick
        )
        return None if numbers is None else (RefusalReason.SLIPPAGE, numbers)


CHECK = EntrySlippage()
