"""The shell under faults on one real broker: each input applied once and in order, nothing missing, repeats equal."""

import asyncio
import signal

from tests.streams.pipeline import Pipeline, freeze, thaw


async def test_two_workers_killed_stopped_and_replaced(kafka, unique):
    async with Pipeline(kafka.bootstrap, unique) as line:
        first, second = line.worker(), line.worker()
        line.feed_soon(24_000, 2_000)
        await line.outputs(500)
        first.kill()  # no goodbye: the session must run out
        first = line.worker()
        await line.outputs(500)
        assert await line.stopped(second) == 0, line.logs()
        second = line.worker()
        await line.fed()
        counts = await line.proof()
        assert counts["mid"] > 24_000 / 5
        assert await line.stopped(first) == 0, line.logs()
        assert await line.stopped(second) == 0, line.logs()


async def test_a_frozen_worker_that_wakes_and_a_storm_of_joins(kafka, unique):
    async with Pipeline(kafka.bootstrap, unique, snapshot_interval_s=60.0) as line:
        sleeper = line.worker()
        line.feed_soon(20_000, 1_000)
        await line.outputs(500)
        freeze(sleeper)
        other = line.worker()
        await line.outputs(1_000)  # the session ran out, its partitions are the other's
        thaw(sleeper)
        assert await line.ended(sleeper) == 70, line.logs()  # it noticed that it slept
        crowd = [line.worker() for _ in range(3)]
        await asyncio.sleep(3)
        crowd[0].kill()
        await asyncio.sleep(1)
        crowd[1].send_signal(signal.SIGTERM)
        await line.fed()
        counts = await line.proof()
        assert counts["mid_repeats"] > 0
        assert await line.stopped(other) == 0, line.logs()


async def test_states_of_several_megabytes(kafka, unique):
    async with Pipeline(
        kafka.bootstrap, unique, partitions=2, mid=2, ballast=4_000_000, snapshot_interval_s=2.0
    ) as line:
        first = line.worker()
        line.feed_soon(8_000, 1_000)
        await line.outputs(500)
        first.kill()
        second = line.worker()
        await line.fed()
        counts = await line.proof()
        assert await line.stopped(second) == 0, line.logs()
        shelves = await line.read(f"snapshots-{line.prefix}first", 2)
        assert max(len(record.value or b"") for rows in shelves.values() for record, _ in rows) <= 900_000
        assert counts["mid_repeats"] < 8_000  # it went on from a snapshot, not from the beginning


async def test_every_worker_killed_again_and_again(kafka, unique):
    async with Pipeline(kafka.bootstrap, unique, partitions=2, mid=2, snapshot_interval_s=0.5) as line:
        line.feed_soon(20_000, 1_000)
        for _ in range(3):
            worker = line.worker()
            await line.outputs(300)
            worker.kill()
            worker.wait()
        line.worker()
        await line.fed()
        counts = await line.proof(within=40)
        assert counts["mid_repeats"] > 0  # else no kill hit a worker at work, and nothing was proved
