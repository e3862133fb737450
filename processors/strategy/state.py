"""State of the strategy processor for one partition of market-data, and its encoding.

Entry points: `PartitionState`, `InstrumentState`, `Series`, `encode_state`, `decode_state`.

1. Equal states give equal bytes: instruments by name, numbers in their one spelling, no derived value stored.
2. Kernels are stored under the name and parameter hash of their strategy: a state read under other parameters keeps
   the kernels that are unchanged and begins the others anew.
"""

from collections.abc import Callable
from heapq import heapify, heappush
from math import nan
from typing import Any, Final

import msgspec

from processors.strategy.bars import BarBuilder, canonical
from processors.strategy.kernel import Kernel

COUNTERS: Final = (
    "duplicates", "late", "gaps", "unknown_instrument", "absurd", "crossed", "id_regressions", "ignored_bars", "ahead",
)  # fmt: skip
"""What a partition counts. Refusals are also parked; duplicates and ignored bars are expected traffic."""


class Series:
    """One interval of one instrument: its bars and the kernels that read them."""

    __slots__ = ("builder", "interval", "kernels", "late_tolerance_ms")

    def __init__(self, interval: str, builder: BarBuilder, kernels: list[Kernel], late_tolerance_ms: int) -> None:
        self.interval = interval
        self.builder = builder
        self.kernels = kernels
        self.late_tolerance_ms = late_tolerance_ms


class InstrumentState:
    """All that is known of one instrument.

    reference: newest accepted price (trade, bid or close), NaN before the first. quote_until_ms: up to this log time
    the quote makes the mark, then the last price does. refused: the streak of absurd prices, see `checks.py`.
    """

    __slots__ = (
        "ask", "bar_starts", "bid", "dirty", "gap", "id_regressions", "name", "price", "quote_id", "quote_until_ms",
        "reference", "refused", "series", "tick_kernels", "trade_id", "ts",
    )  # fmt: skip

    def __init__(self, name: str, series: list[Series], tick_kernels: tuple[Kernel, ...]) -> None:
        self.name = name
        self.series = series
        self.tick_kernels = tick_kernels
        self.trade_id = self.quote_id = -1
        self.ts = 0
        self.reference = nan
        self.price = self.bid = self.ask = ""
        self.quote_until_ms = -1
        self.dirty = False
        self.id_regressions = 0
        self.bar_starts: dict[str, int] = {}
        self.gap: list[Any] = []
        self.refused: list[Any] = []

    def kernels(self) -> list[tuple[str, Kernel]]:
        """Return (interval, kernel) of all kernels."""
        found = [("tick", kernel) for kernel in self.tick_kernels]
        return found + [(series.interval, kernel) for series in self.series for kernel in series.kernels]


class PartitionState:
    """What the strategy processor knows of one partition.

    marks_at_ms: log time of the next marks. deadlines: heap of (close_at_ms, instrument, place of the series), one
    entry at least per open bar; stale entries are recognised when they come up. wake_ms: the earlier of both.
    ahead: what the last record too far ahead claimed, see processors/market_time.py.
    """

    __slots__ = ("ahead", "counters", "deadlines", "dirty", "instruments", "marks_at_ms", "wake_ms")

    def __init__(self) -> None:
        self.instruments: dict[str, InstrumentState] = {}
        self.dirty: list[InstrumentState] = []
        self.counters = dict.fromkeys(COUNTERS, 0)
        self.deadlines: list[tuple[int, str, int]] = []
        self.marks_at_ms = self.wake_ms = 0
        self.ahead: list[int] = []

    def watch(self, close_at_ms: int, instrument: str, place: int) -> None:
        """Have the bar of this series looked at when log time passes `close_at_ms`."""
        heappush(self.deadlines, (close_at_ms, instrument, place))
        if close_at_ms < self.wake_ms:
            self.wake_ms = close_at_ms

    def set_wake(self) -> None:
        """Work out `wake_ms` anew."""
        first = self.deadlines[0][0] if self.deadlines else self.marks_at_ms
        self.wake_ms = min(first, self.marks_at_ms)


class _Instrument(msgspec.Struct, array_like=True):
    name: str
    trade_id: int
    quote_id: int
    ts: int
    reference: float
    price: str
    bid: str
    ask: str
    quote_until_ms: int
    id_regressions: int
    bar_starts: list[tuple[str, int]]
    gap: list[Any]
    refused: list[Any]
    builders: list[tuple[str, list[Any]]]
    kernels: list[tuple[str, str, list[Any]]]


class _Partition(msgspec.Struct, array_like=True):
    marks_at_ms: int
    counters: dict[str, int]
    dirty: list[str]
    instruments: list[_Instrument]
    ahead: list[int] = []


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Partition)

KernelKey = Callable[[Kernel], tuple[str, str]]


def encode_state(state: PartitionState, key_of: KernelKey) -> bytes:
    """Return the state as bytes; `key_of` gives strategy name and parameter hash of a kernel."""
    instruments = [_encode_instrument(state.instruments[name], key_of) for name in sorted(state.instruments)]
    return _encoder.encode(
        _Partition(
            marks_at_ms=state.marks_at_ms,
            counters={name: state.counters[name] for name in COUNTERS},
            dirty=[instrument.name for instrument in state.dirty],
            instruments=instruments,
            ahead=state.ahead,
        )
    )


def _encode_instrument(instrument: InstrumentState, key_of: KernelKey) -> _Instrument:
    return _Instrument(
        name=instrument.name,
        trade_id=instrument.trade_id,
        quote_id=instrument.quote_id,
        ts=instrument.ts,
        reference=instrument.reference,
        price=canonical(instrument.price),
        bid=canonical(instrument.bid),
        ask=canonical(instrument.ask),
        quote_until_ms=instrument.quote_until_ms,
        id_regressions=instrument.id_regressions,
        bar_starts=sorted(instrument.bar_starts.items()),
        gap=instrument.gap,
        refused=instrument.refused,
        builders=[(series.interval, series.builder.dump()) for series in instrument.series],
        kernels=[(*key_of(kernel), kernel.dump()) for _, kernel in instrument.kernels()],
    )


def decode_state(data: bytes, make: Callable[[str], InstrumentState], key_of: KernelKey) -> PartitionState:
    """Inverse of `encode_state`; `make` gives a fresh state of an instrument."""
    packed = _decoder.decode(data)
    state = PartitionState()
    state.marks_at_ms, state.ahead = packed.marks_at_ms, packed.ahead
    state.counters.update({name: count for name, count in packed.counters.items() if name in state.counters})
    for item in packed.instruments:
        instrument = state.instruments[item.name] = make(item.name)
        _load_instrument(instrument, item, key_of)
        for place, series in enumerate(instrument.series):
            if series.builder.end_ms > 0:
                state.deadlines.append((series.builder.close_at_ms, item.name, place))
    for name in packed.dirty:
        state.instruments[name].dirty = True
        state.dirty.append(state.instruments[name])
    heapify(state.deadlines)
    state.set_wake()
    return state


def _load_instrument(instrument: InstrumentState, item: _Instrument, key_of: KernelKey) -> None:
    for field in ("trade_id", "quote_id", "ts", "reference", "price", "bid", "ask", "quote_until_ms", "id_regressions"):
        setattr(instrument, field, getattr(item, field))
    instrument.bar_starts = dict(item.bar_starts)
    instrument.gap, instrument.refused = item.gap, item.refused
    builders = dict(item.builders)
    for series in instrument.series:
        if series.interval in builders:
            series.builder.load(builders[series.interval])
    kernels = {(name, params_hash): dump for name, params_hash, dump in item.kernels}
    for _, kernel in instrument.kernels():
        dump = kernels.get(key_of(kernel))
        if dump is not None:
            kernel.load(dump)
