"""The life cycles of orders and positions, as tables (design law 6).

Entry points: `move`, `ORDER`, `POSITION`, `ENDED`, and the enums of their states and events.

1. A pair that is not in a table is illegal: `move` answers None, the caller changes nothing and raises an Alert.
2. Reports may come late, twice or in another order than they happened: such pairs are rows that lead back to the
   state. Order states never go backwards: what is filled stays filled.
3. A fill is money that moved: it is booked even where its move is illegal (and alarmed), since a ledger that knows
   better than the venue is wrong.
"""

from collections.abc import Mapping
from enum import StrEnum

from schemas.reasons import OrderState

NEW = "new"
"""State of an order that was handed to the executor and of which nothing was heard yet."""


class OrderEvent(StrEnum):
    """What can happen to an order: the kinds of VenueReport, fills split by whether they complete it."""

    SUBMITTED = "submitted"
    ACCEPTED = "accepted"
    PARTIAL_FILL = "partial_fill"
    LAST_FILL = "last_fill"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


_E, _O = OrderEvent, OrderState

ORDER: Mapping[str, Mapping[str, str]] = {
    NEW: {
        _E.SUBMITTED: _O.SUBMITTED,
        _E.ACCEPTED: _O.ACCEPTED,
        _E.PARTIAL_FILL: _O.PARTIALLY_FILLED,
        _E.LAST_FILL: _O.FILLED,
        _E.CANCELLED: _O.CANCELLED,
        _E.REJECTED: _O.REJECTED,
        _E.EXPIRED: _O.EXPIRED,
        _E.UNKNOWN: _O.UNKNOWN,
    },
    _O.SUBMITTED: {
        _E.SUBMITTED: _O.SUBMITTED,
        _E.ACCEPTED: _O.ACCEPTED,
        _E.PARTIAL_FILL: _O.PARTIALLY_FILLED,
        _E.LAST_FILL: _O.FILLED,
        _E.CANCELLED: _O.CANCELLED,
        _E.REJECTED: _O.REJECTED,
        _E.EXPIRED: _O.EXPIRED,
        _E.UNKNOWN: _O.UNKNOWN,
    },
    _O.UNKNOWN: {  # sent, fate not proven: only the venue's answer leads out, never a guess
        _E.SUBMITTED: _O.UNKNOWN,
        _E.ACCEPTED: _O.ACCEPTED,
        _E.PARTIAL_FILL: _O.PARTIALLY_FILLED,
        _E.LAST_FILL: _O.FILLED,
        _E.CANCELLED: _O.CANCELLED,
        _E.REJECTED: _O.REJECTED,
        _E.EXPIRED: _O.EXPIRED,
        _E.UNKNOWN: _O.UNKNOWN,
    },
    _O.ACCEPTED: {
        _E.SUBMITTED: _O.ACCEPTED,  # late
        _E.ACCEPTED: _O.ACCEPTED,
        _E.PARTIAL_FILL: _O.PARTIALLY_FILLED,
        _E.LAST_FILL: _O.FILLED,
        _E.CANCELLED: _O.CANCELLED,
        _E.REJECTED: _O.REJECTED,  # a resting stop whose margin is checked when it triggers
        _E.EXPIRED: _O.EXPIRED,
        _E.UNKNOWN: _O.UNKNOWN,
    },
    _O.PARTIALLY_FILLED: {
        _E.SUBMITTED: _O.PARTIALLY_FILLED,  # late
        _E.ACCEPTED: _O.PARTIALLY_FILLED,  # late
        _E.PARTIAL_FILL: _O.PARTIALLY_FILLED,
        _E.LAST_FILL: _O.FILLED,
        _E.CANCELLED: _O.CANCELLED,
        _E.EXPIRED: _O.EXPIRED,
        _E.UNKNOWN: _O.PARTIALLY_FILLED,  # what is unknown is the rest; the fills are not
    },
    _O.FILLED: {  # absorbs whatever was overtaken by the last fill
        _E.SUBMITTED: _O.FILLED,
        _E.ACCEPTED: _O.FILLED,
        _E.CANCELLED: _O.FILLED,
        _E.EXPIRED: _O.FILLED,
        _E.UNKNOWN: _O.FILLED,
    },
    _O.CANCELLED: {
        _E.SUBMITTED: _O.CANCELLED,
        _E.ACCEPTED: _O.CANCELLED,
        _E.PARTIAL_FILL: _O.CANCELLED,  # late fill of what traded before the cancel
        _E.LAST_FILL: _O.FILLED,
        _E.CANCELLED: _O.CANCELLED,
        _E.EXPIRED: _O.CANCELLED,
        _E.UNKNOWN: _O.CANCELLED,
    },
    _O.EXPIRED: {
        _E.SUBMITTED: _O.EXPIRED,
        _E.ACCEPTED: _O.EXPIRED,
        _E.PARTIAL_FILL: _O.EXPIRED,
        _E.LAST_FILL: _O.FILLED,
        _E.CANCELLED: _O.EXPIRED,
        _E.EXPIRED: _O.EXPIRED,
        _E.UNKNOWN: _O.EXPIRED,
    },
    _O.REJECTED: {
        _E.SUBMITTED: _O.REJECTED,
        _E.ACCEPTED: _O.REJECTED,
        _E.REJECTED: _O.REJECTED,
        _E.UNKNOWN: _O.REJECTED,
    },
}

ENDED = frozenset({_O.FILLED, _O.CANCELLED, _O.EXPIRED, _O.REJECTED})
"""States in which an order is over; only late fills may still come."""


class PositionState(StrEnum):
    """States of one subscription's position in one instrument."""

    FLAT = "flat"
    OPENING = "opening"
    OPEN = "open"
    CLOSING = "closing"


class PositionEvent(StrEnum):
    """What can happen to a position.

    `reduced`: a leg or exit filled, something is left; `closed`: nothing is left; `flipped`: more was closed than was
    open, so the position now points the other way (alarmed).
    """

    ENTRY_SENT = "entry_sent"
    ENTRY_FILLED = "entry_filled"
    ENTRY_ENDED = "entry_ended"
    EXIT_SENT = "exit_sent"
    EXIT_ENDED = "exit_ended"
    REDUCED = "reduced"
    CLOSED = "closed"
    FLIPPED = "flipped"


_P, _S = PositionEvent, PositionState

POSITION: Mapping[str, Mapping[str, str]] = {
    _S.FLAT: {
        _P.ENTRY_SENT: _S.OPENING,
        _P.ENTRY_FILLED: _S.OPEN,  # a fill of an entry that had ended
        _P.ENTRY_ENDED: _S.FLAT,  # the position was closed before its entry's end was told
        _P.EXIT_ENDED: _S.FLAT,
        _P.FLIPPED: _S.OPEN,  # a leg filled although nothing was open any more
    },
    _S.OPENING: {
        _P.ENTRY_SENT: _S.OPENING,
        _P.ENTRY_FILLED: _S.OPEN,
        _P.ENTRY_ENDED: _S.FLAT,
        _P.EXIT_SENT: _S.CLOSING,  # an opposite event: wait for the entry's end, then close what filled
        _P.EXIT_ENDED: _S.OPENING,
        _P.FLIPPED: _S.OPEN,
    },
    _S.OPEN: {
        _P.ENTRY_SENT: _S.OPEN,
        _P.ENTRY_FILLED: _S.OPEN,
        _P.ENTRY_ENDED: _S.OPEN,
        _P.EXIT_SENT: _S.CLOSING,
        _P.EXIT_ENDED: _S.OPEN,
        _P.REDUCED: _S.OPEN,
        _P.CLOSED: _S.FLAT,
        _P.FLIPPED: _S.OPEN,
    },
    _S.CLOSING: {
        _P.ENTRY_FILLED: _S.CLOSING,
        _P.ENTRY_ENDED: _S.CLOSING,
        _P.EXIT_ENDED: _S.OPEN,
        _P.REDUCED: _S.CLOSING,
        _P.CLOSED: _S.FLAT,
        _P.FLIPPED: _S.OPEN,
    },
}


def move(table: Mapping[str, Mapping[str, str]], state: str, event: str) -> str | None:
    """Return the state after `event`, or None where the move is illegal."""
    return table[state].get(event)
