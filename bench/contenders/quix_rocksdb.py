"""quixstreams with its RocksDB state and changelog topic, checkpoints every 5 s (its default).

To its favour, kernels stay in memory and the state is only written, on every tick, never read back: reading and
decoding it per tick, as the library's examples do, would cost about twice as much. JSON by orjson, its default.
"""

from typing import Any

from quixstreams import Application

from bench.contenders import arguments, report
from bench.machine import CpuClock
from bench.work import Book
from processors.strategy.checks import LEAN


def run(given: Any, durable: bool) -> None:
    """Take every tick, commit, report."""
    clock = CpuClock()
    app = Application(
        broker_address=given.bootstrap,
        consumer_group=f"bench-{given.out}",
        auto_offset_reset="earliest",
        state_dir=given.folder,
        auto_create_topics=True,
        loglevel="ERROR",
        consumer_extra_config={"fetch.wait.max.ms": 10, "fetch.queue.backoff.ms": 10},
    )
    source = app.topic(given.topic, key_deserializer="bytes", value_deserializer="bytes")
    out = app.topic(given.out, key_serializer="bytes", value_serializer="bytes")
    book = Book()
    taken = signals = 0

    def plain(value: bytes) -> list[bytes]:
        nonlocal taken, signals
        made = book.tick(value)
        taken += 1
        if taken == given.ticks:
            app.stop()  # after this message; its way out commits a last checkpoint
        if made is None:
            return []
        signals += 1
        return [made[1]]

    def saved(value: bytes, state: Any) -> list[bytes]:
        name = LEAN.decode(value).instrument
        found = plain(value)
        state.set("kernel", book.kernels[name].dump())
        return found

    frame = app.dataframe(source)
    frame = frame.apply(saved, stateful=True, expand=True) if durable else frame.apply(plain, expand=True)
    frame = frame.to_topic(out)
    consumer_assigned = app._on_assign

    def assigned(*args: Any) -> None:
        clock.restart()
        consumer_assigned(*args)

    app._on_assign = assigned  # type: ignore[method-assign]
    app.run()
    report(taken, signals, clock.read())


if __name__ == "__main__":
    run(arguments(), durable=True)
