"""The fused path over raw bytes equals full decoding and `step` one by one: outputs, refusals, step time and state.

Both run through the inbox core, as they do live. Golden input is the recording; hypothesis mixes in every kind of bad
value, cuts the input into batches anywhere and restarts from encoded state in between.
"""

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.inbox import Inbox, InboxCore
from processors.strategy.params import StrategyParams
from processors.strategy.processor import StrategyProcessor
from schemas.codec import encode
from tests.processors.strategy.market import (
    BTC,
    ETH,
    START_MS,
    bar,
    clock,
    fused,
    gap,
    one_by_one,
    quote,
    recorded,
    records,
    trade,
    wander,
)

FAST = {"rsi_period": 2, "macd_fast": 2, "macd_slow": 3, "macd_signal": 2, "bollinger_period": 3, "sma_fast": 2,
        "sma_slow": 4, "ema_fast": 2, "ema_slow": 3, "atr_period": 2}  # fmt: skip
DEMO = (StrategyParams(name="ticks", interval="tick"), StrategyParams(name="seconds", interval="1s"))
QUICK = (
    StrategyParams(name="ticks", interval="tick", **FAST),
    StrategyParams(name="seconds", interval="1s", emit="each_bar", **FAST),
    StrategyParams(name="five", interval="5s", instruments=[BTC], **FAST),
)


def run(core: InboxCore, raw: list, cuts: list[int] = (), restart: bool = False) -> tuple[list, Inbox]:
    inbox, emits = core.new(0), []
    items = records(raw)
    borders = [0, *cuts, len(items)]
    for start, end in pairwise(borders):
        emits += core.apply(inbox, items[start:end])
        if restart:
            inbox = core.decode(core.encode(inbox))
    return emits, inbox


def assert_equal(params: tuple, raw: list, cuts: list[int] = (), **settings_: object) -> list:
    processor = StrategyProcessor(params, **settings_)
    wanted, slow_inbox = run(one_by_one(processor), raw, cuts)
    found, fast_inbox = run(fused(processor), raw, cuts)
    assert found == wanted
    assert fast_inbox.now_ms == slow_inbox.now_ms
    assert processor.encode(fast_inbox.state) == processor.encode(slow_inbox.state)
    assert fast_inbox.state.counters == slow_inbox.state.counters
    again, restarted = run(fused(processor), raw, cuts, restart=True)
    assert again == wanted
    assert processor.encode(restarted.state) == processor.encode(slow_inbox.state)
    return wanted


def test_recording_straight_in_batches_and_restarted() -> None:
    raw = [encode(message) for message in recorded(12_000)]
    emits = assert_equal(DEMO, raw, list(range(0, 12_000, 777)))
    topics = {emit.topic for emit in emits}
    assert topics == {"signals", "leader-events", "account-events", "bars"}, "nothing parked, no alert"


def test_recording_restarted_after_every_message() -> None:
    raw = [encode(message) for message in recorded(12_000)][3_000:3_600]
    assert_equal(QUICK, raw, list(range(1, 600)))


def test_recording_with_every_message_twice() -> None:
    """Equal outputs; only their stamps differ, since the input has twice the offsets."""
    raw = [encode(message) for message in recorded(6_000)]
    processor = StrategyProcessor(QUICK)
    once, _ = run(fused(processor), raw)
    twice, inbox = run(fused(processor), [value for value in raw for _ in (1, 2)])
    assert [emit[:4] for emit in twice] == [emit[:4] for emit in once]
    assert len(once) > 300
    assert inbox.state.counters["duplicates"] == 6_000


def test_known_instruments() -> None:
    raw = [encode(message) for message in recorded(500)]
    emits = assert_equal(QUICK, raw, [100], known_instruments=frozenset({BTC}))
    assert any(emit.topic == "parked" for emit in emits)


def test_extra_settings_take_the_same_ways() -> None:
    raw = [encode(message) for message in wander(600)]
    params = (
        StrategyParams(name="a", interval="tick", publish_tick_bars=True, **FAST),
        StrategyParams(name="b", interval="tick", emit="each_bar", **FAST),
        StrategyParams(name="c", interval="tick", extra_indicators={"sma_9": {"indicator": "sma"}}, **FAST),
    )
    assert_equal(params, raw, [1, 2, 50, 333])


def test_no_strategy_still_marks() -> None:
    assert {emit.topic for emit in assert_equal((), [encode(m) for m in recorded(300)])} == {"account-events"}


GOOD_TRADE = json.loads(encode(trade(0, "10.5", 5)))
GOOD_QUOTE = json.loads(encode(quote(0, "10.4", "10.6", 5)))
NUMBERS = [
    "10", "10.50", " 10.5", "10.5 ", "1_0", "1__0", "+10", "-10", "1e1", "1E+1", "0", "0.0", "-0", "1e-400", "1e400",
    "1e17", "1e18", "nan", "NaN", "sNaN", "-inf", "Infinity", "inf", "", " ", "ten", "0x10", "10,5", "１０", "1" * 32,
    "1." + "0" * 30, "1." + "0" * 31, "1." + "0" * 38, "1." + "0" * 39, "1e-6", "9" * 41, 10, 10.5, -1, 0, True,
    None, [], {}, "10\x00", "1e", ".5", "5.", "10e-1", "105e-1",
]  # fmt: skip
INTEGERS = [0, 1, 5, 6, 7, -1, 2**31, 2**53, 2**63 - 1, 2**63, 2**64, 10**30, "6", 6.0, 6.5, None, True]
TIMES = [START_MS, START_MS + 1, START_MS + 90_000_000, 0, -1, 1, 2**48 - 1, 2**48, 2**63, "1", 1.5, None]


def bad_values() -> list[bytes | None]:
    """One value for each way in which a message can be odd; some of them are fine."""
    out: list[bytes | None] = [
        None, b"", b"null", b"[]", b"{}", b"{", b"\xff\xfe", b"1", b'"trade"', b"[" * 3_000, b'{"type":"trade"}',
        encode(trade(0, 10, 5)) + b" ", encode(trade(0, 10, 6)) + b"x", b" " + encode(trade(0, 10, 7)),
        encode(clock(0)), encode(gap(0)), encode(bar(0, "1s", 1_000, (10, 11, 9, 10))),
    ]  # fmt: skip
    for good, numbers in ((GOOD_TRADE, ("price", "size")), (GOOD_QUOTE, ("bid", "ask", "bid_size", "ask_size"))):
        changes: list[tuple[str, object]] = [(name, value) for name in numbers for value in NUMBERS]
        changes += [("id", value) for value in INTEGERS]
        changes += [(name, value) for name in ("ts", "now_ms") for value in TIMES]
        changes += [("v", value) for value in (0, 1, 2, 3, -1, "1", 1.0, None, 2**70)]
        changes += [("type", value) for value in ("signal", "tick", "", None, 5, "quote", "trade")]
        changes += [("instrument", value) for value in ("", ETH, "x" * 129, "ü:ß", "\ud83d\ude00", None, 5, [], "\x00")]
        changes += [("side", value) for value in ("buy", "sell", "BUY", "", None, 1)]
        changes += [("extra", 1), ("size", "9" * 5_000)]
        out += [json.dumps({**good, **dict([change])}).encode() for change in changes]
        out += [json.dumps({key: value for key, value in good.items() if key != left}).encode() for left in good]
        out.append(json.dumps(good).encode().replace(b'"id": 5', b'"id": 5, "id": 6'))
    return out


BAD = bad_values()


@pytest.mark.parametrize("seen_before", [False, True], ids=["first", "later"])
def test_every_odd_value_alone(seen_before: bool) -> None:
    """Each on its own state, with and without an instrument that is known already."""
    before = [encode(trade(0, "10", 1)), encode(quote(0, "10", "10.1", 1))] if seen_before else []
    after = [encode(trade(10, "10.1", 8)), encode(quote(10, "10", "10.2", 8)), encode(clock(5_000))]
    for value in BAD:
        emits = assert_equal(QUICK, [*before, value, *after], [len(before), len(before) + 1])
        for emit in emits:  # a strange but possible price makes the usual ones after it absurd; nothing else may
            assert emit.topic != "parked" or emit.offset == len(before) or b"absurd price" in emit.value, value


def test_odd_values_are_refused_for_the_right_reason() -> None:
    processor, reasons = StrategyProcessor(QUICK), ""
    for value in BAD:
        emits, _ = run(fused(processor), [encode(trade(0, "10", 1)), value])
        reasons += " ".join(json.loads(emit.value)["reason"] for emit in emits if emit.topic == "parked")
    for words in ("malformed", "Expected `int`", "schema version 2", "unknown field", "missing required field",
                  "finite number above zero, not NaN", "absurd", "crossed", "tombstone", "not a time in milliseconds",
                  "129 characters", "a day ahead"):  # fmt: skip
        assert words in reasons, words


message = st.one_of(
    st.builds(
        lambda at, price, id, name: encode(trade(at, f"{price / 10}", id, instrument=name)),
        st.integers(0, 8_000), st.integers(80, 120) | st.sampled_from([1, 5_000]), st.integers(0, 200),
        st.sampled_from([BTC, ETH]),
    ),
    st.builds(
        lambda at, bid, gap_, id, name: encode(quote(at, f"{bid / 10}", f"{(bid + gap_) / 10}", id, instrument=name)),
        st.integers(0, 8_000), st.integers(80, 120) | st.just(5_000), st.integers(-1, 20), st.integers(0, 200),
        st.sampled_from([BTC, ETH]),
    ),
    st.builds(lambda at: encode(clock(at)), st.integers(0, 9_000)),
    st.builds(
        lambda second, low: encode(bar(second * 1_000, "1s", 1_000, (low, low + 1, low, low))),
        st.integers(0, 8), st.integers(8, 12),
    ),
    st.sampled_from(BAD),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(values=st.lists(message, max_size=80), cuts=st.sets(st.integers(1, 79)))
def test_any_mixture_cut_anywhere(values: list, cuts: set[int]) -> None:
    assert_equal(QUICK, values, sorted(cut for cut in cuts if cut < len(values)))


@settings(max_examples=50, deadline=None)
@given(
    steps=st.lists(st.tuples(st.integers(0, 700), st.integers(-3, 3), st.booleans()), min_size=20, max_size=120),
    cuts=st.sets(st.integers(1, 119)),
)
def test_rising_ids_cut_anywhere(steps: list[tuple[int, int, bool]], cuts: set[int]) -> None:
    """Mixtures above seldom warm up; here every record is new, so that signals and bars are many."""
    at, price, raw = 0, 1_000, []
    for id, (gap_ms, change, quoted) in enumerate(steps):
        at, price = at + gap_ms, price + change
        raw.append(encode(quote(at, price, price + 1, id) if quoted else trade(at, price, id)))
    assert_equal(QUICK, raw, sorted(cut for cut in cuts if cut < len(raw)))
