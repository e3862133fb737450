"""The feed's side of Kafka: its own idempotent producer, and the reading of the log's end.

Entry points: `FeedLog` (what the publisher needs), `KafkaFeedLog`, `read_tails`.

1. One batch per partition is on its way at a time; the next leaves when the broker has confirmed it. So a batch that
   fails leaves nothing behind it that could land alone, and the records in flight are bounded.
2. A failed send ends the feed (FeedError). It goes on from the log's end when it is started again.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from streams.feeds.base import FeedError
from streams.feeds.tail import PartitionTail, summarise
from streams.metadata import NoSuchTopic, partitions_of

FIRST_WINDOW: Final = 4_096
BATCH_BYTES: Final = 512 * 1024
STOP_TIMEOUT_S: Final = 3.0

Rows = Sequence[tuple[bytes, bytes]]
"""Key and value of each record."""


class FeedLog(Protocol):
    """Where a feed writes."""

    async def start(self) -> None:
        """Connect."""
        ...

    async def stop(self) -> None:
        """Disconnect; what is not confirmed may be lost."""
        ...

    async def partitions(self, topic: str) -> int:
        """Return how many partitions the topic has."""
        ...

    async def tails(self, topic: str) -> list[PartitionTail]:
        """Return what the end of each partition says, from its last checkpoint on."""
        ...

    async def last_keys(self, topic: str, count: int) -> set[str]:
        """Return the keys of the last `count` records of every partition."""
        ...

    async def append(self, topic: str, partition: int, rows: Rows) -> None:
        """Send records in order; may wait for those sent before, does not wait for these."""
        ...

    async def flush(self) -> None:
        """Wait until the broker has confirmed everything; FeedError if it did not."""
        ...


class KafkaFeedLog:
    """See FeedLog. `connection` are further settings of every aiokafka client (security)."""

    def __init__(self, bootstrap: str, connection: Mapping[str, Any] | None = None) -> None:
        self._bootstrap = bootstrap
        self._connection = dict(connection or {})
        self._producer: AIOKafkaProducer | None = None
        self._sent: dict[tuple[str, int], asyncio.Future[Any]] = {}

    async def start(self) -> None:
        """Connect."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            enable_idempotence=True,
            acks="all",
            linger_ms=0,
            max_batch_size=BATCH_BYTES,
            **self._connection,
        )
        try:
            await producer.start()
        except (KafkaError, OSError) as error:
            await _quietly(producer.stop())
            raise FeedError(f"no broker at {self._bootstrap}: {error}; is it running?") from error
        self._producer = producer

    async def stop(self) -> None:
        """Disconnect; what is not confirmed may be lost."""
        producer, self._producer = self._producer, None
        for future in self._sent.values():
            if future.done() and not future.cancelled():
                future.exception()  # told already, or the caller is past caring
        if producer is not None:
            await _quietly(producer.stop())

    async def partitions(self, topic: str) -> int:
        """Return how many partitions the topic has."""
        async with self._consumer() as consumer:
            return len(await _partitions(consumer, topic))

    async def tails(self, topic: str) -> list[PartitionTail]:
        """Return what the end of each partition says, from its last checkpoint on."""
        async with self._consumer() as consumer:
            partitions = await _partitions(consumer, topic)
            first, last = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
            return [await _tail(consumer, partition, first[partition], last[partition]) for partition in partitions]

    async def last_keys(self, topic: str, count: int) -> set[str]:
        """Return the keys of the last `count` records of every partition."""
        async with self._consumer() as consumer:
            keys = set()
            partitions = await _partitions(consumer, topic)
            first, last = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
            for partition in partitions:
                begin = max(first[partition], last[partition] - count)
                for record in await _read(consumer, partition, begin, last[partition]):
                    keys.add((record.key or b"").decode("utf-8", "replace"))
            return keys

    async def append(self, topic: str, partition: int, rows: Rows) -> None:
        """Send records in order; may wait for those sent before, does not wait for these."""
        producer = self._producer
        if producer is None:
            raise FeedError("the feed's producer is stopped")
        batch = producer.create_batch()
        for key, value in rows:
            if batch.append(key=key, value=value, timestamp=None) is None:
                await self._send(producer, batch, topic, partition)
                batch = producer.create_batch()
                batch.append(key=key, value=value, timestamp=None)
        if batch.record_count():
            await self._send(producer, batch, topic, partition)

    async def _send(self, producer: AIOKafkaProducer, batch: Any, topic: str, partition: int) -> None:
        await self._confirmed(topic, partition)
        try:
            self._sent[topic, partition] = await producer.send_batch(batch, topic, partition=partition)
        except (KafkaError, OSError) as error:
            raise FeedError(f"{topic}/{partition}: the broker did not take records: {error!r}") from error

    async def _confirmed(self, topic: str, partition: int) -> None:
        future = self._sent.get((topic, partition))
        if future is None:
            return
        try:
            await asyncio.shield(future)
        except (KafkaError, OSError) as error:
            raise FeedError(f"{topic}/{partition}: the broker did not confirm records: {error!r}") from error
        del self._sent[topic, partition]

    async def flush(self) -> None:
        """Wait until the broker has confirmed everything; FeedError if it did not."""
        for topic, partition in list(self._sent):
            await self._confirmed(topic, partition)

    @contextlib.asynccontextmanager
    async def _consumer(self) -> Any:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap, enable_auto_commit=False, auto_offset_reset="none", **self._connection
        )
        try:
            await consumer.start()
            yield consumer
        except (KafkaError, OSError) as error:
            raise FeedError(f"the log at {self._bootstrap} cannot be read: {error!r}; is it running?") from error
        finally:
            await _quietly(consumer.stop())


async def _tail(consumer: AIOKafkaConsumer, partition: TopicPartition, beginning: int, end: int) -> PartitionTail:
    window = FIRST_WINDOW
    while True:
        begin = max(beginning, end - window)
        records = await _read(consumer, partition, begin, end)
        tail = summarise([record.value for record in records], beginning, end)
        if tail.position >= 0 or begin == beginning:
            return tail
        window *= 8


async def _read(consumer: AIOKafkaConsumer, partition: TopicPartition, begin: int, end: int) -> list[Any]:
    """Return the records from `begin` up to `end`."""
    if begin >= end:
        return []
    consumer.assign([partition])
    consumer.seek(partition, begin)
    records: list[Any] = []
    while await consumer.position(partition) < end:
        fetched = await consumer.getmany(partition, timeout_ms=1_000, max_records=20_000)
        records += fetched.get(partition, ())
    return [record for record in records if record.offset < end]


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    try:
        return [TopicPartition(topic, number) for number in await partitions_of(consumer, topic)]
    except NoSuchTopic as error:
        raise FeedError(str(error)) from error


async def _quietly(stopping: Any) -> None:
    """Stop a client without waiting long for a broker that is gone."""
    with contextlib.suppress(KafkaError, OSError, asyncio.TimeoutError):
        await asyncio.wait_for(stopping, STOP_TIMEOUT_S)
