"""The leader role on signals: order, once, never weak."""

from decimal import Decimal
from typing import Any

import pytest

from processors.leader.state import REMEMBERED
from processors.protocols import ALL, BY_KEY, Meta
from schemas.codec import BadRecord
from schemas.ids import derive_id
from schemas.leaders import LeaderEvent
from schemas.market import Clock
from schemas.reasons import Side, SignalClass
from tests.processors.leader.world import ETH, PROCESSOR, World, alerts, events, made, sells, signal


def test_one_event_per_signal_to_every_partition_and_once_to_the_statistics() -> None:
    broadcast, counted = World(signal(1)).outs
    assert (broadcast.topic, broadcast.key, broadcast.partition) == ("account-events", "s1", ALL)
    assert (counted.topic, counted.key, counted.partition) == ("copy-results", "s1", BY_KEY)
    assert broadcast.value == counted.value
    assert broadcast.value == LeaderEvent(
        now_ms=1001,
        event_id=derive_id("leader-event", "s1", "id1"),
        leader="s1",
        sequence=1,
        action="entry",
        instrument="binanceusdm:BTC/USDT:USDT",
        side=Side.BUY,
        signal_class=SignalClass.BUY,
        strength=0.7,
        price=Decimal("60000.1"),
        cause="id1",
        event_ms=1001,
        detected_ms=991,
        atr=12.5,
    )


def test_age_counts_from_the_signal_not_from_the_step() -> None:
    told = events(World(signal(9), signal(2)).outs)
    assert [(event.event_ms, event.now_ms) for event in told] == [(1009, 1009), (1002, 1009)]


def test_sequences_rise_by_one_per_leader() -> None:
    told = events(World(signal(1), signal(2, "s2"), signal(3), signal(4, "s2"), signal(5)).outs)
    assert [(event.leader, event.sequence) for event in told] == [("s1", 1), ("s2", 1), ("s1", 2), ("s2", 2), ("s1", 3)]


@pytest.mark.parametrize(
    ("signal_class", "side", "count"),
    [
        (SignalClass.STRONG_BUY, Side.BUY, 1),
        (SignalClass.BUY, Side.BUY, 1),
        (SignalClass.WEAK_BUY, Side.BUY, 0),
        (SignalClass.WEAK_SELL, Side.SELL, 0),
        (SignalClass.SELL, Side.SELL, 1),
        (SignalClass.STRONG_SELL, Side.SELL, 1),
    ],
)
def test_weak_signals_make_no_event(signal_class: SignalClass, side: Side, count: int) -> None:
    told = events(World(signal(1, signal_class=signal_class, side=side), signal(2)).outs)
    assert len(told) == count + 1
    assert told[-1].sequence == count + 1  # and no hole in the sequence


def test_a_repeated_signal_makes_no_second_event() -> None:
    assert len(events(World(signal(1), signal(2), signal(1)).outs)) == 2


def test_memory_is_bounded_and_long_enough() -> None:
    world = World(*(signal(number) for number in range(REMEMBERED + 5)))
    recent = world.state.leaders["s1"].recent
    assert len(recent.order) == len(recent.known) == REMEMBERED
    assert (recent.order[0], recent.order[-1]) == ("id5", f"id{REMEMBERED + 4}")
    assert world.step(signal(5)) == []


def test_a_repeat_with_other_fields_is_an_alarm_and_no_event() -> None:
    world = World(signal(1))
    outs = world.step(signal(1, price=Decimal(59000)))
    (alarm,) = alerts(outs)
    assert len(outs) == 1
    assert alarm.severity == "critical"
    assert "59000" in alarm.text
    assert "60000.1" in alarm.text


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"price": Decimal("NaN")}, "price"),
        ({"price": Decimal(0)}, "price"),
        ({"price": Decimal(-1)}, "price"),
        ({"price": Decimal("Infinity")}, "price"),
        ({"price": Decimal("1e13")}, "price"),
        ({"price": Decimal("1e-999999")}, "price"),
        ({"strength": 1.5}, "strength"),
        ({"strength": float("nan")}, "strength"),
        ({"side": Side.SELL}, "contradicts"),
        ({"strategy": ""}, "without"),
        ({"atr": float("inf")}, "atr"),
        ({"atr": -1.0}, "atr"),
        ({"strategy": "desk"}, "kind account"),
    ],
)
def test_bad_signals_are_refused_and_change_nothing(fields: dict[str, Any], words: str) -> None:
    state = World(made(), signal(1)).state
    before = PROCESSOR.encode(state)
    with pytest.raises(BadRecord, match=words):
        PROCESSOR.step(state, signal(2, **fields), Meta(2000, 0, 1))
    assert PROCESSOR.encode(state) == before


def test_other_messages_are_refused() -> None:
    with pytest.raises(BadRecord, match="Clock"):
        PROCESSOR.step(PROCESSOR.initial(0), Clock(now_ms=1), Meta(1, 0, 0))


def test_the_record_of_a_strategy_is_that_of_1000_per_signal() -> None:
    world = World(
        signal(1, price=Decimal(100)),  # 10 long
        signal(2, price=Decimal(50)),  # again the same direction: nothing
        sells(3, price=Decimal(110)),  # +100, turns: 1000/110 short
        signal(4, price=Decimal(121), instrument=ETH),  # another instrument
        signal(5, price=Decimal(121)),  # -100, turns
        sells(6, price=Decimal(121)),  # nothing won, nothing lost
    )
    records = [(round(event.realized_pnl, 6), event.trades, event.wins) for event in events(world.outs)]
    assert records == [(0, 0, 0), (0, 0, 0), (0, 0, 0), (100, 1, 1), (100, 1, 1), (0, 2, 1)], "each before its event"
    record = world.state.leaders["s1"].record
    assert (round(record.realized_pnl, 6), record.trades, record.wins) == (0, 3, 1)
