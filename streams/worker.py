"""One worker process: some roles, one event loop, one HTTP port.

Entry point: `run(settings, roles, name)`.

1. Any failure that is not a bad record ends the worker with one line; start-up is the recovery path.
2. A stop (SIGTERM, SIGINT) goes along the flow: feed first, then a short drain, then each role closes cleanly.
3. The run folder tells of this process: pid, roles, HTTP port, state (streams/runtime.py).
"""

import asyncio
import contextlib
import gc
import importlib
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from schemas.topics import Catalogue
from streams.app import App, BatchHandler, build_app
from streams.broker.params import client_options
from streams.build import build_id
from streams.http import HttpServer
from streams.metrics import Metrics
from streams.producer import Publisher
from streams.runtime import announce, withdraw
from streams.settings import Settings
from streams.timebase import TimeBase
from streams.topics_admin import load_catalogue

log = logging.getLogger(__name__)

ROLES = ("outbox", "webhook", "feed", "strategy", "leader", "account", "statistics", "execution", "sink")
SHUTDOWN_S = 15.0  # a part that hangs while it closes does not keep the process from ending


def run(settings: Settings, roles: Sequence[str], name: str) -> BaseException | None:
    """Run the roles until a signal (None) or a failure, which is logged and returned."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # Faust's apps log under the module that made them.
    for noisy in ("faust", "mode", "aiokafka", "aiohttp.access", "streams.app", "streams.transport"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        import uvloop
    except ImportError:  # not built for this platform: the standard loop serves
        runner = asyncio.Runner()
    else:
        runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    with runner:
        return runner.run(Worker(settings, roles, name).run())


def tune_collector() -> None:
    """Look for cyclic garbage less often: records come and go by the thousand and hold no cycles.

    Python's own thresholds start a collection every 700 allocations; measured, that costs a tenth of the hot path.
    """
    gc.collect()
    gc.freeze()  # what start-up made stays for good
    gc.set_threshold(50_000, 20, 50)


class Worker:
    """Starts, watches and ends the roles of one process."""

    def __init__(self, settings: Settings, roles: Sequence[str], name: str) -> None:
        self.settings, self.name = settings, name
        self.roles = tuple(role for role in ROLES if role in roles)
        self.metrics = Metrics()
        self.catalogue: Catalogue = load_catalogue()
        self.security = client_options(settings.broker.security)
        bootstrap = settings.broker.bootstrap
        assert bootstrap is not None, "the caller makes sure that there is a broker"
        self.bootstrap: str = bootstrap
        self.build = build_id()
        self.apps: list[App] = []
        self.handlers: dict[str, Any] = {}
        self.failure: BaseException | None = None
        self._stop = asyncio.Event()
        self._stop_feed = asyncio.Event()
        self._feed_task: asyncio.Task[Any] | None = None
        self._tasks: list[asyncio.Task[Any]] = []
        self._closers: list[Callable[[], Awaitable[None]]] = []
        self._webhook_port = 0
        self._wake_outbox: Callable[[], None] = lambda: None

    async def run(self) -> BaseException | None:
        """Start everything, wait for a signal or the first failure, end everything."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        self.http = HttpServer(self.metrics, live=self._what_is_dead, ready=self._what_is_not_ready)
        try:
            await self._start()
            await self._stop.wait()
        except Exception as error:
            self.fail(error)
        self._announce("stopping")
        try:
            await asyncio.wait_for(self._end(), SHUTDOWN_S)
        except TimeoutError:
            log.error("did not end within %s s; what is saved is safe, the rest is repeated", SHUTDOWN_S)
            withdraw(self.settings.data_dir, self.name)
            logging.shutdown()
            os._exit(1)  # a thread that hangs would keep the interpreter alive for ever
        withdraw(self.settings.data_dir, self.name)
        if self.failure is not None:
            log.critical("worker %s ended: %s: %s", self.name, type(self.failure).__name__, self.failure)
        return self.failure

    def fail(self, error: BaseException) -> None:
        """Note the first failure and begin the end."""
        if self.failure is None and not isinstance(error, asyncio.CancelledError):
            self.failure = error
            log.error("%s", error, exc_info=error)
        self._stop.set()

    # -- start
    async def _start(self) -> None:
        self.publisher = Publisher(self.bootstrap, security=self.security, client_id=f"wakeline-{self.name}")
        await self.publisher.start()
        self._closers.append(self.publisher.stop)
        self.timebase = await self._open_time()
        for role in self.roles:
            if role not in ("feed", "outbox", "webhook"):
                self.handlers[role] = await self._handler(role)
        await self.http.start(self.settings.worker.http_host, self.settings.worker.http_port)
        self._closers.append(self.http.stop)
        self._announce("starting")
        if "outbox" in self.roles:
            await self._start_outbox()
        if "webhook" in self.roles:
            from streams import webhook

            self._webhook_port, close = await webhook.start(
                self.settings, self.catalogue, self.timebase.now_ms, self._wake_outbox
            )
            self._closers.append(close)
        for role, handler in self.handlers.items():
            await self._start_role(role, handler)
        await self._wait_ready()
        if "feed" in self.roles:
            self._feed_task = self.watch(self._feed(), "feed")
        tune_collector()
        self._announce("running")
        log.info("worker %s runs %s, http port %s", self.name, ", ".join(self.roles), self.http.port)

    async def _open_time(self) -> TimeBase:
        if "feed" in self.roles:
            from streams.feeds.publisher import open_timebase

            return await open_timebase(
                self._feed_params(), self.bootstrap, self.settings.data_dir, security=self.security
            )
        if (self.settings.data_dir / "timebase.json").exists():
            return TimeBase.load(self.settings.data_dir)
        return TimeBase.live()

    def _feed_params(self) -> Any:
        if self.settings.feed is None:
            raise RuntimeError("role feed needs the section `feed` in the configuration")
        return self.settings.feed

    async def _handler(self, role: str) -> BatchHandler:
        if role in ("execution", "sink"):
            agent = importlib.import_module(f"streams.agents.{role}")  # only the worker that runs it pays for it
            handler, closer = await agent.build(self)
            self._closers.append(closer)
            return cast(BatchHandler, handler)
        from streams.agents import account, leader, statistics, strategy

        shell = (self.catalogue.topics, self.publisher)
        options: dict[str, Any] = {
            "bootstrap": self.bootstrap,
            "build": self.build,
            "security": self.security,
            "metrics": self.metrics.role(role),
            "snapshot_interval_s": self.settings.worker.snapshot_interval_s,
        }
        if role == "strategy":
            return strategy.handler(self.settings.strategies, *shell, **options)
        return {"leader": leader, "account": account, "statistics": statistics}[role].handler(*shell, **options)

    async def _start_role(self, role: str, handler: BatchHandler) -> None:
        (folder := self.settings.data_dir / "faust" / role).mkdir(parents=True, exist_ok=True)
        app = build_app(
            role,
            handler,
            bootstrap=self.bootstrap,
            group=f"wakeline-{role}",
            data_dir=folder,
            on_failure=self.fail,
            security=self.security,
            session_timeout_s=self.settings.worker.session_timeout_s,
            max_batch=self.settings.worker.max_batch,
        )
        self.apps.append(app)
        self.metrics.role(role).watch_lag(app.runner.lag)
        await app.start_role()

    async def _start_outbox(self) -> None:
        from streams.decisions import open_decisions
        from streams.outbox import Relay

        store = open_decisions(self.settings, self.catalogue)
        instruments: Sequence[Any] = ()
        if self.settings.feed is not None:
            from streams.feeds.publisher import open_feed

            instruments = open_feed(self.settings.feed).instruments(self.timebase.now_ms())
        count = await asyncio.to_thread(store.decide, self.settings, instruments, self.timebase.now_ms())
        log.info("configuration: %d decisions changed", count)

        async def rows() -> Any:
            return await asyncio.to_thread(store.rows)

        async def sent(number: int) -> None:
            await asyncio.to_thread(store.sent, number)

        relay = Relay(store.source, rows, sent, self.publisher, look_s=0.1)  # commands write from other processes
        while await relay.relay():  # what people decided stands on the log before the market moves
            pass
        self._wake_outbox = relay.wake
        self.watch(relay.run(), "outbox")

        async def close() -> None:
            store.close()

        self._closers.append(close)

    async def _wait_ready(self) -> None:
        while not self._stop.is_set() and not all(app.runner.ready for app in self.apps):
            await asyncio.sleep(0.05)

    async def _feed(self) -> None:
        from streams.feeds.publisher import run_feed

        params = self._feed_params()
        result = await run_feed(
            params,
            self.catalogue,
            self.bootstrap,
            self.timebase,
            security=self.security,
            stop=self._stop_feed,
            throttle=self._throttle if params.speed == "max" and "account" in self.handlers else None,
        )
        log.info("feed %s ended: %d records sent, %d parked", result.feed, result.sent, result.parked)

    async def _throttle(self, published_ms: int) -> None:
        """Wait until the account role has echoed (almost) what the feed published."""
        lead_ms = self._feed_params().lead_ms
        account, app = self.handlers["account"], next(app for app in self.apps if "account" in app.conf.id)
        while not self._stop_feed.is_set():
            seen = [account.inbox(tp.partition).now_ms for tp in app.runner.owned]
            if not seen or published_ms - min(seen) <= lead_ms:
                return
            await asyncio.sleep(0.002)

    def watch(self, work: Any, name: str) -> asyncio.Task[Any]:
        """Run `work` beside the roles; its failure is the worker's."""
        task = asyncio.create_task(work, name=name)
        self._tasks.append(task)

        def done(task: asyncio.Task[Any]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                self.fail(error)

        task.add_done_callback(done)
        return task

    # -- end
    async def _end(self) -> None:
        self._stop_feed.set()
        if self._feed_task is not None:
            with contextlib.suppress(Exception, asyncio.CancelledError):
                await asyncio.wait_for(asyncio.shield(self._feed_task), 2.0)
        clean = self.failure is None
        if clean:
            await self._drain()
        for app in self.apps:  # in the order of the flow
            await app.stop_role(clean)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for closer in reversed(self._closers):
            try:
                await closer()
            except Exception as error:
                log.error("while closing: %s", error)

    async def _drain(self) -> None:
        """Wait a little until the roles have applied what was on its way between them."""
        deadline, quiet = time.monotonic() + self.settings.worker.drain_timeout_s, 0
        while time.monotonic() < deadline and quiet < 3:
            busy = any(app.consumer.unacked or sum(app.runner.lag().values()) for app in self.apps)
            quiet = 0 if busy else quiet + 1
            await asyncio.sleep(0.05)

    # -- what others see
    def _announce(self, state: Any) -> None:
        announce(
            self.settings.data_dir,
            self.name,
            roles=self.roles,
            http_port=self.http.port,
            state=state,
            webhook_port=self._webhook_port,
        )

    def _what_is_dead(self) -> dict[str, str]:
        return {} if self.failure is None else {"failure": f"{type(self.failure).__name__}: {self.failure}"}

    def _what_is_not_ready(self) -> dict[str, str]:
        waiting = {app.conf.id: "no partitions assigned yet" for app in self.apps if not app.runner.ready}
        missing = {} if len(self.apps) == len(self.handlers) else {"roles": "starting"}
        return self._what_is_dead() | waiting | missing
