"""Faust's Kafka transport in batches: one event per (topic, partition, fetch) instead of one per record.

Entry points: `Batch`, `TP`, `Transport`. Used by streams/app.py alone.

1. Faust starts several tasks per record (about 90 microseconds each); here its whole path is walked once per batch.
2. Where a partition stands is what its handler says, never the group's committed offset: that is written, as a
   display of lag, and never read.
3. Faust's own acknowledgements commit nothing (it also acknowledges events that it skips in a rebalance); only
   `Consumer.applied` does.
"""

import asyncio
import logging
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import aiokafka
from aiokafka.consumer.fetcher import FetchResult
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import CorruptRecordException
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode.utils.futures import notify

__all__ = ["TP", "Batch", "Consumer", "Producer", "Transport"]

log = logging.getLogger(__name__)

MICROSECONDS = 1000
Headers = Sequence[tuple[str, bytes]]


class Batch:
    """Records of one partition in offset order, as columns. Headers and timestamps are read only when asked for."""

    __slots__ = ("_records", "epoch", "offsets", "values")

    def __init__(self, records: list[Any], epoch: int) -> None:
        self._records = records
        self.values: list[bytes | None] = [record.value for record in records]
        self.offsets: list[int] = [record.offset for record in records]
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.offsets)

    @property
    def headers(self) -> list[Headers]:
        """Headers of each record."""
        return [record.headers for record in self._records]

    @property
    def timestamps_ms(self) -> list[int]:
        """Kafka's own timestamps: wall time, for latency only."""
        return [record.timestamp for record in self._records]

    @property
    def keys(self) -> list[bytes | None]:
        """Keys of each record."""
        return [record.key for record in self._records]

    def since(self, offset: int) -> "Batch":
        """Return the records from `offset` on."""
        if not self.offsets or self.offsets[0] >= offset:
            return self
        return Batch(self._records[bisect_left(self.offsets, offset) :], self.epoch)

    def origin_us(self, offset: int) -> int:
        """Return when what caused the record at `offset` was published: its `t0`, else its timestamp (wall, us)."""
        record = self._records[bisect_left(self.offsets, offset)]
        for name, value in record.headers:
            if name == "t0" and value.isdigit():
                return int(value)
        return int(record.timestamp) * MICROSECONDS


class _Fetched(OrderedDict[Any, Any]):
    """What a client has fetched and not yet handed out: lets it hand out its parsed records as they are.

    aiokafka copies each into a ConsumerRecord through two generators, half of the whole cost per record; our columns
    need no copy. Control batches (transactions) are passed over as there.
    """

    def __setitem__(self, tp: Any, result: Any) -> None:
        if isinstance(result, FetchResult):
            result.getall = partial(_take_all, result)
        super().__setitem__(tp, result)


def _take_all(result: Any, max_records: int | None = None) -> list[Any]:
    """Stands for `FetchResult.getall`; `max_records` is never set here, since batches are cut afterwards."""
    if not result.check_assignment(result._topic_partition) or not result.has_more():
        return []
    parsed = result._partition_records
    found: list[Any] = []
    while parsed._records.has_next():
        batch = parsed._records.next_batch()
        if parsed._check_crcs and not batch.validate_crc():
            raise CorruptRecordException(f"Invalid CRC - {result._topic_partition}")
        if not batch.is_control_batch:
            records = list(batch)
            if records and records[0].offset < parsed.next_fetch_offset:
                records = [record for record in records if record.offset >= parsed.next_fetch_offset]
            found += records
        parsed.next_fetch_offset = batch.next_offset
    result._update_position()
    result._partition_records = None
    return found


class _Thread(driver.AIOKafkaConsumerThread):
    """Faust's consumer thread, with the client made by us."""

    async def on_start(self) -> None:
        """Start the client and let it hand out raw records."""
        await super().on_start()
        self._ensure_consumer()._fetcher._records = _Fetched()

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        app: Any = self.app
        conf = app.conf
        self._assignor = RoundRobinPartitionAssignor
        return aiokafka.AIOKafkaConsumer(
            client_id=conf.broker_client_id,
            group_id=conf.id,
            bootstrap_servers=app.bootstrap,
            partition_assignment_strategy=[self._assignor],
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_poll_interval_ms=int(conf.broker_max_poll_interval * 1000),
            max_partition_fetch_bytes=conf.consumer_max_fetch_size,
            fetch_max_wait_ms=app.fetch_max_wait_ms,  # Faust has 1500: a seek or a rebalance waits that out
            request_timeout_ms=int(conf.broker_request_timeout * 1000),
            check_crcs=conf.broker_check_crcs,
            session_timeout_ms=int(conf.broker_session_timeout * 1000),
            rebalance_timeout_ms=int(conf.broker_rebalance_timeout * 1000),
            heartbeat_interval_ms=int(conf.broker_heartbeat_interval * 1000),
            metadata_max_age_ms=conf.consumer_metadata_max_age_ms,
            **app.client_options,
        )

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """Write the display of lag; failing at that ends nothing, since no position is read from it."""
        consumer, assigned = self._ensure_consumer(), self.assignment()
        commit = {
            aiokafka.TopicPartition(tp.topic, tp.partition): OffsetAndMetadata(offset, "")
            for tp, offset in offsets.items()
            if tp in assigned
        }
        try:
            await asyncio.wait_for(consumer.commit(commit), 5)
        except Exception as error:
            log.warning("offsets not committed (a display only): %r", error)
            return False
        return True

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Faust's own watch looks at its acknowledgements, which we do not use; streams/app.py watches progress."""


class Consumer(driver.Consumer):
    """Packs each fetch into batches, and seeks where the handler says."""

    app: Any  # streams.app.App

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._applied: dict[TP, int] = {}  # next offset to commit
        self.epoch = 0  # number of seeks done: tells what was fetched before the last one
        super().__init__(*args, **kwargs)

    def _new_consumer_thread(self) -> _Thread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    def applied(self, tp: TP, position: int) -> None:
        """Let `position` be committed for `tp`."""
        self._applied[tp] = position

    async def seek_to(self, positions: Mapping[TP, int]) -> None:
        """Fetch from `positions`; batches fetched before carry an older epoch."""
        if positions:
            await self.seek_wait(positions)
        self.epoch += 1

    async def perform_seek(self) -> None:
        """Called by Faust before it resumes after a rebalance: ask the handler, not the committed offsets."""
        self._applied.clear()
        await self.seek_to(await self.app.runner.positions(self.assignment()))

    async def _getmany(self, active_partitions: Any, timeout: float) -> dict[TP, list[Any]]:
        epoch = self.epoch
        fetched = await super()._getmany(active_partitions, timeout) or {}
        return {tp: list(self._pack(tp, records, epoch)) for tp, records in fetched.items()}

    def _pack(self, tp: TP, records: list[Any], epoch: int) -> Iterator[Any]:
        size = self.app.max_batch
        for start in range(0, len(records), size):
            chunk = records[start : start + size]
            yield _Carrier(tp, chunk[-1], Batch(chunk, epoch))

    def _to_message(self, tp: TP, record: Any) -> Any:
        self._read_offset[tp] = None  # no gap bookkeeping and no dropping by Faust
        return super()._to_message(tp, record)

    def on_buffer_full(self, tp: TP) -> None:
        """A full queue blocks the fetcher anyway; Faust's own way sleeps a second once all partitions are full."""

    def ack(self, message: Any) -> bool:
        """Note that a batch is out of hand, which a rebalance and a stop wait for; commits nothing."""
        message.acked = True
        self._unacked_messages.discard(message)
        notify(self._waiting_for_ack)
        return True

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        yield from [tp for tp in self._applied if topics is None or tp in topics or tp.topic in topics]

    def _new_offset(self, tp: TP) -> int | None:
        return self._applied.pop(tp, None)


class _Carrier:
    """Looks like a record to Faust; its value is the batch and its offset the batch's last."""

    __slots__ = ("headers", "key", "offset", "partition", "timestamp", "timestamp_type", "topic", "value")
    checksum = None
    serialized_key_size = 0
    serialized_value_size = 0

    def __init__(self, tp: TP, record: Any, batch: Batch) -> None:
        self.topic, self.partition, self.offset = tp.topic, tp.partition, record.offset
        self.timestamp, self.timestamp_type = record.timestamp, record.timestamp_type
        self.headers, self.key, self.value = (), None, batch


class Producer(driver.Producer):
    """Faust's own producer, which we send nothing with (streams/producer.py does); it starts with every app."""

    app: Any

    def _settings_auth(self) -> Mapping[str, Any]:
        return dict(self.app.client_options) or {"security_protocol": "PLAINTEXT"}

    def _settings_extra(self) -> Mapping[str, Any]:
        return {"bootstrap_servers": self.app.bootstrap, "acks": "all", "enable_idempotence": True}


class Transport(driver.Transport):
    """Our consumer and producer in Faust's transport."""

    Consumer = Consumer
    Producer = Producer
