"""The tables of order and position life cycles."""

import pytest

from processors.account.lifecycle import (
    ENDED,
    NEW,
    ORDER,
    POSITION,
    OrderEvent,
    PositionEvent,
    PositionState,
    move,
)
from schemas.reasons import OrderState, ReportKind

ILLEGAL_ORDER_MOVES = {
    ("partially_filled", "rejected"),
    ("filled", "partial_fill"),
    ("filled", "last_fill"),
    ("filled", "rejected"),
    ("cancelled", "rejected"),
    ("expired", "rejected"),
    ("rejected", "partial_fill"),
    ("rejected", "last_fill"),
    ("rejected", "cancelled"),
    ("rejected", "expired"),
}
# How far an order has come: no move may lead back, whatever arrives late.
PROGRESS = {
    NEW: 0,
    "submitted": 1,
    "unknown": 2,
    "accepted": 3,
    "partially_filled": 4,
    "cancelled": 5,
    "expired": 5,
    "rejected": 5,
    "filled": 6,
}


def test_order_table_is_complete() -> None:
    assert set(ORDER) == {NEW, *OrderState} - {OrderState.REFUSED}
    illegal = {(state, event.value) for state in ORDER for event in OrderEvent if move(ORDER, state, event) is None}
    assert illegal == ILLEGAL_ORDER_MOVES


def test_every_report_kind_is_an_order_event() -> None:
    assert {kind.value for kind in ReportKind} - {"fill"} == {event.value for event in OrderEvent} - {
        "partial_fill",
        "last_fill",
    }


@pytest.mark.parametrize("state", sorted(ORDER))
@pytest.mark.parametrize("event", sorted(OrderEvent))
def test_orders_never_go_backwards(state: str, event: str) -> None:
    after = move(ORDER, state, event)
    if after is None:
        return
    if event == "unknown":
        assert after == state or state in (NEW, "submitted", "accepted")  # losing sight is no step back
    else:
        assert PROGRESS[after] >= PROGRESS[state]
    if state in ENDED:
        assert after == state or after == OrderState.FILLED


def test_unknown_is_never_taken_for_rejected() -> None:
    assert all(move(ORDER, state, OrderEvent.UNKNOWN) != OrderState.REJECTED or state == "rejected" for state in ORDER)
    assert OrderState.UNKNOWN not in ENDED


@pytest.mark.parametrize(
    ("state", "event", "after"),
    [
        ("flat", "entry_sent", "opening"),
        ("opening", "entry_filled", "open"),
        ("opening", "entry_ended", "flat"),
        ("open", "entry_ended", "open"),
        ("open", "reduced", "open"),
        ("open", "exit_sent", "closing"),
        ("closing", "reduced", "closing"),
        ("closing", "closed", "flat"),
        ("closing", "exit_ended", "open"),
        ("open", "closed", "flat"),
        ("flat", "exit_ended", "flat"),
        ("flat", "entry_filled", "open"),
        ("flat", "closed", None),
        ("flat", "exit_sent", None),
        ("flat", "reduced", None),
        ("opening", "reduced", None),
        ("opening", "closed", None),
        ("closing", "entry_sent", None),
        ("closing", "exit_sent", None),
    ],
)
def test_position_moves(state: str, event: str, after: str | None) -> None:
    assert move(POSITION, state, event) == after


def test_position_table_names_what_exists() -> None:
    assert set(POSITION) == set(PositionState)
    for row in POSITION.values():
        assert set(row) <= set(PositionEvent)
        assert set(row.values()) <= set(PositionState)
