"""Bars by event time: every interval, late data, quiet markets, clocks that differ, sources that mix."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.strategy.params import StrategyParams
from schemas.intervals import INTERVALS
from schemas.market import Bar, Trade
from tests.processors.strategy.market import START_MS, Runner, bar, clock, recorded, trade, wander


def runner(*intervals: str, **changes: object) -> Runner:
    return Runner(*(StrategyParams(name=f"on-{interval}", interval=interval, **changes) for interval in intervals))


def shape(message: Bar) -> tuple:
    return (message.interval, message.start_ms - START_MS, str(message.open), str(message.high), str(message.low),
            str(message.close), str(message.volume), message.trades)  # fmt: skip


def slow_bars(trades: list[Trade], interval: str) -> list[tuple]:
    """All bars of trades in order, the last one too: group by start, then take first, max, min, last, sum."""
    length = INTERVALS[interval]
    groups: dict[int, list[Trade]] = {}
    for item in trades:
        groups.setdefault(item.ts - item.ts % length, []).append(item)
    return [
        (interval, start - START_MS, str(items[0].price), str(max(item.price for item in items)),
         str(min(item.price for item in items)), str(items[-1].price), str(sum(item.size for item in items)),
         len(items))
        for start, items in groups.items()
    ]  # fmt: skip


@pytest.mark.parametrize("interval", [name for name in INTERVALS if name != "tick"])
def test_every_interval_equals_grouping(interval: str) -> None:
    trades = list(wander(400, gap_ms=max(INTERVALS[interval] // 7, 1)))
    run = runner(interval)
    run(*trades)
    assert [shape(message) for message in run.told("bars")] == slow_bars(trades, interval)[:-1]
    assert run.told("alerts") == []


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4_000), st.integers(90, 110)), min_size=1, max_size=60))
def test_any_gaps_equal_grouping(steps: list[tuple[int, int]]) -> None:
    at_ms, trades = 0, []
    for id, (gap_ms, price) in enumerate(steps, 1):
        at_ms += gap_ms
        trades.append(trade(at_ms, price, id))
    run = runner("1s", "5s")
    run(*trades, clock(at_ms + 60_000))
    for interval in ("1s", "5s"):
        assert [shape(b) for b in run.told("bars") if b.interval == interval] == slow_bars(trades, interval)


def test_recorded_feed_makes_bars_and_nothing_is_late() -> None:
    """The recorder's clock runs 1.2 s behind the exchange's: time differences must not close bars early."""
    run = runner("1s")
    messages = recorded(20_000)
    run(*messages)
    assert run.told("alerts") == []
    assert run.state.counters["late"] == 0
    for instrument in run.state.instruments:
        trades = [item for item in messages if isinstance(item, Trade) and item.instrument == instrument]
        found = [shape(message) for message in run.told("bars") if message.instrument == instrument]
        assert found == slow_bars(trades, "1s")[: len(found)]
        assert len(found) >= len(slow_bars(trades, "1s")) - 1


@pytest.mark.parametrize("skew_ms", [-1_200, 0, 5_000])
def test_quiet_market_closes_by_log_time_whatever_the_clocks_say(skew_ms: int) -> None:
    """`skew_ms`: log time minus venue time."""
    run = runner("1s", bar_grace_ms=500)
    run(trade(100, 10, 1, now_ms=100 + skew_ms))
    run(clock(1_499 + skew_ms))
    assert run.told("bars") == []
    run(clock(1_500 + skew_ms))
    assert [shape(message)[:2] for message in run.told("bars")] == [("1s", 0)]
    run(clock(9_000 + skew_ms), trade(9_100, 11, 2, now_ms=9_100 + skew_ms), clock(20_000 + skew_ms))
    assert [shape(message)[1] for message in run.told("bars")] == [0, 9_000]
    assert run.state.counters["late"] == 0


def test_late_trades_are_counted_told_and_left_out() -> None:
    run = runner("1s", late_tolerance_ms=1_000)
    run(trade(100, 10, 1), trade(1_100, 11, 2))
    run(trade(900, 99, 3))  # 100 ms late: counted only
    assert run.state.counters["late"] == 1
    assert run.told("alerts") == []
    run(trade(5_000, 12, 4))
    for id in range(5, 12):
        run(trade(800, 99, id))
    assert run.state.counters["late"] == 8
    alerts = run.told("alerts")
    assert [alert.kind for alert in alerts] == ["late_data"] * 3  # the 2nd, 4th and 8th late trade
    assert alerts[0].numbers == {"late_ms": "4200", "count": "2"}
    run(clock(60_000))
    assert [shape(message)[2:] for message in run.told("bars")] == [
        ("10", "10", "10", "10", "1", 1), ("11", "11", "11", "11", "1", 1), ("12", "12", "12", "12", "1", 1),
    ]  # fmt: skip


def test_trade_of_a_bar_closed_by_the_clock_is_late() -> None:
    run = runner("1s", bar_grace_ms=200)
    run(trade(100, 10, 1), clock(1_300), trade(900, 11, 2, now_ms=1_301))
    assert run.state.counters["late"] == 1
    run(trade(1_000, 12, 3, now_ms=1_400), clock(5_000))
    assert [shape(message)[1:3] for message in run.told("bars")] == [(0, "10"), (1_000, "12")]


def test_bars_of_the_feed_are_passed_on_and_make_coarser_ones() -> None:
    run = runner("5m", "15m")
    minutes = 300_000
    prices = [(10, 14, 9, 11), (11, 12, 10, 12), (12, 13, 8, 9), (9, 9, 9, 9)]
    feed = [bar(place * minutes, "5m", minutes, item, volume="1.5") for place, item in enumerate(prices)]
    run(*feed)
    told = run.told("bars")
    assert [shape(message) for message in told if message.interval == "5m"] == [shape(message) for message in feed]
    assert [shape(message) for message in told if message.interval == "15m"] == [
        ("15m", 0, "10", "14", "8", "9", "4.5", 3)
    ]


def test_coarser_bar_with_a_missing_end_closes_with_the_next_or_by_log_time() -> None:
    minutes = 300_000
    run = runner("15m")
    run(bar(0, "5m", minutes, (10, 11, 9, 10)), bar(3 * minutes, "5m", minutes, (12, 12, 12, 12)))
    assert [shape(message) for message in run.told("bars")] == [("15m", 0, "10", "11", "9", "10", "1", 1)]
    run(clock(6 * minutes + 499))
    assert len(run.told("bars")) == 1
    run(clock(6 * minutes + 500))
    assert shape(run.told("bars")[1]) == ("15m", 3 * minutes, "12", "12", "12", "12", "1", 1)


def test_better_source_takes_over_and_the_lesser_is_ignored() -> None:
    minute = 60_000
    run = runner("5m")
    run(trade(1_000, 10, 1))
    run(bar(0, "1m", minute, (20, 20, 20, 20)))  # bars instead of trades: the trades' open bar is dropped
    assert [alert.kind for alert in run.told("alerts")] == ["bar_source_changed"]
    run(trade(61_000, 30, 2), *[bar(place * minute, "1m", minute, (20, 21, 20, 20)) for place in range(1, 5)])
    assert [shape(message) for message in run.told("bars")] == [("5m", 0, "20", "21", "20", "20", "5", 5)]
    run(bar(5 * minute, "5m", 5 * minute, (22, 22, 22, 22)))  # its own interval is better still
    run(*[bar(place * minute, "1m", minute, (90, 90, 90, 90)) for place in range(10, 15)])
    assert [shape(message)[1] for message in run.told("bars")] == [0, 5 * minute]
    assert run.state.counters["ignored_bars"] == 5


def test_tick_bars_are_published_only_on_request() -> None:
    quiet = runner("tick")
    quiet(trade(0, "10.50", 1, size="2"))
    assert quiet.told("bars") == []
    told = runner("tick", publish_tick_bars=True)
    told(trade(0, "10.50", 1, size="2"))
    (message,) = told.told("bars")
    assert (message.interval, message.start_ms, message.end_ms) == ("tick", START_MS, START_MS + 1)
    assert (message.open, message.close, message.volume) == (Decimal("10.50"), Decimal("10.50"), Decimal(2))


def test_bars_keep_the_digits_of_the_tick() -> None:
    run = runner("1s")
    run(trade(0, "10.50", 1, size="0.10"), trade(1, "10.5", 2, size="0.2"), trade(2, "1.0600E+1", 3), clock(9_000))
    (message,) = run.told("bars")
    assert [str(getattr(message, name)) for name in ("open", "high", "low", "close", "volume")] == [
        "10.50", "10.600", "10.50", "10.600", "1.30",
    ]  # fmt: skip
