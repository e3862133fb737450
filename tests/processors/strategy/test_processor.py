"""The strategy role one message at a time: signals, marks, clock, duplicates, refusals, state."""

from decimal import Decimal

import pytest

from processors.protocols import ALL, BY_KEY
from processors.strategy.checks import CONFIRMATIONS
from processors.strategy.params import StrategyParams
from schemas.codec import BadRecord, decode, encode
from schemas.ids import derive_id
from schemas.market import Clock, Marks
from schemas.reasons import SignalClass
from tests.processors.strategy.market import BTC, ETH, START_MS, Runner, bar, clock, gap, quote, trade, wander

TICK = StrategyParams(name="demo", interval="tick")
WEAK = {SignalClass.WEAK_BUY, SignalClass.WEAK_SELL}


def ready(**changes: object) -> Runner:
    run = Runner(StrategyParams(**{"name": "demo", "interval": "tick", **changes}))
    run(*wander(3_000))
    return run


def test_signal_says_everything() -> None:
    run = ready()
    trades = {item.id: item for item in wander(3_000)}
    signals = run.told("signals")
    assert len(signals) > 50
    for signal in signals:
        item = trades[(signal.bar_start_ms - START_MS) // 100 + 1]
        assert signal.strategy == "demo"
        assert signal.params_hash == TICK.params_hash
        assert signal.interval == "tick"
        assert signal.price == signal.bar_open == signal.bar_close == item.price
        assert str(signal.price) == str(item.price)
        assert signal.bar_volume == item.size
        assert (signal.bar_start_ms, signal.bar_end_ms) == (item.ts, item.ts + 1)
        assert signal.received_ms == signal.now_ms == item.now_ms
        assert (
            signal.strength == max(signal.buy_score, signal.sell_score) / (signal.buy_score + signal.sell_score) > 0.6
        )
        assert signal.atr == signal.indicators["atr"]
        assert len(signal.indicators) == 13
        assert signal.reasons
        assert signal.signal_id == derive_id(
            "signal", "demo", TICK.params_hash, BTC, "tick", signal.bar_start_ms, item.id
        )
        assert decode(encode(signal)) == signal
    assert len({signal.signal_id for signal in signals}) == len(signals)


def test_keys_partitions_and_who_hears_what() -> None:
    run = ready(publish_above=0.5, class_from=0.7, strong_from=0.7)
    signals = [out for out in run.outs if out.topic == "signals"]
    assert {out.key for out in signals} == {f"demo/{BTC}"}
    assert {out.partition for out in run.outs if out.topic != "account-events"} == {BY_KEY}
    heard = [out for out in run.outs if out.topic == "leader-events"]
    assert {out.key for out in heard} == {"demo"}
    assert [out.value for out in heard] == [out.value for out in signals if out.value.signal_class not in WEAK]
    assert {out.value.signal_class for out in signals} & WEAK, "the sample must show a weak one"


def test_on_change_tells_a_class_once_and_each_bar_tells_it_every_time() -> None:
    changed, every = ready(), ready(emit="each_bar")
    classes = {signal.bar_start_ms: signal.signal_class for signal in every.told("signals")}
    wanted, before = [], None
    for item in wander(3_000):
        now = classes.get(item.ts)
        if now is not before and now is not None:
            wanted.append((item.ts, now))
        before = now
    assert [(signal.bar_start_ms, signal.signal_class) for signal in changed.told("signals")] == wanted
    assert len(classes) == len(every.told("signals")) > len(wanted)


def test_signals_on_closed_bars_name_the_bar_and_what_closed_it() -> None:
    run = Runner(StrategyParams(name="demo", interval="1s"))
    trades = list(wander(3_000))
    run(*trades)
    bars = {message.start_ms: message for message in run.told("bars")}
    assert len(run.told("signals")) > 10
    for signal in run.told("signals"):
        message = bars[signal.bar_start_ms]
        assert (signal.bar_open, signal.bar_high, signal.bar_low, signal.bar_close, signal.bar_volume) == (
            message.open, message.high, message.low, message.close, message.volume,
        )  # fmt: skip
        assert signal.price == message.close
        assert signal.received_ms == message.end_ms


def test_several_strategies_share_bars_and_keep_apart() -> None:
    one, two = StrategyParams(name="one", interval="1s"), StrategyParams(name="two", interval="1s", rsi_period=5)
    other = StrategyParams(name="other", interval="1s", instruments=[ETH])
    together = Runner(one, two, other)
    together(*wander(3_000))
    for params in (one, two):
        alone = Runner(params)
        alone(*wander(3_000))
        assert [item for item in together.told("signals") if item.strategy == params.name] == alone.told("signals")
        assert together.told("bars") == alone.told("bars")
    assert all(item.strategy != "other" for item in together.told("signals"))


# ------------------------------------------------------------------------------------------------ marks and clock


def marks(run: Runner) -> list[tuple[int, list[tuple[str, str, str]]]]:
    return [
        (out.value.now_ms - START_MS, [(mark.instrument, str(mark.bid), str(mark.ask)) for mark in out.value.marks])
        for out in run.outs
        if isinstance(out.value, Marks)
    ]


def test_marks_are_conflated_by_log_time_and_broadcast() -> None:
    run = Runner(TICK)
    run(quote(0, 10, 11, 1))  # the first ever goes out at once
    run(quote(10, 12, 13, 2), quote(20, 14, 15, 3), quote(100, 1, 2, 1, instrument=ETH))
    assert marks(run) == [(0, [(BTC, "10", "11")])]
    run(quote(250, 16, 17, 4))
    assert marks(run)[1:] == [(250, [(BTC, "16", "17"), (ETH, "1", "2")])]
    told = [out for out in run.outs if isinstance(out.value, Marks)]
    assert {(out.topic, out.key, out.partition) for out in told} == {("account-events", "*", ALL)}


def test_marks_from_trades_when_there_is_no_fresh_quote() -> None:
    run = Runner(TICK)
    run(trade(0, "10.0", 1))
    assert marks(run) == [(0, [(BTC, "10.0", "10.0")])]
    run(quote(300, 10, 11, 1), trade(400, 12, 2), clock(600))
    assert marks(run)[1:] == [(300, [(BTC, "10", "11")])], "a trade does not move the mark of a fresh quote"
    run(trade(5_301, 13, 3), clock(5_600))
    assert marks(run)[2:] == [(5_301, [(BTC, "13", "13")])]


def test_clock_goes_on_when_there_was_nothing_to_mark() -> None:
    run = Runner(TICK)
    run(clock(0), clock(100), clock(250), quote(260, 10, 11, 1), clock(500), clock(750))
    told = [(out.value, out.partition) for out in run.outs if isinstance(out.value, Clock)]
    assert [value.now_ms - START_MS for value, _ in told] == [0, 250, 750]
    assert told[-1] == (Clock(now_ms=START_MS + 750, feed="test", position=750), ALL)
    assert marks(run) == [(500, [(BTC, "10", "11")])]


def test_every_instrument_is_marked_also_unread_ones() -> None:
    run = Runner(StrategyParams(name="demo", instruments=[BTC]))
    run(quote(0, 10, 11, 1, instrument=ETH))
    assert marks(run) == [(0, [(ETH, "10", "11")])]


def test_a_large_partition_sends_several_records() -> None:
    run = Runner()
    run(clock(0), *[quote(1, 10, 11, 1, instrument=f"v:I{place}") for place in range(4_500)], clock(250))
    assert [len(found) for _, found in marks(run)] == [4_000, 500]
    assert sum(len(encode(out.value)) for out in run.outs[-2:-1]) < 900_000


# ------------------------------------------------------------------------------------------------ duplicates, gaps


def test_every_message_twice_changes_nothing() -> None:
    params = [StrategyParams(name="t", interval="tick"), StrategyParams(name="s", interval="1s")]
    events = []
    for place, item in enumerate(wander(2_000)):
        events.append(item)
        if place % 3 == 0:
            events.append(quote(place * 100, item.price, item.price + 1, place))
        if place % 500 == 7:
            events += [gap(place * 100, f"loss {place}"), clock(place * 100 + 50)]
    once, twice = Runner(*params), Runner(*params)
    for event in events:
        once(event)
        twice(event, event)
    assert len(once.told("signals")) > 100
    assert twice.outs == once.outs
    assert twice.state.counters["duplicates"] == len([e for e in events if not isinstance(e, Clock)])
    twice.state.counters["duplicates"] = 0
    assert twice.processor.encode(twice.state) == once.processor.encode(once.state)


def test_out_of_order_and_repeated_trades_are_dropped_and_counted() -> None:
    run = Runner(StrategyParams(name="s", interval="1s"))
    run(trade(0, 10, 5), trade(100, 11, 7), trade(50, 12, 6), trade(0, 10, 5))
    assert run.state.counters["duplicates"] == 2
    assert run.told("alerts") == []
    run(trade(5_000, 13, 3))
    (alert,) = run.told("alerts")
    assert (alert.kind, alert.severity) == ("id_regression", "critical")
    assert "trade id 3 is not above 7" in alert.text


def test_gap_is_recorded_and_told_once() -> None:
    run = Runner(TICK)
    run(gap(0), gap(0), gap(10, "again"))
    assert [alert.kind for alert in run.told("alerts")] == ["feed_gap"] * 2
    assert run.told("alerts")[0].source == "strategy@market-data/0"
    assert (run.state.counters["gaps"], run.state.counters["duplicates"]) == (2, 1)


def test_time_running_backwards_is_tolerated() -> None:
    run = Runner(TICK)
    run(quote(1_000, 10, 11, 1), quote(0, 12, 13, 2), quote(1_250, 12, 14, 3))
    assert marks(run) == [(1_000, [(BTC, "10", "11")]), (1_250, [(BTC, "12", "14")])]


# ------------------------------------------------------------------------------------------------ refusals

REFUSED = [
    (trade(0, "1e18", 1), "absurd price 1E.18: not below 1e.18"),
    (trade(0, "1" * 41, 1), "at most 40 characters"),
    (trade(0, "1e-400", 1), "too small to tell from zero"),
    (trade(0, 10, 1, size="1e18"), "absurd size"),
    (trade(0, 10, -1), "id -1 is not between"),
    (trade(0, 10, 1 << 63), "id 9223372036854775808 is not between"),
    (trade(90_000_000, 10, 1, now_ms=0), "a day ahead of log time"),
    (trade(-START_MS - 1, 10, 1, now_ms=0), "ts -1 is not a venue time"),
    (trade(0, 10, 1, instrument=""), "0 characters"),
    (trade(0, 10, 1, instrument="v:" + "x" * 127), "129 characters"),
    (quote(0, 11, 10, 1), "crossed quote: bid 11 is above ask 10"),
    (quote(0, 10, 101, 1), None),  # no price yet: nothing to hold it against
    (bar(0, "2m", 120_000, (1, 1, 1, 1)), "interval '2m' is unknown, one of: 1s"),
    (bar(0, "tick", 1, (1, 1, 1, 1)), "unknown"),
    (bar(1, "1m", 60_000, (1, 1, 1, 1)), "not one aligned 1m"),
    (bar(0, "1m", 60_001, (1, 1, 1, 1)), "not one aligned 1m"),
]


@pytest.mark.parametrize(("event", "words"), REFUSED, ids=[str(words) for _, words in REFUSED])
def test_refused_with_the_state_untouched(event: object, words: str | None) -> None:
    run = Runner(StrategyParams(name="demo", interval="1s"))
    before = run.processor.encode(run.state)
    if words is None:
        run(event)
        return
    with pytest.raises(BadRecord, match=words):
        run(event)
    run.state.counters = dict.fromkeys(run.state.counters, 0)
    assert run.processor.encode(run.state) == before


@pytest.mark.parametrize(
    "event",
    [trade(1, "0.99", 2), trade(1, "101", 2), quote(1, "0.99", 10, 1), quote(1, 10, "100.1", 1),
     bar(0, "1s", 1_000, (10, 10, "0.9", 10)), bar(0, "1s", 1_000, (10, 101, 10, 10))],
)  # fmt: skip
def test_absurd_price_is_refused_with_the_numbers(event: object) -> None:
    run = Runner(StrategyParams(name="demo", interval="1s"))
    run(trade(0, 10, 1))
    with pytest.raises(BadRecord, match=r"absurd price .*: outside \[1/10, 10\] of the last one, 10$"):
        run(event)
    assert run.state.counters["absurd"] == 1
    run(trade(2, "1.0", 3), trade(3, "10", 4), trade(4, "100", 5))  # both limits are still taken


def test_a_price_level_that_stays_is_believed_and_told() -> None:
    """Otherwise one bad first price would shut the instrument out for ever."""
    run = Runner(TICK)
    run(trade(0, "0.001", 1))
    for id in range(2, 2 + CONFIRMATIONS):
        with pytest.raises(BadRecord):
            run(trade(id, 60_000 + id, id))
        with pytest.raises(BadRecord):
            run(trade(id, 60_000 + id, id))  # the same once more confirms nothing
        if id % 5 == 0:
            run.restart()
    run(trade(100, 60_000, 100))
    (alert,) = run.told("alerts")
    assert alert.kind == "price_level_changed"
    assert alert.numbers == {"before": "0.001", "after": "60000.0"}


def test_scattered_absurd_prices_are_never_believed() -> None:
    run = Runner(TICK)
    for id in range(0, 400, 2):
        run(trade(id, 10, id))
        with pytest.raises(BadRecord):
            run(trade(id, 1_000, id + 1))
    assert run.told("alerts") == []


def test_unknown_instrument_is_refused_where_the_known_ones_are_given() -> None:
    run = Runner(TICK, known_instruments=frozenset({BTC}))
    run(trade(0, 10, 1))
    for event in (trade(0, 10, 1, instrument=ETH), quote(0, 10, 11, 1, instrument=ETH)):
        with pytest.raises(BadRecord, match=f"unknown instrument '{ETH}'"):
            run(event)
    assert run.state.counters["unknown_instrument"] == 2
    assert list(run.state.instruments) == [BTC]


# ------------------------------------------------------------------------------------------------ state


def test_state_of_other_parameters_keeps_what_did_not_change() -> None:
    kept, dropped = StrategyParams(name="kept", interval="1s"), StrategyParams(name="changed", interval="tick")
    run = Runner(kept, dropped)
    run(*wander(1_500))
    data = run.processor.encode(run.state)
    after = Runner(kept, dropped.model_copy(update={"rsi_period": 5}), StrategyParams(name="new", interval="5s"))
    state = after.processor.decode(data)
    (instrument,) = state.instruments.values()
    bars = {kernel.params.name: kernel.report()[0] for _, kernel in instrument.kernels()}
    assert bars == {"kept": 149, "changed": 0, "new": 0}


def test_equal_states_give_equal_bytes_whatever_way_they_came() -> None:
    one, other = Runner(TICK), Runner(TICK)
    one(trade(0, "10.5", 1, instrument=ETH), trade(0, "1_0.5e0", 1), clock(1_000))
    other(trade(0, "10.5", 1), trade(0, "10.5", 1, instrument=ETH), clock(1_000))
    assert one.processor.encode(one.state) == other.processor.encode(other.state)


def test_bar_volume_is_exact() -> None:
    run = Runner(StrategyParams(name="s", interval="1s"))
    run(*[trade(place, 10, place, size="0.1") for place in range(1, 11)], clock(5_000))
    assert run.told("bars")[0].volume == Decimal("1.0")
