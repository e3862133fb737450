"""No entry soon after a position of the same subscription and instrument closed."""

from processors.account.risk import Finding, Proposal
from schemas.reasons import RefusalReason


class CoolDown:
    """Refuses for `cool_down_ms` after the last close."""

    name = "cool_down"
    rank = 50
    on_exits = False
    after_sizing = False

    def check(self, proposal: Proposal) -> Finding | None:
        """Return None if the order may pass, else the reason and its numbers."""
        wait_ms = proposal.subscription.cool_down_ms
        if wait_ms is None or proposal.closed_ms is None:
            return None
        passed_ms = proposal.now_ms - proposal.closed_ms
        if passed_ms >= wait_ms:
            return None
        return RefusalReason.COOL_DOWN, {"passed_ms": str(passed_ms), "cool_down_ms": str(wait_ms)}


CHECK = CoolDown()
