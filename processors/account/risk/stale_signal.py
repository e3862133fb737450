"""No entry on an old event: age is step time less the time of the event's cause."""

from processors.account.risk import Finding, Proposal
from schemas.reasons import RefusalReason


class StaleSignal:
    """Refuses events older than `max_signal_age_ms`."""

    name = "stale_signal"
    rank = 30
    on_exits = False
    after_sizing = False

    def check(self, proposal: Proposal) -> Finding | None:
        """Return None if the order may pass, else the reason and its numbers."""
        most = proposal.subscription.max_signal_age_ms
        age_ms = proposal.now_ms - proposal.event.event_ms
        if most is None or age_ms <= most:
            return None
        return RefusalReason.STALE_SIGNAL, {"age_ms": str(age_ms), "max_signal_age_ms": str(most)}


CHECK = StaleSignal()
