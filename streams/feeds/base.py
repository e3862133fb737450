"""What a feed is: an endless or ending, deterministic sequence of records, shifted into log time.

Entry points: `Feed`, `FeedRecord`, `FeedError`, `FeedResult`, `check_input`.

1. The same parameters and origin give the same records, so "how far" is one number: `position`, the ordinal of a
   record in the whole sequence (parked lines and alerts count too), from 0. -1 is "nothing yet".
2. `now_ms` never falls from one record to the next.
3. Ids of an instrument rise over the whole sequence, loops included, exactly as they rise within the input.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from schemas.accounts import InstrumentChanged

TRADE: Final = 0
QUOTE: Final = 1
BAR: Final = 2
PARKED: Final = 3
ALERT: Final = 4
MARKET_KINDS: Final = (TRADE, QUOTE, BAR)


class FeedError(RuntimeError):
    """The feed cannot go on: the input is wrong, or the log holds something else. The text says what, where, mend."""


class FeedRecord(msgspec.Struct, gc=False):
    """One record to publish. `key` is the instrument (or the source, on `parked` and `alerts`).

    `ident` tells a record from the others of its kind and key: trade id, quote id, end of the bar; for parked lines
    and alerts the line number.
    """

    kind: int
    now_ms: int
    key: str
    ident: int
    value: bytes


class FeedResult(msgspec.Struct, kw_only=True):
    """How far a run came. `sent` counts market records (clocks apart), `skipped` those the log held already.

    `ignored` counts input that means nothing to us by reason, `backwards` input records whose time ran backwards.
    `finished` tells that the input ended (or the limit was reached), not the caller's stop.
    """

    feed: str
    sent: int = 0
    clocks: int = 0
    parked: int = 0
    alerts: int = 0
    skipped: int = 0
    backwards: int = 0
    position: int = -1
    now_ms: int = 0
    finished: bool = False
    ignored: dict[str, int] = {}


class Feed(Protocol):
    """One source of market data.

    name: identity of kind, input and every parameter that changes the records; it stands in each Clock.
    origin_ms: the recorded time of the first record (0 where times are relative).
    step_ms: shifts are a multiple of this, so that bars keep their borders.
    shifted: whether its times are moved to begin near wall time.
    ignored, backwards: see FeedResult.
    """

    name: str
    origin_ms: int
    step_ms: int
    shifted: bool
    ignored: dict[str, int]
    backwards: int

    def instruments(self, now_ms: int) -> tuple[InstrumentChanged, ...]:
        """Return the trading rules of the instruments it carries, as far as they are known."""
        ...

    def records(self, origin_ms: int, after: int = -1) -> Iterator[FeedRecord]:
        """Return the records behind position `after`; `origin_ms` is the log time of the first one of all.

        Raises:
            FeedError: the input cannot be read on.
        """
        ...


def log_origin(feed: Feed, wall_ms: int) -> int:
    """Return the log time of the first record: at most one `step_ms` before `wall_ms`, or as recorded."""
    if not feed.shifted:
        return feed.origin_ms
    return feed.origin_ms + (wall_ms - feed.origin_ms) // feed.step_ms * feed.step_ms


def check_input(path: Path) -> str:
    """Return a short fingerprint of the file: its size, beginning and end.

    Raises:
        FeedError: it is missing, no file, not readable, or empty.
    """
    try:
        if path.is_dir():
            raise FeedError(f"{path} is a folder: name a recording (.jsonl, .csv or .parquet, the first two also .gz)")
        size = path.stat().st_size
        with path.open("rb") as file:
            digest = hashlib.blake2b(size.to_bytes(8, "big"), digest_size=6)
            digest.update(file.read(1 << 20))
            if size > 1 << 20:
                file.seek(max(size - (1 << 20), 1 << 20))
                digest.update(file.read())
    except OSError as error:
        raise FeedError(f"{path}: {error.strerror or error}; name an existing, readable file") from error
    if size == 0:
        raise FeedError(f"{path} is empty: name a recording with at least one record")
    return digest.hexdigest()


def parameter_hash(*parts: Any) -> str:
    """Return a short hash of the parameters that change a feed's records."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=4).hexdigest()
