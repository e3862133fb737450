"""The shell under faults of workers and brokers: three brokers, three copies, two in sync needed."""

import asyncio
import os
import random
import signal
import time

import pytest

from tests.streams.pipeline import Pipeline, freeze, thaw


async def test_a_broker_and_then_a_worker_are_killed(kafka3, unique):
    async with Pipeline(kafka3.bootstrap, unique, replication=3) as line:
        first, second = line.worker(), line.worker()
        line.feed_soon(20_000, 1_000)
        await line.outputs(300)
        kafka3.nodes[1].kill()
        await asyncio.sleep(6)
        first.kill()
        third = line.worker()
        await asyncio.to_thread(kafka3.start)
        await line.fed()
        await line.proof(within=90)
        for worker in (second, third):  # a worker may have ended on the broker's death; then it is started anew
            if worker.poll() is None:
                assert await line.stopped(worker) == 0, line.logs()


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(3))
async def test_long_run_of_mixed_faults(kafka3, unique, seed):
    """Minutes of faults drawn by the seed; workers are started anew as `wakeline up` does."""
    chance, seconds = random.Random(seed), int(os.environ.get("WAKELINE_SOAK_S", "300"))
    async with Pipeline(kafka3.bootstrap, unique, replication=3, partitions=6, mid=4) as line:
        workers = [line.worker(), line.worker()]
        line.feed_soon(seconds * 1_000, 1_000)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            await asyncio.sleep(chance.uniform(4, 15))
            victim = chance.choice(workers)
            kind = chance.choice(["kill", "stop", "freeze", "broker", "crowd"])
            if kind == "kill":
                victim.kill()
            elif kind == "stop":
                victim.send_signal(signal.SIGTERM)
            elif kind == "freeze":
                freeze(victim)
                await asyncio.sleep(chance.uniform(2, 12))
                thaw(victim)
            elif kind == "broker":
                chance.choice(kafka3.nodes).kill()
                await asyncio.sleep(chance.uniform(2, 10))
                await asyncio.to_thread(kafka3.start)
            elif len(workers) < 5:
                workers += [line.worker(), line.worker()]
            elif len(workers) > 3:
                workers.pop().send_signal(signal.SIGTERM)
            workers = [worker if worker.poll() is None else line.worker() for worker in workers]
        await line.fed()
        if all(worker.poll() is not None for worker in workers):
            line.worker()
        counts = await line.proof(within=180)
        print(f"seed {seed}: {counts}")
