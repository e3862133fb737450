"""Publishes what a step put out, and waits for the broker.

Entry points: `Publisher` (one per process, shared by its roles), `PublishError`.

1. Order per partition is kept; `publish` returns once every record is acknowledged by all in-sync replicas.
2. One record that was not acknowledged ends the worker: what came after it may stand on the log, and the readers'
   chains wait for the repeat from the state's position (processors/inbox.py, 2).
3. Each output carries `t0`: when the input that began it all was published (wall, microseconds), for latency only.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError

from processors.inbox import Emit

MAX_BATCH_BYTES: Final = 256 * 1024
MAX_REQUEST_BYTES: Final = 1_000_000
"""Of one record; below the broker's own limit."""


BATCHED_FROM: Final = 32
"""From this many records on, batches are built by us: four times cheaper per record than one `send` each."""

Row = tuple[str, int, bytes, bytes | None, Sequence[tuple[str, bytes]]]
"""Topic, partition, key, value (None deletes the key on a compacted topic), headers."""


class PublishError(RuntimeError):
    """The broker did not take a record: the worker must end."""


class Publisher:
    """An idempotent producer. `security` are keyword arguments of aiokafka's clients."""

    def __init__(
        self,
        bootstrap: str,
        *,
        security: Mapping[str, Any] | None = None,
        client_id: str = "wakeline",
        request_timeout_s: float = 30.0,
    ) -> None:
        self._options: dict[str, Any] = {
            "bootstrap_servers": bootstrap,
            "client_id": client_id,
            "acks": "all",
            "enable_idempotence": True,
            "linger_ms": 0,
            "max_batch_size": MAX_BATCH_BYTES,
            "max_request_size": MAX_REQUEST_BYTES,
            "request_timeout_ms": int(request_timeout_s * 1000),
            **(security or {}),
        }
        self._producer: AIOKafkaProducer | None = None
        self.published = 0
        self.seconds = 0.0

    async def start(self) -> None:
        """Connect; raises aiokafka.errors.KafkaConnectionError where no broker answers."""
        self._producer = AIOKafkaProducer(**self._options)
        await self._producer.start()

    async def stop(self) -> None:
        """Send what is left and disconnect."""
        if self._producer is not None:
            await self._producer.stop()
            self._producer = None

    async def publish(self, emits: Sequence[Emit], origin_us: Callable[[int], int] | None = None) -> None:
        """Publish in order and wait for all; `origin_us` gives `t0` for the offset of a causing record.

        Raises:
            PublishError: a record was not acknowledged.
        """
        if not emits:
            return
        began, offset = time.perf_counter(), -1
        origin: tuple[tuple[str, bytes], ...] = ()
        records: list[Row] = []
        for emit in emits:
            if origin_us is not None and emit.offset != offset:
                offset = emit.offset
                origin = (("t0", b"%d" % origin_us(offset)),)
            records.append((emit.topic, emit.partition, emit.key, emit.value, (*emit.headers, *origin)))
        if len(records) < BATCHED_FROM:
            await self.send_all(records)
        else:
            await self._send_batches(records)
        self.published += len(records)
        self.seconds += time.perf_counter() - began

    async def send_all(self, records: Sequence[Row]) -> list[int]:
        """Send in order; return the offsets.

        Raises:
            PublishError: a record was not acknowledged.
        """
        producer, futures = self._started(), []
        try:
            for topic, partition, key, value, headers in records:
                futures.append(await producer.send(topic, value, key=key, partition=partition, headers=list(headers)))
            return [(await future).offset for future in futures]
        except Exception as error:
            _told(futures)
            topic, partition = records[max(0, len(futures) - 1)][:2]
            raise PublishError(f"{topic}/{partition}: not acknowledged by the broker: {error!r}") from error

    async def _send_batches(self, records: Sequence[Row]) -> None:
        producer, futures = self._started(), []
        by_partition: dict[tuple[str, int], list[Row]] = {}
        for record in records:
            by_partition.setdefault(record[:2], []).append(record)
        place, now_ms = ("", 0), time.time_ns() // 1_000_000
        try:
            for place, rows in by_partition.items():
                batch = producer.create_batch()
                for _, _, key, value, headers in rows:
                    if batch.append(timestamp=now_ms, key=key, value=value, headers=list(headers)) is None:
                        futures.append(await producer.send_batch(batch, place[0], partition=place[1]))
                        batch = producer.create_batch()
                        if batch.append(timestamp=now_ms, key=key, value=value, headers=list(headers)) is None:
                            raise MessageSizeTooLargeError(f"a record of {len(value or b'')} bytes")
                futures.append(await producer.send_batch(batch, place[0], partition=place[1]))
            for future in futures:
                await future
        except Exception as error:
            _told(futures)
            raise PublishError(f"{place[0]}/{place[1]}: not acknowledged by the broker: {error!r}") from error

    def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            raise PublishError("the publisher is not started")
        return self._producer


def _told(futures: Sequence["asyncio.Future[Any]"]) -> None:
    """Take the errors of futures nobody awaits any more: the first was told."""
    for future in futures:
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
