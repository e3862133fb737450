"""No more of one instrument than the account may hold, all of its subscriptions together."""

from processors.account.money import shown
from processors.account.risk import Finding, Proposal
from schemas.reasons import RefusalReason


class MaxPosition:
    """Refuses what would exceed the account's `max_position_notional`."""

    name = "max_position"
    rank = 90
    on_exits = False
    after_sizing = True

    def check(self, proposal: Proposal) -> Finding | None:
        """Return None if the order may pass, else the reason and its numbers."""
        most = proposal.account.max_position_notional
        if most is None or proposal.instrument_exposure + proposal.notional <= most:
            return None
        return RefusalReason.MAX_POSITION, {
            "held": shown(proposal.instrument_exposure),
            "notional": shown(proposal.notional),
            "max_position_notional": str(most),
        }


CHECK = MaxPosition()
