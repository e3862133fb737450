"""Tables: what each kind of order does on each kind of event."""

from decimal import Decimal
from typing import Any

import pytest

from processors.matching import pricing
from processors.matching.core import MatchingCore, decode, encode
from processors.matching.params import Latency, MatchingParams
from processors.matching.types import Bracket, VenueEvent, VenueOrder
from schemas.market import Bar, Clock, FeedGap, Quote, Trade
from schemas.reasons import ReportKind, Side

D = Decimal
I = "binanceusdm:BTC/USDT:USDT"  # noqa: E741
PLAIN = MatchingParams(order_latency=Latency(), cancel_latency=Latency(), slippage_bps=D(0))


def quote(now_ms: int, bid: str = "99", ask: str = "100", size: str = "5", **fields: Any) -> Quote:
    values: dict[str, Any] = {"id": now_ms, "ts": now_ms, "instrument": I} | fields
    return Quote(now_ms=now_ms, bid=D(bid), bid_size=D(size), ask=D(ask), ask_size=D(size), **values)


def trade(now_ms: int, price: str, size: str = "5", **fields: Any) -> Trade:
    values: dict[str, Any] = {"id": now_ms, "ts": now_ms, "instrument": I} | fields
    return Trade(now_ms=now_ms, price=D(price), size=D(size), side=Side.BUY, **values)


def bar(now_ms: int, o: str, h: str, low: str, c: str) -> Bar:
    return Bar(
        now_ms=now_ms,
        instrument=I,
        interval="5m",
        start_ms=now_ms - 300_000,
        end_ms=now_ms,
        open=D(o),
        high=D(h),
        low=D(low),
        close=D(c),
        volume=D(1),
    )


def order(name: str, side: Side = Side.BUY, kind: str = "market", size: str = "1", **fields: Any) -> VenueOrder:
    values: dict[str, Any] = {"account": "a", "group": "g", "instrument": I} | fields
    for price in ("limit_price", "trigger_price"):
        if price in values:
            values[price] = D(values[price])
    return VenueOrder(client_order_id=name, side=side, kind=kind, size=D(size), **values)  # type: ignore[arg-type]


def bracket(stop: str = "95", profit: str = "110", trigger: str = "trade") -> Bracket:
    return Bracket(
        stop_loss=D(stop),
        take_profit=D(profit),
        stop_loss_client_id="sl",
        take_profit_client_id="tp",
        trigger=trigger,  # type: ignore[arg-type]
    )


class Run:
    """A core with one lane; `events` collects, `said(name)` shows them as short text."""

    def __init__(self, params: MatchingParams = PLAIN, *messages: Any) -> None:
        self.core = MatchingCore(params)
        self.events: list[VenueEvent] = []
        self.feed(*messages)

    def feed(self, *messages: Any) -> "Run":
        for message in messages:
            self.core.apply(0, message)
        self.events += self.core.drain().events
        return self

    def submit(self, *orders: VenueOrder, at: int = 0) -> "Run":
        for each in orders:
            self.core.submit(each, at)
        return self

    def said(self, name: str) -> list[str]:
        return [
            f"{e.kind} {e.size}@{e.price}" if e.kind is ReportKind.FILL else f"{e.kind} {e.size} {e.code}".strip()
            for e in self.events
            if e.client_order_id == name
        ]


@pytest.mark.parametrize(("side", "fill"), [(Side.BUY, "fill 1@100"), (Side.SELL, "fill 1@99")])
def test_market_order_takes_the_touch(side: Side, fill: str) -> None:
    run = Run(PLAIN, quote(1000)).submit(order("o", side), at=1000).feed(quote(1001))
    assert run.said("o") == ["accepted 1", fill]
    assert run.events[-1].liquidity == "taker" and run.events[-1].fee == D("0.0005") * run.events[-1].price  # type: ignore[operator]
    assert run.events[-1].fee_currency == "USDT"


def test_slippage_is_against_the_taker_and_keeps_the_price_sensible() -> None:
    assert pricing.slipped(D("61800.30"), Side.BUY, D(1)) == D("61806.49")
    assert pricing.slipped(D("61800.30"), Side.SELL, D(1)) == D("61794.11")
    assert pricing.slipped(D("5"), Side.BUY, D(1)) == D("5.00050")
    assert pricing.slipped(D("0.00001234"), Side.SELL, D(10)) == D("0.0000123276")
    assert pricing.slipped(D("7"), Side.BUY, D(0)) == D(7)


def test_an_order_waits_for_its_latency_and_the_jitter_is_the_same_every_time() -> None:
    params = MatchingParams(order_latency=Latency(fixed_ms=50, jitter_ms=100), slippage_bps=D(0), seed=7)
    delays = {pricing.delay_ms(params.order_latency, 7, "order", str(n)) for n in range(500)}
    assert min(delays) == 50 and max(delays) == 150
    run = Run(params, quote(1000)).submit(order("o"), at=1000)
    arrives = run.core.orders["o"].arrives_ms
    run.feed(quote(arrives - 1))
    assert run.said("o") == []
    assert run.feed(quote(arrives)).said("o") == ["accepted 1", "fill 1@100"]


def test_orders_never_act_on_events_the_venue_has_seen() -> None:
    run = Run(PLAIN, quote(1000)).submit(order("o"), at=500).feed(quote(1000, ask="101"))
    assert run.said("o") == []  # arrival lies above the lane's time
    assert run.feed(quote(1001, ask="102")).said("o") == ["accepted 1", "fill 1@102"]


def test_larger_than_the_touch_fills_in_parts_and_own_orders_share_what_is_shown() -> None:
    run = Run(PLAIN, quote(1000)).submit(order("o", size="7"), order("p", size="1"), order("q", account="b"), at=1000)
    run.feed(quote(1001), quote(1002, ask="101"))
    assert run.said("o") == ["accepted 7", "fill 5@100", "fill 2@101"]
    assert run.said("p") == ["accepted 1", "fill 1@101"]
    assert run.said("q") == ["accepted 1", "fill 1@100"]  # another account sees the whole size
    whole = Run(PLAIN.model_copy(update={"partial_fills": False}), quote(1000)).submit(order("o", size="7"), at=1000)
    assert whole.feed(quote(1001)).said("o") == ["accepted 7", "fill 7@100"]


def test_nothing_shown_or_no_book_waits_and_an_entry_expires() -> None:
    run = Run().submit(order("o", expires_ms=2000), order("x"), at=1000)
    run.feed(quote(1001, size="0"), Clock(now_ms=1500))
    assert run.said("o") == ["accepted 1"]
    run.feed(Clock(now_ms=2001))
    assert run.said("o") == ["accepted 1", "expired 1 expired"]
    assert run.feed(quote(9000)).said("x") == ["accepted 1", "fill 1@100"]


def test_an_entry_that_arrives_too_late_expires_unplaced() -> None:
    run = Run(PLAIN, quote(1000)).submit(order("o", expires_ms=1100), at=1000).feed(quote(1200))
    assert run.said("o") == ["expired 1 expired"]


def test_a_gap_empties_the_book_until_the_next_quote() -> None:
    run = Run(PLAIN, quote(1000)).submit(order("o"), at=1000)
    run.feed(FeedGap(now_ms=1001, instrument=I, reason="cut"), trade(1002, "50"))
    assert run.said("o") == ["accepted 1"]
    assert run.feed(quote(1003, ask="103")).said("o") == ["accepted 1", "fill 1@103"]


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (quote(1002, "97.5", "98.5"), ["accepted 1"]),
        (quote(1002, "97", "98"), ["accepted 1", "fill 1@98"]),
        (trade(1002, "98"), ["accepted 1"]),
        (trade(1002, "97.9"), ["accepted 1", "fill 1@98"]),
        (trade(1002, "97.9", "0.4"), ["accepted 1", "fill 0.4@98"]),
    ],
)
def test_resting_limit_order_is_a_maker(event: Any, said: list[str]) -> None:
    run = Run(PLAIN, quote(1000)).submit(order("o", kind="limit", limit_price="98"), at=1000)
    run.feed(quote(1001), event)
    assert run.said("o") == said
    if len(said) > 1:
        last = run.events[-1]
        assert last.liquidity == "maker" and last.fee == D("0.0002") * 98 * last.size


def test_limit_fill_touch_fills_at_the_price_itself() -> None:
    params = PLAIN.model_copy(update={"limit_fill": "touch"})
    run = Run(params, quote(1000)).submit(order("o", Side.SELL, "limit", limit_price="102"), at=1000)
    assert run.feed(quote(1001), trade(1002, "102")).said("o") == ["accepted 1", "fill 1@102"]


def test_crossing_limit_order_takes_then_rests() -> None:
    run = Run(PLAIN, quote(1000)).submit(order("o", kind="limit", limit_price="100.5", size="8"), at=1000)
    run.feed(quote(1001), quote(1002, ask="101"), trade(1003, "100.4", "2"), quote(1004, ask="100.2"))
    assert run.said("o") == ["accepted 8", "fill 5@100", "fill 2@100.5", "fill 1@100.5"]
    assert [e.liquidity for e in run.events if e.kind is ReportKind.FILL] == ["taker", "maker", "maker"]


@pytest.mark.parametrize(
    ("trigger", "event", "fired"),
    [
        ("trade", trade(1002, "95.01"), None),
        ("trade", trade(1002, "95"), "sl"),
        ("trade", quote(1002, "94", "95"), None),
        ("trade", trade(1002, "110"), "tp"),
        ("quote", quote(1002, "95", "96"), "sl"),
        ("quote", quote(1002, "94.9", "120"), "sl"),
        ("quote", quote(1002, "109", "111"), None),
        ("quote", quote(1002, "110", "111"), "tp"),
        ("quote", trade(1002, "90"), None),
    ],
)
def test_bracket_of_a_long_one_cancels_the_other(trigger: str, event: Any, fired: str | None) -> None:
    run = Run(PLAIN, quote(1000)).submit(order("o", bracket=bracket(trigger=trigger)), at=1000).feed(quote(1001))
    assert run.said("sl") == run.said("tp") == ["accepted 1"]
    run.feed(event)
    other = {"sl": "tp", "tp": "sl"}
    if fired is None:
        assert run.said("sl") == run.said("tp") == ["accepted 1"]
    else:
        assert run.said(fired)[1].startswith("fill 1@")
        assert run.said(other[fired]) == ["accepted 1", "cancelled 1 one_cancels_other"]
        assert run.core.positions.groups == {} and run.core.orders == {}


@pytest.mark.parametrize(
    ("event", "fired"),
    [(trade(1002, "104.9"), None), (trade(1002, "105"), "sl"), (trade(1002, "90"), "tp"), (trade(1002, "90.1"), None)],
)
def test_bracket_of_a_short(event: Any, fired: str | None) -> None:
    run = Run(PLAIN, quote(1000)).submit(order("o", Side.SELL, bracket=bracket("105", "90")), at=1000).feed(quote(1001))
    run.feed(event)
    done = [name for name in ("sl", "tp") if any(said.startswith("fill") for said in run.said(name))]
    assert done == ([] if fired is None else [fired])


def test_a_fired_stop_gets_no_better_than_the_trade_that_fired_it() -> None:
    run = Run(PLAIN, quote(1000)).submit(order("o", bracket=bracket()), at=1000).feed(quote(1001), trade(1002, "93"))
    assert run.said("sl") == ["accepted 1", "fill 1@93"]


def test_legs_grow_with_partial_fills_and_a_fired_leg_cancels_the_rest_of_the_entry() -> None:
    run = Run(PLAIN, quote(1000)).submit(order("o", size="7", bracket=bracket()), at=1000)
    run.feed(quote(1001), quote(1002, size="1"), trade(1003, "94", "1"), quote(1004))
    assert run.said("o") == ["accepted 7", "fill 5@100", "fill 1@100", "cancelled 7 protection_fired"]
    assert run.said("sl") == ["accepted 5", "accepted 6", "fill 1@94", "fill 5@99"]
    assert run.said("tp") == ["accepted 5", "accepted 6", "cancelled 6 one_cancels_other"]
    assert run.core.positions.groups == {}


def test_exit_shrinks_the_legs_and_ends_them_with_the_position() -> None:
    run = Run(PLAIN, quote(1000)).submit(order("o", size="5", bracket=bracket()), at=1000).feed(quote(1001))
    run.submit(order("x", Side.SELL, size="2", reduce_only=True), at=1001).feed(quote(1002))
    assert run.said("sl") == ["accepted 5", "accepted 3"]
    run.submit(order("y", Side.SELL, size="9", reduce_only=True), at=1002).feed(quote(1003))
    assert run.said("y") == ["accepted 9", "fill 3@99"] and run.events[-3].final
    assert run.said("sl")[-1] == "cancelled 3 position_closed"
    assert run.said("tp")[-1] == "cancelled 3 position_closed"


def test_reduce_only_is_capped_by_its_own_group() -> None:
    run = Run(PLAIN, quote(1000)).submit(order("o", size="2"), order("other", size="4", group="h"), at=1000)
    run.feed(quote(1001, size="20"))
    run.submit(order("x", Side.SELL, size="3", reduce_only=True), at=1001).feed(quote(1002))
    assert run.said("x") == ["accepted 3", "fill 2@99"]
    run.submit(order("y", Side.SELL, size="3", reduce_only=True), at=1002).feed(quote(1003))
    assert run.said("y") == ["rejected 3 reduce_only"]
    assert [group.position for group in run.core.positions.groups.values()] == [4]


def test_reverse_closes_the_old_lot_before_it_opens_its_own() -> None:
    run = Run(PLAIN, quote(1000)).submit(order("o", size="2", bracket=bracket()), at=1000).feed(quote(1001))
    run.submit(order("r", Side.SELL, size="5"), at=1001).feed(quote(1002))
    (group,) = run.core.positions.groups.values()
    assert group.position == -3 and [(lot.entry, lot.open) for lot in group.lots] == [("r", 3)]
    assert run.said("sl")[-1] == "cancelled 2 position_closed"


def test_standalone_stop_rests_without_an_entry() -> None:
    run = Run(PLAIN, quote(1000)).submit(order("o", size="2"), at=1000).feed(quote(1001))
    run.submit(order("s", Side.SELL, "stop_loss", "9", trigger_price="95", reduce_only=True), at=1001)
    run.feed(quote(1002), trade(1003, "95"))
    assert run.said("s") == ["accepted 9", "fill 2@95"]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (order("o", kind="limit"), "needs its price"),
        (order("o", kind="stop_loss"), "needs its price"),
        (order("known"), "exists"),
    ],
)
def test_a_wrong_order_is_a_clear_error(message: VenueOrder, expected: str) -> None:
    run = Run(PLAIN, quote(1000)).submit(order("known"), at=1000)
    with pytest.raises(ValueError, match=expected):
        run.submit(message)


def test_cancel_takes_its_time_and_a_fill_may_come_first() -> None:
    params = PLAIN.model_copy(update={"cancel_latency": Latency(fixed_ms=50)})
    run = Run(params, quote(1000)).submit(
        order("o", kind="limit", limit_price="98"), order("p", kind="limit", limit_price="97"), at=1000
    )
    run.feed(quote(1001))
    assert run.core.cancel("o", 1001) and run.core.cancel("p", 1001) and run.core.cancel("p", 1002)
    run.feed(trade(1040, "97.5"), quote(1051))
    assert run.said("o") == ["accepted 1", "fill 1@98"]
    assert run.said("p") == ["accepted 1", "cancelled 1 requested"]
    assert not run.core.cancel("p", 1060) and not run.core.cancel("nobody", 1060)


def test_a_fired_leg_cannot_be_cancelled() -> None:
    run = Run(PLAIN, quote(1000)).submit(order("o", size="4", bracket=bracket()), at=1000).feed(quote(1001))
    assert run.core.cancel("sl", 1001)  # on its way when the stop fires
    run.feed(trade(1001, "94", id=2000), quote(1002, size="1"))
    assert not run.core.cancel("sl", 1003)
    run.feed(quote(1004, size="9"))
    assert run.said("sl")[-1].startswith("fill")
    assert run.core.positions.groups == {}


def test_a_cancel_never_overtakes_its_order() -> None:
    params = PLAIN.model_copy(update={"order_latency": Latency(fixed_ms=100)})
    run = Run(params, quote(1000)).submit(order("o"), at=1000)
    assert run.core.cancel("o", 1000)
    run.feed(quote(1050))
    assert run.said("o") == []
    assert run.feed(quote(1100)).said("o") == ["accepted 1", "fill 1@100"]


def test_repeats_of_a_restarted_feed_are_skipped_but_new_ids_from_a_new_start_are_not() -> None:
    run = Run(PLAIN, quote(1000)).submit(order("o", bracket=bracket()), at=1000).feed(quote(1001), trade(1002, "99"))
    run.feed(trade(1003, "90", id=1002, ts=1002))
    assert run.said("sl") == ["accepted 1"]
    run.feed(trade(1004, "90", id=5, ts=1004))  # the venue began its ids anew
    assert run.said("sl")[-1].startswith("fill")


def test_trades_alone_fill_market_orders_at_their_price() -> None:
    run = Run(PLAIN, trade(1000, "50")).submit(order("o", size="3"), at=1000)
    run.feed(Clock(now_ms=1001), trade(1002, "51", "2"), trade(1003, "52", "2"))
    assert run.said("o") == ["accepted 3", "fill 2@51", "fill 1@52"]


@pytest.mark.parametrize(
    ("next_bar", "leg", "price"),
    [
        (bar(900_000, "100", "101", "94", "95"), "sl", "95"),  # reached on the way: its own price
        (bar(900_000, "90", "91", "89", "90"), "sl", "90"),  # jumped over by the open: the open
        (bar(900_000, "100", "111", "99", "105"), "tp", "110"),
        (bar(900_000, "100", "111", "94", "105"), "sl", "95"),  # both: the nearer extreme first
        (bar(900_000, "100", "111", "88", "105"), "tp", "110"),
        (bar(900_000, "100", "101", "99", "100"), None, ""),
    ],
)
def test_bars_fill_at_the_open_and_walk_to_their_extremes(next_bar: Bar, leg: str | None, price: str) -> None:
    run = Run(PLAIN, bar(300_000, "98", "101", "97", "99")).submit(order("o", bracket=bracket()), at=300_000)
    run.feed(bar(600_000, "100", "101", "99", "100"))
    assert run.said("o") == ["accepted 1", "fill 1@100"]
    run.feed(next_bar, next_bar)
    for name in ("sl", "tp"):
        expected = (
            f"fill 1@{price}" if name == leg else ("accepted 1" if leg is None else "cancelled 1 one_cancels_other")
        )
        assert run.said(name)[-1] == expected
    assert len(run.said("sl")) <= 2


def test_lanes_have_times_of_their_own() -> None:
    core = MatchingCore(PLAIN)
    core.apply(0, quote(1000))
    core.apply(1, quote(9000, instrument="v:ETH/USD"))
    core.submit(order("o"), 1000)
    core.apply(1, quote(9001, instrument="v:ETH/USD"))
    assert core.drain().events == []
    core.apply(0, quote(1001))
    assert [event.kind for event in core.drain().events] == [ReportKind.ACCEPTED, ReportKind.FILL]


def test_state_survives_encoding_with_everything_in_it() -> None:
    run = Run(PLAIN, quote(1000)).submit(order("o", size="9", bracket=bracket()), at=1000).feed(quote(1001))
    run.submit(order("l", kind="limit", limit_price="90"), order("u", instrument="v:X/Y"), at=1001).feed(quote(1001))
    run.core.cancel("l", 1001)
    data = encode(run.core)
    assert encode(decode(PLAIN, data)) == data
    other = decode(PLAIN, data)
    for core in (run.core, other):
        for message in (quote(1002), trade(1003, "94"), quote(1004), quote(1005, instrument="v:X/Y")):
            core.apply(0, message)
    assert other.drain().events == run.core.drain().events
    assert encode(other) == encode(run.core)


def test_fee_currency_is_the_settlement_currency() -> None:
    assert pricing.fee_currency("binanceusdm:BTC/USDT:USDT") == "USDT"
    assert pricing.fee_currency("deribit:BTC/USD:BTC") == "BTC"
    assert pricing.fee_currency("kraken:ETH/EUR") == "EUR"


def test_new_trigger_prices_move_the_resting_legs() -> None:
    run = Run(PLAIN, quote(1000)).submit(order("o", bracket=bracket("95", "110")), at=1000).feed(quote(1001))
    assert run.core.change_protection("o", D(97), None, 1001)
    run.feed(quote(1002))
    assert [(e.client_order_id, e.trigger_price) for e in run.events[-1:]] == [("sl", D(97))]
    assert run.said("tp") == ["accepted 1"]  # None leaves it as it is
    assert run.feed(trade(1003, "97.5")).said("sl") == ["accepted 1", "accepted 1"]
    assert run.core.change_protection("o", D(96), D(120), 1003)  # further away again: the old price is dead
    run.feed(quote(1004), trade(1005, "96.5"), trade(1006, "111"))
    assert run.said("sl") == ["accepted 1"] * 3
    assert run.feed(trade(1007, "96", size="1"), quote(1008)).said("sl")[3:] == ["fill 1@96"]
    assert run.said("tp")[-1] == "cancelled 1 one_cancels_other"
    assert not run.core.change_protection("o", D(90), D(130), 1008)  # nothing is left to change


def test_new_trigger_prices_before_the_entry_fills_are_those_it_brings() -> None:
    run = Run(PLAIN, quote(1000)).submit(order("o", kind="limit", limit_price="98", bracket=bracket()), at=1000)
    run.feed(quote(1001))
    assert run.core.change_protection("o", D(94), D(111), 1001)
    run.feed(quote(1002), quote(1003, bid="97", ask="98"))
    assert {e.client_order_id: e.trigger_price for e in run.events if e.client_order_id in ("sl", "tp")} == {
        "sl": D(94),
        "tp": D(111),
    }


def test_new_trigger_prices_on_their_way_meet_legs_that_came_to_rest_meanwhile() -> None:
    params = PLAIN.model_copy(update={"cancel_latency": Latency(fixed_ms=50)})
    run = Run(params, quote(1000)).submit(order("o", bracket=bracket()), at=1000)
    assert run.core.change_protection("o", D(97), None, 1000)  # arrives at 1050
    run.feed(quote(1001))
    assert run.core.orders["sl"].trigger_price == D(95)
    again = decode(params, encode(run.core))  # a kill in between
    for core in (run.core, again):
        core.apply(0, quote(1049))
        assert core.orders["sl"].trigger_price == D(95)
        core.apply(0, quote(1050))
        assert core.orders["sl"].trigger_price == D(97)
        assert core.orders["tp"].trigger_price == D(110)
    assert encode(run.core) == encode(again)


def test_a_repeated_change_is_harmless_and_a_fired_leg_keeps_its_price() -> None:
    run = Run(PLAIN, quote(1000)).submit(order("o", size="5", bracket=bracket()), at=1000).feed(quote(1001))
    for _ in range(3):
        assert run.core.change_protection("o", D(97), D(112), 1001)
    run.feed(quote(1002))
    assert run.core.change_protection("o", D(97), D(112), 1002)
    run.feed(quote(1003))
    assert run.said("sl") == run.said("tp") == ["accepted 5", "accepted 5"]
    run.feed(quote(1004, bid="96", size="2"), trade(1005, "97"))  # the stop fires and fills in part
    assert run.core.orders["sl"].state == "taking"
    assert not run.core.change_protection("o", D(90), D(130), 1005)
    assert run.feed(quote(1006, bid="96", size="5")).said("sl")[-1] == "fill 3@96"


def test_a_price_that_the_market_has_passed_fires_at_once() -> None:
    run = Run(PLAIN, quote(1000)).submit(order("o", bracket=bracket(trigger="quote")), at=1000).feed(quote(1001))
    assert run.core.change_protection("o", D("99.5"), None, 1001)
    assert run.feed(quote(1002)).said("sl") == ["accepted 1", "accepted 1", "fill 1@99"]


def leg_sizes(run: Run) -> dict[str, Decimal]:
    return {name: order.size for name, order in run.core.orders.items() if order.entry}


def three_brackets() -> Run:
    run = Run(PLAIN, quote(1000, size="50"))
    for number, size in ((1, "2"), (2, "3"), (3, "1")):
        legs = Bracket(
            stop_loss=D(95), take_profit=D(110), stop_loss_client_id=f"sl{number}", take_profit_client_id=f"tp{number}",
            trigger="trade",
        )  # fmt: skip
        run.submit(order(f"e{number}", size=size, bracket=legs), at=1000).feed(quote(1000 + number, size="50"))
    assert leg_sizes(run) == {"sl1": 2, "tp1": 2, "sl2": 3, "tp2": 3, "sl3": 1, "tp3": 1}
    return run


def reducing(name: str, size: str, closes: str) -> VenueOrder:
    return order(name, Side.SELL, size=size, reduce_only=True, closes=closes)


@pytest.mark.parametrize("turn", [1, -1])
def test_several_exits_at_once_close_the_oldest_brackets_and_leave_the_rest_protected(turn: int) -> None:
    run = three_brackets()
    run.submit(*[reducing("x1", "2", "e1"), reducing("x2", "1", "e2")][::turn], at=1010)
    run.feed(quote(1011, size="50"))
    assert leg_sizes(run) == {"sl2": 2, "tp2": 2, "sl3": 1, "tp3": 1}
    run.feed(trade(1012, "94"), quote(1013, bid="94", size="50"))
    assert run.core.positions.groups == {}
    assert (run.said("sl2")[-1], run.said("sl3")[-1]) == ("fill 2@94", "fill 1@94")


def test_a_partial_exit_reduces_the_bracket_that_it_names_while_it_fills_in_parts() -> None:
    run = three_brackets()
    run.submit(reducing("x", "2", "e2"), at=1010).feed(quote(1011, size="1"))
    assert leg_sizes(run) == {"sl1": 2, "tp1": 2, "sl2": 2, "tp2": 2, "sl3": 1, "tp3": 1}
    run.feed(quote(1012, size="9"))
    assert leg_sizes(run) == {"sl1": 2, "tp1": 2, "sl2": 1, "tp2": 1, "sl3": 1, "tp3": 1}


def test_an_exit_that_is_larger_than_its_bracket_goes_on_with_the_oldest() -> None:
    run = three_brackets()
    run.submit(reducing("x", "4", "e2"), at=1010).feed(quote(1011, size="50"))
    assert leg_sizes(run) == {"sl1": 1, "tp1": 1, "sl3": 1, "tp3": 1}
