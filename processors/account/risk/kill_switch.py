"""No entries while the account is stopped by its settings or by a `kill` command."""

from processors.account.risk import Finding, Proposal
from schemas.reasons import RefusalReason


class KillSwitch:
    """Refuses entries while somebody has stopped them."""

    name = "kill_switch"
    rank = 10
    on_exits = False
    after_sizing = False

    def check(self, proposal: Proposal) -> Finding | None:
        """Return None if the order may pass, else the reason and its numbers."""
        if proposal.kill is None:
            return None
        return RefusalReason.KILL_SWITCH, {"killed_by": proposal.kill}


CHECK = KillSwitch()
