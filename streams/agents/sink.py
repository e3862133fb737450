"""The sink role: batches of every analytical topic into ClickHouse.

The position that counts stands in ClickHouse, written after the rows; a crash repeats rows, which queries count once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from processors.inbox import Emit, parked
from schemas.codec import encode
from sinks.clickhouse.query import routes
from sinks.clickhouse.sink import ClickHouseSink
from streams.app import TP, Batch, PositionLost
from streams.metrics import RoleMetrics
from streams.producer import Publisher


class SinkHandler:
    """Hands batches to the sink in one thread of its own; flushes when the sink says it is due."""

    def __init__(self, sink: ClickHouseSink, publisher: Publisher, metrics: RoleMetrics) -> None:
        self.topics = sink.topics
        self._sink, self._publisher, self._metrics = sink, publisher, metrics
        # chDB and the sink's buffers belong to one thread.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="clickhouse")
        self._positions: dict[TP, int] = {}

    async def assign(self, tps: Collection[TP]) -> None:
        """Ask ClickHouse how far it has come."""
        for tp in tps:
            self._positions[tp] = await self._call(self._sink.position, tp.topic, tp.partition)

    async def position(self, tp: TP) -> int:
        """Next offset to append."""
        return self._positions[tp]

    async def apply(self, tp: TP, batch: Batch) -> None:
        """Append the batch; park what cannot be stored; flush when due."""
        records = list(zip(batch.offsets, batch.keys, batch.values, batch.headers, batch.timestamps_ms, strict=True))
        bad = await self._call(self._sink.append, tp.topic, tp.partition, records)
        if bad:
            await self._park(tp, batch, bad)
        self._positions[tp] = batch.offsets[-1] + 1
        self._metrics.records(tp.topic, len(records))
        await self.idle()

    async def gap(self, tp: TP, beginning: int) -> None:
        """A hole in what is analysed is told, never stepped over in silence."""
        raise PositionLost(
            f"{tp.topic}/{tp.partition}: ClickHouse stands at offset {self._positions[tp]}, the log begins at "
            f"{beginning}: rows between them are gone. Raise the topic's retention; to go on without them, start with "
            f"another ClickHouse database, which is filled from what the log still holds"
        )

    async def revoke(self, tps: Collection[TP]) -> None:
        """Make durable what was taken, then forget where it stood."""
        await self._call(self._sink.flush)
        for tp in tps:
            self._positions.pop(tp, None)
            await self._call(self._sink.release, tp.topic, tp.partition)

    async def idle(self) -> None:
        """Flush when enough rows or time have gathered."""
        if self._sink.due():
            await self._call(self._sink.flush)

    async def close(self, clean: bool) -> None:
        """Flush what was taken (when clean)."""
        if clean:
            await self._call(self._sink.flush)

    async def query(self, function: Any, *arguments: Any) -> Any:
        """Run a query in the sink's thread."""
        return await self._call(function, *arguments)

    async def _call(self, function: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    async def _park(self, tp: TP, batch: Batch, bad: Any) -> None:
        values = dict(zip(batch.offsets, batch.values, strict=True))
        rows = []
        for offset, reason in bad:
            out = parked(tp.topic, tp.partition, offset, values[offset], f"sink: {reason}", 0)
            # A stamp without a chain: a repeat after a crash is recognised, and nothing else is claimed.
            stamp = (("src", b"sink@%s/%d" % (tp.topic.encode(), tp.partition)), ("st", b"%d.0" % offset))
            rows.append(Emit(out.topic, 0, out.key.encode(), encode(out.value), stamp, offset))
        await self._publisher.publish(rows)


async def build(worker: Any) -> tuple[SinkHandler, Callable[[], Awaitable[None]]]:
    """Open ClickHouse, mount /query on the worker's HTTP port, and return the handler and what closes it."""
    sink = ClickHouseSink(worker.settings.clickhouse, worker.settings.data_dir)
    handler = SinkHandler(sink, worker.publisher, worker.metrics.role("sink"))
    await handler.query(sink.open)
    worker.http.app.add_routes(routes(sink))

    async def close() -> None:
        sink.stop()  # breaks the wait for a server that does not answer
        await handler.query(sink.close)

    return handler, close
