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

from processors.inbox import Emit

MAX_BATCH_BYTES: Final = 256 * 1024
MAX_REQUEST_BYTES: Final = 1_000_000
"""Of one record; below the broker's own limit."""


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
        began = time.perf_counter()
        offset, origin = -1, ()
        records: list[tuple[str, int, bytes, bytes | None, Sequence[tuple[str, bytes]]]] = []
        for emit in emits:
            if origin_us is not None and emit.offset != offset:
                offset = emit.offset
                origin = (("t0", b"%d" % origin_us(offset)),)  # type: ignore[assignment]
            records.append((emit.topic, emit.partition, emit.key, emit.value, (*emit.headers, *origin)))
        await self.send_all(records)
        self.published += len(records)
        self.seconds += time.perf_counter() - began

    async def send_all(
        self, records: Sequence[tuple[str, int, bytes, bytes | None, Sequence[tuple[str, bytes]]]]
    ) -> list[int]:
        """Send (topic, partition, key, value, headers) in order; return their offsets.

        Raises:
            PublishError: a record was not acknowledged.
        """
        if self._producer is None:
            raise PublishError("the publisher is not started")
        send, futures = self._producer.send, []
        try:
            for topic, partition, key, value, headers in records:
                futures.append(await send(topic, value, key=key, partition=partition, headers=list(headers)))
            return [(await future).offset for future in futures]
        except asyncio.CancelledError:
            raise
        except Exception as error:
            for future in futures:  # told here once, not again by each
                future.add_done_callback(lambda done: done.cancelled() or done.exception())
            topic, partition = records[len(futures) - 1][:2] if futures else records[0][:2]
            raise PublishError(f"{topic}/{partition}: not acknowledged by the broker: {error!r}") from error
