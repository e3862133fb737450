"""One Faust app per role, handing each partition's records in batches to a handler that alone knows the position.

Entry points: `BatchHandler` (what a role gives), `build_app(...) -> App`, `App.start_role`, `App.stop_role`.

1. On assignment the handler loads its state and says where it stands; the app seeks there and nowhere else.
2. `apply` is called for one partition at a time in order, its first record exactly at the handler's position; other
   partitions meanwhile (`lanes`). After it returned, the position may be committed, as a display of lag.
3. A position below the log's beginning goes to `handler.gap`; one beyond its end, and a hole in the log, end the
   worker: neither is ever stepped over.
4. The first failure is told once to `on_failure`; from then on nothing is applied. The process must end: start-up is
   the recovery path.
5. A worker that was frozen for longer than its session ends, before it takes another batch: its partitions are
   another's by now, and perhaps another build's.
6. A revoked partition is out of its lane before `revoke` is called; events of an older assignment are dropped.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import aiokafka
import faust

from streams.transport import TP, Batch, Transport

__all__ = ["TP", "App", "Batch", "BatchHandler", "PositionLost", "build_app"]

log = logging.getLogger(__name__)

LANE_BATCHES: Final = 4
"""Batches that may wait per partition, so that a slow partition does not hold the others up at once."""
END_PATIENCE_S: Final = 15.0
"""A new leader may for a moment tell a lower end of the log than the old one did; longer than this it is lost."""


class PositionLost(RuntimeError):
    """The log does not hold what the state wants next: the worker must end."""


class Frozen(RuntimeError):
    """The process did not run for longer than its session: the worker must end."""


class BatchHandler(Protocol):
    """One role. Every method may raise; any error ends the worker.

    topics: what it reads; a partition of a topic is a `TP(topic, partition)`.
    """

    topics: tuple[str, ...]

    async def assign(self, tps: Collection[TP]) -> None:
        """Load the state of these partitions; they may have been ours before, and another's meanwhile."""
        ...

    async def position(self, tp: TP) -> int:
        """Return the next offset wanted (0 for a partition that has seen nothing)."""
        ...

    async def apply(self, tp: TP, batch: Batch) -> None:
        """Apply records, the first at the position, without holes; return once the position may be committed."""
        ...

    async def gap(self, tp: TP, beginning: int) -> None:
        """Retention deleted what the position wants: move it to `beginning` and tell it, or raise `PositionLost`."""
        ...

    async def revoke(self, tps: Collection[TP]) -> None:
        """Give these partitions up (none of them is in `apply`)."""
        ...

    async def idle(self) -> None:
        """Called about once a second, whether records come or not, for what is due by time."""
        ...

    async def close(self, clean: bool) -> None:
        """End; `clean`: all that was taken is applied and published, and the state should be kept as such."""
        ...


class _Lane:
    """The queue and the worker of one partition."""

    def __init__(self, work: Callable[[Any], Awaitable[None]]) -> None:
        self.queue: asyncio.Queue[Any] = asyncio.Queue(LANE_BATCHES)
        self.busy = asyncio.Lock()
        self.task = asyncio.create_task(self._run(work))
        self.sought: tuple[int, int] | None = None  # (position, epoch) of the lane's own last seek

    async def _run(self, work: Callable[[Any], Awaitable[None]]) -> None:
        while True:
            event = await self.queue.get()
            async with self.busy:
                await work(event)


class Runner:
    """Between Faust and the handler: lanes, positions, failures."""

    def __init__(self, app: "App", handler: BatchHandler, on_failure: Callable[[BaseException], None]) -> None:
        self.app, self.handler = app, handler
        self.failure: BaseException | None = None
        self.owned: set[TP] = set()
        self.ready = False
        self.progress: dict[TP, tuple[int, float]] = {}  # position and when it last moved (monotonic)
        self._on_failure = on_failure
        self._ticked = time.monotonic()
        self._revocations = 0
        self._transfer = asyncio.Lock()  # one assignment or revocation at a time
        self._lanes: dict[TP, _Lane] = {}
        self._loop = asyncio.get_running_loop()

    def fail(self, error: BaseException) -> None:
        """Note the first failure and tell it; callable from any thread."""
        self._loop.call_soon_threadsafe(self._fail, error)

    def _fail(self, error: BaseException) -> None:
        if self.failure is not None or self.app.stopping:
            return
        self.failure = error
        log.critical("%s: %s: %s", self.app.conf.id, type(error).__name__, error, exc_info=error)
        for lane in self._lanes.values():  # nothing waits for what will not be applied
            while not lane.queue.empty():
                self.app.consumer.ack(lane.queue.get_nowait().message)
        self._on_failure(error)

    # -- events
    async def take(self, event: Any) -> None:
        """Queue one event in its partition's lane."""
        tp = TP(event.message.topic, event.message.partition)
        if self.failure is not None or self.app.stopping or tp not in self.owned:
            self.app.consumer.ack(event.message)
            return
        lane = self._lanes.get(tp)
        if lane is None:
            lane = self._lanes[tp] = _Lane(self._work)
        await lane.queue.put(event)

    async def _work(self, event: Any) -> None:
        tp = TP(event.message.topic, event.message.partition)
        try:
            # What still waits when a stop is asked for is not lost: the position says that it was not applied.
            if self.failure is None and tp in self.owned and not self.app.stopping:
                await self._apply(tp, event.value)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._fail(error)
        finally:
            self.app.consumer.ack(event.message)

    def _check_frozen(self) -> None:
        """Raise if this process stood still (SIGSTOP, a machine put to sleep) for a session; notes that it runs."""
        now, before = time.monotonic(), self._ticked
        self._ticked = now
        if now - before > self.app.conf.broker_session_timeout:
            raise Frozen(
                f"this worker stood still for {now - before:.1f} s, longer than its session; it must start anew"
            )

    async def _apply(self, tp: TP, batch: Batch) -> None:
        self._check_frozen()
        want = await self.handler.position(tp)
        lane = self._lanes[tp]
        if batch.offsets[0] < want and batch.epoch == self.app.consumer.epoch:
            await self._check_end(tp, want)  # our client was sent back to the beginning, or Faust repeats itself
        batch = batch.since(want)
        if not batch:
            return
        if batch.offsets[0] > want:
            await self._fetch_again(tp, lane, want, batch)
            return
        if batch.offsets[-1] - want != len(batch) - 1:
            raise PositionLost(f"{tp.topic}/{tp.partition}: the log has holes between {want} and {batch.offsets[-1]}")
        await self.handler.apply(tp, batch)
        position = batch.offsets[-1] + 1
        self.progress[tp] = (position, time.monotonic())
        self.app.consumer.applied(tp, position)

    async def _fetch_again(self, tp: TP, lane: _Lane, want: int, batch: Batch) -> None:
        consumer = self.app.consumer
        if batch.epoch < consumer.epoch:
            return  # fetched before a seek: what we want is on its way
        if lane.sought == (want, batch.epoch):
            beginning = (await consumer.earliest_offsets(tp))[tp]
            if want >= beginning:
                raise PositionLost(
                    f"{tp.topic}/{tp.partition}: wanted offset {want}, the log goes on at {batch.offsets[0]}: records "
                    "are missing in it"
                )
            await self.handler.gap(tp, beginning)
            want = await self.handler.position(tp)
        if not self.app.rebalancing and tp in self.owned:
            await consumer.seek_to({tp: want})
            lane.sought = (want, consumer.epoch)

    # -- assignment
    async def assigned(self) -> None:
        """Load what was assigned and not yet loaded; called while nothing is delivered."""
        async with self._transfer:
            await self._assigned()

    async def _assigned(self) -> None:
        mine = {TP(tp.topic, tp.partition) for tp in self.app.consumer.assignment() if tp.topic in self.handler.topics}
        missing = mine - self.owned
        if missing and self.failure is None and not self.app.stopping:
            revocations = self._revocations
            await self.handler.assign(missing)
            await self._check_bounds(missing)
            if revocations != self._revocations:  # taken away while it was loaded: another may own it by now
                await self.handler.revoke(missing)
                return
            now = time.monotonic()
            for tp in missing:
                self.progress[tp] = (await self.handler.position(tp), now)
            self.owned |= missing
        self.ready = True

    async def revoked(self, tps: Collection[TP]) -> None:
        """Give partitions up, once their lanes are at rest, and what is just being loaded with them.

        The rebalance waits for that: the next owner must not take a lease while we are still taking it.
        """
        self._revocations += 1
        async with self._transfer:
            await self._revoked(tps)

    async def _revoked(self, tps: Collection[TP]) -> None:
        lost = {TP(tp.topic, tp.partition) for tp in tps} & self.owned
        self.owned -= lost
        for tp in lost:
            self.progress.pop(tp, None)
            lane = self._lanes.pop(tp, None)
            if lane is not None:
                async with lane.busy:
                    lane.task.cancel()
        if lost and self.failure is None:
            await self.handler.revoke(lost)

    async def positions(self, assignment: Collection[TP]) -> dict[TP, int]:
        """Return where to fetch from, of what is assigned and loaded."""
        return {tp: await self.handler.position(tp) for tp in assignment if tp in self.owned}

    async def _check_bounds(self, tps: Collection[TP]) -> None:
        beginnings = await self.app.consumer.earliest_offsets(*[_aiokafka(tp) for tp in tps])
        for tp in tps:
            want, beginning = await self.handler.position(tp), beginnings[_aiokafka(tp)]
            if want < beginning:
                await self.handler.gap(tp, beginning)
                if await self.handler.position(tp) < beginning:
                    raise PositionLost(f"{tp.topic}/{tp.partition}: position {want} is below the log's beginning")
            else:
                await self._check_end(tp, want)

    async def _check_end(self, tp: TP, want: int) -> None:
        deadline = time.monotonic() + END_PATIENCE_S
        while True:
            end = (await self.app.consumer.highwaters(_aiokafka(tp)))[_aiokafka(tp)]
            if want <= end:
                return
            if time.monotonic() > deadline:
                raise PositionLost(
                    f"{tp.topic}/{tp.partition}: the state stands at offset {want}, but the log ends at {end}: the log "
                    "lost its tail (power cut, restored folder); what was in it is not in this log any more"
                )
            await asyncio.sleep(0.5)

    def lag(self) -> dict[TP, int]:
        """Return records not yet applied by partition, as far as the last fetches told."""
        lags = {}
        for tp, (position, _) in self.progress.items():
            with contextlib.suppress(Exception):  # no fetch answered yet
                highwater = self.app.consumer.highwater(_aiokafka(tp))
                if highwater is not None:
                    lags[tp] = max(0, highwater - position)
        return lags

    async def housekeeping(self) -> None:
        """Once a second: the handler's timed work, and the watch over a standstill."""
        self._ticked = time.monotonic()
        while True:
            await asyncio.sleep(1.0)
            if self.failure is not None:
                return
            try:
                self._check_frozen()
                await self.handler.idle()
                self._watch()
            except asyncio.CancelledError:
                raise
            except BaseException as error:
                self._fail(error)

    def _watch(self) -> None:
        if self.app.rebalancing:
            return
        now = time.monotonic()
        for tp, lag in self.lag().items():
            position, moved = self.progress[tp]
            if lag == 0:
                self.progress[tp] = (position, now)
            elif now - moved > self.app.stall_timeout_s:
                raise TimeoutError(
                    f"{tp.topic}/{tp.partition}: {lag} records wait and none was applied for "
                    f"{self.app.stall_timeout_s:.0f} s"
                )

    async def close(self, clean: bool) -> None:
        """Stop the lanes (at rest when `clean`) and close the handler."""
        for lane in self._lanes.values():
            lane.task.cancel()
        self.owned.clear()
        await self.handler.close(clean and self.failure is None)


def _aiokafka(tp: TP) -> Any:
    return aiokafka.TopicPartition(tp.topic, tp.partition)


class App(faust.App):
    """A Faust app whose agents get batches; made by `build_app`."""

    bootstrap: str = ""
    client_options: Mapping[str, Any] = {}
    fetch_max_wait_ms: int = 50
    max_batch: int = 2000
    stall_timeout_s: float = 60.0
    stopping: bool = False
    runner: Runner
    consumer: Any  # streams.transport.Consumer

    def _new_transport(self) -> Transport:
        return Transport(self.conf.broker_consumer, self)

    def _new_producer_transport(self) -> Transport:
        return Transport(self.conf.broker_producer, self)

    def _crash(self, reason: BaseException) -> None:
        super()._crash(reason)
        self.runner.fail(reason)

    async def start_role(self) -> None:
        """Join the group and begin; returns before partitions are assigned (see `runner.ready`)."""
        self.finalize()
        self._housekeeping = asyncio.create_task(self.runner.housekeeping())
        await self.maybe_start()

    async def stop_role(self, clean: bool = True) -> None:
        """Finish what was taken, close the handler, leave the group; never raises.

        The handler closes before the group is left, so that the next owner finds its last state.
        """
        self.stopping = True
        self._housekeeping.cancel()
        try:
            if clean and self.runner.failure is None:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop_consumer(), 10)
            await self.runner.close(clean and not self.consumer.unacked)
        except Exception as error:
            log.exception("%s did not close cleanly: %s", self.conf.id, error)
        with contextlib.suppress(Exception):
            await asyncio.wait_for(self.stop(), 10)


def build_app(
    name: str,
    handler: BatchHandler,
    *,
    bootstrap: str | Sequence[str],
    group: str,
    data_dir: Path | str,
    on_failure: Callable[[BaseException], None],
    security: Mapping[str, Any] | None = None,
    session_timeout_s: float = 6.0,
    max_batch: int = 2000,
    stall_timeout_s: float = 60.0,
) -> App:
    """Return the Faust app of one role; several may run in one process and event loop.

    `bootstrap` is "host:port[,host:port]", `security` the keyword arguments of aiokafka's clients (see
    streams.broker.params.client_options), `max_batch` the records per `apply`. Call it inside the running loop, then
    `await app.start_role()`. `on_failure` is called once, in the loop, with what must end the process.
    """
    servers = bootstrap.split(",") if isinstance(bootstrap, str) else list(bootstrap)
    app = App(
        group,
        loop=asyncio.get_running_loop(),
        broker=[f"kafka://{server.strip()}" for server in servers],
        broker_client_id=f"wakeline-{name}",
        datadir=str(data_dir),
        store="memory://",
        autodiscover=False,
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=0,
        broker_session_timeout=session_timeout_s,
        broker_heartbeat_interval=min(1.0, session_timeout_s / 3),
        broker_rebalance_timeout=max(15.0, session_timeout_s),
        broker_request_timeout=max(20.0, session_timeout_s),
        broker_commit_interval=1.0,
        broker_max_poll_interval=max(60.0, stall_timeout_s),
        stream_wait_empty=True,
        stream_buffer_maxsize=16,
        agent_supervisor="mode.CrashingSupervisor",
    )
    app.bootstrap = ",".join(server.strip() for server in servers)
    app.client_options = dict(security or {})
    app.max_batch, app.stall_timeout_s = max_batch, stall_timeout_s
    app.runner = Runner(app, handler, on_failure)

    for topic in handler.topics:
        _agent(app, app.topic(topic, key_serializer="raw", value_serializer="raw"), f"{name}-{topic}")

    @app.on_rebalance_complete.connect(weak=False)
    async def load(sender: Any, **kwargs: Any) -> None:
        try:
            await app.runner.assigned()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            app.runner.fail(error)

    @app.on_partitions_revoked.connect(weak=False)
    async def give_up(sender: Any, revoked: Any, **kwargs: Any) -> None:
        try:
            await app.runner.revoked(revoked)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            app.runner.fail(error)

    return app


def _agent(app: App, topic: Any, name: str) -> None:
    @app.agent(topic, name=name)
    async def take(stream: Any) -> None:
        async for event in stream.noack().events():
            await app.runner.take(event)
