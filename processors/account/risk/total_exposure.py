"""No more exposure over all instruments than the account may carry."""

from processors.account.money import shown
from processors.account.risk import Finding, Proposal
from schemas.reasons import RefusalReason


class TotalExposure:
    """Refuses what would exceed `max_total_exposure`."""

    name = "total_exposure"
    rank = 100
    on_exits = False
    after_sizing = True

    def check(self, proposal: Proposal) -> Finding | None:
        """Return None if the order may pass, else the reason and its numbers."""
        most = proposal.account.max_total_exposure
        if most is None or proposal.exposure + proposal.notional <= most:
            return None
        return RefusalReason.TOTAL_EXPOSURE, {
            "exposure": shown(proposal.exposure),
            "notional": shown(proposal.notional),
            "max_total_exposure": str(most),
        }


CHECK = TotalExposure()
