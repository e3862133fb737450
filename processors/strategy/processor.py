"""The strategy role: market-data in; bars, signals, marks and clock out.

Entry point: `StrategyProcessor(params, known_instruments)`, a processors.protocols.BatchProcessor.

1. `step` takes one decoded message; `step_batch` takes raw bytes and does the same, with the two frequent messages
   (trade, quote) read as lean structs and applied in line. What the fast path does not accept at once goes the way of
   `step`. tests/processors/strategy/test_batch_path.py holds both equal, refusals included.
2. Trades and quotes are known by their ids, bars by their start: what is not above the last one is a duplicate, dropped
   and counted. So every message may come twice.
3. An event is applied first, then time: bars whose close is due, then marks (or the clock, if nothing was to mark).
4. A refused record changes nothing but the counters, an instrument's streak of absurd prices and the claim of times
   too far ahead.
"""

from collections.abc import Sequence
from heapq import heappop
from typing import Any, Final

import msgspec

from processors.inbox import LATEST_MS, parked
from processors.market_time import admits
from processors.protocols import ALL, Meta, Out
from processors.strategy.bars import FROM_TRADES, BarBuilder, ClosedBar
from processors.strategy.checks import (
    ABSURD,
    AHEAD_MS,
    LEAN,
    LeanTrade,
    check_bar,
    check_ids,
    check_name,
    check_quote,
    check_trade,
)
from processors.strategy.kernel import Kernel
from processors.strategy.messages import (
    ACCOUNT_EVENTS,
    Alerts,
    Strategy,
    bar_message,
    is_power_of_two,
    marks_messages,
    tick_bar,
)
from processors.strategy.params import StrategyParams, check_set
from processors.strategy.state import InstrumentState, PartitionState, Series, decode_state, encode_state
from schemas.codec import BadRecord, NewerSchema, decoder_for
from schemas.ids import derive_id
from schemas.intervals import INTERVALS
from schemas.market import Bar, Clock, FeedGap, Quote, Trade

MARKET_DATA: Final = "market-data"
QUOTE_FRESH_MS: Final = 5_000
"""A quote older than this (log time) does not make the mark any more when there are trades."""
UNREADABLE: Final = (msgspec.DecodeError, ValueError, TypeError, UnicodeDecodeError, RecursionError)
"""What reading a value as a lean struct, or its numbers as floats, can raise."""


class StrategyProcessor:
    """All strategies over one partition of market-data.

    `known_instruments`: records of any other instrument are parked; None accepts every name. Marks are made for every
    accepted instrument, whether a strategy reads it or not.

    Raises:
        ValueError: two strategies have one name, disagree where they must share, or ask for what does not exist.
    """

    state_schema = 1
    inbox = MARKET_DATA

    def __init__(
        self,
        params: Sequence[StrategyParams],
        known_instruments: frozenset[str] | None = None,
        name: str = "strategy",
    ) -> None:
        self.name = name
        self.params = tuple(params)
        self.known_instruments = known_instruments
        self._strategies = {item.name: Strategy(item) for item in params}
        check_set(self.params)
        self._tick_bars = any(item.publish_tick_bars for item in params)
        self._marks_interval_ms = params[0].marks_interval_ms if params else 250
        known = "*" if known_instruments is None else "\n".join(sorted(known_instruments))
        self.config_hash = derive_id("strategy-processor", name, known, *(item.config_hash for item in params))
        self._decode = decoder_for(("trade", "quote", "bar", "feed_gap", "clock"))

    def initial(self, partition: int) -> PartitionState:
        """Return the state of a partition that has seen nothing."""
        return PartitionState()

    def encode(self, state: PartitionState) -> bytes:
        """Return the state as bytes."""
        return encode_state(state, self._key_of)

    def decode(self, data: bytes) -> PartitionState:
        """Inverse of `encode`."""
        return decode_state(data, self._make, self._key_of)

    def _key_of(self, kernel: Kernel) -> tuple[str, str]:
        return self._strategies[kernel.params.name].key

    def _make(self, name: str) -> InstrumentState:
        """Return a fresh state of an instrument, with the bars and kernels of the strategies that read it."""
        ticks: list[Kernel] = []
        series: dict[str, Series] = {}
        for strategy in self._strategies.values():
            params = strategy.params
            if not params.reads(name):
                continue
            if params.interval == "tick":
                ticks.append(strategy.plan.new())
                continue
            if params.interval not in series:
                builder = BarBuilder(INTERVALS[params.interval], params.bar_grace_ms)
                series[params.interval] = Series(params.interval, builder, [], params.late_tolerance_ms)
            series[params.interval].kernels.append(strategy.plan.new())
        return InstrumentState(name, [series[interval] for interval in INTERVALS if interval in series], tuple(ticks))

    # ---------------------------------------------------------------------------------------------- one by one

    def admits(self, state: PartitionState, event: Any, now_ms: int, offset: int) -> bool:
        """Return whether the event may move step time, `now_ms`, as far as it says; False leaves a Clock out.

        Raises:
            BadRecord: another record is too far ahead (see processors/market_time.py).
        """
        is_clock = isinstance(event, Clock)
        if admits(state.ahead, event.now_ms, now_ms, offset, is_clock=is_clock):
            return True
        state.counters["ahead"] += 1
        if not is_clock:
            days = (event.now_ms - now_ms) / 86_400_000
            raise BadRecord(f"now_ms {event.now_ms} is {days:.1f} days ahead of log time {now_ms}")
        return False

    def step(self, state: PartitionState, event: Any, meta: Meta) -> list[Out]:
        """Apply one decoded message.

        Raises:
            BadRecord: it cannot be used (unknown instrument, absurd numbers, crossed quote, misaligned bar).
        """
        outs: list[Out] = []
        if isinstance(event, Trade):
            self._trade(state, event, meta, outs)
        elif isinstance(event, Quote):
            self._quote(state, event, meta, outs)
        elif isinstance(event, Bar):
            self._bar(state, event, meta, outs)
        elif isinstance(event, FeedGap):
            self._gap(state, event, meta, outs)
        elif not isinstance(event, Clock):
            raise BadRecord(f"a strategy takes no {type(event).__name__}")
        if meta.now_ms >= state.wake_ms:
            self._wake(state, event if isinstance(event, Clock) else None, event.now_ms, meta, outs)
        return outs

    def _instrument(self, state: PartitionState, name: str) -> InstrumentState:
        """Return the instrument's state; a fresh one is not part of the partition's state yet."""
        found = state.instruments.get(name)
        if found is not None:
            return found
        if self.known_instruments is not None and name not in self.known_instruments:
            state.counters["unknown_instrument"] += 1
            raise BadRecord(f"unknown instrument {name[:128]!r}: add it to the configuration, or stop feeding it")
        check_name(name)
        return self._make(name)

    def _trade(self, state: PartitionState, event: Trade, meta: Meta, outs: list[Out]) -> None:
        instrument = self._instrument(state, event.instrument)
        check_ids(event, meta.now_ms)
        if event.id <= instrument.trade_id:
            self._duplicate_trade(state, instrument, event.id, event.ts, meta, outs)
            return
        price, new_level = check_trade(state, instrument, event, meta.now_ms)
        state.instruments[event.instrument] = instrument
        if new_level:
            outs.append(self._level_alert(instrument, price, meta))
        text, size = str(event.price), str(event.size)
        instrument.trade_id, instrument.ts = event.id, event.ts
        instrument.reference, instrument.price = price, text
        for kernel in instrument.tick_kernels:
            code = kernel.tick(price)
            self._tick(instrument, kernel, code, event.ts, text, price, size, event.now_ms, meta.now_ms, outs)
        if instrument.series:
            self._build(state, instrument, event.ts, text, price, size, event.now_ms, meta, outs)
        if meta.now_ms > instrument.quote_until_ms and not instrument.dirty:
            instrument.dirty = True
            state.dirty.append(instrument)

    def _quote(self, state: PartitionState, event: Quote, meta: Meta, outs: list[Out]) -> None:
        instrument = self._instrument(state, event.instrument)
        check_ids(event, meta.now_ms)
        if event.id <= instrument.quote_id:
            state.counters["duplicates"] += 1
            return
        bid, new_level = check_quote(state, instrument, event, meta.now_ms)
        state.instruments[event.instrument] = instrument
        if new_level:
            outs.append(self._level_alert(instrument, bid, meta))
        _set_quote(state, instrument, event.id, str(event.bid), str(event.ask), bid, meta.now_ms)

    def _bar(self, state: PartitionState, event: Bar, meta: Meta, outs: list[Out]) -> None:
        instrument = self._instrument(state, event.instrument)
        if event.start_ms <= instrument.bar_starts.get(event.interval, -1):
            state.counters["duplicates"] += 1
            return
        price, new_level = check_bar(state, instrument, event, meta.now_ms)
        state.instruments[event.instrument] = instrument
        if new_level:
            outs.append(self._level_alert(instrument, price, meta))
        instrument.bar_starts[event.interval] = event.start_ms
        instrument.reference, instrument.price = price, str(event.close)
        bar = ClosedBar(
            event.start_ms, event.end_ms, str(event.open), str(event.high), str(event.low), str(event.close),
            float(event.open), float(event.high), float(event.low), price, event.volume, event.trades,
        )  # fmt: skip
        length_ms, used = INTERVALS[event.interval], False
        for place, series in enumerate(instrument.series):
            builder = series.builder
            if builder.interval_ms % length_ms != 0 or not self._follow(instrument, series, length_ms, meta, outs):
                continue
            used = True
            if builder.interval_ms == length_ms:
                closed: list[ClosedBar] | bool = [bar] if builder.pass_bar(bar) else False
            else:
                closed = builder.add_bar(bar, event.now_ms)
            if isinstance(closed, bool):
                self._late(state, instrument, series, event.start_ms, meta, outs)
                continue
            for item in closed:
                self._closed(instrument, series, item, event.now_ms, meta.now_ms, outs)
            if builder.end_ms > 0:
                state.watch(builder.close_at_ms, instrument.name, place)
        if not used and instrument.series:
            state.counters["ignored_bars"] += 1
        if meta.now_ms > instrument.quote_until_ms and not instrument.dirty:
            instrument.dirty = True
            state.dirty.append(instrument)

    def _gap(self, state: PartitionState, event: FeedGap, meta: Meta, outs: list[Out]) -> None:
        instrument = self._instrument(state, event.instrument)
        gap = [str(event.after_id), str(event.before_id), event.reason[:200]]
        if gap == instrument.gap:
            state.counters["duplicates"] += 1
            return
        state.instruments[event.instrument] = instrument
        instrument.gap = gap
        state.counters["gaps"] += 1
        outs.append(self._alerts(meta).feed_gap(event.instrument, gap))

    # ---------------------------------------------------------------------------------------------- what follows

    def _tick(
        self, instrument: InstrumentState, kernel: Kernel, code: int, ts: int, text: str, price: float, size: str,
        received_ms: int, now_ms: int, outs: list[Out],
    ) -> None:  # fmt: skip
        """Tell what one tick made of one kernel."""
        strategy = self._strategies[kernel.params.name]
        bar = None
        if strategy.params.publish_tick_bars:
            bar = tick_bar(ts, text, price, size)
            outs.append(bar_message(instrument.name, "tick", bar, now_ms))
        if code != kernel.last and strategy.told(kernel, code):
            bar = tick_bar(ts, text, price, size) if bar is None else bar
            outs.extend(strategy.signal(kernel, instrument.name, bar, received_ms, now_ms))

    def _build(
        self, state: PartitionState, instrument: InstrumentState, ts: int, text: str, price: float, size: str,
        received_ms: int, meta: Meta, outs: list[Out],
    ) -> None:  # fmt: skip
        """Give a trade to the bars of every interval."""
        for place, series in enumerate(instrument.series):
            builder = series.builder
            if builder.source_ms != FROM_TRADES and not self._follow(instrument, series, FROM_TRADES, meta, outs):
                continue
            end_ms = builder.end_ms
            closed = builder.add_trade(ts, received_ms, text, price, size)
            if closed is False:
                self._late(state, instrument, series, ts, meta, outs)
                continue
            if isinstance(closed, ClosedBar):
                self._closed(instrument, series, closed, received_ms, meta.now_ms, outs)
            if builder.end_ms != end_ms:
                state.watch(builder.close_at_ms, instrument.name, place)

    def _follow(self, instrument: InstrumentState, series: Series, source_ms: int, meta: Meta, outs: list[Out]) -> bool:
        builder = series.builder
        before = builder.source_ms
        if not builder.follow(source_ms):
            return False
        if before not in (0, source_ms):
            outs.append(self._alerts(meta).bar_source_changed(instrument.name, series.interval, source_ms))
        return True

    def _closed(
        self, instrument: InstrumentState, series: Series, bar: ClosedBar, received_ms: int, now_ms: int,
        outs: list[Out],
    ) -> None:  # fmt: skip
        """Publish a closed bar and what the strategies make of it."""
        outs.append(bar_message(instrument.name, series.interval, bar, now_ms))
        volume = float(bar.volume)
        for kernel in series.kernels:
            code = kernel.update(bar.open_price, bar.high_price, bar.low_price, bar.close_price, volume)
            if code != kernel.last:
                strategy = self._strategies[kernel.params.name]
                if strategy.told(kernel, code):
                    outs.extend(strategy.signal(kernel, instrument.name, bar, received_ms, now_ms))

    def _late(
        self, state: PartitionState, instrument: InstrumentState, series: Series, ts: int, meta: Meta, outs: list[Out]
    ) -> None:
        state.counters["late"] += 1
        builder = series.builder
        late_ms = builder.floor_ms - ts
        if late_ms > series.late_tolerance_ms and is_power_of_two(builder.late):
            outs.append(self._alerts(meta).late_data(instrument.name, series.interval, late_ms, builder.late))

    def _duplicate_trade(
        self, state: PartitionState, instrument: InstrumentState, trade_id: int, ts: int, meta: Meta, outs: list[Out]
    ) -> None:
        """Drop a trade whose id is not new; tell if its time says that it is new nevertheless."""
        state.counters["duplicates"] += 1
        if ts <= instrument.ts:
            return
        state.counters["id_regressions"] += 1
        instrument.id_regressions += 1
        if is_power_of_two(instrument.id_regressions):
            told = self._alerts(meta).id_regression(
                instrument.name, trade_id, instrument.trade_id, instrument.id_regressions
            )
            outs.append(told)

    def _level_alert(self, instrument: InstrumentState, price: float, meta: Meta) -> Out:
        return self._alerts(meta).price_level_changed(instrument.name, instrument.reference, price)

    def _alerts(self, meta: Meta) -> Alerts:
        return Alerts(f"{self.name}@{MARKET_DATA}/{meta.partition}", meta.now_ms)

    # ---------------------------------------------------------------------------------------------- time

    def _wake(self, state: PartitionState, clock: Clock | None, received_ms: int, meta: Meta, outs: list[Out]) -> None:
        """Do what is due at this log time: close bars, send marks or the clock."""
        now_ms, deadlines = meta.now_ms, state.deadlines
        while deadlines and deadlines[0][0] <= now_ms:
            close_at_ms, name, place = heappop(deadlines)
            instrument = state.instruments[name]
            series = instrument.series[place]
            if series.builder.end_ms > 0 and series.builder.close_at_ms == close_at_ms:
                self._closed(instrument, series, series.builder.finish(), received_ms, now_ms, outs)
        if now_ms >= state.marks_at_ms:
            interval_ms = self._marks_interval_ms
            state.marks_at_ms = now_ms - now_ms % interval_ms + interval_ms
            if state.dirty:
                outs.extend(marks_messages(state, now_ms))
            elif clock is not None:
                told = Clock(now_ms=now_ms, feed=clock.feed, position=clock.position)
                outs.append(Out(ACCOUNT_EVENTS, "*", told, ALL))
            else:
                outs.append(Out(ACCOUNT_EVENTS, "*", Clock(now_ms=now_ms), ALL))
        state.set_wake()

    # ---------------------------------------------------------------------------------------------- batches

    def step_batch(
        self, state: PartitionState, values: Sequence[bytes | None], offsets: Sequence[int], partition: int, now_ms: int
    ) -> tuple[int, list[tuple[int, Sequence[Out]]]]:
        """Apply raw values in order; return the new step time and the outputs by causing offset."""
        results: list[tuple[int, Sequence[Out]]] = []
        lean, dirty, tick_bars = LEAN.decode, state.dirty, self._tick_bars
        find: Any = state.instruments.get  # None is told apart before anything is done with it
        latest_ms = now_ms + AHEAD_MS  # at most what the slow way admits, which decides
        outs: Any
        for index, value in enumerate(values):
            try:
                event = lean(value)  # type: ignore[arg-type]  # None raises TypeError
                instrument = find(event.instrument)
                if type(event) is LeanTrade:
                    text, price = event.price, float(event.price)
                    # Each comparison fails on NaN, zero, infinity and what the slow way has to decide.
                    slow = (
                        instrument is None
                        or event.id <= instrument.trade_id
                        or not 0.1 <= price / instrument.reference <= 10.0
                        or not 0.0 < float(event.size) < ABSURD
                    )
                else:
                    price, ask = float(event.bid), float(event.ask)
                    slow = (
                        instrument is None
                        or event.id <= instrument.quote_id
                        or not 0.1 <= price / instrument.reference <= ask / instrument.reference <= 10.0
                        or not 0.0 <= float(event.bid_size) < ABSURD
                        or not 0.0 <= float(event.ask_size) < ABSURD
                    )
            except UNREADABLE:
                slow = True
            if slow or event.ts > latest_ms or event.now_ms > latest_ms:
                now_ms, outs = self._slow(state, value, offsets[index], partition, now_ms)
                latest_ms = now_ms + AHEAD_MS
                if outs:
                    results.append((offsets[index], outs))
                continue
            received_ms, outs = event.now_ms, None
            now_ms = received_ms if received_ms > now_ms else now_ms
            if type(event) is LeanTrade:
                instrument.trade_id = event.id
                instrument.ts = event.ts
                instrument.reference = price
                instrument.price = text
                for kernel in instrument.tick_kernels:
                    code = kernel.tick(price)
                    if code == 0 and not tick_bars:
                        kernel.last = 0
                    elif code != kernel.last or tick_bars:
                        outs = [] if outs is None else outs
                        self._tick(
                            instrument, kernel, code, event.ts, text, price, event.size, received_ms, now_ms, outs
                        )
                if instrument.series:
                    outs = [] if outs is None else outs
                    meta = Meta(now_ms, partition, offsets[index])
                    self._build(state, instrument, event.ts, text, price, event.size, received_ms, meta, outs)
                if not instrument.dirty and now_ms > instrument.quote_until_ms:
                    instrument.dirty = True
                    dirty.append(instrument)
            else:
                _set_quote(state, instrument, event.id, event.bid, event.ask, price, now_ms)
            if now_ms >= state.wake_ms:
                outs = [] if outs is None else outs
                self._wake(state, None, received_ms, Meta(now_ms, partition, offsets[index]), outs)
            if outs:
                results.append((offsets[index], outs))
        return now_ms, results

    def _slow(
        self, state: PartitionState, value: bytes | None, offset: int, partition: int, now_ms: int
    ) -> tuple[int, Sequence[Out]]:
        """Decode one value in full and step, as processors/inbox.py does it for every other inbox."""
        try:
            event = self._decode(value)
            if not 0 <= event.now_ms < LATEST_MS:
                raise BadRecord(f"now_ms {event.now_ms} is not a time in milliseconds since 1970")
            if not self.admits(state, event, now_ms, offset):
                return now_ms, ()
            after_ms = max(event.now_ms, now_ms)
            return after_ms, self.step(state, event, Meta(after_ms, partition, offset))
        except (BadRecord, NewerSchema) as error:
            return now_ms, [parked(MARKET_DATA, partition, offset, value, str(error), now_ms)]


def _set_quote(
    state: PartitionState, instrument: InstrumentState, id: int, bid: str, ask: str, price: float, now_ms: int
) -> None:
    """Take a quote that passed every check; `price` is its bid."""
    instrument.quote_id = id
    instrument.reference = price
    instrument.bid = bid
    instrument.ask = ask
    instrument.quote_until_ms = now_ms + QUOTE_FRESH_MS
    if not instrument.dirty:
        instrument.dirty = True
        state.dirty.append(instrument)
