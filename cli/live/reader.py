"""Reads the topics of a run into the model: a plain consumer without a group, beside the pipeline and no part of it.

Entry point: `RunReader`. Only the topics of `model.FOLLOWED` are read; of the others the ends are asked, no more.

1. The ends at the start are the zero of all counts, and where reading begins (but for `model.FROM_THE_START`).
2. A broker that does not answer stops the view, never the pipeline: errors are kept in `trouble` and tried again.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from cli.live.model import FOLLOWED, FROM_THE_START, RunModel
from schemas.codec import BadRecord, NewerSchema, decode

_POLL_MS = 200
_POLL_RECORDS = 2_000
_ENDS_INTERVAL_S = 1.0
_ASK_TIMEOUT_S = 5.0


class RunReader:
    """Feeds a `RunModel` from the log.

    client: keyword arguments of aiokafka's clients (bootstrap_servers, security).
    partitions: topic -> number of partitions. groups: name shown -> consumer group, for the lag.
    """

    def __init__(
        self, model: RunModel, client: Mapping[str, Any], partitions: Mapping[str, int], groups: Mapping[str, str]
    ) -> None:
        self.trouble = ""
        self._model = model
        self._client = dict(client)
        self._partitions = [TopicPartition(topic, n) for topic, total in partitions.items() for n in range(total)]
        self._followed = [place for place in self._partitions if place.topic in FOLLOWED]
        self._groups = dict(groups)
        self._ends: dict[TopicPartition, int] = {}
        self._asked_s = float("-inf")
        self._consumer: AIOKafkaConsumer | None = None
        self._admin: AIOKafkaAdminClient | None = None

    async def start(self) -> None:
        """Connect and take the ends of all topics as the zero of this run."""
        consumer = AIOKafkaConsumer(
            **self._client,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=100,
        )
        await consumer.start()
        self._consumer = consumer
        # Assigned so that the client knows their leaders; those not followed are paused and never fetched.
        consumer.assign(self._partitions)
        consumer.pause(*(place for place in self._partitions if place.topic not in FOLLOWED))
        await self._ask_ends()
        for place in self._followed:
            if place.topic in FROM_THE_START:
                await consumer.seek_to_beginning(place)
            else:
                consumer.seek(place, self._ends[place])
        if self._groups:
            self._admin = AIOKafkaAdminClient(**self._client)
            await self._admin.start()

    async def poll(self) -> int:
        """Take in what came, and about once a second the ends and the lag; return how many records came."""
        assert self._consumer is not None
        try:
            if time.monotonic() - self._asked_s >= _ENDS_INTERVAL_S:
                await self._ask_ends()
                await self._ask_lag()
            batches = await self._consumer.getmany(*self._followed, timeout_ms=_POLL_MS, max_records=_POLL_RECORDS)
            self.trouble = ""
        except (KafkaError, TimeoutError, OSError) as error:
            self.trouble = f"the broker does not answer ({type(error).__name__})"
            await asyncio.sleep(_ENDS_INTERVAL_S)
            return 0
        records = 0
        for place, batch in batches.items():
            records += len(batch)
            for record in batch:
                self._take(place, record)
        return records

    async def drain(self, timeout_s: float) -> int:
        """Read to the ends as they are now; return how many records are left unread at the time limit."""
        assert self._consumer is not None
        limit_s = time.monotonic() + timeout_s
        try:
            await self._ask_ends()
            while (behind := await self._behind()) and time.monotonic() < limit_s:
                await self.poll()
        except (KafkaError, TimeoutError, OSError) as error:
            self.trouble = f"the broker does not answer ({type(error).__name__})"
            return -1
        return behind

    async def stop(self) -> None:
        """Close the connections."""
        for part in (self._consumer, self._admin):
            if part is not None:
                try:
                    await (part.stop() if isinstance(part, AIOKafkaConsumer) else part.close())
                except (KafkaError, OSError, asyncio.CancelledError):
                    continue

    async def _ask_ends(self) -> None:
        assert self._consumer is not None
        self._ends = await asyncio.wait_for(self._consumer.end_offsets(self._partitions), timeout=_ASK_TIMEOUT_S)
        self._asked_s = time.monotonic()
        sums: dict[str, int] = {}
        for place in self._partitions:
            sums[place.topic] = sums.get(place.topic, 0) + self._ends[place]
        self._model.observe(self._asked_s, sums)

    async def _ask_lag(self) -> None:
        """Ask how many records each group has not committed yet; a group that never committed is left out."""
        if self._admin is None:
            return
        found = {}
        for name, group in self._groups.items():
            offsets = await asyncio.wait_for(self._admin.list_consumer_group_offsets(group), timeout=_ASK_TIMEOUT_S)
            known = {place: told.offset for place, told in offsets.items() if told.offset >= 0}
            if known:
                found[name] = sum(max(0, self._ends.get(place, offset) - offset) for place, offset in known.items())
        self._model.set_lag(found)

    async def _behind(self) -> int:
        assert self._consumer is not None
        behind = 0
        for place in self._followed:
            behind += max(0, self._ends[place] - await self._consumer.position(place))
        return behind

    def _take(self, place: TopicPartition, record: Any) -> None:
        try:
            message = decode(record.value)
        except (BadRecord, NewerSchema):
            self._model.apply_unreadable()
            return
        headers = {name: value.decode("ascii", "replace") for name, value in record.headers if value is not None}
        self._model.apply(place.topic, place.partition, record.timestamp, headers, message)
