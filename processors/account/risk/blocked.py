"""No entry that the leader role has blocked: leader paused, breaker open, too many events, suspicious."""

from processors.account.risk import Finding, Proposal
from schemas.reasons import Leg


class Blocked:
    """Refuses entries and increases with the reason and the numbers that the event carries."""

    name = "blocked"
    rank = 1
    on_exits = False
    after_sizing = False

    def check(self, proposal: Proposal) -> Finding | None:
        """Return None if the order may pass, else the reason and its numbers."""
        if proposal.event.blocked is None or proposal.leg is not Leg.ENTRY:
            return None
        return proposal.event.blocked, dict(sorted(proposal.event.blocked_by.items()))  # it may have been encoded


CHECK = Blocked()
