"""No exit at a price too much worse than the leader's, for those who ask for such a limit."""

from processors.account.risk import Finding, Proposal
from processors.account.slippage import too_far
from schemas.reasons import Leg, RefusalReason


class ExitSlippage:
    """Refuses exits when the touch costs more than `exit_slippage` allows (off unless set)."""

    name = "exit_slippage"
    rank = 44
    on_exits = True
    after_sizing = False

    def check(self, proposal: Proposal) -> Finding | None:
        """Return None if the order may pass, else the reason and its numbers."""
        if proposal.leg is not Leg.EXIT:
            return None
        numbers = too_far(
            proposal.subscription.exit_slippage, proposal.side, proposal.price, proposal.event.price, proposal.tick
        )
        return None if numbers is None else (RefusalReason.SLIPPAGE, numbers)


CHECK = ExitSlippage()
