"""The leader role: order, once, never weak."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.leader.processor import REMEMBERED, LeaderProcessor, LeaderState
from processors.protocols import ALL, Meta, Out
from schemas.codec import BadRecord
from schemas.ids import derive_id
from schemas.leaders import LeaderEvent
from schemas.market import Clock
from schemas.reasons import Side, SignalClass
from schemas.signals import Signal
from schemas.system import Alert

PROCESSOR = LeaderProcessor()


def signal(number: int, strategy: str = "s1", **fields: Any) -> Signal:
    values: dict[str, Any] = {
        "now_ms": 1000 + number,
        "signal_id": f"id{number}",
        "strategy": strategy,
        "params_hash": "p",
        "instrument": "binanceusdm:BTC/USDT:USDT",
        "interval": "1s",
        "side": Side.BUY,
        "signal_class": SignalClass.BUY,
        "strength": 0.7,
        "buy_score": 3.0,
        "sell_score": 1.0,
        "reasons": ("rsi",),
        "indicators": {"rsi": 29.0},
        "price": Decimal("60000.1"),
        "bar_start_ms": 0,
        "bar_end_ms": 1000,
        "bar_open": Decimal(1),
        "bar_high": Decimal(1),
        "bar_low": Decimal(1),
        "bar_close": Decimal(1),
        "bar_volume": Decimal(1),
        "received_ms": 1000,
        "atr": 12.5,
    }
    return Signal(**{**values, **fields})


@dataclass
class Run:
    state: LeaderState
    outs: list[Out]


def run(signals: list[Signal], restart_every: int = 0) -> Run:
    state, outs, now_ms = PROCESSOR.initial(0), [], 0
    for offset, item in enumerate(signals):
        now_ms = max(now_ms, item.now_ms)
        outs += PROCESSOR.step(state, item, Meta(now_ms, 0, offset))
        if restart_every and offset % restart_every == 0:
            state = PROCESSOR.decode(PROCESSOR.encode(state))
    return Run(state, outs)


def test_one_event_per_signal_to_every_partition() -> None:
    (out,) = run([signal(1)]).outs
    assert (out.topic, out.partition) == ("account-events", ALL)
    assert out.value == LeaderEvent(
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
        atr=12.5,
    )


def test_age_counts_from_the_signal_not_from_the_step() -> None:
    events = [out.value for out in run([signal(9), signal(2)]).outs]
    assert [(event.event_ms, event.now_ms) for event in events] == [(1009, 1009), (1002, 1009)]


def test_sequences_rise_by_one_per_leader() -> None:
    outs = run([signal(1), signal(2, "s2"), signal(3), signal(4, "s2"), signal(5)]).outs
    assert [(out.value.leader, out.value.sequence) for out in outs] == [
        ("s1", 1),
        ("s2", 1),
        ("s1", 2),
        ("s2", 2),
        ("s1", 3),
    ]


@pytest.mark.parametrize(
    ("signal_class", "side", "events"),
    [
        (SignalClass.STRONG_BUY, Side.BUY, 1),
        (SignalClass.BUY, Side.BUY, 1),
        (SignalClass.WEAK_BUY, Side.BUY, 0),
        (SignalClass.WEAK_SELL, Side.SELL, 0),
        (SignalClass.SELL, Side.SELL, 1),
        (SignalClass.STRONG_SELL, Side.SELL, 1),
    ],
)
def test_weak_signals_make_no_event(signal_class: SignalClass, side: Side, events: int) -> None:
    result = run([signal(1, signal_class=signal_class, side=side), signal(2)])
    assert len(result.outs) == events + 1
    assert result.outs[-1].value.sequence == events + 1  # and no hole in the sequence


def test_a_repeated_signal_makes_no_second_event() -> None:
    assert len(run([signal(1), signal(2), signal(1)]).outs) == 2


def test_memory_is_bounded_and_long_enough() -> None:
    result = run([signal(number) for number in range(REMEMBERED + 5)])
    recent = result.state.leaders["s1"].recent
    assert len(recent) == REMEMBERED
    assert next(iter(recent)) == "id5"
    assert list(recent)[-1] == f"id{REMEMBERED + 4}"
    assert PROCESSOR.step(result.state, signal(5), Meta(9999, 0, 0)) == ()


def test_a_repeat_with_other_fields_is_an_alarm_and_no_event() -> None:
    outs = run([signal(1), signal(1, price=Decimal(59000))]).outs
    assert isinstance(outs[1].value, Alert)
    assert outs[1].value.severity == "critical"
    assert "59000" in outs[1].value.text
    assert "60000.1" in outs[1].value.text
    assert len(outs) == 2


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"price": Decimal("NaN")}, "price"),
        ({"price": Decimal(0)}, "price"),
        ({"price": Decimal(-1)}, "price"),
        ({"price": Decimal("Infinity")}, "price"),
        ({"strength": 1.5}, "strength"),
        ({"strength": float("nan")}, "strength"),
        ({"side": Side.SELL}, "contradicts"),
        ({"strategy": ""}, "without"),
        ({"atr": float("inf")}, "atr"),
        ({"atr": -1.0}, "atr"),
    ],
)
def test_bad_signals_are_refused_and_change_nothing(fields: dict[str, Any], words: str) -> None:
    state = run([signal(1)]).state
    before = PROCESSOR.encode(state)
    with pytest.raises(BadRecord, match=words):
        PROCESSOR.step(state, signal(2, **fields), Meta(2000, 0, 1))
    assert PROCESSOR.encode(state) == before


def test_other_messages_are_refused() -> None:
    with pytest.raises(BadRecord, match="Clock"):
        PROCESSOR.step(PROCESSOR.initial(0), Clock(now_ms=1), Meta(1, 0, 0))


@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from(["s1", "s2", "s3"])), max_size=60), st.integers(1, 7))
def test_restarts_change_nothing(picks: list[tuple[int, str]], every: int) -> None:
    signals = [signal(number, strategy) for number, strategy in picks]
    straight, restarted = run(signals), run(signals, every)
    assert straight.outs == restarted.outs
    assert PROCESSOR.encode(straight.state) == PROCESSOR.encode(restarted.state)
    told = [msgspec.structs.astuple(out.value)[2:4] for out in straight.outs]
    assert len(told) == len(set(told)) == len(set(picks))
