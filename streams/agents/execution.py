"""The execution role: orders from the log into the engine, venues' reports back through its outbox.

The one impure role: its position stands in SQL, written with the orders (executors/engine.py). What it shares with
every other inbox (watermarks, chains, parking) it has from the same core: `Intake` is a processor whose step only
collects, and the core's state is stored in the transaction that stores the orders.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from executors.engine import ExecutionEngine
from executors.paper.executor import PaperExecutor
from executors.store import Store
from processors.inbox import Inbox, InboxCore, StreamHole, partition_of
from processors.protocols import Meta, Out
from schemas.codec import decoder_for
from schemas.topics import Catalogue
from streams.app import TP, Batch, PositionLost
from streams.market_source import KafkaMarketSource
from streams.metrics import RoleMetrics
from streams.outbox import OutboxRow, Relay
from streams.producer import Publisher

OUTBOX_ROWS = 500
CONTROL = "control"


class Intake:
    """A processor that hands on what it reads; its state is only what was read since it was last emptied."""

    name = "execution"
    inbox = "orders"
    state_schema = 1
    config_hash = ""

    def initial(self, partition: int) -> list[tuple[int, Any]]:
        """Return an empty list."""
        return []

    def step(self, state: list[tuple[int, Any]], event: Any, meta: Meta) -> Sequence[Out]:
        """Collect (offset, message)."""
        state.append((meta.offset, event))
        return ()

    def encode(self, state: list[tuple[int, Any]]) -> bytes:
        """Nothing of it is kept: the engine has the orders."""
        return b""

    def decode(self, data: bytes) -> list[tuple[int, Any]]:
        """Inverse of `encode`."""
        return []


class ExecutionHandler:
    """Claims partitions of `orders`, feeds the engine, relays its outbox."""

    topics: tuple[str, ...] = ("orders",)

    def __init__(
        self,
        engine: ExecutionEngine,
        catalogue: Catalogue,
        publisher: Publisher,
        metrics: RoleMetrics,
        watch: Callable[[Any, str], "asyncio.Task[Any]"],
        log_end: Callable[[int], Awaitable[int]],
    ) -> None:
        self._engine, self._catalogue, self._publisher, self._metrics = engine, catalogue, publisher, metrics
        self._watch, self._log_end = watch, log_end
        self._core = InboxCore(Intake(), catalogue.topics)
        self._inboxes: dict[int, Inbox] = {}
        self._relays: dict[int, tuple[Relay, asyncio.Task[Any]]] = {}

    def wake(self, partition: int) -> None:
        """The engine has new rows in a partition's outbox."""
        if partition in self._relays:
            self._relays[partition][0].wake()

    async def assign(self, tps: Collection[TP]) -> None:
        """Take the lease of each partition, and ask about what was open."""
        for tp in tps:
            partition = tp.partition
            position = await self._engine.claim(partition, await self._log_end(partition))
            stored = await self._engine.inbox_state(partition)
            inbox = self._core.new(partition) if stored is None else self._core.decode(stored)
            if inbox.position != position and stored is not None:
                raise PositionLost(f"orders/{partition}: the store stands at {position}, its inbox at {inbox.position}")
            self._inboxes[partition] = inbox
            relay = self._relay(partition)
            self._relays[partition] = (relay, self._watch(relay.run(), f"outbox of orders/{partition}"))

    async def position(self, tp: TP) -> int:
        """Next offset of `orders` wanted."""
        return self._inboxes[tp.partition].position

    async def apply(self, tp: TP, batch: Batch) -> None:
        """Store the batch's orders with the position; the engine's workers do the rest."""
        inbox = self._inboxes[tp.partition]
        parked = inbox.parked
        try:
            emits = self._core.apply_columns(inbox, batch.values, batch.offsets, batch.headers)
        except StreamHole as error:
            await self._publisher.publish(error.emits, batch.origin_us)
            raise
        if emits:
            await self._publisher.publish(emits, batch.origin_us)
        read, inbox.state = inbox.state, []
        await self._engine.accept(
            tp.partition,
            [offset for offset, _ in read],
            [message for _, message in read],
            next_offset=inbox.position,
            inbox=self._core.encode(inbox),
        )
        self._metrics.records(tp.topic, len(batch))
        if inbox.parked != parked:
            self._metrics.parked.inc(inbox.parked - parked)

    async def gap(self, tp: TP, beginning: int) -> None:
        """An order that was deleted before it was read is never stepped over."""
        raise PositionLost(
            f"orders/{tp.partition}: the store stands at {self._inboxes[tp.partition].position}, retention deleted "
            f"everything below {beginning}: orders are lost. Raise the topic's retention; close what is open by hand"
        )

    async def revoke(self, tps: Collection[TP]) -> None:
        """Stop relaying and working; requests on their way are asked about by the next owner."""
        for tp in tps:
            if tp.partition in self._relays:
                _, task = self._relays.pop(tp.partition)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            await self._engine.release(tp.partition)
            self._inboxes.pop(tp.partition, None)

    async def idle(self) -> None:
        """Nothing is due by time: workers and relays have their own."""

    async def close(self, clean: bool) -> None:
        """Send what the outbox holds, then give everything up."""
        for relay, task in self._relays.values():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            while clean and await relay.relay():
                pass
        await self.revoke([TP("orders", partition) for partition in list(self._inboxes)])

    def _relay(self, partition: int) -> Relay:
        async def rows() -> list[OutboxRow]:
            return [
                OutboxRow(
                    row.generation,
                    row.number,
                    row.previous,
                    row.topic,
                    partition_of(row.key.encode(), self._catalogue[row.topic].partitions),
                    row.key.encode(),
                    row.value,
                )
                for row in await self._engine.outbox(partition, OUTBOX_ROWS)
            ]

        async def sent(number: int) -> None:
            await self._engine.outbox_sent(partition, number)

        return Relay(f"execution@orders/{partition}", rows, sent, self._publisher)


async def follow_control(bootstrap: str, security: Any, engine: ExecutionEngine, messages: tuple[str, ...]) -> None:
    """Read `control` from its beginning for ever; tell the engine when its end was reached for the first time."""
    decode = decoder_for(messages)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, enable_auto_commit=False, fetch_max_wait_ms=100, **security
    )
    await consumer.start()
    try:
        tp = TopicPartition(CONTROL, 0)
        consumer.assign([tp])
        end = (await consumer.end_offsets([tp]))[tp]
        await consumer.seek_to_beginning(tp)
        known = False
        while True:
            if not known and await consumer.position(tp) >= end:
                engine.control_read_to_end()
                known = True
            for record in (await consumer.getmany(tp, timeout_ms=200)).get(tp, ()):
                if record.value is not None:
                    engine.control(decode(record.value))
    finally:
        await consumer.stop()


async def build(worker: Any) -> tuple[ExecutionHandler, Callable[[], Awaitable[None]]]:
    """Open the store, connect the paper venue, and return the handler and what closes them."""
    settings = worker.settings
    url = settings.execution.store or f"sqlite:///{settings.data_dir.absolute() / 'execution.db'}"
    store = await asyncio.to_thread(Store, url)
    market = KafkaMarketSource(worker.bootstrap, worker.catalogue["market-data"].messages, worker.security)
    paper = PaperExecutor(settings.paper, store, market)

    def wake(partition: int) -> None:
        handler.wake(partition)  # made below: the two need each other

    engine = ExecutionEngine(store, {paper.venue: paper}, worker.timebase.now_ms, wake)
    source = LogEnds(worker.bootstrap, worker.security)
    handler = ExecutionHandler(
        engine, worker.catalogue, worker.publisher, worker.metrics.role("execution"), worker.watch, source.end
    )
    control = worker.catalogue[CONTROL].messages
    worker.watch(follow_control(worker.bootstrap, worker.security, engine, control), "control")
    running = worker.watch(engine.run(), "execution")

    async def close() -> None:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await asyncio.to_thread(store.close)

    return handler, close


class LogEnds:
    """Asks the broker where a partition of `orders` ends now."""

    def __init__(self, bootstrap: str, security: Any) -> None:
        self._bootstrap, self._security = bootstrap, security

    async def end(self, partition: int) -> int:
        """Return the end offset."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self._bootstrap, **self._security)
        await consumer.start()
        try:
            tp = TopicPartition("orders", partition)
            ends: dict[TopicPartition, int] = await consumer.end_offsets([tp])
            return ends[tp]
        finally:
            await consumer.stop()
