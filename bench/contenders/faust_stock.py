"""Stock faust-streaming: an agent over the stream, a plain dict as state, `await topic.send` per signal.

Settings that help it: uvloop, raw keys and values, idempotence off, acks from the leader only.
"""

import asyncio
import contextlib
import logging
import signal
import sys
from typing import Any

import faust
import uvloop

from bench.contenders import arguments, report
from bench.machine import CpuClock
from bench.work import Book


async def work(given: Any) -> None:
    """Run the app until every tick was taken (or SIGTERM)."""
    done, crashes = asyncio.Event(), []

    class App(faust.App):
        """Ends on a crash, which Faust by itself only logs."""

        def _crash(self, reason: BaseException) -> None:
            super()._crash(reason)
            crashes.append(reason)
            done.set()

    app = App(
        f"bench-{given.out}",
        loop=asyncio.get_running_loop(),
        broker=f"kafka://{given.bootstrap}",
        datadir=given.folder,
        store="memory://",
        autodiscover=False,
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        producer_acks=1,
    )
    raw = {"key_serializer": "raw", "value_serializer": "raw"}
    source, out = app.topic(given.topic, **raw), app.topic(given.out, **raw)
    book, clock = Book(), CpuClock()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, done.set)
    taken, signals = 0, 0

    @app.on_partitions_assigned.connect(weak=False)
    async def assigned(sender: Any, assigned: Any, **kwargs: Any) -> None:
        clock.restart()

    @app.agent(source)
    async def take(stream: Any) -> None:
        nonlocal taken, signals
        async for value in stream:
            made = book.tick(value)
            if made is not None:
                signals += 1
                await out.send(key=made[0], value=made[1])
            taken += 1
            if taken == given.ticks:
                done.set()

    app.finalize()
    await app.maybe_start()
    await done.wait()
    if crashes:
        raise crashes[0]
    await app.producer.flush()
    report(taken, signals, clock.read())
    with contextlib.suppress(Exception):
        await asyncio.wait_for(app.stop(), 10)


def main() -> None:
    """Run."""
    given = arguments()
    for noisy in ("faust", "mode", "aiokafka"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work(given))


if __name__ == "__main__":
    sys.exit(main())
