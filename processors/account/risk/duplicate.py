"""No second order for a cause that the leader has told already, under another event."""

from processors.account.risk import Finding, Proposal
from schemas.reasons import RefusalReason


class Duplicate:
    """Refuses what was told before (the same event again never gets here)."""

    name = "duplicate"
    rank = 20
    on_exits = True
    after_sizing = False

    def check(self, proposal: Proposal) -> Finding | None:
        """Return None if the order may pass, else the reason and its numbers."""
        if proposal.told_before is None:
            return None
        numbers = {"sequence": str(proposal.event.sequence), "first_sequence": str(proposal.told_before)}
        return RefusalReason.DUPLICATE, numbers


CHECK = Duplicate()
