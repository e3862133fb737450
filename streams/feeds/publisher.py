"""Runs a feed: paces its records by log time, publishes them with clocks, and goes on where the log ended.

Entry points: `open_feed`, `open_timebase` (whoever starts a run), `run_feed`; `FeedRun` is the loop itself, with the
log, the time base and the pause given in.

1. A record is published when log time has reached its `now_ms` (at speed "max": at once), in slices of some 5 ms.
2. When log time has passed a multiple of `clock_interval_ms`, every partition gets a Clock with that time, before any
   record that is later. Several passed at once make one Clock.
3. Some clocks are checkpoints (tail.py): before them the broker has confirmed all that they speak of. There is one at
   least every `CHECKPOINT_RECORDS` records, at most every `CHECKPOINT_S` seconds else, and one at the end.
4. A restart publishes exactly what the log does not hold. Parked lines and alerts too, as far as the last
   `SIDE_RECORDS` of their topics tell.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from processors.inbox import partition_of
from schemas.codec import encode
from schemas.market import Clock
from streams.feeds.base import ALERT, PARKED, Feed, FeedError, FeedRecord, FeedResult, log_origin
from streams.feeds.files import TableFeed
from streams.feeds.log import FeedLog, KafkaFeedLog
from streams.feeds.params import FeedParams
from streams.feeds.recording import RecordingFeed
from streams.feeds.simulated import SimulatedFeed
from streams.feeds.tail import Resume
from streams.timebase import TimeBase

TOPIC: Final = "market-data"
SIDE_TOPICS: Final = {PARKED: "parked", ALERT: "alerts"}
TIME_TOPICS: Final = (TOPIC, "account-events")  # what feeds and the impure writers stamp with log time
SLICE_S: Final = 0.005
SLICE_RECORDS: Final = 2_000
IDLE_S: Final = 0.25
CHECKPOINT_RECORDS: Final = 10_000
CHECKPOINT_S: Final = 0.25
SAVE_S: Final = 5.0
STATUS_S: Final = 1.0
SIDE_RECORDS: Final = 2_000

NEVER: Final = 1 << 62  # later than any log time

Throttle = Callable[[int], Awaitable[None]]


def open_feed(params: FeedParams) -> Feed:
    """Return the feed that `params` describe.

    Raises:
        FeedError: its file is missing or not what it should be; one sentence with the mend.
    """
    if params.kind == "simulated":
        return SimulatedFeed(params)
    name = params.source.name.lower()
    if params.kind == "recording" or name.endswith((".jsonl", ".jsonl.gz")):
        return RecordingFeed(params)
    return TableFeed(params)


async def open_timebase(
    params: FeedParams,
    bootstrap: str,
    data_dir: Path | str,
    *,
    security: Mapping[str, Any] | None = None,
) -> TimeBase:
    """Begin a run of this feed in a data folder: a new time base, or the old one from where the log ended.

    Log time stands until `run_feed` has its first record.
    The topics must exist. Once per run, before anything stamps log time; others call `TimeBase.load`.

    Raises:
        FeedError: the feed or the log cannot be read.
        TimeBaseError: the folder holds another feed's or another kind of time.
    """
    feed = open_feed(params)
    log = KafkaFeedLog(bootstrap, security)
    ends = [tail.now_ms for topic in TIME_TOPICS for tail in await log.tails(topic) if tail.now_ms is not None]
    return TimeBase.open(
        data_dir,
        "replayed",
        log_origin(feed, round(time.time() * 1000)),
        None if params.speed == "max" else params.speed,
        max(ends, default=None),
        feed=feed.name,
        started=False,
    )


async def run_feed(
    params: FeedParams,
    catalogue: Any,
    bootstrap: str,
    timebase: TimeBase,
    *,
    security: Mapping[str, Any] | None = None,
    stop: asyncio.Event,
    on_status: Callable[[FeedResult], None] | None = None,
    throttle: Throttle | None = None,
) -> FeedResult:
    """Publish the feed until its end or `stop`; then the broker has confirmed everything and a last Clock.

    Args:
        catalogue: schemas.topics.Catalogue; its partition count of market-data must be the broker's. None: not checked.
        timebase: from `open_timebase` (or `TimeBase.load` when the feed alone is started again).
        security: further settings of the aiokafka clients.
        on_status: called about once a second with a copy of the result so far.
        throttle: at speed "max", awaited after each slice with the largest log time published; it returns when the
            account role has followed closely enough. Without it there is no bound but the broker's.

    Raises:
        FeedError: input, log or broker; start it again to go on from the log's end.
    """
    feed = open_feed(params)
    log = KafkaFeedLog(bootstrap, security)
    await log.start()
    try:
        partitions = await log.partitions(TOPIC)
        if catalogue is not None and catalogue[TOPIC].partitions != partitions:
            raise FeedError(
                f"{TOPIC} has {partitions} partitions at {bootstrap}, topics.yaml says {catalogue[TOPIC].partitions}: "
                "see `wakeline topics check`"
            )
        return await FeedRun(feed, params, log, timebase, stop, on_status=on_status, throttle=throttle).run()
    finally:
        await log.stop()


class FeedRun:
    """One run of a feed; see the module's invariants."""

    def __init__(
        self,
        feed: Feed,
        params: FeedParams,
        log: FeedLog,
        timebase: TimeBase,
        stop: asyncio.Event,
        *,
        on_status: Callable[[FeedResult], None] | None = None,
        throttle: Throttle | None = None,
        pause: Callable[[float], Awaitable[None]] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if timebase.kind != "replayed" or timebase.feed != feed.name:
            raise FeedError(f"the time base is of {timebase.kind} feed {timebase.feed}, not of {feed.name}")
        self.result = FeedResult(feed=feed.name)
        self._feed, self._log, self._timebase, self._stop = feed, log, timebase, stop
        self._interval_ms = params.clock_interval_ms
        self._slice_ms = params.lead_ms // 2  # where the account role is waited for, a slice spans no more log time
        self._on_status, self._throttle = on_status, throttle
        self._pause, self._monotonic = pause or self._wait, monotonic
        self._buffers: list[list[tuple[bytes, bytes]]] = []
        self._side: list[FeedRecord] = []
        self._side_held: set[str] = set()
        self._side_partitions: dict[str, int] = {}
        self._failure: FeedError | None = None
        self._keys: dict[str, tuple[int, bytes]] = {}
        self._reached_ms = 0
        self._next_clock_ms = 0
        self._since_checkpoint = 0
        self._checkpoint_s = self._saved_s = self._told_s = monotonic()

    async def run(self) -> FeedResult:
        """Publish until the end or the stop."""
        resume = await self._begin()
        records = self._feed.records(self._timebase.feed_origin_ms, resume.position)
        # Getting to the position may mean reading a long file: not in the event loop.
        pending = await asyncio.to_thread(self._next, records)
        self._timebase.start()
        while pending is not None and not self._stop.is_set():
            pending = await self._slice(pending, records, resume)
        self.result.finished = pending is None and self._failure is None
        await self._end(pending, resume)
        if self._failure is not None:
            raise self._failure
        return self._status()

    def _next(self, records: Iterator[FeedRecord]) -> FeedRecord | None:
        """Return the next record; an input that fails ends the feed, but only after what came before is published."""
        try:
            return next(records, None)
        except FeedError as error:
            self._failure = error
            return None

    async def _begin(self) -> Resume:
        tails = await self._log.tails(TOPIC)
        base = self._timebase
        resume = Resume(tails, self._feed.name, base.feed_origin_ms, base.progress[0])
        self._buffers = [[] for _ in tails]
        for topic in SIDE_TOPICS.values():
            self._side_held |= await self._log.last_keys(topic, SIDE_RECORDS)
            self._side_partitions[topic] = await self._log.partitions(topic)
        self.result.position = resume.position
        reached = max(base.feed_origin_ms, resume.now_ms or 0)
        self.result.now_ms = self._reached_ms = reached
        base.observe(reached)
        # Log time may stand past the next multiple; a Clock for it comes with the first slice.
        self._next_clock_ms = reached // self._interval_ms * self._interval_ms + self._interval_ms
        return resume

    async def _slice(self, pending: FeedRecord, records: Iterator[FeedRecord], resume: Resume) -> FeedRecord | None:
        """Publish what is due, at most SLICE_RECORDS; then wait as long as there is nothing to do."""
        base = self._timebase
        paced = base.speed is not None
        due_ms = base.now_ms() if paced else NEVER if self._throttle is None else pending.now_ms + self._slice_ms
        following: FeedRecord | None = pending
        taken = 0
        while following is not None and taken < SLICE_RECORDS and following.now_ms <= due_ms:
            if following.now_ms >= self._next_clock_ms:
                await self._clock(following.now_ms, resume)
            self._take(following, resume)
            taken += 1
            following = self._next(records)
        if paced and due_ms >= self._next_clock_ms and (following is None or following.now_ms > due_ms):
            await self._clock(due_ms, resume)
        await self._send()
        if self._since_checkpoint >= CHECKPOINT_RECORDS and self._caught_up(resume, following):
            await self._checkpoint(self.result.now_ms)
        self._tell()
        if self._throttle is not None and not paced:
            await self._throttled(self._throttle(self.result.now_ms))
        if following is None or taken == SLICE_RECORDS or not paced:
            await asyncio.sleep(0)
        else:
            wait_s = base.seconds_until(min(following.now_ms, self._next_clock_ms))
            await self._pause(min(max(wait_s, SLICE_S), IDLE_S))
        return following

    def _take(self, record: FeedRecord, resume: Resume) -> None:
        result = self.result
        result.position += 1
        if record.now_ms > result.now_ms:
            result.now_ms = record.now_ms
        self._since_checkpoint += 1
        if record.kind in SIDE_TOPICS:
            if record.key in self._side_held:
                result.skipped += 1
            else:
                self._side.append(record)
            return
        known = self._keys.get(record.key)
        if known is None:
            key = record.key.encode()
            known = self._keys[record.key] = (partition_of(key, len(self._buffers)), key)
        if not resume.over and resume.holds(result.position, known[0], record):
            result.skipped += 1
            return
        self._buffers[known[0]].append((known[1], record.value))
        result.sent += 1

    async def _clock(self, now_ms: int, resume: Resume) -> None:
        """Put a Clock for the latest multiple up to `now_ms` behind what was taken."""
        boundary = now_ms // self._interval_ms * self._interval_ms
        if resume.over and self._monotonic() - self._checkpoint_s >= CHECKPOINT_S:
            await self._checkpoint(boundary)
        else:
            self._add_clock(Clock(now_ms=boundary))

    async def _checkpoint(self, now_ms: int) -> None:
        await self._send()
        await self._log.flush()
        position = self.result.position
        self._add_clock(Clock(now_ms=now_ms, feed=self._feed.name, position=position))
        self._since_checkpoint = 0
        self._checkpoint_s = self._monotonic()
        if position >= 0 and self._checkpoint_s - self._saved_s >= SAVE_S:
            self._saved_s = self._checkpoint_s
            self._timebase.save_progress(position, now_ms)

    def _add_clock(self, clock: Clock) -> None:
        row = (b"*", encode(clock))
        for buffer in self._buffers:
            buffer.append(row)
        self.result.clocks += 1
        self.result.now_ms = max(self.result.now_ms, clock.now_ms)
        self._next_clock_ms = max(
            self._next_clock_ms, clock.now_ms // self._interval_ms * self._interval_ms + self._interval_ms
        )

    async def _send(self) -> None:
        for record in self._side:
            topic = SIDE_TOPICS[record.kind]
            key = record.key.encode()
            partition = partition_of(key, self._side_partitions[topic])
            await self._log.append(topic, partition, [(key, record.value)])
            if record.kind == PARKED:
                self.result.parked += 1
            else:
                self.result.alerts += 1
        self._side.clear()
        for partition, rows in enumerate(self._buffers):
            if rows:
                await self._log.append(TOPIC, partition, rows)
                self._buffers[partition] = []
        self._timebase.observe(self.result.now_ms)

    async def _end(self, pending: FeedRecord | None, resume: Resume) -> None:
        now_ms = self.result.now_ms
        if self._timebase.speed is not None:
            now_ms = max(now_ms, self._timebase.now_ms())
        if pending is not None:
            now_ms = min(now_ms, pending.now_ms)  # a feed that lags must not be overtaken by its own clock
        caught_up = self._caught_up(resume, pending)
        if caught_up:
            await self._checkpoint(now_ms)
        await self._send()
        await self._log.flush()
        if caught_up and self.result.position >= 0:
            self._timebase.save_progress(self.result.position, now_ms)

    def _caught_up(self, resume: Resume, following: FeedRecord | None) -> bool:
        """Whether every partition has what any had at the start, so that one Clock is true and late enough for all."""
        return resume.over and (following is None or following.now_ms >= self._reached_ms)

    def _status(self) -> FeedResult:
        self.result.backwards = self._feed.backwards
        self.result.ignored = dict(self._feed.ignored)
        return msgspec.structs.replace(self.result)

    def _tell(self) -> None:
        if self._on_status is not None and self._monotonic() - self._told_s >= STATUS_S:
            self._told_s = self._monotonic()
            self._on_status(self._status())

    async def _wait(self, seconds: float) -> None:
        """Sleep, but not past the stop."""
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return

    async def _throttled(self, following: Awaitable[None]) -> None:
        """Wait for the account role's echo, but not past the stop."""
        waits = [asyncio.ensure_future(following), asyncio.ensure_future(self._stop.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if waits[0].done():
                waits[0].result()
        finally:
            for wait in waits:
                wait.cancel()
