"""The venue fills nothing at what no market says, and believes a market that stays where it went."""

from decimal import Decimal
from typing import Any

import pytest

from processors.market_time import AHEAD_MS, CONFIRMATIONS
from processors.matching.core import MatchingCore, decode, encode
from processors.matching.params import MatchingParams
from processors.matching.types import Bracket, VenueOrder
from schemas.market import Bar, Clock, Quote, Trade
from schemas.reasons import ReportKind, Side

NOW = 1_700_000_000_000
NAME = "x:A/B"


def trade(number: int, price: str, now_ms: int = NOW) -> Trade:
    return Trade(
        now_ms=now_ms, instrument=NAME, price=Decimal(price), size=Decimal(9), side=Side.BUY, id=number, ts=now_ms
    )


def quote(number: int, bid: str, ask: str, now_ms: int = NOW, ts: int | None = None) -> Quote:
    return Quote(
        now_ms=now_ms, instrument=NAME, bid=Decimal(bid), bid_size=Decimal(9), ask=Decimal(ask), ask_size=Decimal(9),
        id=number, ts=now_ms if ts is None else ts,
    )  # fmt: skip


def bar(low: str, high: str) -> Bar:
    return Bar(
        now_ms=NOW + 9_000, instrument=NAME, interval="1s", start_ms=NOW + 8_000, end_ms=NOW + 9_000,
        open=Decimal(low), high=Decimal(high), low=Decimal(low), close=Decimal(high), volume=Decimal(1),
    )  # fmt: skip


def held(trigger: str = "trade") -> MatchingCore:
    """A core with an open position, stop-loss at 97, take-profit at 106."""
    core = MatchingCore(MatchingParams())
    core.apply(0, quote(1, "99.9", "100.1"))
    bracket = Bracket(
        stop_loss=Decimal(97), take_profit=Decimal(106), stop_loss_client_id="sl", take_profit_client_id="tp",
        trigger=trigger,
    )  # fmt: skip
    core.submit(
        VenueOrder(
            client_order_id="entry", account="a", group="g", instrument=NAME, side=Side.BUY, kind="market",
            size=Decimal(1), bracket=bracket,
        ),
        NOW,
    )  # fmt: skip
    core.apply(0, quote(2, "99.9", "100.1", NOW + 5_000))
    assert [event.kind for event in core.drain().events if event.kind is ReportKind.FILL] == [ReportKind.FILL]
    return core


def fills(core: MatchingCore) -> list[Any]:
    return [event for event in core.drain().events if event.kind is ReportKind.FILL]


@pytest.mark.parametrize("trigger", ["trade", "quote"])
@pytest.mark.parametrize(
    "message",
    [
        trade(7, "0.01", NOW + 6_000),
        trade(7, "1e12", NOW + 6_000),
        quote(7, "0.01", "0.02", NOW + 6_000),
        quote(7, "1e12", "1e12", NOW + 6_000),
        quote(7, "107", "90", NOW + 6_000),
        quote(7, "90", "90.1", NOW + 6_000, ts=NOW + 2 * AHEAD_MS),
        trade(7, "90", NOW + 2 * AHEAD_MS),
        bar("0.001", "0.002"),
    ],
    ids=["low", "high", "low quote", "high quote", "crossed", "venue time", "log time", "bar"],
)
def test_what_no_market_says_fires_nothing(message: Any, trigger: str) -> None:
    core = held(trigger)
    core.apply(0, message)
    core.apply(0, quote(8, "99.9", "100.1", NOW + 7_000))
    assert fills(core) == []
    assert core.lane_time_ms(NAME) <= NOW + 9_000
    core.apply(0, trade(9, "96", NOW + 10_000))
    core.apply(0, quote(9, "96", "96.1", NOW + 10_000))
    core.apply(0, quote(10, "96", "96.1", NOW + 11_000))
    assert len(fills(core)) == 1, "the stop-loss still stands"


def test_a_market_that_stays_at_its_new_price_is_believed_also_through_encoded_state() -> None:
    core = held()
    for number in range(CONFIRMATIONS):
        core.apply(0, trade(10 + number, "5", NOW + 6_000 + number))
        core = decode(MatchingParams(), encode(core))
    assert fills(core) == []
    core.apply(0, trade(90, "5", NOW + 7_000))
    core.apply(0, quote(90, "5", "5.1", NOW + 7_001))
    core.apply(0, quote(91, "5", "5.1", NOW + 7_002))
    assert [fill.client_order_id for fill in fills(core)] == ["sl"]


def test_a_pause_of_days_passes_if_a_clock_tells_it() -> None:
    core = held()
    late = NOW + 3 * AHEAD_MS
    core.apply(0, Clock(now_ms=late))
    assert core.lane_time_ms(NAME) < late
    core.apply(0, quote(5, "99", "99.1", late + 1))
    assert core.lane_time_ms(NAME) == late + 1
