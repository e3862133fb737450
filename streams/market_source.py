"""Market data for the paper venue, read from the log outside any consumer group.

The paper venue is a venue: it watches the market by itself and journals how far it has come (facts of the venue are
not state of a processor), so this consumer seeks to the positions it is given and commits nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.codec import BadRecord, NewerSchema, decoder_for

TOPIC = "market-data"


class KafkaMarketSource:
    """Reads every partition of `market-data` from given positions."""

    def __init__(self, bootstrap: str, message_names: tuple[str, ...], connection: Mapping[str, Any]) -> None:
        self._bootstrap, self._connection = bootstrap, connection
        self._decode = decoder_for(message_names)

    async def ends(self) -> dict[int, int]:
        """Return the end offset of every partition as it is now: what a venue catches up to before it trades."""
        consumer = self._consumer()
        await consumer.start()
        try:
            partitions = [TopicPartition(TOPIC, p) for p in await self._partitions(consumer)]
            return {tp.partition: offset for tp, offset in (await consumer.end_offsets(partitions)).items()}
        finally:
            await consumer.stop()

    async def read(self, positions: Mapping[int, int]) -> AsyncIterator[list[tuple[int, int, Any]]]:
        """Yield lists of (partition, offset, message) in partition order, for ever.

        A partition without a position starts at its end as it is at the first call: a venue that has never run has
        no orders that older trades could fill. A position that retention deleted goes on from the oldest record.
        Records that cannot be read are skipped here; the strategy parks them.
        """
        consumer = self._consumer()
        await consumer.start()
        try:
            partitions = [TopicPartition(TOPIC, p) for p in await self._partitions(consumer)]
            consumer.assign(partitions)
            first = await consumer.beginning_offsets(partitions)
            last = await consumer.end_offsets(partitions)
            for tp in partitions:
                wanted = positions.get(tp.partition, last[tp])
                consumer.seek(tp, max(wanted, first[tp]))
            while True:
                fetched = await consumer.getmany(timeout_ms=200, max_records=5_000)
                batch = [
                    (tp.partition, record.offset, message)
                    for tp, records in fetched.items()
                    for record in records
                    if (message := self._message(record.value)) is not None
                ]
                if batch:
                    yield batch
        finally:
            await consumer.stop()

    def _message(self, value: bytes | None) -> Any:
        try:
            return self._decode(value)
        except (BadRecord, NewerSchema):
            return None

    def _consumer(self) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap, enable_auto_commit=False, fetch_max_wait_ms=50, **self._connection
        )

    async def _partitions(self, consumer: AIOKafkaConsumer) -> list[int]:
        for _ in range(50):
            known = consumer.partitions_for_topic(TOPIC)
            if known:
                return sorted(known)
            await consumer._client.force_metadata_update()
            await consumer.topics()
            await asyncio.sleep(0.1)
        raise RuntimeError(f"the broker knows no topic {TOPIC}: create it with `wakeline topics create`")
