"""One role of the toy pipeline in this process."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from streams.app import App, build_app
from streams.metrics import Metrics
from streams.producer import Publisher
from streams.shell import ProcessorHandler, build_handler
from tests.streams import toy
from tests.streams.pipeline import Pipeline


class Role:
    """A started role; `failure` is what ended it."""

    def __init__(self) -> None:
        self.failures: list[BaseException] = []
        self.metrics = Metrics()
        self.app: App
        self.handler: ProcessorHandler

    async def failure(self, within: float = 25) -> BaseException:
        await until(lambda: bool(self.failures), within)
        return self.failures[0]


async def until(true: Callable[[], bool], within: float = 25) -> None:
    deadline = time.monotonic() + within
    while not true():
        assert time.monotonic() < deadline, "did not come about"
        await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def running(
    line: Pipeline, role: str = "first", *, clean: bool = True, processor: Any = None, **options: Any
) -> AsyncIterator[Role]:
    """Run a role until the block ends, then stop it cleanly (or not)."""
    running_role, prefix = Role(), line.prefix
    publisher = Publisher(line.bootstrap)
    await publisher.start()
    names = toy.topics(prefix, line.partitions, line.mid) | options.pop("topics", {})
    processor = processor or toy.processors(prefix, 0, options.pop("config", "c1"))[role]
    running_role.handler = build_handler(
        f"{prefix}{role}",
        processor,
        names,
        publisher,
        bootstrap=line.bootstrap,
        build=options.pop("build", "b1"),
        metrics=running_role.metrics.role(role),
        snapshot_interval_s=options.pop("snapshot_interval_s", 60.0),
    )
    running_role.app = build_app(
        role,
        running_role.handler,
        bootstrap=line.bootstrap,
        group=f"{prefix}{role}",
        data_dir=line.folder.name,
        on_failure=running_role.failures.append,
        **options,
    )
    await running_role.app.start_role()
    try:
        yield running_role
    finally:
        await running_role.app.stop_role(clean)
        await publisher.stop()
