"""A bare loop: aiokafka's getmany, msgspec, our kernel; no state saved, no offset committed: this client's floor."""

import asyncio
import sys
from typing import Any

import aiokafka
import uvloop

from bench.broker import PARTITIONS
from bench.contenders import arguments, report
from bench.machine import CpuClock
from bench.work import Book


async def work(given: Any) -> None:
    """Take every tick."""
    consumer = aiokafka.AIOKafkaConsumer(bootstrap_servers=given.bootstrap, auto_offset_reset="earliest")
    producer = aiokafka.AIOKafkaProducer(bootstrap_servers=given.bootstrap)
    await consumer.start()
    await producer.start()
    consumer.assign([aiokafka.TopicPartition(given.topic, number) for number in range(PARTITIONS)])
    book, clock, taken, signals = Book(), CpuClock(), 0, 0
    tick = book.tick
    while taken < given.ticks:
        for records in (await consumer.getmany(timeout_ms=100, max_records=8_000)).values():
            taken += len(records)
            for record in records:
                made = tick(record.value)
                if made is not None:
                    signals += 1
                    await producer.send(given.out, made[1], key=made[0])
    await producer.flush()
    report(taken, signals, clock.read())
    await consumer.stop()
    await producer.stop()


def main() -> None:
    """Run."""
    given = arguments()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work(given))


if __name__ == "__main__":
    sys.exit(main())
