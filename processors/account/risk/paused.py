"""No entry while somebody has paused everything, the leader, the account or the subscription."""

from processors.account.risk import Finding, Proposal
from schemas.reasons import RefusalReason


class Paused:
    """Refuses while a pause applies, and tells its scope and reason."""

    name = "paused"
    rank = 2
    on_exits = False
    after_sizing = False

    def check(self, proposal: Proposal) -> Finding | None:
        """Return None if the order may pass, else the reason and its numbers."""
        if not proposal.paused:
            return None
        return RefusalReason.PAUSED, {"paused_by": proposal.paused}


CHECK = Paused()
