"""Life cycle of an order in the execution store, as a table.

waiting     a leg whose entry has not filled yet
unproven    lay in the log or in the store when this worker took over: asked about before it is sent
ready       may be sent
sending     the attempt is committed; its request may be on its way
unknown     sent, no answer: asked about until its fate is proven
working     at the venue; `partial` with some of it filled
"""

from typing import Final

WAITING, UNPROVEN, READY, SENDING, UNKNOWN = "waiting", "unproven", "ready", "sending", "unknown"
WORKING, PARTIAL = "working", "partial"
FILLED, CANCELLED, REJECTED, EXPIRED = "filled", "cancelled", "rejected", "expired"

# What the venue may say of an order that we do not know to be there yet.
_TOLD = {
    "placed": WORKING,
    "fill": PARTIAL,
    "filled": FILLED,
    "cancel": CANCELLED,
    "expire": EXPIRED,
    "reject": REJECTED,
}

MOVES: Final[dict[str, dict[str, str]]] = {
    WAITING: {**_TOLD, "drop": CANCELLED},
    UNPROVEN: {**_TOLD, "absent": READY},
    READY: {**_TOLD, "send": SENDING, "drop": CANCELLED, "lapse": EXPIRED, "ask": UNPROVEN},
    SENDING: {**_TOLD, "lose": UNKNOWN, "withdraw": CANCELLED, "lapse": EXPIRED, "ask": UNPROVEN},
    UNKNOWN: {**_TOLD, "absent": READY, "ask": UNPROVEN},
    WORKING: {"fill": PARTIAL, "filled": FILLED, "cancel": CANCELLED, "expire": EXPIRED, "reject": REJECTED},
    PARTIAL: {"fill": PARTIAL, "filled": FILLED, "cancel": CANCELLED, "expire": EXPIRED, "reject": REJECTED},
    FILLED: {},
    CANCELLED: {},
    REJECTED: {},
    EXPIRED: {},
}
TERMINAL: Final = frozenset(state for state, moves in MOVES.items() if not moves)
AT_VENUE: Final = frozenset({WORKING, PARTIAL})
IN_FLIGHT: Final = frozenset({UNPROVEN, SENDING, UNKNOWN})


def move(state: str, event: str) -> str | None:
    """Return the next state, or None if the event means nothing in this one (late or repeated)."""
    return MOVES[state].get(event)
