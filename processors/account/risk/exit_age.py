"""No exit on an event that is too old, for those who ask for such a limit."""

from processors.account.risk import Finding, Proposal
from schemas.reasons import Leg, RefusalReason


class ExitAge:
    """Refuses exits on events older than `max_exit_age_ms` (off unless set)."""

    name = "exit_age"
    rank = 32
    on_exits = True
    after_sizing = False

    def check(self, proposal: Proposal) -> Finding | None:
        """Return None if the order may pass, else the reason and its numbers."""
        most = proposal.subscription.max_exit_age_ms
        age_ms = proposal.now_ms - proposal.event.event_ms
        if most is None or proposal.leg is not Leg.EXIT or age_ms <= most:
            return None
        return RefusalReason.STALE_SIGNAL, {"age_ms": str(age_ms), "max_exit_age_ms": str(most)}


CHECK = ExitAge()
