"""Statistics as they were told, and counted again from the log.

Entry points: `read_statistics`, `recompute`, `difference`, `lag`. `security` is that of `settings.broker` or None.

1. Topics are read without a group from their beginning to the ends as they were at the start: nobody is disturbed.
2. A recount needs every record since the beginning: where retention deleted some, `recompute` fails and says so.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from cli.bootstrap import partitions_of
from cli.exit_codes import ExitCode, Failure
from processors.statistics.figures import completed
from processors.statistics.recount import FIRST_PARTITION_ONLY, SOURCES, Recount, difference
from schemas.codec import BadRecord, NewerSchema, decode
from schemas.statistics import Statistics
from streams.broker.params import client_options

__all__ = ["difference", "lag", "read_statistics", "recompute"]

TOPIC = "statistics"
INBOX = "copy-results"
GROUP = "wakeline-statistics"


def read_statistics(bootstrap: str, security: Any = None) -> dict[str, Statistics]:
    """Return the latest statistics of each subject from the topic; leaders with all of their followers, and ranked.

    Raises:
        Failure: the broker has no such topic.
        NewerSchema: told by a newer build.
    """
    return asyncio.run(_read_statistics(_client(bootstrap, security)))


def recompute(bootstrap: str, security: Any = None) -> dict[str, Statistics]:
    """Return the same, counted again from the records that the statistics are about (processors/statistics/recount.py).

    Raises:
        Failure: a topic is missing, or retention deleted records of it.
        NewerSchema: written by a newer build.
    """
    return asyncio.run(_recompute(_client(bootstrap, security)))


def lag(bootstrap: str, security: Any = None) -> int:
    """Return how many records of its inbox the statistics role has not committed yet."""
    return asyncio.run(_lag(_client(bootstrap, security)))


async def _read_statistics(client: dict[str, Any]) -> dict[str, Statistics]:
    told: dict[str, Statistics] = {}
    async for record in _records(client, TOPIC):
        message = None if record.value is None else _decoded(record.value)
        if isinstance(message, Statistics):
            told[message.subject] = message
    return completed(told)


async def _recompute(client: dict[str, Any]) -> dict[str, Statistics]:
    recount = Recount()
    for topic in SOURCES:
        first_only = topic in FIRST_PARTITION_ONLY
        async for record in _records(client, topic, first_only=first_only, whole=True):
            message = None if record.value is None else _decoded(record.value)
            if message is not None:
                recount.take(topic, record.partition, message, record.headers)
    return recount.result()


async def _lag(client: dict[str, Any]) -> int:
    places = [TopicPartition(INBOX, number) for number in await _partitions(client, INBOX)]
    admin = AIOKafkaAdminClient(**client)
    consumer = AIOKafkaConsumer(**client, group_id=None)
    await admin.start()
    try:
        await consumer.start()
        committed = await admin.list_consumer_group_offsets(GROUP)
        ends = await consumer.end_offsets(places)
        first = await consumer.beginning_offsets(places)
    finally:
        await consumer.stop()
        await admin.close()
    told = {place: max(first[place], committed[place].offset) if place in committed else first[place] for place in ends}
    return sum(max(0, end - told[place]) for place, end in ends.items())


async def _records(
    client: Mapping[str, Any], topic: str, *, first_only: bool = False, whole: bool = False
) -> AsyncIterator[Any]:
    """Yield the records of a topic to its end, each partition in order; `whole`: none may have been deleted."""
    numbers = await _partitions(client, topic)
    places = [TopicPartition(topic, number) for number in (numbers[:1] if first_only else numbers)]
    consumer = AIOKafkaConsumer(**client, group_id=None, enable_auto_commit=False, fetch_max_wait_ms=100)
    await consumer.start()
    try:
        consumer.assign(places)
        first, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        if whole:
            _refuse_deleted(first)
        for place in places:
            consumer.seek(place, first[place])
        left = {place for place in places if first[place] < ends[place]}
        while left:
            for place, batch in (await consumer.getmany(*left, timeout_ms=200, max_records=5_000)).items():
                for record in batch:
                    if record.offset < ends[place]:
                        yield record
            left = {place for place in left if await consumer.position(place) < ends[place]}
    finally:
        await consumer.stop()


def _refuse_deleted(first: Mapping[TopicPartition, int]) -> None:
    deleted = [f"{place.topic}/{place.partition} below {offset}" for place, offset in sorted(first.items()) if offset]
    if deleted:
        raise Failure(
            ExitCode.FAILURE,
            f"retention deleted records that the statistics are made of: {', '.join(deleted)}",
            "A recount needs the log from its beginning: raise `retention` of these topics before it is needed",
        )


async def _partitions(client: Mapping[str, Any], topic: str) -> list[int]:
    numbers = await partitions_of(dict(client), topic)
    if not numbers:
        raise Failure(ExitCode.TOPICS, f"the broker has no topic {topic}", "See `wakeline topics list`")
    return numbers


def _decoded(value: bytes) -> Any:
    """Return the message; None for one that cannot be read, which the role has parked."""
    try:
        return decode(value)
    except NewerSchema:
        raise
    except BadRecord:
        return None


def _client(bootstrap: str, security: Any) -> dict[str, Any]:
    return {"bootstrap_servers": bootstrap, **client_options(security)}
