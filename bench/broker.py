"""A broker for one benchmark: one node of Apache Kafka in a folder of its own, its topics, what lies on them.

Entry points: `broker`, `Topics`, `load`, `read_values`.
"""

import asyncio
import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import aiokafka
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from bench import machine
from processors.inbox import partition_of
from streams.broker.cluster import open_cluster
from streams.broker.install import install
from streams.broker.params import EmbeddedParams
from streams.topics_admin import ensure_topics, load_catalogue

PARTITIONS: Final = 4
_WAIT_S: Final = 30.0
BATCH_BYTES: Final = 128 * 1024


@contextlib.contextmanager
def broker() -> Iterator[tuple[str, Path]]:
    """Start a broker on the broker's core; give (bootstrap, folder for files); remove everything after.

    This process stays on the broker's core; contenders pin themselves to the other.
    """
    install()
    machine.pin(machine.cores()[0])
    folder = Path(tempfile.mkdtemp(prefix="wakeline-bench-"))
    cluster = open_cluster(folder / "kafka", EmbeddedParams(heap_mb=512))
    try:
        cluster.start()
        yield cluster.bootstrap, folder
    finally:
        cluster.remove()
        shutil.rmtree(folder, ignore_errors=True)


class Topics:
    """Makes and unmakes topics; every call waits until the broker has done it."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap

    def declared(self) -> None:
        """Make every topic of topics.yaml that is missing."""
        asyncio.run(ensure_topics(load_catalogue(), self.bootstrap, replication=1))

    def make(self, *names: str) -> None:
        """Make topics of four partitions."""
        asyncio.run(self._make(names))

    def remove(self, *names: str) -> None:
        """Delete these topics."""
        asyncio.run(self._remove(names))

    async def _make(self, names: tuple[str, ...]) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            response = await admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in names])
            wrong = [error for error in response.topic_errors if error[1] != 0]
            if wrong:
                raise RuntimeError(f"the broker made no topics: {wrong}")
            await self._until(admin, lambda found: set(names) <= found)
        finally:
            await admin.close()

    async def _remove(self, names: tuple[str, ...]) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            await admin.delete_topics(list(names))
            await self._until(admin, lambda found: found.isdisjoint(names))
        finally:
            await admin.close()

    async def _until(self, admin: Any, done: Any) -> None:
        deadline = time.monotonic() + _WAIT_S
        while not done(set(await admin.list_topics())):
            if time.monotonic() > deadline:
                raise TimeoutError("the broker did not make or delete topics in time")
            await asyncio.sleep(0.1)


def load(bootstrap: str, topic: str, records: Iterable[tuple[str, bytes]]) -> tuple[int, int]:
    """Put (key, value) records on a topic, uncompressed, each key in the partition of Kafka's own hash.

    Return (records, bytes of their values).
    """
    return asyncio.run(_load(bootstrap, topic, records))


async def _load(bootstrap: str, topic: str, records: Iterable[tuple[str, bytes]]) -> tuple[int, int]:
    producer = aiokafka.AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, max_batch_size=BATCH_BYTES
    )
    await producer.start()
    count = size = 0
    builders: dict[int, Any] = {}
    futures = []
    try:
        for key, value in records:
            raw = key.encode()
            partition = partition_of(raw, PARTITIONS)
            builder = builders.get(partition)
            if builder is None or builder.append(timestamp=None, key=raw, value=value) is None:
                if builder is not None:
                    futures.append(await producer.send_batch(builder, topic, partition=partition))
                builder = builders[partition] = producer.create_batch()
                builder.append(timestamp=None, key=raw, value=value)
            count += 1
            size += len(value)
        for partition, builder in builders.items():
            futures.append(await producer.send_batch(builder, topic, partition=partition))
        await asyncio.gather(*futures)
    finally:
        await producer.stop()
    return count, size


def read_values(bootstrap: str, topic: str) -> list[bytes]:
    """Return the values of all records on a topic."""
    return asyncio.run(_read_values(bootstrap, topic))


async def _read_values(bootstrap: str, topic: str) -> list[bytes]:
    consumer = aiokafka.AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partitions = [aiokafka.TopicPartition(topic, number) for number in range(PARTITIONS)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        await consumer.seek_to_beginning(*partitions)
        values: list[bytes] = []
        while any([await consumer.position(place) < ends[place] for place in partitions]):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                values += [record.value for record in records]
        return values
    finally:
        await consumer.stop()
