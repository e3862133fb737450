"""Random schedules: a slow matcher without any index, invariants, restarts, reading the market again."""

from collections import defaultdict
from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.matching.core import MatchingCore, decode, encode
from processors.matching.params import Latency, MatchingParams
from processors.matching.types import TERMINAL, Bracket, VenueEvent, VenueOrder
from schemas.market import Clock, FeedGap, Quote, Trade
from schemas.reasons import ReportKind, Side

D = Decimal
INSTRUMENTS = ("v:A/USD", "v:B/USD")
PARAMS = MatchingParams(
    order_latency=Latency(fixed_ms=2, jitter_ms=9), cancel_latency=Latency(fixed_ms=1, jitter_ms=4), slippage_bps=D(3)
)
Step = tuple[str, Any]


@st.composite
def schedules(draw: st.DrawFn, brackets: bool = True) -> list[Step]:
    """Steps ("market", message) | ("submit", order) | ("cancel", name); prices walk between 90 and 110."""
    steps: list[Step] = []
    now_ms, names = 1000, []
    for number in range(draw(st.integers(5, 60))):
        now_ms += draw(st.integers(0, 6))
        what = draw(st.sampled_from("qqqttsssxcp" if brackets else "qqqttss"))
        instrument = draw(st.sampled_from(INSTRUMENTS))
        price, size = draw(st.integers(92, 108)), draw(st.integers(0, 4))
        common: dict[str, Any] = {"now_ms": now_ms, "instrument": instrument}
        if what == "q":
            spread = draw(st.integers(1, 2))
            message: Any = Quote(
                bid=D(price), ask=D(price + spread), bid_size=D(size), ask_size=D(draw(st.integers(0, 4))),
                id=number, ts=now_ms, **common,
            )  # fmt: skip
            steps.append(("market", message))
        elif what == "t":
            steps.append(
                ("market", Trade(price=D(price), size=D(size + 1), side=Side.BUY, id=number, ts=now_ms, **common))
            )
        elif what == "c" and names:
            steps.append(("cancel", (draw(st.sampled_from(names)), now_ms)))
        elif what == "p" and names:
            prices = [draw(st.none() | st.integers(88, 112).map(D)) for _ in range(2)]
            steps.append(("protect", (draw(st.sampled_from(names)), *prices, now_ms)))
        elif what == "x":
            other = draw(st.sampled_from([Clock(now_ms=now_ms), FeedGap(reason="cut", **common)]))
            steps.append(("market", other))
        else:
            name = f"o{number}"
            names.append(name)
            side = draw(st.sampled_from(list(Side)))
            kind = draw(st.sampled_from(["market", "market", "limit", "stop_loss", "take_profit"]))
            fields: dict[str, Any] = {}
            if kind == "limit":
                fields["limit_price"] = D(price)
            elif kind != "market":
                fields |= {"trigger_price": D(price), "trigger": draw(st.sampled_from(["trade", "quote"]))}
            if brackets:
                fields["reduce_only"] = draw(st.booleans())
                if kind in ("market", "limit") and not fields["reduce_only"] and draw(st.booleans()):
                    sign = 1 if side is Side.BUY else -1
                    names += [f"{name}-sl", f"{name}-tp"]
                    fields["bracket"] = Bracket(
                        stop_loss=D(price - 4 * sign), take_profit=D(price + 4 * sign),
                        stop_loss_client_id=f"{name}-sl", take_profit_client_id=f"{name}-tp",
                        trigger=draw(st.sampled_from(["trade", "quote"])),
                    )  # fmt: skip
                if kind == "market" and draw(st.booleans()):
                    fields["expires_ms"] = now_ms + 40
            order = VenueOrder(
                client_order_id=name, account=draw(st.sampled_from("ab")), group=draw(st.sampled_from("gh")),
                instrument=instrument, side=side, kind=kind, size=D(draw(st.integers(1, 6))), **fields,
            )  # fmt: skip
            steps.append(("submit", (order, now_ms)))
    return steps


def act(core: MatchingCore, step: Step) -> None:
    kind, value = step
    if kind == "market":
        core.apply(INSTRUMENTS.index(getattr(value, "instrument", INSTRUMENTS[0])), value)
    elif kind == "submit":
        core.submit(msgspec.json.decode(msgspec.json.encode(value[0]), type=VenueOrder), value[1])
    elif kind == "protect":
        core.change_protection(*value)
    else:
        core.cancel(*value)


@settings(max_examples=150, deadline=None)
@given(schedules())
def test_invariants(steps: list[Step]) -> None:
    core = MatchingCore(PARAMS)
    filled: dict[str, Decimal] = defaultdict(Decimal)
    position: dict[tuple[str, str, str], Decimal] = defaultdict(Decimal)
    orders: dict[str, VenueOrder] = {}
    ended: set[str] = set()
    trades: set[str] = set()
    number = 0
    for step in steps:
        act(core, step)
        changes = core.drain()
        orders |= {order.client_order_id: order for order in changes.orders}
        for event in changes.events:
            number += 1
            assert event.number == number
            order = orders[event.client_order_id]
            assert event.client_order_id not in ended, "an event after the last one"
            if event.final:
                ended.add(event.client_order_id)
            if event.kind is ReportKind.FILL:
                assert event.size > 0
                assert event.trade_id not in trades
                trades.add(event.trade_id)
                filled[event.client_order_id] += event.size
                key = (order.account, order.group, order.instrument)
                before = position[key]
                position[key] += event.size if order.side is Side.BUY else -event.size
                if order.reduce_only:
                    assert abs(position[key]) < abs(before)
                    assert position[key] * before >= 0
        for name, order in orders.items():
            assert filled[name] == order.filled <= order.size or order.entry
            assert (order.state in TERMINAL) == (name in ended) == (name not in core.orders)
        assert {key: size for key, size in position.items() if size} == {
            key: group.position for key, group in core.positions.groups.items()
        }
        for group in core.positions.groups.values():
            sign = 1 if group.position > 0 else -1
            assert sum(lot.open for lot in group.lots) == abs(group.position)
            assert all(lot.open > 0 and (lot.side is Side.BUY) == (sign > 0) for lot in group.lots)
        for leg in core.orders.values():
            if leg.entry and leg.state == "resting":
                lot = core.positions.lot(leg)
                assert lot is not None
                assert lot.open == leg.size


@settings(max_examples=100, deadline=None)
@given(schedules(), st.integers(1, 7))
def test_restart_after_every_nth_step_changes_nothing(steps: list[Step], every: int) -> None:
    straight, restarted = MatchingCore(PARAMS), MatchingCore(PARAMS)
    for number, step in enumerate(steps):
        act(straight, step)
        act(restarted, step)
        assert restarted.drain().events == straight.drain().events
        if number % every == 0:
            data = encode(restarted)
            restarted = decode(PARAMS, data)
            assert encode(restarted) == data
    assert encode(restarted) == encode(straight)


@settings(max_examples=120, deadline=None)
@given(schedules(), st.data())
def test_reading_the_market_again_from_the_journalled_position_gives_the_same_fills(
    steps: list[Step], data: st.DataObject
) -> None:
    """The journal holds a state and its market position, and what was sent later; the rest is made again."""
    core = MatchingCore(PARAMS)
    cut = data.draw(st.integers(0, len(steps)))
    saved = b""
    later: list[tuple[VenueOrder, int]] = []
    straight: list[VenueEvent] = []
    for number, step in enumerate([*steps, ("market", Clock(now_ms=10_000))]):
        if number == cut:
            saved = encode(core)
            core.drain()
        act(core, step)
        if number >= cut:
            straight += core.drain().events
    again = decode(PARAMS, saved)
    # What was sent after the position is in the journal with the arrival it was given.
    for kind, value in steps[cut:]:
        if kind == "submit":
            later.append(value)
    reference = decode(PARAMS, saved)
    arrivals: dict[str, int] = {}
    for step in steps[cut:]:
        act(reference, step)
        if step[0] == "submit":
            name = step[1][0].client_order_id
            arrivals[name] = reference.orders[name].arrives_ms
    for order, sent_ms in later:
        copy = msgspec.json.decode(msgspec.json.encode(order), type=VenueOrder)
        again.submit(copy, sent_ms)
        copy.arrives_ms = arrivals[order.client_order_id]
    again = decode(PARAMS, encode(again))
    if any(kind == "cancel" for kind, _ in steps[cut:]):
        return  # a cancel's arrival depends on what it found; the venue journals it with its order (test_paper.py)
    for kind, value in [*steps[cut:], ("market", Clock(now_ms=10_000))]:
        if kind == "market":
            act(again, (kind, value))
    assert _fills(again.drain().events) == _fills(straight)


def _fills(events: list[VenueEvent]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = defaultdict(list)
    for event in events:
        if event.kind is ReportKind.FILL:
            found[event.client_order_id].append((event.trade_id, event.price, event.size, event.venue_ms, event.fee))
    return dict(found)


class SlowMatcher:
    """Looks at every order on every event; no positions, no brackets, no latency."""

    def __init__(self) -> None:
        self.live: list[dict[str, Any]] = []
        self.quotes: dict[str, Quote] = {}
        self.taken: dict[tuple[str, str, Side], Decimal] = defaultdict(Decimal)
        self.fills: dict[str, list[tuple[Decimal, Decimal]]] = defaultdict(list)
        self.time: dict[str, int] = defaultdict(int)
        self.rank = 0

    def submit(self, order: VenueOrder, sent_ms: int) -> None:
        self.rank += 1
        at = max(sent_ms, self.time[order.instrument] + 1) if order.instrument in self.time else sent_ms
        self.live.append({"o": order, "left": order.size, "state": "pending", "at": at, "rank": self.rank})

    def market(self, message: Any) -> None:
        instrument = message.instrument
        self.time[instrument] = max(self.time[instrument], message.now_ms)
        mine = [item for item in self.live if item["o"].instrument == instrument and item["left"] > 0]
        if isinstance(message, Quote):
            self.quotes[instrument] = message
            for key in [key for key in self.taken if key[1] == instrument]:
                del self.taken[key]
        printed: dict[tuple[str, Side], Decimal] = defaultdict(Decimal)
        for item in sorted(mine, key=lambda item: (item["at"], item["rank"])):
            if item["state"] == "pending" and item["at"] <= self.time[instrument]:
                self.rank += 1
                item["rank"] = self.rank
                order = item["o"]
                item["state"] = {"market": "taking", "limit": "resting"}.get(order.kind, "armed")
                if item["state"] != "armed":
                    self.take(item, message, printed)
        is_quote = isinstance(message, Quote)
        for kind in ("stop_loss", "take_profit"):
            for side in (Side.SELL, Side.BUY):
                price = (message.bid if side is Side.SELL else message.ask) if is_quote else message.price
                down = (side is Side.SELL) == (kind == "stop_loss")
                fired = [
                    item
                    for item in mine
                    if item["state"] == "armed"
                    and (item["o"].kind, item["o"].side) == (kind, side)
                    and item["o"].trigger == ("quote" if is_quote else "trade")
                    and (price <= item["o"].trigger_price if down else price >= item["o"].trigger_price)
                ]
                for item in sorted(
                    fired, key=lambda i: (-i["o"].trigger_price if down else i["o"].trigger_price, i["rank"])
                ):
                    self.rank += 1
                    item["rank"], item["state"] = self.rank, "taking"
                    self.take(item, message, printed, None if is_quote else message.price)
        if is_quote or instrument not in self.quotes:
            for item in sorted(mine, key=lambda item: item["rank"]):
                if item["state"] == "taking":
                    self.take(item, message, printed)
        for side in (Side.BUY, Side.SELL):
            resting = [
                item for item in mine if item["state"] == "resting" and item["o"].side is side and item["left"] > 0
            ]
            best = sorted(resting, key=lambda i: ((-1 if side is Side.BUY else 1) * i["o"].limit_price, i["rank"]))
            for item in best:
                self.make(item, message, printed)

    def take(self, item: dict[str, Any], message: Any, printed: Any, at: Decimal | None = None) -> None:
        order, side = item["o"], item["o"].side
        known = self.quotes.get(order.instrument)
        if known is not None:
            price, shown = (known.ask, known.ask_size) if side is Side.BUY else (known.bid, known.bid_size)
            taken, key = self.taken, (order.account, order.instrument, side)
        elif isinstance(message, Trade):
            price, shown, taken, key = message.price, message.size, printed, (order.account, side)
        else:
            return
        if at is not None:
            price = max(price, at) if side is Side.BUY else min(price, at)
        if order.limit_price is not None and (
            price > order.limit_price if side is Side.BUY else price < order.limit_price
        ):
            return
        self.fill(item, price, shown, taken, key)

    def make(self, item: dict[str, Any], message: Any, printed: Any) -> None:
        order, side = item["o"], item["o"].side
        if isinstance(message, Quote):
            price, shown = (message.ask, message.ask_size) if side is Side.BUY else (message.bid, message.bid_size)
            if price <= order.limit_price if side is Side.BUY else price >= order.limit_price:
                self.fill(item, order.limit_price, shown, self.taken, (order.account, order.instrument, side))
        elif message.price < order.limit_price if side is Side.BUY else message.price > order.limit_price:
            self.fill(item, order.limit_price, message.size, printed, (order.account, side))

    def fill(self, item: dict[str, Any], price: Decimal, shown: Decimal, taken: Any, key: Any) -> None:
        size = min(item["left"], shown - taken[key])
        if size > 0:
            taken[key] += size
            item["left"] -= size
            self.fills[item["o"].client_order_id].append((price, size))


@settings(max_examples=200, deadline=None)
@given(schedules(brackets=False))
def test_equal_to_a_matcher_without_indexes(steps: list[Step]) -> None:
    params = MatchingParams(order_latency=Latency(), cancel_latency=Latency(), slippage_bps=D(0))
    core, slow = MatchingCore(params), SlowMatcher()
    for kind, value in steps:
        act(core, (kind, value))
        if kind == "market":
            slow.market(value)
        else:
            slow.submit(*value)
        changes = core.drain()
        for event in changes.events:
            if event.kind is ReportKind.FILL:
                assert slow.fills[event.client_order_id].pop(0) == (event.price, event.size)
        assert not any(slow.fills.values()), "the slow matcher filled more"
