"""Feeds from CSV and Parquet files of trades or bars.

Entry point: `TableFeed`.

Trades: timestamp_ms, price, size, side (the taker's: buy or sell), and id if the file has one (else its row count).

Bars: timestamp_ms (start), open, high, low, close, volume. A venue that fills orders needs trades and quotes, so each
bar is preceded by the shortest path its four prices allow, made anew in the same way every time:

1. A bar that rose or stood still went open, low, high, close; one that fell went open, high, low, close. The trades
   stand at the start, one third, two thirds, and the last millisecond of the bar; each has a quarter of its volume.
2. Before each trade stands a quote around its price: a taker buys at the ask and sells at the bid, so the trade's
   price is the ask after a rise and the bid after a fall; the other side is one tick away. Both sizes are the volume.
3. Then the bar itself, received at its end. Trades that are built into bars of the same interval give the same
   bar, so a reader takes each (instrument, interval, start) once.
4. A bar without volume had no trades: only the bar is sent.
5. Trade and quote ids are 4 x (start / interval) + 0..3: they rise with time, and a missing bar leaves a hole.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import islice, pairwise
from typing import Any, Final

from schemas.accounts import InstrumentChanged
from schemas.base import Message
from schemas.intervals import INTERVALS
from schemas.market import Bar, Quote, Trade
from schemas.reasons import Side
from streams.feeds.base import FeedError, check_input, parameter_hash
from streams.feeds.lines import Line
from streams.feeds.params import FeedParams
from streams.feeds.replayed import ReplayedFeed
from streams.feeds.tables import Row, Table

SAMPLED_ROWS: Final = 1_000
_NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{1,18})?")
_QUOTE_CURRENCIES: Final = ("USDT", "USDC", "BUSD", "USD", "EUR", "GBP", "JPY", "BTC", "ETH")
_FRACTION: Final = {"s": (1_000, 1), "ms": (1, 1), "us": (1, 1_000), "ns": (1, 1_000_000)}


class TableFeed(ReplayedFeed):
    """One file of one instrument; see streams.feeds.base.Feed.

    Raises:
        FeedError: not such a file, or nothing usable at its beginning.
    """

    def __init__(self, params: FeedParams) -> None:
        path = params.source
        super().__init__(path, loops=params.loops, limit=params.limit, shifted=params.times == "shifted")
        fingerprint = check_input(path)
        self._table = Table.open(path, params.columns)
        self._unit = _FRACTION[params.time_unit]
        self.instrument = params.instrument or instrument_from_name(path.name)
        sample = [row for _, row in islice(self._table.rows(), SAMPLED_ROWS) if not isinstance(row, str)]
        self.interval = ""
        self._interval_ms = 1
        self.step_ms = 1_000
        if self._table.kind == "bars":
            self.interval = params.interval or self._interval_of(sample)
            self.step_ms = self._interval_ms = INTERVALS[self.interval]
        bars = self._table.kind == "bars"
        prices = ("open", "high", "low", "close") if bars else ("price",)
        self._tick = params.tick or _finest(sample, prices)
        self._lot = params.lot or _finest(sample, ("volume" if bars else "size",))
        settings = parameter_hash(
            sorted(params.columns.items()), params.time_unit, self.instrument, self.interval, self._tick, params.times
        )
        self.name = f"file:{path.name}:{fingerprint}:{settings}"
        self.probe()

    def instruments(self, now_ms: int) -> tuple[InstrumentChanged, ...]:
        """Return rules with the price and size steps of the file; the file knows no other."""
        rules = InstrumentChanged(
            now_ms=now_ms,
            instrument=self.instrument,
            tick=self._tick,
            lot=self._lot,
            min_size=self._lot,
            min_notional=Decimal(0),
        )
        return (rules,)

    def read(self) -> Iterator[tuple[Line, Sequence[Message] | str]]:
        """Yield each row's messages at their recorded times, or the reason why it cannot be used."""
        convert = self._bar if self._table.kind == "bars" else self._trade
        count = 0
        for line, row in self._table.rows():
            if isinstance(row, str):
                yield line, row
                continue
            count += 1
            try:
                yield line, convert(row, count)
            except ValueError as error:
                yield line, str(error)

    def _trade(self, row: Row, count: int) -> Sequence[Message]:
        time_ms = self._time(row)
        side = row["side"].lower()
        if side not in ("buy", "sell"):
            raise ValueError(f"side must be buy or sell, not {row['side']!r}")
        trade_id = _whole("id", row["id"]) if "id" in row else count
        price = _number("price", row)
        size = _number("size", row)
        return (
            Trade(
                now_ms=time_ms,
                instrument=self.instrument,
                price=price,
                size=size,
                side=Side(side),
                id=trade_id,
                ts=time_ms,
            ),
        )

    def _bar(self, row: Row, _count: int) -> Sequence[Message]:
        start = self._time(row)
        if start % self._interval_ms:
            raise ValueError(f"timestamp_ms {start} is not the start of a {self.interval} bar")
        opened, high, low, close, volume = (_number(n, row) for n in ("open", "high", "low", "close", "volume"))
        bar = Bar(
            now_ms=start + self._interval_ms,
            instrument=self.instrument,
            interval=self.interval,
            start_ms=start,
            end_ms=start + self._interval_ms,
            open=opened,
            high=high,
            low=low,
            close=close,
            volume=volume,
            trades=4 if volume > 0 else 0,
        )
        return (*self._path(bar), bar) if volume > 0 else (bar,)

    def _path(self, bar: Bar) -> list[Message]:
        middle = (bar.low, bar.high) if bar.close >= bar.open else (bar.high, bar.low)
        third = self._interval_ms // 3
        times = (bar.start_ms, bar.start_ms + third, bar.start_ms + 2 * third, bar.end_ms - 1)
        number = 4 * (bar.start_ms // self._interval_ms)
        size = bar.volume / 4  # exact: a quarter adds at most two digits
        before = bar.open
        path: list[Message] = []
        for step, (time_ms, price) in enumerate(zip(times, (bar.open, *middle, bar.close), strict=True)):
            rose = price >= before and price > self._tick
            bid, ask = (price - self._tick, price) if rose else (price, price + self._tick)
            common: dict[str, Any] = {
                "now_ms": time_ms,
                "instrument": self.instrument,
                "id": number + step,
                "ts": time_ms,
            }
            path.append(Quote(bid=bid, bid_size=bar.volume, ask=ask, ask_size=bar.volume, **common))
            path.append(Trade(price=price, size=size, side=Side.BUY if rose else Side.SELL, **common))
            before = price
        return path

    def _time(self, row: Row) -> int:
        text = row["timestamp_ms"]
        if text.startswith("@"):  # a Parquet time, which knows its own unit
            value = int(text[1:])
        else:
            times, divided = self._unit
            value = _whole("timestamp_ms", text) * times // divided
        if not 10**11 <= value <= 10**14:
            raise ValueError(f"timestamp_ms {text!r} is no time between 1973 and 5138: is feed.time_unit right?")
        return value

    def _interval_of(self, sample: Sequence[Row]) -> str:
        times = []
        for row in sample:
            try:
                times.append(self._time(row))
            except ValueError:
                continue
        steps = [later - earlier for earlier, later in pairwise(times) if later > earlier]
        names = {length: name for name, length in INTERVALS.items() if length > 0}
        step = Counter(steps).most_common(1)[0][0] if steps else 0
        if step not in names:
            found = f"rows are {step} ms apart" if step else "no two rows have rising times"
            raise FeedError(
                f"{self.path}: {found}, which is no interval of ours ({', '.join(names.values())}): give feed.interval"
            )
        return names[step]


def instrument_from_name(name: str) -> str:
    """Return an instrument for a file: `btcusd-5m-2025.csv.gz` -> `file:BTC/USD`, `gold.csv` -> `file:GOLD`."""
    symbol = re.split(r"[-_. ]", name, maxsplit=1)[0].upper() or "UNNAMED"
    for quote in _QUOTE_CURRENCIES:
        if symbol.endswith(quote) and symbol != quote:
            return f"file:{symbol.removesuffix(quote)}/{quote}"
    return f"file:{symbol}"


def _number(name: str, row: Row) -> Decimal:
    text = row[name]
    if _NUMBER.fullmatch(text) is None:
        raise ValueError(f"{name} must be a plain number of zero or more, not {text[:60]!r}")
    return Decimal(text)


def _whole(name: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 19:
        raise ValueError(f"{name} must be a whole number, not {text[:60]!r}")
    return int(text)


def _finest(sample: Sequence[Row], names: Sequence[str]) -> Decimal:
    """Return the finest step that the sampled numbers show, e.g. 0.01."""
    digits = 0
    for row in sample:
        for name in names:
            if _NUMBER.fullmatch(row[name]):
                digits = max(digits, len(row[name].partition(".")[2]))
    return Decimal(1).scaleb(-digits)
