"""No entry in an instrument that the subscription does not want."""

from processors.account.risk import Finding, Proposal
from schemas.reasons import RefusalReason


class Listed:
    """Refuses own instruments on the blacklist, and those not on the whitelist if there is one."""

    name = "listed"
    rank = 6
    on_exits = False
    after_sizing = False

    def check(self, proposal: Proposal) -> Finding | None:
        """Return None if the order may pass, else the reason and its numbers."""
        if proposal.instrument in proposal.subscription.blacklist:
            return RefusalReason.NOT_LISTED, {"instrument": proposal.instrument, "list": "blacklist"}
        whitelist = proposal.subscription.whitelist
        if whitelist is not None and proposal.instrument not in whitelist:
            return RefusalReason.NOT_LISTED, {"instrument": proposal.instrument, "list": "whitelist"}
        return None


CHECK = Listed()
