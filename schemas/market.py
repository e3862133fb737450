"""Market data, as mapped from a venue's payload by `processors/venues/`.

`ts` is the venue's own time (ms), `now_ms` is log time when the record was received; neither replaces the other.
An instrument is `venue:SYMBOL`, e.g. `binanceusdm:BTC/USDT:USDT`.
"""

from decimal import Decimal

from schemas.base import Message, require_not_negative, require_positive
from schemas.reasons import Side


class Trade(Message, frozen=True, kw_only=True, tag="trade", gc=False):
    """A public trade. `side` is the taker's; `id` is the venue's trade id and rises per instrument."""

    instrument: str
    price: Decimal
    size: Decimal
    side: Side
    id: int
    ts: int

    def __post_init__(self) -> None:
        require_positive("price", self.price)
        require_positive("size", self.size)


class Quote(Message, frozen=True, kw_only=True, tag="quote", gc=False):
    """Best bid and ask. `id` is the venue's update id and rises per instrument. Sizes may be zero."""

    instrument: str
    bid: Decimal
    bid_size: Decimal
    ask: Decimal
    ask_size: Decimal
    id: int
    ts: int

    def __post_init__(self) -> None:
        require_positive("bid", self.bid)
        require_positive("ask", self.ask)
        require_not_negative("bid_size", self.bid_size)
        require_not_negative("ask_size", self.ask_size)


class Bar(Message, frozen=True, kw_only=True, tag="bar"):
    """A closed bar: `start_ms` inclusive, `end_ms` exclusive, in the venue's time; volume in base units."""

    instrument: str
    interval: str
    start_ms: int
    end_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    trades: int = 0

    def __post_init__(self) -> None:
        for name in ("open", "high", "low", "close"):
            require_positive(name, getattr(self, name))
        require_not_negative("volume", self.volume)
        if not self.low <= min(self.open, self.close) <= max(self.open, self.close) <= self.high:
            raise ValueError("bar must satisfy low <= open, close <= high")
        if self.end_ms <= self.start_ms:
            raise ValueError("bar must end after it starts")


class FeedGap(Message, frozen=True, kw_only=True, tag="feed_gap"):
    """Market data is missing between two ids (or times) of an instrument."""

    instrument: str
    reason: str
    after_id: int = 0
    before_id: int = 0


class Clock(Message, frozen=True, kw_only=True, tag="clock"):
    """Log time moved, though nothing may have traded. `feed` and `position` tell how far the feed has come."""

    feed: str = ""
    position: int = -1


class Mark(Message, frozen=True, kw_only=True, tag="mark"):
    """Best bid and ask of one instrument inside `Marks`; `now_ms` is that of the quote."""

    instrument: str
    bid: Decimal
    ask: Decimal


class Marks(Message, frozen=True, kw_only=True, tag="marks"):
    """Conflated best bid and ask of the instruments of one market-data partition that changed."""

    marks: tuple[Mark, ...]
