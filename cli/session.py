"""One run of `wakeline up`: broker, topics, workers, view; and their orderly end.

Entry points: `Session.run`, `Options`.

1. Order of the start: lock of the data folder, left-over workers of a killed run, broker, topics, reader, workers.
2. Order of the end: trading worker (its feed first), reader to the ends of the topics, sink's rows counted, sink,
   broker; normally well within `END_BUDGET_S`, which bounds what may be cut short. A second request ends it at once.
3. The parent decides nothing about trading: it may be killed at any moment, its children end with it.
"""

import asyncio
import contextlib
import dataclasses
import os
import signal
import sys
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, TypeVar

from cli import reset
from cli.console import Steps
from cli.exit_codes import ExitCode, Failure, as_failure
from cli.live.before import left_before
from cli.live.model import RunModel, Summary
from cli.live.reader import RunReader
from cli.live.render import Child, Screen
from cli.live.show import Show
from cli.rows import STORED_TOPICS, RowCounter
from cli.supervisor import Supervised
from streams import runtime
from streams.broker.cluster import Cluster, open_cluster
from streams.broker.params import client_options
from streams.decisions import open_decisions
from streams.settings import Settings
from streams.topics_admin import ensure_topics, load_catalogue

END_BUDGET_S = 4.8
# A worker that is slow, on a busy machine, is rather waited for than killed; the user has a second Ctrl-C.
WORKER_END_S = 7.0  # a worker gives up on its own end after 6 s (streams/worker.py)
TRADING_ROLES = ("outbox", "webhook", "feed", "strategy", "leader", "account", "statistics", "execution")
SINK_ROLES = ("sink",)
LAG_ROLES = ("strategy", "leader", "account", "execution", "statistics", "sink")
_READY_LIMIT_S = 60.0
_WATCH_INTERVAL_S = 0.5
_BROKER_STARTS_MAX = 3
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Options:
    """What the command line asks of a run."""

    for_s: float | None = None
    view: bool = True
    reset: bool = False


class Stopped(Exception):
    """The user asked to end while the run was still starting."""


class Session:
    """`await Session(settings, options, steps).run()`; then `summary`, `model` and `failure` tell how it went."""

    def __init__(self, settings: Settings, options: Options, steps: Steps) -> None:
        self.settings = settings
        self.options = options
        self.model = RunModel()
        self.summary: Summary | None = None
        self.failure: Failure | None = None
        self.forced = False
        self._steps = steps
        self._data_dir = settings.data_dir
        self._stop = asyncio.Event()
        self._force = asyncio.Event()
        self._cluster: Cluster | None = None
        self._cluster_is_ours = True
        self._bootstrap = settings.broker.bootstrap or ""
        self._reader: RunReader | None = None
        self._workers: list[Supervised] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._running_since_s: float | None = None
        self._ran_s = 0.0
        self._notice = ""
        self._show = Show(options.view, self._steps)
        self._rows = RowCounter(self._data_dir)

    async def run(self) -> None:
        """Start everything, wait for the end, end everything. Errors of the world end up in `failure`."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._asked_to_end)
        try:
            await self._start()
            await self._until_stopped()
        except Stopped:
            pass
        except Exception as error:
            self.failure = self.failure or as_failure(error)
            if self.failure is None:
                raise
        finally:
            await self._end()

    async def _start(self) -> None:
        await self._end_left_over()
        if self.options.reset:
            await self._reset()
        await self._check_feed()
        await self._start_broker()
        catalogue = load_catalogue()
        client = {"bootstrap_servers": self._bootstrap, **client_options(self.settings.broker.security)}
        broker = self.settings.broker
        report = await self._unless_stopped(
            ensure_topics(catalogue, self._bootstrap, replication=broker.topic_replication, security=broker.security)
        )
        made = f", {len(report.created)} made now" if report.created else ""
        self._steps.say(f"{len(catalogue.topics)} topics are as topics.yaml declares them{made}")
        partitions = {name: topic.partitions for name, topic in catalogue.topics.items()}
        groups = {role: f"wakeline-{role}" for role in LAG_ROLES}
        self._reader = RunReader(self.model, client, partitions, groups)
        self._rows.take_zero()
        await self._unless_stopped(self._reader.start())
        await self._start_workers()
        self._running_since_s = time.monotonic()

    async def _check_feed(self) -> None:
        """Look at the feed's input before anything starts: a wrong file is told at once."""
        if self.settings.feed is None:
            what = "the configuration has no section `feed`, so there is no market data"
            raise Failure(ExitCode.CONFIGURATION, what, "Add one, or choose by --feed recording|simulated|FILE")
        from streams.feeds.base import FeedError
        from streams.feeds.publisher import open_feed

        try:
            await self._unless_stopped(asyncio.to_thread(open_feed, self.settings.feed))
        except FeedError as error:
            raise Failure(ExitCode.CONFIGURATION, str(error).rstrip(".")) from error

    async def _reset(self) -> None:
        await asyncio.to_thread(reset.delete, self._data_dir)
        self._steps.say(f"{self._data_dir} is empty now")

    async def _start_broker(self) -> None:
        if self._bootstrap:
            self._steps.say(f"using the broker at {self._bootstrap}")
            return
        from streams.broker.install import install

        def installing(done: int, total: int, name: str) -> None:
            self._steps.progress(f"fetching Apache Kafka {done}/{total} {name}")

        await self._unless_stopped(asyncio.to_thread(install, installing))
        cluster = self._cluster = open_cluster(self._data_dir / "broker", self.settings.broker.embedded)
        before = [node.pid for node in cluster.nodes]
        await self._unless_stopped(asyncio.to_thread(cluster.start))
        # The same processes as before: somebody runs them by `wakeline broker start`, so they are not ours to stop.
        self._cluster_is_ours = before != [node.pid for node in cluster.nodes]
        self._bootstrap = cluster.bootstrap
        whose = "" if self._cluster_is_ours else ", which was running already"
        self._steps.say(f"Apache Kafka answers at {self._bootstrap}{whose}")

    async def _start_workers(self) -> None:
        config = write_effective(self.settings, self._data_dir)
        port = self.settings.worker.http_port
        feeds = await asyncio.to_thread(has_feed_leader, self.settings)
        trading = tuple(role for role in TRADING_ROLES if role != "webhook" or feeds)
        for index, (name, roles) in enumerate((("trading", trading), ("sink", SINK_ROLES))):
            command = worker_command(name, roles, config, self._bootstrap, port + index if port else 0)
            log_file = runtime.log_folder(self._data_dir) / f"{name}.log"
            self._workers.append(Supervised(name, command, log_file, self._tell, worker_environment()))
        for worker in self._workers:
            self._spawn(worker.run())
        self._spawn(self._watch())
        self._steps.say("workers are starting")
        limit_s = time.monotonic() + _READY_LIMIT_S
        while not all(self._state_of(worker) == "running" for worker in self._workers):
            if time.monotonic() > limit_s:
                late = ", ".join(worker.name for worker in self._workers if self._state_of(worker) != "running")
                what = f"not ready after {_READY_LIMIT_S:.0f} s: {late}"
                raise Failure(ExitCode.WORKER, what, f"Their logs are in {runtime.log_folder(self._data_dir)}")
            await self._unless_stopped(asyncio.sleep(0.05))
            assert self._reader is not None
            if self._show.live:
                await self._reader.poll()
                self._draw()
        self._spawn(self._look_back())
        self._steps.say("running; Ctrl-C ends it" if self.options.for_s is None else "running")

    async def _look_back(self) -> None:
        """Take in who follows and what is halted since earlier runs."""
        self.model.copies.know(*await left_before(self._data_dir))

    async def _until_stopped(self) -> None:
        assert self._reader is not None
        runtime.announce(self._data_dir, "up", state="running", note=self._bootstrap)
        limit_s = None if self.options.for_s is None else time.monotonic() + self.options.for_s
        while not self._stop.is_set():
            records = await self._reader.poll()
            self._draw()
            if limit_s is not None and time.monotonic() >= limit_s:
                return
            with contextlib.suppress(TimeoutError):
                # A full poll means that more is waiting; else there is time until the next look.
                await asyncio.wait_for(self._stop.wait(), 0.01 if records else 0.1)

    async def _watch(self) -> None:
        """Give up when a worker cannot be kept running; start the broker again when it ends."""
        starts = 0
        while not self._stop.is_set():
            failed = next((worker.failed for worker in self._workers if worker.failed is not None), None)
            if failed is not None:
                self.failure = failed
                self._stop.set()
                return
            cluster = self._cluster
            if cluster is not None and not cluster.running:
                starts += 1
                if starts > _BROKER_STARTS_MAX:
                    why = f"the broker ended {starts} times: {_why_ended(cluster)}"
                    self.failure = Failure(ExitCode.BROKER, why, f"Its logs are in {cluster.folder}")
                    self._stop.set()
                    return
                self._tell(f"the broker ended ({_why_ended(cluster)}); starting it again")
                try:
                    await asyncio.to_thread(cluster.start)
                    self._tell("the broker answers again")
                except Exception as error:
                    self._tell(f"the broker did not start: {error}")
            await asyncio.sleep(_WATCH_INTERVAL_S)

    async def _end(self) -> None:
        """End everything in order, each step within what is left of the budget."""
        began_s = time.monotonic()
        if self._running_since_s is not None:
            self._ran_s = began_s - self._running_since_s
        self._stop.set()
        force = asyncio.create_task(self._force.wait())
        orderly = asyncio.create_task(self._end_in_order(began_s + END_BUDGET_S))
        try:
            await asyncio.wait({force, orderly}, return_when=asyncio.FIRST_COMPLETED)
            if not orderly.done():
                self.forced = True
                orderly.cancel()
                await self._end_by_force()
            await asyncio.gather(orderly, return_exceptions=True)
            if not orderly.cancelled() and orderly.exception() is not None and self.failure is None:
                raise orderly.exception() or AssertionError
        finally:
            self._show.close()
            for task in (force, *self._tasks):
                task.cancel()
            await asyncio.gather(force, *self._tasks, return_exceptions=True)
            runtime.withdraw(self._data_dir, "up")

    async def _end_in_order(self, limit_s: float) -> None:
        def left(most_s: float) -> float:
            return max(0.2, min(most_s, limit_s - time.monotonic()))

        with contextlib.suppress(OSError):  # a full disk must not keep us from ending
            runtime.announce(self._data_dir, "up", state="stopping", note=self._bootstrap)
        self._note("ending: the feed stops, orders in flight are finished")
        trading = [worker for worker in self._workers if worker.name == "trading"]
        for worker in trading:
            await worker.stop(WORKER_END_S)
        if self._reader is not None and self._running_since_s is not None:
            unread = await self._reader.drain(left(0.8))
            if unread:
                self._tell(f"the summary lacks the last {unread} records" if unread > 0 else self._reader.trouble)
            self._note("ending: the sink writes its last rows")
            records = sum(self.model.totals().get(topic, 0) for topic in STORED_TOPICS)
            rows = await self._rows.settled(records, left(1.5))
            if self._rows.trouble:
                self._tell(f"rows per table: {self._rows.trouble}")
            self.summary = self.model.summary(self._ran_s, rows)
        for worker in self._workers:
            await worker.stop(WORKER_END_S)
        if self._reader is not None:
            await self._reader.stop()
        if self._cluster is not None and self._cluster_is_ours:
            self._note("ending: the broker")
            await asyncio.to_thread(self._cluster.stop, left(2.0))

    async def _end_by_force(self) -> None:
        for worker in self._workers:
            await worker.kill()
        if self._cluster is not None and self._cluster_is_ours:
            await asyncio.to_thread(self._cluster.stop, 0.0)
        if self._reader is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._reader.stop(), 1.0)

    async def _end_left_over(self) -> None:
        """End workers of an earlier run that was killed: two writers on one log would only disturb each other."""
        left = list(runtime.processes(self._data_dir))
        for process in left:
            self._steps.say(f"ending worker {process.name} (pid {process.pid}), left over from a run that was killed")
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGTERM)
        limit_s = time.monotonic() + 5.0
        while any(process.alive() for process in left):
            if time.monotonic() > limit_s:
                for process in left:
                    if process.alive():
                        os.kill(process.pid, signal.SIGKILL)
            await asyncio.sleep(0.05)

    async def _unless_stopped(self, work: Awaitable[T]) -> T:
        """Await `work`, or raise Stopped as soon as the end is asked for."""
        task = asyncio.ensure_future(work)
        stop = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise Stopped
        finally:
            stop.cancel()
            if not task.done():
                task.cancel()

    def _asked_to_end(self) -> None:
        if self._stop.is_set():
            self._force.set()
        self._stop.set()

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            error = task.exception()
            assert error is not None
            self.failure = self.failure or as_failure(error) or Failure(ExitCode.FAILURE, repr(error))
            self._stop.set()

    def _state_of(self, worker: Supervised) -> str:
        if worker.failed is not None:
            return "failed"
        if worker.pid is None:
            return "ended" if self._stop.is_set() else "down"
        told = runtime.read_process(self._data_dir, worker.name)
        return told.state if told is not None and told.pid == worker.pid else "starting"

    def _tell(self, line: str) -> None:
        self._show.event(line)

    def _note(self, line: str) -> None:
        self._notice = line
        self._draw()

    def _draw(self) -> None:
        running_s = 0.0 if self._running_since_s is None else time.monotonic() - self._running_since_s
        left_s = None if self.options.for_s is None else max(0.0, self.options.for_s - running_s)
        trouble = self._reader.trouble if self._reader is not None else ""
        self._show.draw(
            self.model,
            lambda recent: Screen(
                seconds=running_s,
                speed=_speed(self.settings),
                broker=self._bootstrap,
                children=self._children(),
                remaining_s=left_s,
                notice=self._notice or trouble,
                recent=recent,
            ),
        )

    def _children(self) -> tuple[Child, ...]:
        found = []
        if self._cluster is not None:
            found.append(Child("broker", "running" if self._cluster.running else "down"))
        for worker in self._workers:
            told = runtime.read_process(self._data_dir, worker.name)
            port = f"port {told.http_port}" if told is not None and told.http_port and told.pid == worker.pid else ""
            found.append(Child(worker.name, self._state_of(worker), worker.restarts, port))
        return tuple(found)


def has_feed_leader(settings: Settings) -> bool:
    """Return whether some leader sends its trades over HTTP, by file or by command."""
    if any(leader.kind == "feed" for leader in settings.leaders):
        return True
    if settings.execution.store is None and not (settings.data_dir / "decisions.db").exists():
        return False
    store = open_decisions(settings, load_catalogue())
    try:
        return any(leader.kind == "feed" for leader in store.known().leaders.values())
    finally:
        store.close()


def write_effective(settings: Settings, data_dir: Path) -> Path:
    """Write the settings as they are now for the workers, so that one started again later has the same ones.

    The file may hold secrets: nobody else may read it.
    """
    path = runtime.run_folder(data_dir) / "settings.json"
    runtime.write_json(path, revealed(settings), private=True)
    return path


def revealed(value: Any) -> Any:
    """Return a settings model as plain JSON values, secrets included."""

    from pydantic import BaseModel, SecretStr

    if isinstance(value, BaseModel):
        return {name: revealed(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, dict):
        return {str(key): revealed(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [revealed(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def worker_command(name: str, roles: tuple[str, ...], config: Path, bootstrap: str, http_port: int) -> list[str]:
    """Return the command of a worker that ends with this process."""
    command = [sys.executable, "-m", "cli.main", "worker", "--roles", ",".join(roles), "--name", name]
    command += ["--config", str(config), "--broker", bootstrap, "--parent", str(os.getpid())]
    return [*command, "--http-port", str(http_port)]


def worker_environment() -> dict[str, str]:
    """Return the environment of a worker: ours without settings (they are in its file), and our folder to import."""
    from streams.settings import ENVIRONMENT_PREFIX

    found = {name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT_PREFIX)}
    source = str(Path(__file__).resolve().parents[1])
    found["PYTHONPATH"] = os.pathsep.join([source, *filter(None, [os.environ.get("PYTHONPATH")])])
    found["PYTHONUNBUFFERED"] = "1"
    return found


def _why_ended(cluster: Cluster) -> str:
    return next((str(node.failure()) for node in cluster.nodes if not node.running), "no reason known")


def _speed(settings: Settings) -> str:
    return "-" if settings.feed is None else f"{settings.feed.speed:g}" if settings.feed.speed != "max" else "max"
