"""The one order of law 11, for every processor: take, step, publish and wait, snapshot now and then, commit after.

Entry point: `ProcessorHandler`, a `streams.app.BatchHandler` over a processor's `InboxCore`.

1. A partition's state never runs ahead of what the broker acknowledged by more than the batch in hand; while one is,
   the partition is `dirty` and no snapshot of it is taken.
2. A snapshot is the bytes of one moment: they are made at once and written in the background, while the partition
   goes on. It is due `snapshot_interval_s` after the last one if anything was applied since, also when nothing comes.
   Making the bytes stops every partition of the process. So a snapshot that is due waits while another partition is
   in the middle of a batch, for one more interval at most, and `idle` makes one at a time.
3. A partition given up or closed is saved as clean, unless it is dirty or has not yet caught up with what another
   worker may have published before it was opened (streams/snapshots.py, 5).
"""

import asyncio
import gc
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from processors.inbox import Emit, Inbox, InboxCore, StreamHole
from schemas.codec import decode
from schemas.status import OrderStatus
from schemas.system import Alert
from streams.app import PositionLost
from streams.metrics import RoleMetrics
from streams.producer import Publisher
from streams.snapshots import Opened, SnapshotStore, Version
from streams.transport import TP, Batch

log = logging.getLogger(__name__)

REFUSED: Final = b'"refused"'
GIVE_UP_S: Final = 8.0
"""A rebalance waits this long for the last snapshot of a partition; without it the next owner repeats a little more."""


@dataclass(slots=True)
class _Partition:
    inbox: Inbox
    opened: int
    clean_from: int
    saved_position: int  # of the last snapshot; -1 none
    saved_at: float  # monotonic
    dirty: bool = False
    saving: "asyncio.Task[None] | None" = None
    clean: bool = False  # the last snapshot was a clean one
    counted: tuple[int, int, int] = (0, 0, 0)  # repeats, held, parked as told to the metrics


class ProcessorHandler:
    """Runs one processor over the partitions of its inbox that are ours.

    `gap` is what topics.yaml says of the inbox: `fatal`, or `allowed` to go on from the log's beginning.
    """

    def __init__(
        self,
        core: InboxCore,
        publisher: Publisher,
        store: SnapshotStore,
        *,
        gap: str = "fatal",
        metrics: RoleMetrics | None = None,
        snapshot_interval_s: float = 10.0,
    ) -> None:
        self.core, self.publisher, self.store, self.metrics = core, publisher, store, metrics
        self.topics: tuple[str, ...] = (core.topic,)
        self._gap_allowed = gap == "allowed"
        self._interval_s = snapshot_interval_s
        self._partitions: dict[int, _Partition] = {}
        self._failure: BaseException | None = None

    def inbox(self, partition: int) -> Inbox:
        """Return the live inbox of a partition that is ours (for a look, never to change it)."""
        return self._partitions[partition].inbox

    async def assign(self, tps: Collection[TP]) -> None:
        """Load the states; raises SnapshotRefused."""
        for partition, opened in (await self.store.load([tp.partition for tp in tps])).items():
            self._partitions[partition] = self._loaded(partition, opened)
            await asyncio.sleep(0.001)  # many large states: heartbeats and the watch over a standstill go on

    def _loaded(self, partition: int, opened: Opened) -> _Partition:
        now, snapshot = time.monotonic(), opened.snapshot
        if snapshot is None:
            return _Partition(self.core.new(partition), opened.opened, opened.clean_from, -1, now)
        collecting = gc.isenabled()
        gc.disable()  # a hundred thousand new objects hold no garbage: looking for it takes five times the decoding
        try:
            inbox = self.core.decode(snapshot.state, snapshot.version.state_schema)
        finally:
            if collecting:
                gc.enable()
        if (inbox.partition, inbox.position) != (partition, snapshot.position):
            raise PositionLost(f"{self.store.topic}/{partition}: snapshot {snapshot.snapshot} is of another partition")
        return _Partition(inbox, opened.opened, opened.clean_from, snapshot.position, now)

    async def position(self, tp: TP) -> int:
        """Return the next offset wanted."""
        return self._partitions[tp.partition].inbox.position

    async def apply(self, tp: TP, batch: Batch) -> None:
        """Step through a batch, publish what comes of it and wait for the broker."""
        self._raise_failure()
        core, part, began = self.core, self._partitions[tp.partition], time.perf_counter()
        part.dirty = True
        try:
            emits = core.apply_columns(
                part.inbox, batch.values, batch.offsets, batch.headers if core.reads_headers else None
            )
        except StreamHole as error:
            await self.publisher.publish(error.emits, batch.origin_us)
            raise
        stepped = time.perf_counter()
        if emits:
            await self.publisher.publish(emits, batch.origin_us)
        part.dirty = part.clean = False
        if self.metrics is not None:
            self._measure(part, batch, emits, stepped - began, time.perf_counter() - stepped)
        if self._due(part, time.monotonic()):
            self._save_soon(tp.partition, part)

    async def gap(self, tp: TP, beginning: int) -> None:
        """Go on from the log's beginning where topics.yaml allows it, and tell it."""
        part = self._partitions[tp.partition]
        place, position = f"{tp.topic}/{tp.partition}", part.inbox.position
        if not self._gap_allowed:
            raise PositionLost(
                f"{place}: the state stands at offset {position}, but retention deleted everything below {beginning}: "
                f"{beginning - position} records are lost to this processor (topics.yaml: gap fatal)"
            )
        text = f"{place}: {beginning - position} records were deleted by retention before they were applied"
        await self.publisher.publish(self.core.skip_gap(part.inbox, beginning, text))
        part.clean = False
        log.warning("%s", text)

    async def revoke(self, tps: Collection[TP]) -> None:
        """Save what we give up as clean, so that any build may take it."""
        parts = {tp.partition: part for tp in tps if (part := self._partitions.pop(tp.partition, None)) is not None}
        try:
            async with asyncio.timeout(GIVE_UP_S):
                await self._close(parts)
        except Exception as error:  # the next owner goes on from the snapshot before
            log.warning("%s: last snapshot not written: %r", self.store.topic, error)
        if self.metrics is not None:
            for partition in parts:
                self.metrics.forget(self.core.topic, partition)

    async def idle(self) -> None:
        """Save what is due."""
        self._raise_failure()
        now = time.monotonic()
        for partition, part in sorted(self._partitions.items(), key=lambda one: one[1].saved_at):
            if part.inbox.position != part.saved_position and self._due(part, now):
                self._save_soon(partition, part)
                return

    async def close(self, clean: bool) -> None:
        """Save all partitions as clean; without `clean` nothing is written."""
        parts, self._partitions = self._partitions, {}
        if clean:
            await self._close(parts)

    async def _close(self, parts: Mapping[int, _Partition]) -> None:
        await asyncio.gather(*(self._close_one(partition, part) for partition, part in parts.items()))

    async def _close_one(self, partition: int, part: _Partition) -> None:
        if part.saving is not None:
            await part.saving
        if not part.dirty and not part.clean and self._failure is None:
            position = part.inbox.position
            await self._save(partition, part, position, self.core.encode(part.inbox), position >= part.clean_from)

    def _due(self, part: _Partition, now: float) -> bool:
        waited = now - part.saved_at
        if waited < self._interval_s or part.dirty or (part.saving is not None and not part.saving.done()):
            return False
        return waited >= 2 * self._interval_s or not any(other.dirty for other in self._partitions.values())

    def _save_soon(self, partition: int, part: _Partition) -> None:
        part.saved_at = time.monotonic()
        data = self.core.encode(part.inbox)
        part.saving = asyncio.create_task(self._save(partition, part, part.inbox.position, data, False))
        part.saving.add_done_callback(self._saved)

    def _saved(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and task.exception() is not None:
            self._failure = self._failure or task.exception()

    async def _save(self, partition: int, part: _Partition, position: int, data: bytes, clean: bool) -> None:
        size = await self.store.save(partition, position, data, opened=part.opened, clean=clean)
        part.saved_position, part.clean = position, clean
        if self.metrics is not None:
            self.metrics.snapshot(partition, position, size, time.time())

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _measure(self, part: _Partition, batch: Batch, emits: Sequence[Emit], step_s: float, publish_s: float) -> None:
        metrics, inbox = self.metrics, part.inbox
        assert metrics is not None
        metrics.records(self.core.topic, len(batch))
        metrics.step.observe(step_s)
        before, part.counted = part.counted, (inbox.repeats, inbox.held, inbox.parked)
        counters = (metrics.repeats, metrics.held, metrics.parked)
        for counter, now, was in zip(counters, part.counted, before, strict=True):
            if now != was:
                counter.inc(now - was)
        metrics.holes.set(sum(len(other.inbox.holes) for other in self._partitions.values()))
        if not emits:
            return
        metrics.publish.observe(publish_s)
        now_us, offset = time.time_ns() // 1000, -1
        topics: dict[str, int] = {}
        for emit in emits:
            topics[emit.topic] = topics.get(emit.topic, 0) + 1
            if emit.offset != offset:
                offset = emit.offset
                metrics.latency.observe(max(0, now_us - batch.origin_us(offset)) / 1_000_000)
        for topic, count in topics.items():
            metrics.output(topic, count)
        if "order-status" in topics or "alerts" in topics:
            _count_told(metrics, emits)


def _count_told(metrics: RoleMetrics, emits: Sequence[Emit]) -> None:
    """Count refusals by reason and alerts by kind; both are rare, so decoding them again costs nothing."""
    for emit in emits:
        if emit.topic == "alerts" or (emit.topic == "order-status" and REFUSED in emit.value):
            message = decode(emit.value)
            if isinstance(message, Alert):
                metrics.alert(message.kind)
            elif isinstance(message, OrderStatus) and message.reason is not None:
                metrics.refusal(message.reason.value)


def build_handler(
    role: str,
    processor: Any,
    topics: Mapping[str, Any],
    publisher: Publisher,
    *,
    bootstrap: str,
    build: str,
    security: Mapping[str, Any] | None = None,
    metrics: RoleMetrics | None = None,
    snapshot_interval_s: float = 10.0,
) -> ProcessorHandler:
    """Return the handler of a processor: its core, its store on `snapshots-<role>`, and what topics.yaml says.

    `topics` are the catalogue's (`Catalogue.topics`); `build` names the program's version, which a snapshot carries.
    """
    core = InboxCore(processor, topics)
    store = SnapshotStore(
        f"snapshots-{role}",
        core.topic,
        publisher,
        bootstrap=bootstrap,
        version=Version(build, processor.config_hash, processor.state_schema),
        migrates=hasattr(processor, "migrate"),
        security=security,
    )
    return ProcessorHandler(
        core, publisher, store, gap=topics[core.topic].gap, metrics=metrics, snapshot_interval_s=snapshot_interval_s
    )
