"""Feeds that replay a file: shifting into log time, loops, positions, parked lines; subclasses know what is in it.

Entry point: `ReplayedFeed`.

1. Every time in a message (received, venue's, a bar's borders) is shifted by the same amount, so that what the
   recording's clocks differed by is kept. The amount is a multiple of `step_ms`.
2. Loop k adds k x period to the times and k x (last - first + 1) to the ids of each instrument and kind. The period
   is the recording's span rounded up to `step_ms`, so neither received nor venue time overlaps.
3. A line that cannot be used is parked in the first loop (its later appearances are the same line) and the feed goes
   on. The same holds for a line whose time is more than `MAX_JUMP_MS` ahead of the last one: it would stop the clock.
4. Where received time runs backwards, `now_ms` stays at the largest seen; counted, and told once as an alert.
"""

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from msgspec.structs import force_setattr

from schemas.base import Message
from schemas.codec import encode
from schemas.market import Bar, Quote, Trade
from schemas.system import Alert
from streams.feeds.base import ALERT, BAR, QUOTE, TRADE, FeedError, FeedRecord
from streams.feeds.lines import Line, parked_line

MAX_JUMP_MS: Final = 30 * 86_400_000
PROBED_LINES: Final = 1_000

_KINDS: Final[dict[type[Message], int]] = {Trade: TRADE, Quote: QUOTE, Bar: BAR}


class _Span:
    """Lowest and highest value seen of one thing."""

    __slots__ = ("high", "low")

    def __init__(self, value: int) -> None:
        self.low = self.high = value

    @property
    def width(self) -> int:
        return self.high - self.low


class _Pass:
    """What one pass over the file has learnt; the first one's spans give the loops their shifts."""

    def __init__(self) -> None:
        self.ids: dict[tuple[int, str], _Span] = {}
        self.received: _Span | None = None
        self.venue: _Span | None = None
        self.count = 0  # market records

    def period_ms(self, step_ms: int) -> int:
        widths = [span.width for span in (self.received, self.venue) if span is not None]
        return max(1, -(-max(widths) // step_ms)) * step_ms

    def note(self, kind: int, key: str, ident: int, received: int, venue: int) -> None:
        self.count += 1
        span = self.ids.get((kind, key))
        if span is None:
            self.ids[kind, key] = _Span(ident)
        elif ident > span.high:
            span.high = ident
        elif ident < span.low:
            span.low = ident
        if self.received is None or self.venue is None:
            self.received, self.venue = _Span(received), _Span(venue)
            return
        self.received.high = max(self.received.high, received)
        if venue > self.venue.high:
            self.venue.high = venue
        elif venue < self.venue.low:
            self.venue.low = venue


class ReplayedFeed:
    """Base of the feeds that replay a file; see the module's invariants and streams.feeds.base.Feed."""

    name: str
    step_ms: int

    def __init__(self, path: Path, *, loops: bool, limit: int | None, shifted: bool) -> None:
        self.path = path
        self.loops = loops
        self.limit = limit
        self.shifted = shifted
        self.origin_ms = 0
        self.backwards = 0
        self.ignored: dict[str, int] = {}

    def read(self) -> Iterator[tuple[Line, Sequence[Message] | str]]:
        """Yield each line with its messages at their recorded times, or with the reason why it cannot be used."""
        raise NotImplementedError

    def probe(self) -> Sequence[Message]:
        """Set `origin_ms` from the first usable line and return its messages.

        Raises:
            FeedError: none of the first lines can be used.
        """
        trouble = ""
        for count, (line, found) in enumerate(self.read()):
            if not isinstance(found, str) and found:
                self.origin_ms = found[0].now_ms
                return found
            if isinstance(found, str):
                trouble = trouble or f"{self.path}:{line.number}: {found}"
            if count >= PROBED_LINES and trouble:
                break
        raise FeedError(f"no usable record in {self.path}: {trouble or 'no line gives a message'}")

    def records(self, origin_ms: int, after: int = -1) -> Iterator[FeedRecord]:
        """Return the records behind position `after`; see streams.feeds.base.Feed."""
        records = self._records(origin_ms, after)
        return records if self.limit is None else _take(records, self.limit - after - 1)

    def _records(self, origin_ms: int, after: int) -> Iterator[FeedRecord]:
        first = _Pass()
        shift = origin_ms - self.origin_ms
        position = yield from self._one_pass(first, shift, {}, -1, after, told=True)
        if not self.loops:
            return
        period = first.period_ms(self.step_ms)
        done = max(0, (after - position) // first.count)
        position += done * first.count
        loop = done + 1
        while True:
            ids = {key: (span.width + 1) * loop for key, span in first.ids.items()}
            position = yield from self._one_pass(None, shift + loop * period, ids, position, after, told=False)
            loop += 1

    def _one_pass(
        self,
        learn: _Pass | None,
        shift: int,
        ids: dict[tuple[int, str], int],
        position: int,
        after: int,
        *,
        told: bool,
    ) -> Generator[FeedRecord, None, int]:
        """Yield the records of one pass behind `after`; return the position of its last one."""
        last = 0
        alerted = not told
        for line, found in self.read():
            if not isinstance(found, str) and found and last and found[0].now_ms > last + MAX_JUMP_MS:
                found = f"time {found[0].now_ms} is {(found[0].now_ms - last) // 86_400_000} days after the line before"
            if isinstance(found, str):
                if told:
                    position += 1
                    if position > after:
                        yield parked_line(self.path, line, found, (last or self.origin_ms) + shift)
                continue
            for message in found:
                received = message.now_ms
                if received < last:
                    self.backwards += 1
                    if not alerted:
                        alerted = True
                        position += 1
                        if position > after:
                            yield self._backwards(line, last, received, shift)
                    received = last
                last = received
                position += 1
                record = self._shift(message, received, shift, ids, learn, position > after)
                if record is not None:
                    yield record
        return position

    @staticmethod
    def _shift(
        message: Any,
        received: int,
        shift: int,
        ids: dict[tuple[int, str], int],
        learn: _Pass | None,
        wanted: bool,
    ) -> FeedRecord | None:
        """Move a message we have just made (so it may be changed) into log time; None if it is not `wanted`."""
        kind = _KINDS[type(message)]
        key = message.instrument
        ident = message.end_ms if kind == BAR else message.id
        if learn is not None:
            learn.note(kind, key, ident, received, ident if kind == BAR else message.ts)
        if not wanted:
            return None
        now_ms = received + shift
        force_setattr(message, "now_ms", now_ms)
        if kind == BAR:
            ident += shift
            force_setattr(message, "start_ms", message.start_ms + shift)
            force_setattr(message, "end_ms", ident)
        else:
            force_setattr(message, "ts", message.ts + shift)
            if ids:
                ident += ids[kind, key]
                force_setattr(message, "id", ident)
        return FeedRecord(kind, now_ms, key, ident, encode(message))

    def _backwards(self, line: Line, last: int, received: int, shift: int) -> FeedRecord:
        source = f"{self.path.name}:{line.number}"
        alert = Alert(
            now_ms=last + shift,
            kind="feed_time_backwards",
            severity="warning",
            source=source,
            text=f"received time ran backwards by {last - received} ms; log time stands still until it is caught up "
            "(later ones in this file are only counted)",
            numbers={"before_ms": str(last), "received_ms": str(received)},
        )
        return FeedRecord(ALERT, last + shift, source, line.number, encode(alert))


def _take(records: Iterator[FeedRecord], count: int) -> Iterator[FeedRecord]:
    if count <= 0:
        return
    for record in records:
        yield record
        count -= 1
        if count == 0:
            return
