"""No entry while a trade error of the subscription is open."""

from processors.account.risk import Finding, Proposal
from schemas.reasons import RefusalReason


class Halted:
    """Refuses until the last open error is resolved."""

    name = "halted"
    rank = 3
    on_exits = False
    after_sizing = False

    def check(self, proposal: Proposal) -> Finding | None:
        """Return None if the order may pass, else the reason and its numbers."""
        if proposal.halted == 0:
            return None
        return RefusalReason.HALTED, {"open_errors": str(proposal.halted)}


CHECK = Halted()
