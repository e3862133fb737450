"""An in-memory log for feeds that can die at any send, and the reading of what it holds."""

import json
from typing import Any

from processors.inbox import partition_of
from streams.feeds.base import FeedError
from streams.feeds.tail import PartitionTail, summarise
from streams.timebase import TimeBase


class Killed(BaseException):
    """The process ended here."""


class FakeLog:
    """Topics as lists. Records sent are unconfirmed until flush or the partition's next send, like the real one's.

    kill_after: die (Killed) when this many rows have been sent in all; of the rows unconfirmed then, `survivors`
    decides per partition how many landed (None: all). With `stop`, an event, set that instead of dying.
    """

    def __init__(self, partitions: int = 4) -> None:
        self.count = partitions
        self.topics: dict[str, list[list[tuple[bytes, bytes]]]] = {
            "market-data": [[] for _ in range(partitions)],
            "parked": [[]],
            "alerts": [[]],
        }
        self.beginnings: dict[tuple[str, int], int] = {}
        self.kill_after: int | None = None
        self.survivors: Any = None
        self.stop: Any = None
        self.sends = 0
        self.flushes = 0
        self._confirmed: dict[tuple[str, int], int] = {}

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    async def partitions(self, topic: str) -> int:
        return len(self.topics[topic])

    async def tails(self, topic: str) -> list[PartitionTail]:
        found = []
        for number, rows in enumerate(self.topics[topic]):
            begin = self.beginnings.get((topic, number), 0)
            found.append(summarise([value for _, value in rows[begin:]], begin, len(rows)))
        return found

    async def last_keys(self, topic: str, count: int) -> set[str]:
        return {key.decode() for rows in self.topics[topic] for key, _ in rows[-count:]}

    async def append(self, topic: str, partition: int, rows: Any) -> None:
        held = self.topics[topic][partition]
        self._confirmed[topic, partition] = len(held)  # one batch on its way at a time
        for row in rows:
            if self.kill_after is not None and self.sends >= self.kill_after:
                if self.stop is not None:
                    self.stop.set()
                else:
                    self._lose()
                    raise Killed
            held.append(row)
            self.sends += 1

    def _lose(self) -> None:
        for (topic, partition), confirmed in self._confirmed.items():
            held = self.topics[topic][partition]
            unconfirmed = len(held) - confirmed
            if self.survivors is not None and unconfirmed:
                del held[confirmed + self.survivors(unconfirmed) :]

    async def flush(self) -> None:
        self.flushes += 1
        for topic, partition in self._confirmed:
            self._confirmed[topic, partition] = len(self.topics[topic][partition])

    def messages(self, topic: str = "market-data") -> list[list[dict[str, Any]]]:
        return [[json.loads(value) for _, value in rows if value[-1:] == b"}"] for rows in self.topics[topic]]

    def market(self) -> list[list[dict[str, Any]]]:
        """The market records of each partition, without clocks."""
        return [[m for m in rows if m["type"] != "clock"] for rows in self.messages()]

    def partition(self, instrument: str) -> int:
        return partition_of(instrument.encode(), self.count)


class FailingLog(FakeLog):
    """A broker that stops confirming."""

    async def flush(self) -> None:
        raise FeedError("market-data/0: the broker did not confirm records")


class Time:
    """A wall clock that moves only when the feed pauses; `monotonic` runs along."""

    def __init__(self, seconds: float = 1_800_000_000.0) -> None:
        self.seconds = seconds
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.seconds

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.seconds += seconds


def open_base(folder: Any, feed: Any, log: FakeLog, time: Time, speed: float | None, origin_ms: int) -> TimeBase:
    """What streams.feeds.publisher.open_timebase does, on a fake log."""
    ends = []
    for number, rows in enumerate(log.topics["market-data"]):
        tail = summarise([value for _, value in rows[log.beginnings.get(("market-data", number), 0) :]])
        ends += [] if tail.now_ms is None else [tail.now_ms]
    return TimeBase.open(
        folder, "replayed", origin_ms, speed, max(ends, default=None), feed=feed.name, started=False, wall=time
    )
