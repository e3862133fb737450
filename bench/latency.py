"""Tick sent -> signal read, at a steady rate: `python -m bench.latency [--rate N] [--seconds N] [--json]`.

Three processes beside the broker: a sender of ticks, the worker under test, and a reader of its signals. A tick's
venue time `ts` names it and a signal carries it as `bar_start_ms`, so each signal is matched with the very tick that
made it: microseconds of the machine's one clock, taken just before the tick is handed to the sender's client and just
after the signal was handed to the reader. So a figure holds sending, both stays in the broker, and reading; it is
longer than what the worker itself takes. Sender, reader and broker share one core, the worker has the other.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import aiokafka
import msgspec
import uvloop

from bench import child, machine
from bench.broker import PARTITIONS, Topics, broker
from bench.work import START_MS, ticks
from processors.inbox import partition_of

RATE: Final = 10_000
FAUST_RATE: Final = 2_000
WARM_S: Final = 4.0
"""Left out of the figures: code warms up, the group settles."""
WARM_TICKS: Final = 70 * 64
"""Left out as well: until every instrument's windows are full no signal can be made."""
SLICE_S: Final = 0.001
GOAL_MS: Final = {"p50": 3.0, "p99": 10.0}


class _Signal(msgspec.Struct):
    bar_start_ms: int


_signal = msgspec.json.Decoder(_Signal)


async def send(bootstrap: str, topic: str, rate: int, seconds: float) -> "array[int]":
    """Send ticks evenly, in slices of a millisecond; return when each was handed over (wall, us)."""
    count = int(rate * seconds)
    records = [(partition_of(name.encode(), PARTITIONS), name.encode(), value) for name, value in ticks(count)]
    sent = array("q", bytes(8 * count))
    producer = aiokafka.AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True)
    await producer.start()
    try:
        await producer.partitions_for(topic)
        began, place = time.perf_counter(), 0
        while place < count:
            due = min(count, int((time.perf_counter() - began) * rate) + 1)
            while place < due:
                partition, key, value = records[place]
                sent[place] = time.time_ns() // 1000
                await producer.send(topic, value, key=key, partition=partition)
                place += 1
            await asyncio.sleep(SLICE_S)
        await producer.flush()
    finally:
        await producer.stop()
    return sent


async def read(bootstrap: str, topic: str, seconds: float, ready: Path) -> list[tuple[int, int]]:
    """Return (number of the tick, when its signal was read in us) of all signals seen until `seconds` of silence."""
    consumer = aiokafka.AIOKafkaConsumer(
        bootstrap_servers=bootstrap, auto_offset_reset="earliest", fetch_max_wait_ms=50
    )
    await consumer.start()
    consumer.assign([aiokafka.TopicPartition(topic, number) for number in range(PARTITIONS)])
    ready.touch()
    found: list[tuple[int, int]] = []
    last = time.monotonic()
    first = True
    while time.monotonic() - last < (60.0 if first else seconds):
        for records in (await consumer.getmany(timeout_ms=200)).values():
            now_us = time.time_ns() // 1000
            last, first = time.monotonic(), False
            found += [(_signal.decode(record.value).bar_start_ms - START_MS, now_us) for record in records]
    await consumer.stop()
    return found


def quantiles(sent: Sequence[int], found: Sequence[tuple[int, int]], skip: int) -> dict[str, float]:
    """Return p50, p99 and the largest in ms over the signals of ticks from number `skip` on."""
    took = sorted((read_us - sent[number]) / 1000 for number, read_us in found if number >= skip)
    if not took:
        raise child.ChildFailed("no signal was read")
    return {
        "signals": len(took),
        "p50": took[len(took) // 2],
        "p99": took[min(len(took) - 1, len(took) * 99 // 100)],
        "max": took[-1],
    }


def measure(contender: str, rate: int, seconds: float) -> dict[str, Any]:
    """Return the figures of one contender (a module of bench/contenders/) at a rate, on a broker of its own."""
    topic, out, warm_s = "market-data", "signals", max(WARM_S, WARM_TICKS / rate)
    with broker() as (bootstrap, folder), tempfile.TemporaryDirectory(dir=folder) as state:
        Topics(bootstrap).declared()
        worker = child.start(
            f"bench.contenders.{contender}",
            [f"--bootstrap={bootstrap}", f"--topic={topic}", f"--out={out}", "--ticks=0", f"--folder={state}",
             f"--core={machine.cores()[1]}"],
        )  # fmt: skip
        ready, results = Path(state) / "reader-ready", Path(state) / "read.json"
        reader = child.start("bench.latency", [f"--read={bootstrap}", f"--ready={ready}", f"--results={results}"])
        try:
            while not ready.exists() and reader.poll() is None:
                time.sleep(0.05)
            time.sleep(5.0)  # the worker joins its group
            if worker.poll() is not None:
                child.result_of(worker, contender, 1.0)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                sent = runner.run(send(bootstrap, topic, rate, warm_s + seconds))
            child.result_of(reader, "the reader", 90.0)
        finally:
            child.stop(reader)
            child.stop(worker)
        found = [(number, read_us) for number, read_us in json.loads(results.read_text())]
    took = (sent[-1] - sent[0]) / 1e6
    return {"rate": rate, "sent_rate": (len(sent) - 1) / took, **quantiles(sent, found, int(rate * warm_s))}


def main() -> int:
    """Measure and print; with --read be the reader."""
    parser = argparse.ArgumentParser(description="Latency from tick to signal.")
    parser.add_argument("--rate", type=int, default=RATE)
    parser.add_argument("--faust-rate", type=int, default=FAUST_RATE, help="for stock Faust: what it can bear")
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--json", action="store_true")
    for hidden in ("--read", "--ready", "--results"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.read:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            found = runner.run(read(given.read, "signals", 4.0, Path(given.ready)))
        Path(given.results).write_text(json.dumps(found))
        print(json.dumps({"read": len(found)}))
        return 0
    result = {
        "bench": "latency",
        "goal_ms": GOAL_MS,
        "ours": measure("ours", given.rate, given.seconds),
        "ours_at_faust_rate": measure("ours", given.faust_rate, given.seconds),
        "faust_stock": measure("faust_stock", given.faust_rate, given.seconds),
    }
    print(json.dumps(result) if given.json else json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
