"""Trades of leaders: named by what they did to the position, completed, corrected, once, or refused."""

from decimal import Decimal
from typing import Any

import pytest

from processors.leader.book import MOST_POSITIONS
from processors.protocols import Meta
from schemas.codec import BadRecord
from schemas.ids import derive_id
from schemas.leaders import LeaderEvent
from schemas.reasons import LeaderAction, Side
from tests.processors.leader.world import BTC, ETH, PROCESSOR, D, World, alerts, events, made, signal, trade


def named(event: LeaderEvent) -> str:
    return f"{event.action} {event.side} {event.size} -> {event.position}"


@pytest.mark.parametrize(
    ("before", "side", "change", "told"),
    [
        ("0", "buy", "2", ["entry buy 2 -> 2"]),
        ("0", "sell", "2", ["entry sell 2 -> -2"]),
        ("2", "buy", "1", ["increase buy 1 -> 3"]),
        ("-2", "sell", "1", ["increase sell 1 -> -3"]),
        ("2", "sell", "1.5", ["reduce sell 1.5 -> 0.5"]),
        ("-2", "buy", "1.5", ["reduce buy 1.5 -> -0.5"]),
        ("2", "sell", "2", ["exit sell 2 -> 0"]),
        ("-2", "buy", "2", ["exit buy 2 -> 0"]),
        ("2", "sell", "5", ["exit sell 2 -> 0", "entry sell 3 -> -3"]),
        ("-2", "buy", "2.5", ["exit buy 2 -> 0", "entry buy 0.5 -> 0.5"]),
    ],
)
@pytest.mark.parametrize("tells", ["size", "position", "both"])
def test_a_trade_is_named_by_what_it_did(before: str, side: str, change: str, told: list[str], tells: str) -> None:
    world = World(made())
    if D(before) != 0:
        world.step(trade(1, "buy" if D(before) > 0 else "sell", position=before))
    after = D(before) + (D(change) if side == "buy" else -D(change))
    fields: dict[str, Any] = {"size": D(change), "position": after}
    if tells != "both":
        fields = {tells: fields[tells]}
    outs = world.step(trade(2, side, **fields))
    assert [named(event) for event in events(outs)] == told
    assert alerts(outs) == []


@pytest.mark.parametrize(
    ("before", "side", "size", "position", "told"),
    [
        ("0", "buy", "1", "6", ["entry buy 1 -> 6"]),  # held 5 before it became a leader
        ("5", "buy", "3", "6", ["increase buy 1 -> 6"]),  # sold 2 unseen
        ("5", "buy", "1", "9", ["increase buy 1 -> 9"]),  # bought 3 unseen
        ("5", "sell", "1", "2", ["reduce sell 3 -> 2"]),
        ("5", "sell", "3", "4", ["reduce sell 1 -> 4"]),
        ("5", "sell", "1", "0", ["exit sell 5 -> 0"]),
        ("-2", "buy", "1", "3", ["exit buy 2 -> 0", "entry buy 1 -> 3"]),
        ("0", "sell", "1", "5", ["reduce sell 1 -> 5"]),  # held 6 before, reduces
        ("0", "buy", "1", "-5", ["reduce buy 1 -> -5"]),
        ("1", "sell", "0.5", "2", ["reduce sell 0.5 -> 2"]),
        ("5", "buy", "1", "1", ["reduce sell 4 -> 1"]),
        ("5", "buy", "1", "0", ["exit sell 5 -> 0"]),
        ("5", "buy", "1", "-2", ["exit sell 5 -> 0", "entry sell 2 -> -2"]),
        ("5", "buy", "1", "5", []),
    ],
)
def test_a_told_position_corrects_the_book(before: str, side: str, size: str, position: str, told: list[str]) -> None:
    world = World(made())
    if D(before) != 0:
        world.step(trade(1, "buy" if D(before) > 0 else "sell", position=before))
    outs = world.step(trade(2, side, size, position))
    assert [named(event) for event in events(outs)] == told
    (alert,) = alerts(outs)
    assert alert.kind == "leader_book_corrected"
    assert (alert.numbers["known"], alert.numbers["position"]) == (before, position)
    again = world.step(trade(3, "buy", "1", D(position) + 1))
    assert alerts(again) == [], "told once: the book is right now"


def test_two_events_of_one_cause_have_two_ids_and_two_numbers() -> None:
    world = World(made(), trade(1, "buy", "1"), trade(2, "sell", "3", price=D(110)))
    out, back = events(world.outs)[1:]
    assert (out.cause, back.cause) == ("t2", "t2")
    assert (out.event_id, back.event_id) == (
        derive_id("leader-event", "desk", "t2"),
        derive_id("leader-event", "desk", "t2", 1),
    )
    assert (out.sequence, back.sequence) == (3, 4)  # 1: the leader's settings
    assert [(e.realized_pnl, e.trades, e.wins) for e in (out, back)] == [(0, 0, 0), (10, 1, 1)]


def test_all_that_is_told_is_passed_on() -> None:
    fields: dict[str, Any] = {
        "equity": D(10_000),
        "leverage": 5,
        "margin_mode": "isolated",
        "stop_loss": D(90),
        "take_profit": D(120),
        "chain": ("a", "b"),
    }
    (event,) = events(World(made(), trade(1, "buy", "1", **fields)).outs)
    assert {name: getattr(event, name) for name in fields} == fields
    assert (event.event_ms, event.detected_ms, event.now_ms, event.price) == (1991, 1996, 2001, 100)


def test_a_feed_without_size_and_position_is_a_signal() -> None:
    world = World(
        made("tv", "feed"),
        trade(1, "buy", leader="tv", price=D(100)),
        trade(2, "sell", leader="tv", price=D(110)),
        trade(3, "buy", "2", leader="tv"),
    )
    one, two, three = events(world.outs)
    assert [(e.action, e.side, e.size, e.position) for e in (one, two)] == [
        (LeaderAction.ENTRY, Side.BUY, None, None),
        (LeaderAction.ENTRY, Side.SELL, None, None),
    ]
    assert (three.action, three.position, three.realized_pnl, three.wins) == (LeaderAction.ENTRY, 2, 100, 1)


def test_protection_carries_the_position() -> None:
    world = World(made(), trade(1, "sell", "2"))
    (event,) = events(world.step(trade(2, "buy", kind="protection", stop_loss=D(110), take_profit=D(80))))
    assert (event.action, event.side, event.size, event.position) == (LeaderAction.PROTECTION, Side.SELL, None, -2)
    assert (event.stop_loss, event.take_profit) == (110, 80)
    assert world.step(trade(2, "buy", kind="protection", stop_loss=D(110), take_profit=D(80))) == []
    outs = world.step(trade(3, "sell", position="-3", kind="protection", stop_loss=D(105)))
    assert [alert.kind for alert in alerts(outs)] == ["leader_book_corrected"]
    assert [event.position for event in events(outs)] == [-3]


def test_a_repeat_makes_no_event_and_a_changed_one_an_alarm() -> None:
    world = World(made(), trade(1, "buy", "1"))
    assert world.step(trade(1, "buy", "1")) == []
    outs = world.step(trade(1, "buy", "2"))
    assert [(alert.kind, alert.severity) for alert in alerts(outs)] == [
        ("leader_event_repeated_with_other_fields", "critical")
    ]
    assert len(outs) == 1
    (event,) = events(world.step(trade(2, "buy", "1")))
    assert event.position == 2


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (trade(9, "buy", "1", leader="nobody"), "unknown leader"),
        (trade(9, "buy", "1", leader="asked"), "unknown leader"),
        (trade(9, "buy", "1", leader="s1"), "strategy"),
        (trade(9, "buy", "1", leader="gone"), "closed"),
        (trade(9, "buy", "1", trade_id=""), "trade_id"),
        (trade(9, "buy", "1", instrument=""), "instrument"),
        (trade(9, "buy", "1e13"), "size"),
        (trade(9, "buy", "1e-19"), "size"),
        (trade(9, "buy", "1", price=D("1e999")), "price"),
        (trade(9, "buy", position="1e13"), "out of range"),
        (trade(9, "buy", "1", equity=D("NaN")), "equity"),
        (trade(9, "buy", "1", leverage=0), "leverage"),
        (trade(9, "buy", "1", leverage=10**9), "leverage"),
        (trade(9, "buy", "1", stop_loss=D(-1)), "stop_loss"),
        (trade(9, "buy", "1", take_profit=D("Infinity")), "take_profit"),
        (trade(9, "buy", "1", event_ms=-1), "event_ms"),
        (trade(9, "buy", position="0.5"), "side buy contradicts"),
        (trade(9, "sell", position="1.5"), "side sell contradicts"),
        (trade(9, "buy", position="1"), "nothing was traded"),
        (trade(9, "buy", "0.3", instrument=ETH, kind="protection"), "no position"),
        (trade(9, "buy", position="1e13", kind="protection"), "out of range"),
        (trade(9, "buy"), "needs size or position"),
    ],
)
def test_bad_trades_are_refused_and_change_nothing(told: Any, words: str) -> None:
    world = World(made(), made("gone"), trade(1, "buy", "1"), signal(1))
    world.step(trade(2, "buy", "1", leader="gone"))
    world.step(made("gone", status="closed"))
    before = PROCESSOR.encode(world.state)
    with pytest.raises(BadRecord, match=words):
        PROCESSOR.step(world.state, told, Meta(9000, 0, 1))
    assert PROCESSOR.encode(world.state) == before


def test_a_repeat_of_a_closed_leader_is_a_repeat() -> None:
    world = World(made(), trade(1, "buy", "1"), made(status="closed"))
    assert world.step(trade(1, "buy", "1")) == []


def test_open_positions_are_bounded() -> None:
    world = World(made())
    for number in range(MOST_POSITIONS):
        world.step(trade(number, "buy", "1", instrument=f"x:{number}"))
    with pytest.raises(BadRecord, match="1000 open positions"):
        world.step(trade(9999, "buy", "1", instrument="x:more"))
    world.step(trade(10_000, "sell", "1", instrument="x:7"))
    (event,) = events(world.step(trade(10_001, "buy", "1", instrument="x:more")))
    assert event.position == 1


def test_instruments_do_not_mix() -> None:
    world = World(made(), trade(1, "buy", "1"), trade(2, "sell", "1", instrument=ETH))
    assert [(event.instrument, event.position) for event in events(world.outs)] == [(BTC, 1), (ETH, Decimal(-1))]
