"""The matching core of the paper venue and of backtests: orders + market data -> fills. Pure.

Entry points: `MatchingCore(params)`; `.submit(order, sent_ms)`, `.cancel(client_order_id, sent_ms)`,
`.change_protection(entry, stop_loss, take_profit, sent_ms)`, `.apply(lane, message)`, `.drain() -> Changes`,
`.snapshot()`, `MatchingCore.restore(params, snapshot)`, `encode`, `decode`.

1. Time is market time: the largest `now_ms` of a lane (one ordered stream of market data). An order or a cancel acts
   on the first event of its instrument's lane at or after its arrival, and arrival lies above the lane's time when it
   was sent; so reading the lane again from any earlier position gives the same fills, with the same trade ids.
2. An event moves the touch first, then lets arrive what is due, then fires triggers, then fills.
3. A reduce-only order never closes more than its group's own position; a leg never more than its entry's lot.
4. A market order without a market waits: an entry until `expires_ms`, an exit for as long as it takes.
5. When a leg fires, its sibling and the unfilled rest of its entry are cancelled in the same step.
6. What no market says (a time a day ahead, a price ten times the last one, a crossed quote) changes nothing until the
   records after it agree: the strategy role parks such records, and a venue must not fill at them either.
7. New trigger prices act when they arrive: on the legs that rest then, or, while the entry has not filled, on the
   bracket that it will bring. A moved leg loses its time priority; one that has fired does its work at the old price.
"""

import heapq
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from processors.market_time import AHEAD_MS, admits
from processors.matching import pricing, protection
from processors.matching.believable import near
from processors.matching.book import Book
from processors.matching.funds import Funds
from processors.matching.params import MatchingParams
from processors.matching.positions import ZERO, Positions
from processors.matching.types import (
    MOVES,
    TERMINAL,
    Group,
    Lane,
    Lot,
    Snapshot,
    Touch,
    TriggerChange,
    VenueEvent,
    VenueOrder,
)
from schemas.market import Bar, Clock, FeedGap, Quote, Trade
from schemas.reasons import ReportKind, Side

_ORDER, _CANCEL, _CHANGE = range(3)
"""What arrives: the last part of an arrival."""
_ENDS = {"reject": ReportKind.REJECTED, "cancel": ReportKind.CANCELLED, "expire": ReportKind.EXPIRED}


class Changes(NamedTuple):
    """What happened since the last drain; the orders are as they are now, terminal ones included for the last time."""

    events: list[VenueEvent]
    orders: list[VenueOrder]
    groups: list[Group]
    balances: dict[str, Decimal]


class _Lane:
    """Time, books and what is on its way in one lane."""

    __slots__ = ("ahead", "arrivals", "books", "time_ms")

    def __init__(self) -> None:
        self.time_ms = 0
        self.ahead: list[int] = []
        self.books: dict[str, Book] = {}
        # (arrival, rank, client order id, _ORDER | _CANCEL | _CHANGE)
        self.arrivals: list[tuple[int, int, str, int]] = []


class MatchingCore:
    """Mutable state of one venue (or one shard of its accounts)."""

    def __init__(self, params: MatchingParams) -> None:
        self.params = params
        self.orders: dict[str, VenueOrder] = {}  # live ones only
        self.positions = Positions()
        self.funds = Funds()
        self.lanes: dict[int, _Lane] = {}
        self.number = 0
        self.rank = 0
        self._books: dict[str, Book] = {}
        self._unplaced: dict[str, list[tuple[int, int, str, int]]] = {}  # by instrument that no lane has shown yet
        self._legs_of: dict[str, list[VenueOrder]] = {}  # by entry
        self._events: list[VenueEvent] = []
        self._dirty_orders: dict[str, VenueOrder] = {}
        self._dirty_groups: dict[tuple[str, str, str], Group] = {}

    # ---- orders in

    def submit(self, order: VenueOrder, sent_ms: int) -> None:
        """Take an order on its way. `sent_ms` is log time.

        Raises:
            ValueError: a live order has this client order id, or the order lacks what its kind needs.
        """
        if order.client_order_id in self.orders:
            raise ValueError(f"an order with client id {order.client_order_id} exists")
        needed = {"limit": order.limit_price, "stop_loss": order.trigger_price, "take_profit": order.trigger_price}
        if order.kind in needed and needed[order.kind] is None:
            raise ValueError(f"order {order.client_order_id} of kind {order.kind} needs its price")
        if order.trigger_price is not None and order.trigger is None:
            order.trigger = self.params.trigger
        delay = pricing.delay_ms(self.params.order_latency, self.params.seed, "order", order.client_order_id)
        order.arrives_ms = self._arrival(order.instrument, sent_ms + delay)
        order.rank = self._next_rank()
        self.orders[order.client_order_id] = order
        self.funds.came(order)
        self._dirty_orders[order.client_order_id] = order
        self._send(order, order.arrives_ms, _ORDER)

    def cancel(self, client_order_id: str, sent_ms: int) -> bool:
        """Take a cancel on its way; False if nothing rests under that id, or it is a leg that has fired."""
        order = self.orders.get(client_order_id)
        if order is None or (order.state == "taking" and order.trigger is not None):
            return False
        if order.cancel_arrives_ms is None:
            delay = pricing.delay_ms(self.params.cancel_latency, self.params.seed, "cancel", client_order_id)
            # A cancel never overtakes its order.
            order.cancel_arrives_ms = max(order.arrives_ms, self._arrival(order.instrument, sent_ms + delay))
            self._dirty_orders[client_order_id] = order
            self._send(order, order.cancel_arrives_ms, _CANCEL)
        return True

    def change_protection(
        self, entry: str, stop_loss: Decimal | None, take_profit: Decimal | None, sent_ms: int
    ) -> bool:
        """Take new trigger prices for an entry's bracket on their way (None leaves that leg as it is).

        Returns False if there is no leg left to change; asking again for what is asked for already changes nothing.
        """
        order = self.orders.get(entry)
        prices = {"stop_loss": stop_loss, "take_profit": take_profit}
        targets = [leg for leg in self._legs(entry) if leg.state == "resting" and prices[leg.kind] is not None]
        if order is not None and order.fills == 0 and order.bracket is not None:
            targets = [order]
        delay = pricing.delay_ms(self.params.cancel_latency, self.params.seed, "change", entry)
        for target in targets:
            # Changes arrive in the order in which they were sent.
            before = target.changes[-1].arrives_ms if target.changes else target.arrives_ms
            at_ms = max(before, self._arrival(target.instrument, sent_ms + delay))
            change = TriggerChange(at_ms, self._next_rank(), stop_loss, take_profit)
            if not protection.changes_nothing(target, change):
                target.changes.append(change)
                self._dirty_orders[target.client_order_id] = target
                self._send(target, at_ms, _CHANGE, change.rank)
        return bool(targets)

    def touch_price(self, instrument: str, side: Side) -> Decimal | None:
        """Return what an order on `side` would pay now; None: no market is known."""
        book = self._books.get(instrument)
        if book is None:
            return None
        return (book.touch.ask if side is Side.BUY else book.touch.bid) or book.touch.reference

    def lane_time_ms(self, instrument: str) -> int:
        """Return market time of the instrument's lane; 0 if no lane has shown it."""
        book = self._books.get(instrument)
        return 0 if book is None else self.lanes[book.lane].time_ms

    def _arrival(self, instrument: str, at_ms: int) -> int:
        return max(at_ms, self.lane_time_ms(instrument) + 1)

    def _send(self, order: VenueOrder, at_ms: int, what: int, rank: int = 0) -> None:
        entry = (at_ms, rank or order.rank, order.client_order_id, what)
        book = self._books.get(order.instrument)
        if book is None:
            self._unplaced.setdefault(order.instrument, []).append(entry)
        else:
            heapq.heappush(self.lanes[book.lane].arrivals, entry)

    def _next_rank(self) -> int:
        self.rank += 1
        return self.rank

    # ---- market data in

    def apply(self, lane_id: int, message: Any) -> None:
        """Apply one message of `market-data`, in the lane's order; types that mean nothing here only move time."""
        lane = self.lanes.get(lane_id)
        if lane is None:
            lane = self.lanes[lane_id] = _Lane()
        kind = type(message)
        if message.now_ms > lane.time_ms:
            place = lane.ahead[2] + 1 if lane.ahead else 0
            if not admits(lane.ahead, message.now_ms, lane.time_ms, place, is_clock=kind is Clock):
                return
            lane.time_ms = message.now_ms
        if lane.ahead:
            lane.ahead = []
        if not self._believable(message, lane.time_ms):
            self._arrive(lane)
            return
        if kind is Quote:
            book = self._book(lane_id, lane, message.instrument)
            fresh = self._quote(book.touch, message)
            self._arrive(lane)
            if fresh:
                self._on_quote(book, lane.time_ms)
        elif kind is Trade:
            book = self._book(lane_id, lane, message.instrument)
            touch = book.touch
            if message.id <= touch.trade_id and message.ts <= touch.trade_ts:
                self._arrive(lane)
                return
            touch.trade_id, touch.trade_ts = message.id, message.ts
            self._print(lane, book, message.price, message.size)
        elif kind is Bar:
            self._bar(lane, self._book(lane_id, lane, message.instrument), message)
        else:
            if kind is FeedGap:
                touch = self._book(lane_id, lane, message.instrument).touch
                touch.bid = touch.ask = None  # what the book shows is not known until the next quote
            self._arrive(lane)
            if kind is Clock:
                self._expire(lane)

    def _believable(self, message: Any, time_ms: int) -> bool:
        """Return whether what the market says can be so: a venue fills nothing at a price that no market has."""
        kind = type(message)
        prices: tuple[Decimal, ...]
        if kind is Quote:
            prices, ts = (message.bid, message.ask), message.ts
            if message.bid > message.ask:
                return False
        elif kind is Trade:
            prices, ts = (message.price,), message.ts
        elif kind is Bar:
            prices, ts = (message.low, message.high), message.start_ms
        else:
            return True
        book = self._books.get(message.instrument)
        return ts <= time_ms + AHEAD_MS and (book is None or near(book.touch, prices))

    def _book(self, lane_id: int, lane: _Lane, instrument: str) -> Book:
        book = self._books.get(instrument)
        if book is None:
            book = self._books[instrument] = lane.books[instrument] = Book(lane_id, Touch(instrument=instrument))
            for entry in self._unplaced.pop(instrument, ()):
                heapq.heappush(lane.arrivals, entry)
        return book

    @staticmethod
    def _quote(touch: Touch, quote: Quote) -> bool:
        if quote.id <= touch.quote_id and quote.ts <= touch.quote_ts:
            return False
        touch.quote_id, touch.quote_ts, touch.quoted = quote.id, quote.ts, True
        touch.bid, touch.bid_size, touch.ask, touch.ask_size = quote.bid, quote.bid_size, quote.ask, quote.ask_size
        if touch.taken:
            touch.taken.clear()
        return True

    def _print(self, lane: _Lane, book: Book, price: Decimal, size: Decimal | None) -> None:
        """A trade at `price` (size None: as much as anyone wants, for bars)."""
        taken: dict[str, Decimal] = {}
        if not book.touch.quoted:
            book.printed = (price, size, taken)
        self._arrive(lane)
        now = lane.time_ms
        if book.triggers:
            self._fire(book, "trade", price, price, now)
        if book.taking and book.printed is not None:
            self._take_all(book, now)
        strictly = self.params.limit_fill == "through"
        for ladder in (book.bids, book.asks):
            if ladder:
                for order in ladder.take_reached(price, strictly):
                    self._make(book, order, size, taken, now)
        book.printed = None

    def _bar(self, lane: _Lane, book: Book, bar: Bar) -> None:
        """Walk a closed bar: open, the nearer extreme, the other one, close. Instruments with quotes ignore bars."""
        if book.touch.quoted or bar.start_ms <= book.touch.trade_ts:
            self._arrive(lane)
            return
        book.touch.trade_ts = bar.start_ms
        self._print(lane, book, bar.open, None)
        extremes = (bar.high, bar.low) if bar.high - bar.open <= bar.open - bar.low else (bar.low, bar.high)
        for price in (*extremes, bar.close):
            self._walk(lane, book, price)

    def _walk(self, lane: _Lane, book: Book, price: Decimal) -> None:
        """The market moves to `price` without a jump: triggers on the way fire at their own price."""
        book.printed = (price, None, {})
        for (_, side, kind), ladder in sorted(book.triggers.items(), key=lambda item: item[0][2]):
            for order in ladder.take_reached(price) if ladder else ():
                assert order.trigger_price is not None, (side, kind)
                if order.state == "resting":
                    book.printed = (order.trigger_price, None, {})
                    self._trigger(book, order, lane.time_ms, None)
        self._print(lane, book, price, None)

    def _on_quote(self, book: Book, now: int) -> None:
        touch = book.touch
        assert touch.bid is not None
        assert touch.ask is not None
        if book.triggers:
            self._fire(book, "quote", touch.bid, touch.ask, now)
        if book.taking:
            self._take_all(book, now)
        if book.bids:
            for order in book.bids.take_reached(touch.ask):
                self._make(book, order, touch.ask_size, touch.taken, now)
        if book.asks:
            for order in book.asks.take_reached(touch.bid):
                self._make(book, order, touch.bid_size, touch.taken, now)

    def _expire(self, lane: _Lane) -> None:
        """On quiet markets let waiting market orders expire; trades and quotes look at it before they fill."""
        for book in lane.books.values():
            for order in list(book.taking.values()):
                if order.expires_ms is not None and lane.time_ms > order.expires_ms:
                    self._end(order, "expire", lane.time_ms, "expired")

    # ---- what arrives

    def _arrive(self, lane: _Lane) -> None:
        arrivals, now = lane.arrivals, lane.time_ms
        while arrivals and arrivals[0][0] <= now:
            _, _, client_order_id, what = heapq.heappop(arrivals)
            order = self.orders.get(client_order_id)
            if order is None:
                continue
            if what == _CHANGE:
                self._changed(self._books[order.instrument], order, now)
            elif what == _CANCEL:
                if order.state != "taking" or order.trigger is None:  # a fired leg does its work
                    self._end(order, "cancel", now, "requested")
            elif order.state == "pending":
                self._place(self._books[order.instrument], order, now)

    def _place(self, book: Book, order: VenueOrder, now: int) -> None:
        order.rank = self._next_rank()  # time priority begins at arrival
        if order.expires_ms is not None and now > order.expires_ms:
            self._end(order, "expire", now, "expired")
        elif order.reduce_only and self.positions.closable(order) == 0:
            self._end(order, "reject", now, "reduce_only", "there is no position to reduce")
        elif order.kind in ("market", "limit"):
            self._move(order, "take")
            self._tell(order, ReportKind.ACCEPTED, now, order.size)
            book.taking[order.client_order_id] = order
            self._take(book, order, now)
            if order.kind == "limit" and order.state == "taking":
                self._move(order, "rest")
                del book.taking[order.client_order_id]
                book.rest(order)
        else:
            self._move(order, "rest")
            self._tell(order, ReportKind.ACCEPTED, now, order.size)
            book.rest(order)

    def _changed(self, book: Book, order: VenueOrder, now: int) -> None:
        """A change of trigger prices has arrived at a leg, or at an entry whose legs do not rest yet."""
        change = order.changes.pop(0)
        self._dirty_orders[order.client_order_id] = order
        if order.bracket is not None:
            order.bracket = protection.changed(order.bracket, change)
            return
        price = protection.price_for(order, change)
        if order.state != "resting" or price is None:
            return
        book.drop(order)
        order.trigger_price, order.rank = price, self._next_rank()
        book.rest(order)
        self._tell(order, ReportKind.ACCEPTED, now, order.size)

    # ---- fills

    def _fire(self, book: Book, source: str, bid: Decimal, ask: Decimal, now: int) -> None:
        """Fire every trigger that the price has reached: sell orders look at the bid, buy orders at the ask."""
        for kind in ("stop_loss", "take_profit"):
            for side, price in ((Side.SELL, bid), (Side.BUY, ask)):
                ladder = book.triggers.get((source, side, kind))
                if ladder:
                    for order in ladder.take_reached(price):
                        if order.state == "resting":
                            self._trigger(book, order, now, price if source == "trade" else None)

    def _trigger(self, book: Book, order: VenueOrder, now: int, at: Decimal | None) -> None:
        """Fire a stop or take-profit; `at`: the trade that did it, the best price it may get on this event."""
        self._move(order, "fire")
        order.rank = self._next_rank()
        if order.entry:
            entry = self.orders.get(order.entry)
            if entry is not None:
                self._end(entry, "cancel", now, "protection_fired")
        book.taking[order.client_order_id] = order
        self._take(book, order, now, at)
        # After the fill: whoever hears of the cancelled sibling knows already what closed the position.
        for sibling in self._legs(order.entry) if order.entry else ():
            if sibling is not order:
                self._end(sibling, "cancel", now, "one_cancels_other")

    def _take_all(self, book: Book, now: int) -> None:
        for order in list(book.taking.values()):
            if order.expires_ms is not None and now > order.expires_ms:
                self._end(order, "expire", now, "expired")
            elif order.state == "taking":
                self._take(book, order, now)

    def _take(self, book: Book, order: VenueOrder, now: int, at: Decimal | None = None) -> None:
        """Take what the touch (or the trade just printed) shows, at no better price than `at`."""
        touch = book.touch
        shown: Decimal | None
        if touch.quoted:
            price, shown = (touch.ask, touch.ask_size) if order.side is Side.BUY else (touch.bid, touch.bid_size)
            taken = touch.taken
            if price is None:
                return
        elif book.printed is not None:
            price, shown, taken = book.printed
        else:
            return
        if at is not None:
            price = max(price, at) if order.side is Side.BUY else min(price, at)
        if order.limit_price is not None:
            if (price > order.limit_price) if order.side is Side.BUY else (price < order.limit_price):
                return
        else:
            price = pricing.slipped(price, order.side, self.params.slippage_bps)
        self._fill_up_to(order, price, shown, taken, now, taker=True)

    def _make(self, book: Book, order: VenueOrder, shown: Decimal | None, taken: dict[str, Decimal], now: int) -> None:
        """The market came to a resting limit order."""
        assert order.limit_price is not None
        if order.state != "resting":
            return
        self._fill_up_to(order, order.limit_price, shown, taken, now, taker=False)
        if order.state == "resting":
            book.rest(order)

    def _fill_up_to(
        self,
        order: VenueOrder,
        price: Decimal,
        shown: Decimal | None,
        taken: dict[str, Decimal],
        now: int,
        taker: bool,
    ) -> None:
        size = order.size - order.filled
        if order.reduce_only:
            size = min(size, self.positions.closable(order))
            if size == 0:
                self._end(order, "cancel", now, "reduce_only", "the position is closed")
                return
        if self.params.partial_fills and shown is not None:
            key = f"{order.account}/{order.side}"
            used = taken.get(key, ZERO)
            size = min(size, shown - used)
            if size <= 0:
                return
            taken[key] = used + size
        self._fill(order, price, size, now, taker)

    def _fill(self, order: VenueOrder, price: Decimal, size: Decimal, now: int, taker: bool) -> None:
        order.filled += size
        order.fills += 1
        group, lots, realized = self.positions.book(order, size, price)
        fee = price * size * (self.params.taker_fee if taker else self.params.maker_fee)
        self.funds.filled(group, realized, fee)
        self._dirty_groups[Positions.key(order)] = group
        final = order.filled == order.size or (order.reduce_only and self.positions.closable(order) == 0)
        self.number += 1
        self._events.append(
            VenueEvent(
                number=self.number,
                client_order_id=order.client_order_id,
                kind=ReportKind.FILL,
                venue_ms=now,
                size=size,
                final=final,
                venue_order_id=pricing.venue_order_id(order.client_order_id),
                trade_id=pricing.trade_id(order.client_order_id, order.fills),
                price=price,
                fee=fee,
                fee_currency=pricing.fee_currency(order.instrument),
                liquidity="taker" if taker else "maker",
                trigger_price=order.trigger_price,
            )
        )
        self._dirty_orders[order.client_order_id] = order
        if final:
            self._books[order.instrument].drop(order)
            self._move(order, "fill")
            del self.orders[order.client_order_id]
            self.funds.went(order)
        for lot in lots:
            self._protect(order, lot, now)

    def _protect(self, order: VenueOrder, lot: Lot, now: int) -> None:
        """Make, re-size or cancel the legs of a lot after a fill of `order`."""
        legs = self._legs(lot.entry)
        if order.fills == 1 and order.client_order_id == lot.entry and order.bracket is not None:
            self._rest_legs(order, lot.open, now)
        entry = self.orders.get(lot.entry)
        if lot.open == 0 and entry is not None and entry.bracket is not None:
            # Else its next fill would open what has just been closed, and its legs are gone.
            self._end(entry, "cancel", now, "position_closed")
        fired = order.entry == lot.entry  # the other leg goes anyway
        for leg in legs:
            if lot.open == 0:
                self._end(leg, "cancel", now, "one_cancels_other" if fired else "position_closed")
            elif leg.state == "resting" and leg.size != lot.open and not fired:
                leg.size = lot.open
                self._tell(leg, ReportKind.ACCEPTED, now, leg.size)

    def _rest_legs(self, entry: VenueOrder, size: Decimal, now: int) -> None:
        for leg in protection.legs(entry, size, now):
            leg.rank = self._next_rank()
            self.orders[leg.client_order_id] = leg
            self._legs_of.setdefault(entry.client_order_id, []).append(leg)
            self._books[entry.instrument].rest(leg)
            for change in leg.changes:
                self._send(leg, change.arrives_ms, _CHANGE, change.rank)
            self._tell(leg, ReportKind.ACCEPTED, now, size)

    def _legs(self, entry: str) -> list[VenueOrder]:
        return [leg for leg in self._legs_of.get(entry, ()) if leg.state not in TERMINAL]

    # ---- moves and events

    def _move(self, order: VenueOrder, event: str) -> None:
        order.state = MOVES[order.state][event]  # an illegal move is a bug: KeyError, nothing changed
        self._dirty_orders[order.client_order_id] = order
        if order.entry and order.state in TERMINAL and not self._legs(order.entry):
            self._legs_of.pop(order.entry, None)

    def _tell(self, order: VenueOrder, kind: ReportKind, now: int, size: Decimal) -> None:
        self.number += 1
        self._dirty_orders[order.client_order_id] = order
        self._events.append(
            VenueEvent(
                number=self.number,
                client_order_id=order.client_order_id,
                kind=kind,
                venue_ms=now,
                size=size,
                venue_order_id=pricing.venue_order_id(order.client_order_id),
                price=order.limit_price,
                trigger_price=order.trigger_price,
            )
        )

    def _end(self, order: VenueOrder, event: str, now: int, code: str, message: str = "") -> None:
        """Take what is unfilled of an order out of the market."""
        book = self._books.get(order.instrument)
        if book is not None:
            book.drop(order)
        self._move(order, event)
        del self.orders[order.client_order_id]
        self.funds.went(order)
        self.number += 1
        self._events.append(
            VenueEvent(
                number=self.number,
                client_order_id=order.client_order_id,
                kind=_ENDS[event],
                venue_ms=now,
                size=order.size,
                final=True,
                venue_order_id=pricing.venue_order_id(order.client_order_id),
                price=order.limit_price,
                trigger_price=order.trigger_price,
                code=code,
                message=message,
            )
        )

    # ---- state out and in

    def drain(self) -> Changes:
        """Return what changed since the last drain and start anew."""
        groups = list(self._dirty_groups.values())
        changes = Changes(self._events, list(self._dirty_orders.values()), groups, self.funds.drain())
        self._events, self._dirty_orders, self._dirty_groups = [], {}, {}
        return changes

    def lane_state(self, lane_id: int) -> Lane:
        """Return one lane's time and touches (not copied)."""
        lane = self.lanes.get(lane_id) or _Lane()
        return Lane(
            lane=lane_id,
            time_ms=lane.time_ms,
            touches=[book.touch for _, book in sorted(lane.books.items())],
            ahead=lane.ahead,
        )

    def snapshot(self) -> Snapshot:
        """Return the whole state (not copied: encode it before the next event). Undrained changes are not part."""
        return Snapshot(
            orders=[self.orders[key] for key in sorted(self.orders)],
            groups=[self.positions.groups[key] for key in sorted(self.positions.groups)],
            lanes=[self.lane_state(lane) for lane in sorted(self.lanes)],
            number=self.number,
            rank=self.rank,
            balances=dict(sorted(self.funds.balances.items())),
        )

    @classmethod
    def restore(cls, params: MatchingParams, snapshot: Snapshot) -> "MatchingCore":
        """Return a core that goes on from `snapshot` (which it takes over)."""
        core = cls(params)
        core.number, core.rank = snapshot.number, snapshot.rank
        for state in snapshot.lanes:
            lane = core.lanes[state.lane] = _Lane()
            lane.time_ms, lane.ahead = state.time_ms, state.ahead
            for touch in state.touches:
                core._books[touch.instrument] = lane.books[touch.instrument] = Book(state.lane, touch)
        for group in snapshot.groups:
            core.positions.groups[(group.account, group.group, group.instrument)] = group
            core.funds.load(group)
        core.funds.balances = dict(snapshot.balances)
        for order in sorted(snapshot.orders, key=lambda order: order.rank):
            core.orders[order.client_order_id] = order
            core.funds.came(order)
            if order.entry:
                core._legs_of.setdefault(order.entry, []).append(order)
            if order.cancel_arrives_ms is not None:
                core._send(order, order.cancel_arrives_ms, _CANCEL)
            for change in order.changes:
                core._send(order, change.arrives_ms, _CHANGE, change.rank)
            if order.state == "pending":
                core._send(order, order.arrives_ms, _ORDER)
            elif order.state == "resting":
                core._books[order.instrument].rest(order)
            else:
                core._books[order.instrument].taking[order.client_order_id] = order
        return core


def encode(core: MatchingCore) -> bytes:
    """Return the state as bytes; equal states give equal bytes."""
    return msgspec.json.encode(core.snapshot())


def decode(params: MatchingParams, data: bytes) -> MatchingCore:
    """Inverse of `encode`."""
    return MatchingCore.restore(params, msgspec.json.decode(data, type=Snapshot))
