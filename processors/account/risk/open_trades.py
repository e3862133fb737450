"""No entry in another instrument while the subscription is in too many."""

from processors.account.money import ZERO
from processors.account.risk import Finding, Proposal
from schemas.reasons import RefusalReason


class OpenTrades:
    """Refuses at `max_open_trades`; adding to what is held already passes."""

    name = "open_trades"
    rank = 66
    on_exits = False
    after_sizing = False

    def check(self, proposal: Proposal) -> Finding | None:
        """Return None if the order may pass, else the reason and its numbers."""
        most = proposal.subscription.max_open_trades
        if most is None or proposal.held != ZERO or proposal.open_trades < most:
            return None
        return RefusalReason.OPEN_TRADES, {"open_trades": str(proposal.open_trades), "max_open_trades": str(most)}


CHECK = OpenTrades()
