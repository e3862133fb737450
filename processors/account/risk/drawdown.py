"""No entry after equity fell too far from its highest."""

from processors.account.money import shown
from processors.account.risk import Finding, Proposal
from schemas.reasons import RefusalReason


class Drawdown:
    """Refuses once the fall from the peak reaches `max_drawdown` of it."""

    name = "drawdown"
    rank = 70
    on_exits = False
    after_sizing = False

    def check(self, proposal: Proposal) -> Finding | None:
        """Return None if the order may pass, else the reason and its numbers."""
        most = proposal.account.max_drawdown
        fall = proposal.peak_equity - proposal.equity
        if most is None or fall <= 0 or fall < most * proposal.peak_equity:
            return None
        return RefusalReason.DRAWDOWN, {
            "fall": shown(fall),
            "peak_equity": shown(proposal.peak_equity),
            "max_drawdown": str(most),
        }


CHECK = Drawdown()
