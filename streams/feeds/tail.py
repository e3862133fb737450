"""How far the log holds a feed, read from the end of `market-data`, purely.

Entry points: `PartitionTail`, `summarise`, `Resume`.

1. A checkpoint is a Clock with a position. It is sent only after the broker has confirmed every record up to that
   position, in all partitions; so in its own partition nothing up to it is missing.
2. Behind a partition's last checkpoint stand some of the next records. They are known by (kind, instrument, id),
   counted, so that a feed which has one id twice gets both.
3. A restart goes on behind the lowest checkpoint and leaves out what a partition's checkpoint or count covers.
4. Others may have written records with absurd times. Only a Clock moves the log time that is found here by more than a
   day, and a checkpoint, behind which everything is older, takes such a move back.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from processors.inbox import LATEST_MS
from processors.market_time import AHEAD_MS
from streams.feeds.base import BAR, QUOTE, TRADE, FeedError, FeedRecord

Identity = tuple[int, str, int]
MOST_BEHIND: Final = 25_000
"""No more records than this stand behind a checkpoint (publisher.CHECKPOINT_RECORDS and two slices, with room)."""

_KINDS: Final = {"trade": TRADE, "quote": QUOTE, "bar": BAR}


class _Head(msgspec.Struct):
    type: str
    now_ms: int
    instrument: str = ""
    id: int = 0
    end_ms: int = 0
    feed: str = ""
    position: int = -1


_head = msgspec.json.Decoder(_Head)


class PartitionTail(msgspec.Struct, kw_only=True):
    """What the end of one partition says.

    `beginning` and `end` are its first and next offset; `position` and `feed` are of its last checkpoint, -1 and ""
    if it has none; `after` counts the records behind that; `now_ms` is the largest log time seen, None without any.
    """

    beginning: int = 0
    end: int = 0
    position: int = -1
    feed: str = ""
    now_ms: int | None = None
    after: Counter[Identity] = msgspec.field(default_factory=Counter)


def summarise(values: Iterable[bytes | None], beginning: int = 0, end: int = 0) -> PartitionTail:
    """Return what `values`, the last records of a partition in order, say. What cannot be read is left out."""
    tail = PartitionTail(beginning=beginning, end=end)
    for value in values:
        try:
            head = _head.decode(value or b"")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        if not 0 <= head.now_ms < LATEST_MS:
            continue
        if tail.now_ms is None or tail.now_ms < head.now_ms < tail.now_ms + AHEAD_MS or head.type == "clock":
            tail.now_ms = max(head.now_ms, tail.now_ms or 0)
        if head.type == "clock" and head.position >= 0:
            if tail.now_ms > head.now_ms + AHEAD_MS:
                tail.now_ms = head.now_ms
            tail.position = head.position
            tail.feed = head.feed
            tail.after.clear()
        elif head.type in _KINDS:
            kind = _KINDS[head.type]
            tail.after[kind, head.instrument, head.end_ms if kind == BAR else head.id] += 1
    return tail


class Resume:
    """Where a feed goes on, and what of it the log holds already.

    Raises:
        FeedError: the log is not this feed's, or not of this time base.
    """

    def __init__(self, tails: Sequence[PartitionTail], feed: str, origin_ms: int, saved_position: int) -> None:
        """`origin_ms` and `saved_position` are the time base's: when the feed began, and what it wrote down last.

        A partition that retention has emptied says nothing: there the saved position counts.
        """
        if saved_position >= 0 and all(tail.end == 0 for tail in tails):
            raise FeedError(
                f"timebase.json says that the feed has come to record {saved_position}, but market-data is empty: "
                "this is another broker or its data is gone; start afresh with --reset or another data folder"
            )
        for number, tail in enumerate(tails):
            if tail.feed and tail.feed != feed:
                raise FeedError(
                    f"market-data/{number} holds the feed {tail.feed}, this start asks for {feed}; one log has one "
                    "feed's time: start afresh with --reset, or use another data folder and broker"
                )
            if tail.now_ms is not None and tail.now_ms < origin_ms:
                raise FeedError(
                    f"market-data/{number} ends at log time {tail.now_ms}, before this time base began ({origin_ms}): "
                    "start afresh with --reset, or use another data folder and broker"
                )
        self._reached = [
            saved_position if tail.position < 0 and tail.beginning > 0 else tail.position for tail in tails
        ]
        self._after = [Counter(tail.after) for tail in tails]
        self._left = sum(counter.total() for counter in self._after)
        self._covered = max(self._reached, default=-1)
        self.position = min(self._reached, default=-1)
        self._given_up = self._covered + MOST_BEHIND
        self.now_ms = max((tail.now_ms for tail in tails if tail.now_ms is not None), default=None)

    @property
    def over(self) -> bool:
        """Whether everything that the log held already has been met, so that `holds` need not be asked.

        Before that there must be no new checkpoint: records behind it would stand before it in the log. Others may
        have written records that the feed never gives; they are waited for no longer than `MOST_BEHIND` records.
        """
        return self.position >= self._covered and (self._left == 0 or self.position > self._given_up)

    def holds(self, position: int, partition: int, record: FeedRecord) -> bool:
        """Whether the log has this record; asked once per record, in order."""
        self.position = position
        if position <= self._reached[partition]:
            return True
        counter = self._after[partition]
        identity = (record.kind, record.key, record.ident)
        if counter.get(identity, 0) > 0:
            counter[identity] -= 1
            self._left -= 1
            return True
        return False
