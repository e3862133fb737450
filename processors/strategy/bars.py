"""Trades, or finer bars, to closed bars, by the venue's own time.

Entry points: `BarBuilder` (one instrument, one interval), `ClosedBar`.

1. A bar is open from its first trade until a trade of a later bar comes, or until log time passes `close_at_ms`.
2. `close_at_ms` = end of the bar + grace + (log time - venue time of the bar's first trade). The venue's clock and ours
   may differ by seconds in either direction; only their difference, as last seen, tells when the venue's bar is over.
3. What is older than the open bar, or than the last closed one, is late: never applied, answered with False.
4. Every interval is built from one source: the feed's own bars of that interval before its bars of a finer interval
   before trades. The best source seen so far is followed, the others are ignored; an open bar of a lesser source is
   dropped when a better one appears.
5. Prices stay the text they were received as; only volume is added up (Decimal). Empty intervals give no bar.
"""

from decimal import Decimal
from typing import Any, Final, NamedTuple

FROM_TRADES: Final = 1 << 62
"""Source of a builder fed by trades: coarser than any interval, so that every bar source is better."""


class ClosedBar(NamedTuple):
    """One closed bar; `start_ms` inclusive, `end_ms` exclusive, venue time. Prices as text and as floats."""

    start_ms: int
    end_ms: int
    open: str
    high: str
    low: str
    close: str
    open_price: float
    high_price: float
    low_price: float
    close_price: float
    volume: Decimal
    trades: int


class BarBuilder:
    """Builds the bars of one interval (not tick) of one instrument.

    floor_ms: what is older is late. end_ms: end of the open bar; 0 when none is open. source_ms: length of the bars it
    is built from, `FROM_TRADES` for trades, 0 while nothing was seen.
    """

    __slots__ = (
        "close", "close_at_ms", "close_price", "end_ms", "floor_ms", "grace_ms", "high", "high_price", "interval_ms",
        "late", "low", "low_price", "open", "open_price", "source_ms", "trades", "volume",
    )  # fmt: skip

    def __init__(self, interval_ms: int, grace_ms: int) -> None:
        self.interval_ms = interval_ms
        self.grace_ms = grace_ms
        self.floor_ms = self.end_ms = self.close_at_ms = 0
        self.source_ms = 0
        self.late = self.trades = 0
        self.open = self.high = self.low = self.close = ""
        self.open_price = self.high_price = self.low_price = self.close_price = 0.0
        self.volume = Decimal(0)

    def add_trade(self, ts: int, now_ms: int, text: str, price: float, size: str) -> ClosedBar | bool:
        """Take a trade; return the bar it closes, True if it closes none, False if it is late."""
        if self.floor_ms <= ts < self.end_ms:
            if price > self.high_price:
                self.high, self.high_price = text, price
            if price < self.low_price:
                self.low, self.low_price = text, price
            self.close, self.close_price = text, price
            self.volume += Decimal(size)
            self.trades += 1
            return True
        if ts < self.floor_ms:
            return self._is_late()
        closed = self.finish() if self.end_ms > 0 else True
        start_ms = ts - ts % self.interval_ms
        self._open(ClosedBar(start_ms, 0, text, text, text, text, price, price, price, price, Decimal(size), 1),
                   now_ms - ts)  # fmt: skip
        return closed

    def add_bar(self, bar: ClosedBar, now_ms: int) -> list[ClosedBar] | bool:
        """Take a finer bar, aligned; return the bars it closes (at most two), False if it is late."""
        if bar.start_ms < self.floor_ms:
            return self._is_late()
        closed: list[ClosedBar] = []
        if self.end_ms > 0 and bar.start_ms >= self.end_ms:
            closed.append(self.finish())
        if self.end_ms > 0:
            if bar.high_price > self.high_price:
                self.high, self.high_price = bar.high, bar.high_price
            if bar.low_price < self.low_price:
                self.low, self.low_price = bar.low, bar.low_price
            self.close, self.close_price = bar.close, bar.close_price
            self.volume += bar.volume
            self.trades += bar.trades
        else:
            start_ms = bar.start_ms - bar.start_ms % self.interval_ms
            self._open(bar._replace(start_ms=start_ms), now_ms - bar.end_ms)
        if bar.end_ms >= self.end_ms:
            closed.append(self.finish())
        return closed

    def pass_bar(self, bar: ClosedBar) -> bool:
        """Take a closed bar of this very interval, made by the feed; False if it is late."""
        if bar.start_ms < self.floor_ms:
            return self._is_late()
        self.end_ms, self.floor_ms = 0, bar.end_ms
        return True

    def follow(self, source_ms: int) -> bool:
        """Return whether bars of `source_ms` (or `FROM_TRADES`) are this builder's source; take a better one over."""
        if source_ms == self.source_ms:
            return True
        if self.source_ms not in (0, FROM_TRADES) and source_ms != self.interval_ms:
            return False
        if self.end_ms > 0:
            self.floor_ms, self.end_ms = self.end_ms - self.interval_ms, 0
        self.source_ms = source_ms
        return True

    def finish(self) -> ClosedBar:
        """Close the open bar and return it."""
        closed = ClosedBar(
            self.end_ms - self.interval_ms, self.end_ms, self.open, self.high, self.low, self.close,
            self.open_price, self.high_price, self.low_price, self.close_price, self.volume, self.trades,
        )  # fmt: skip
        self.floor_ms, self.end_ms = self.end_ms, 0
        return closed

    def _open(self, first: ClosedBar, behind_ms: int) -> None:
        """Open the bar that begins with `first`; the venue's time was `behind_ms` behind log time."""
        self.floor_ms = first.start_ms
        self.end_ms = first.start_ms + self.interval_ms
        self.close_at_ms = self.end_ms + self.grace_ms + behind_ms
        self.open, self.high, self.low, self.close = first.open, first.high, first.low, first.close
        self.open_price, self.high_price = first.open_price, first.high_price
        self.low_price, self.close_price = first.low_price, first.close_price
        self.volume, self.trades = first.volume, first.trades

    def _is_late(self) -> bool:
        self.late += 1
        return False

    def dump(self) -> list[Any]:
        """Return the state as numbers and strings."""
        head: list[Any] = [self.source_ms, self.floor_ms, self.late, self.end_ms]
        if self.end_ms == 0:
            return head
        texts = [canonical(text) for text in (self.open, self.high, self.low, self.close)]
        return [*head, self.close_at_ms, *texts, str(self.volume), self.trades]

    def load(self, dump: list[Any]) -> None:
        """Inverse of `dump`."""
        self.source_ms, self.floor_ms, self.late, self.end_ms = dump[:4]
        if self.end_ms != 0:
            self.close_at_ms, self.open, self.high, self.low, self.close, volume, self.trades = dump[4:]
            self.open_price, self.high_price = float(self.open), float(self.high)
            self.low_price, self.close_price = float(self.low), float(self.close)
            self.volume = Decimal(volume)


def canonical(text: str) -> str:
    """Return the one spelling of a number that Decimal has ("1e5", "1_0" and " 1" are read, but never written)."""
    return str(Decimal(text)) if text else ""
