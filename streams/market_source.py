"""Market data for the paper venue, read from the log outside any consumer group.

The paper venue is a venue: it watches the market by itself and journals how far it has come (facts of the venue are
not state of a processor), so this consumer seeks to the positions it is given and commits nothing.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.codec import BadRecord, NewerSchema, decoder_for
from streams.metadata import partitions_of

TOPIC = "market-data"
MAX_RECORDS = 2_000


class KafkaMarketSource:
    """Reads every partition of `market-data` from given positions."""

    def __init__(self, bootstrap: str, message_names: tuple[str, ...], connection: Mapping[str, Any]) -> None:
        self._bootstrap, self._connection = bootstrap, connection
        self._decode = decoder_for(message_names)

    async def bounds(self) -> dict[int, tuple[int, int]]:
        """Return, per partition, the first offset that can be read and the end (the next one to be written)."""
        async with self._consumer() as consumer:
            partitions = [TopicPartition(TOPIC, p) for p in await partitions_of(consumer, TOPIC)]
            first = await consumer.beginning_offsets(partitions)
            last = await consumer.end_offsets(partitions)
            return {tp.partition: (first[tp], last[tp]) for tp in partitions}

    async def read(self, positions: dict[int, int]) -> AsyncGenerator[list[tuple[int, int, Any]], None]:
        """Yield lists of (partition, offset, message), from these next offsets, for ever.

        A record that cannot be read is given as None, so that the position moves over it; the strategy parks it.
        """
        async with self._consumer() as consumer:
            partitions = [TopicPartition(TOPIC, p) for p in positions]
            consumer.assign(partitions)
            for tp in partitions:
                consumer.seek(tp, positions[tp.partition])
            while True:
                fetched = await consumer.getmany(timeout_ms=200, max_records=MAX_RECORDS)
                batch = [
                    (tp.partition, record.offset, self._message(record.value))
                    for tp, records in fetched.items()
                    for record in records
                ]
                if batch:
                    yield batch

    def _message(self, value: bytes | None) -> Any:
        try:
            return self._decode(value)
        except (BadRecord, NewerSchema):
            return None

    @asynccontextmanager
    async def _consumer(self) -> AsyncIterator[AIOKafkaConsumer]:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            enable_auto_commit=False,
            auto_offset_reset="none",  # a position that is gone is told by bounds(), never moved in silence
            fetch_max_wait_ms=50,
            **self._connection,
        )
        await consumer.start()
        try:
            yield consumer
        finally:
            await consumer.stop()
