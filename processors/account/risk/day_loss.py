"""No entry after the subscription lost too much since 00:00 UTC (log time), realised and after fees."""

from processors.account.money import shown
from processors.account.risk import Finding, Proposal
from schemas.reasons import RefusalReason


class DayLoss:
    """Refuses once the day's realised loss reaches `max_day_loss`."""

    name = "day_loss"
    rank = 64
    on_exits = False
    after_sizing = False

    def check(self, proposal: Proposal) -> Finding | None:
        """Return None if the order may pass, else the reason and its numbers."""
        most = proposal.subscription.max_day_loss
        if most is None or proposal.day_loss < most:
            return None
        return RefusalReason.DAY_LOSS, {"day_loss": shown(proposal.day_loss), "max_day_loss": str(most)}


CHECK = DayLoss()
