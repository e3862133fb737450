"""bytewax without recovery: Kafka source, `flat_map_batch` over a plain dict, Kafka sink; nothing saved.

A batch step is the fastest operator that it has; batches of 2,000 as ours.
"""

import sys

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.testing import run_main
from confluent_kafka import OFFSET_BEGINNING

from bench.contenders import arguments, report
from bench.machine import CpuClock
from bench.work import Book


def main() -> None:
    """Run the flow to the end of the topic."""
    given = arguments()
    book = Book()
    taken = signals = 0

    def work(batch: list) -> list:  # type: ignore[type-arg]
        nonlocal taken, signals
        taken += len(batch)
        made = [found for message in batch if (found := book.tick(message.value)) is not None]
        signals += len(made)
        return [KafkaSinkMessage(key, value) for key, value in made]

    flow = Dataflow("bench")
    config = {"fetch.wait.max.ms": "10", "fetch.queue.backoff.ms": "10"}
    source = KafkaSource(
        [given.bootstrap],
        [given.topic],
        tail=False,
        starting_offset=OFFSET_BEGINNING,
        add_config=config,
        batch_size=2_000,
    )
    stream = op.input("ticks", flow, source)
    found = op.flat_map_batch("work", stream, work)
    op.output("signals", found, KafkaSink([given.bootstrap], given.out))
    clock = CpuClock()
    run_main(flow)
    report(taken, signals, clock.read())


if __name__ == "__main__":
    sys.exit(main())
