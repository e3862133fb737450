"""No order at all for a subscription that is only told."""

from processors.account.risk import Finding, Proposal
from schemas.reasons import RefusalReason


class NotifyOnly:
    """Refuses entries and exits while `notify_only` is set."""

    name = "notify_only"
    rank = 4
    on_exits = True
    after_sizing = False

    def check(self, proposal: Proposal) -> Finding | None:
        """Return None if the order may pass, else the reason and its numbers."""
        if not proposal.subscription.notify_only:
            return None
        return RefusalReason.NOTIFY_ONLY, {"notify_only": "true"}


CHECK = NotifyOnly()
