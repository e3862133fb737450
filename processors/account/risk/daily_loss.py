"""No entry after too much was lost since 00:00 UTC (log time), unrealised losses included."""

from processors.account.money import shown
from processors.account.risk import Finding, Proposal
from schemas.reasons import RefusalReason


class DailyLoss:
    """Refuses once the day's loss reaches `max_daily_loss` of the equity at its start."""

    name = "daily_loss"
    rank = 60
    on_exits = False
    after_sizing = False

    def check(self, proposal: Proposal) -> Finding | None:
        """Return None if the order may pass, else the reason and its numbers."""
        most = proposal.account.max_daily_loss
        loss = proposal.day_equity - proposal.equity
        if most is None or loss <= 0 or loss < most * proposal.day_equity:
            return None
        return RefusalReason.DAILY_LOSS, {
            "loss": shown(loss),
            "day_equity": shown(proposal.day_equity),
            "max_daily_loss": str(most),
        }


CHECK = DailyLoss()
