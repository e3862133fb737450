"""No copy that would come back to a leader it came from."""

from processors.account.risk import Finding, Proposal
from schemas.reasons import RefusalReason


class Cycle:
    """Refuses when the account is the source of the event's leader, or of one that it came through."""

    name = "cycle"
    rank = 5
    on_exits = False
    after_sizing = False

    def check(self, proposal: Proposal) -> Finding | None:
        """Return None if the order may pass, else the reason and its numbers."""
        if not proposal.leads:
            return None
        through = (*proposal.event.chain, proposal.event.leader)
        own = [leader for leader in proposal.leads if leader in through]
        if not own:
            return None
        return RefusalReason.CYCLE, {"own_leader": own[0], "chain": " -> ".join(through)}


CHECK = Cycle()
