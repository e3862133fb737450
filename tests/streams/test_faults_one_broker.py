"""The shell under faults on one real broker: each input applied once and in order, nothing missing, repeats equal."""

import asyncio
import signal

from tests.broker_fixtures import kafka, unique  # noqa: F401
from tests.streams.pipeline import Pipeline


async def test_two_workers_killed_stopped_and_replaced(kafka, unique):  # noqa: F811
    async with Pipeline(kafka.bootstrap, unique) as line:
        first, second = line.worker(), line.worker()
        line.feed_soon(30_000, 2_000)
        await asyncio.sleep(6)
        first.kill()  # no goodbye: the session must run out
        first = line.worker()
        await asyncio.sleep(4)
        assert await line.stopped(second, signal.SIGTERM) == 0, line.logs()
        second = line.worker()
        await line.fed()
        counts = await line.proof()
        assert counts["mid"] > 30_000 / 5
        assert await line.stopped(first) == 0, line.logs()
        assert await line.stopped(second) == 0, line.logs()
