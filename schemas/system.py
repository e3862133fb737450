"""Records about the system itself."""

from typing import Literal

import msgspec

from schemas.base import Message


class Parked(Message, frozen=True, kw_only=True, tag="parked"):
    """A record that could not be used: where it stood, why, and its bytes (base64, cut at 64 KiB)."""

    source: str
    reason: str
    value: str
    size: int
    sha256: str


class Alert(Message, frozen=True, kw_only=True, tag="alert"):
    """Something an operator must know. `kind` is a short stable name, `text` a sentence with the mend."""

    kind: str
    severity: Literal["info", "warning", "critical"]
    source: str
    text: str
    numbers: dict[str, str] = msgspec.field(default_factory=dict)


def scopes_of(leader: str, account: str, subscription: str) -> tuple[str, str, str, str]:
    """Return the scopes whose pause stops the entries of a subscription, widest first."""
    return "*", f"leader:{leader}", f"account:{account}", f"subscription:{subscription}"


class ControlState(Message, frozen=True, kw_only=True, tag="control_state"):
    """Pauses and breakers by scope (`*`, `leader:NAME`, `account:NAME`, `subscription:NAME`), compacted by scope.

    Also broadcast to `account-events`, so that the account role stops entries in the order of its inbox.
    """

    scope: str
    paused: bool
    reason: str = ""
