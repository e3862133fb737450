"""Replays raw WebSocket messages through the venue's mapper, as a live socket would deliver them.

Entry point: `RecordingFeed`. Format (.jsonl, .jsonl.gz), one line per message, in the order received:
`{"received_ns": nanoseconds since the epoch, "message": the payload exactly as it came off the wire}`
"""

from collections.abc import Iterator, Sequence
from typing import Annotated

import msgspec

import processors.venues
from processors.registry import discover
from processors.venues import Mapper, Venue
from schemas.accounts import InstrumentChanged
from schemas.base import Message
from schemas.codec import BadRecord
from streams.feeds.base import FeedError, check_input, parameter_hash
from streams.feeds.lines import MAX_LINE, Line, read_lines
from streams.feeds.params import FeedParams
from streams.feeds.replayed import ReplayedFeed


class _Recorded(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    received_ns: Annotated[int, msgspec.Meta(ge=10**17, le=9 * 10**18)]
    message: msgspec.Raw


_decode = msgspec.json.Decoder(_Recorded).decode


class RecordingFeed(ReplayedFeed):
    """One recording of one venue; see streams.feeds.base.Feed.

    Raises:
        FeedError: no such file or venue, or nothing usable at its beginning.
    """

    step_ms = 1_000

    def __init__(self, params: FeedParams) -> None:
        path = params.source
        super().__init__(path, loops=params.loops, limit=params.limit, shifted=params.times == "shifted")
        venues: dict[str, Venue] = discover(processors.venues, "VENUE")
        if params.venue not in venues:
            raise FeedError(f"unknown venue {params.venue!r} (known: {', '.join(sorted(venues))})")
        self._venue = venues[params.venue]
        self._symbols = params.symbols
        fingerprint = check_input(path)
        settings = parameter_hash(params.venue, sorted(params.symbols.items()), params.times)
        self.name = f"recording:{path.name}:{fingerprint}:{settings}"
        self.probe()
        self.ignored = {}

    def instruments(self, now_ms: int) -> tuple[InstrumentChanged, ...]:
        """Return the venue's trading rules."""
        return self._venue.instruments(now_ms)

    def read(self) -> Iterator[tuple[Line, Sequence[Message] | str]]:
        """Yield each line with its messages at their recorded times, or with the reason why it cannot be used."""
        mapper = self._venue.mapper(self._symbols)
        try:
            for line in read_lines(self.path):
                yield line, _map(mapper, line)
        finally:
            for reason, count in mapper.ignored.items():
                self.ignored[reason] = self.ignored.get(reason, 0) + count


def _map(mapper: Mapper, line: Line) -> Sequence[Message] | str:
    if line.sha256 is not None:
        return f"line of {line.size} bytes is longer than {MAX_LINE}"
    try:
        recorded = _decode(line.data)
        return mapper.map(recorded.message, recorded.received_ns // 1_000_000)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return f"not a recorded message: {error}"
    except BadRecord as error:
        return str(error)
