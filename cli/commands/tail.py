"""`wakeline tail`: records of a topic, one per line."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

import click

from cli.exit_codes import ExitCode, Failure
from cli.options import Chosen, Start, settings_options

_KEY_BYTES_SHOWN = 200


@click.command(short_help="Print the records of a topic.")
@click.argument("topic")
@click.option("--key", help="Only records with this key.")
@click.option("--from", "start", type=Start(), default="end", show_default=True, help="Where to begin; N: the last N.")
@click.option("--raw", is_flag=True, help="The exact bytes of each value and a newline, nothing else.")
@click.option("--count", type=click.IntRange(1), help="End after this many records.")
@click.option("--no-follow", is_flag=True, help="End at the end of the topic instead of waiting for more.")
@settings_options
def tail(
    topic: str, key: str | None, start: str | int, raw: bool, count: int | None, no_follow: bool, chosen: Chosen
) -> None:
    """Print the records of TOPIC as they come: partition@offset, key, value. Ctrl-C ends it."""
    from cli import bootstrap

    settings = chosen.load()
    check_topic(topic)
    client = bootstrap.client(settings)
    decorate = coloured if not raw and sys.stdout.isatty() else plain
    tailing = Tail(client, topic, key.encode() if key is not None else None, start, count, follow=not no_follow)
    write = write_raw if raw else lambda record: click.echo(decorate(*readable(record)))
    try:
        asyncio.run(tailing.run(write))
    except BrokenPipeError:
        # The reader of our pipe has gone (`| head`): a quiet end. Nothing may be flushed into it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Tail:
    """Reads a topic without a group: it disturbs nobody."""

    def __init__(
        self,
        client: Mapping[str, Any],
        topic: str,
        key: bytes | None,
        start: str | int,
        count: int | None,
        *,
        follow: bool,
    ) -> None:
        self._client, self._topic, self._key, self._start = dict(client), topic, key, start
        self._left = count
        self._follow = follow

    async def run(self, write: Any) -> None:
        """Hand every wanted record to `write` until the end is asked for or reached."""
        from aiokafka import AIOKafkaConsumer, TopicPartition

        from cli import bootstrap

        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError, RuntimeError):
                loop.add_signal_handler(number, stop.set)
        numbers = await bootstrap.partitions_of(self._client, self._topic)
        if not numbers:
            raise Failure(ExitCode.TOPICS, f"the broker has no topic {self._topic}", "See `wakeline topics list`")
        places = [TopicPartition(self._topic, number) for number in numbers]
        consumer = AIOKafkaConsumer(**self._client, group_id=None, enable_auto_commit=False, fetch_max_wait_ms=100)
        await consumer.start()
        try:
            consumer.assign(places)
            first = await consumer.beginning_offsets(places)
            ends = await consumer.end_offsets(places)
            if isinstance(self._start, int):
                await self._last(consumer, places, first, ends, write)
            for place in places:
                consumer.seek(place, first[place] if self._start == "start" else ends[place])
            await self._read(consumer, places, ends, write, stop)
        finally:
            await consumer.stop()

    async def _read(self, consumer: Any, places: list[Any], ends: Mapping[Any, int], write: Any, stop: Any) -> None:
        while not stop.is_set() and self._left != 0:
            if not self._follow and all([await consumer.position(place) >= ends[place] for place in places]):
                return
            batches = await consumer.getmany(timeout_ms=200, max_records=500)
            for record in sorted((r for batch in batches.values() for r in batch), key=_written):
                if not self._follow and record.offset >= ends[_place(record)]:
                    continue
                self._hand_over(record, write)
                if self._left == 0:
                    return
            sys.stdout.flush()

    async def _last(self, consumer: Any, places: list[Any], first: Any, ends: Any, write: Any) -> None:
        """Hand over the last N wanted records of the whole topic, in the order they were written."""
        wanted = int(self._start)
        window = wanted
        while True:
            starts = {place: max(first[place], ends[place] - window) for place in places}
            found = await _between(consumer, starts, ends, self._key)
            complete = all(starts[place] == first[place] for place in places)
            # Without a key, N of each partition hold the last N of all; with one, look further back until enough.
            if self._key is None or complete or len(found) >= wanted:
                break
            window *= 10
        for record in sorted(found, key=_written)[-wanted:]:
            if self._left != 0:
                self._hand_over(record, write)
        sys.stdout.flush()

    def _hand_over(self, record: Any, write: Any) -> None:
        if self._key is not None and record.key != self._key:
            return
        write(record)
        if self._left is not None:
            self._left -= 1


async def _between(consumer: Any, starts: Mapping[Any, int], ends: Mapping[Any, int], key: bytes | None) -> list[Any]:
    for place, start in starts.items():
        consumer.seek(place, start)
    found: list[Any] = []
    while any([await consumer.position(place) < ends[place] for place in starts]):
        for place, batch in (await consumer.getmany(timeout_ms=200)).items():
            found += [r for r in batch if r.offset < ends[place] and (key is None or r.key == key)]
    return found


def _written(record: Any) -> tuple[int, int, int]:
    return (record.timestamp, record.partition, record.offset)


def _place(record: Any) -> Any:
    from aiokafka import TopicPartition

    return TopicPartition(record.topic, record.partition)


def check_topic(name: str) -> None:
    """Refuse a name that looks like a misspelt one of ours; other topics of the broker may be read as well."""
    import difflib

    from streams.topics_admin import load_catalogue

    known = list(load_catalogue().topics)
    near = difflib.get_close_matches(name, known, 1, cutoff=0.75)
    if name not in known and near:
        raise Failure(ExitCode.TOPICS, f"no topic {name!r}", f"Did you mean {near[0]!r}?")


def readable(record: Any) -> tuple[str, str, str, bool]:
    """Return (place, key, value, whether the value can be decoded) of a record, each on one line."""
    from schemas.codec import BadRecord, NewerSchema, decode

    place = f"{record.partition}@{record.offset}"
    key = "-" if record.key is None else printable(record.key[:_KEY_BYTES_SHOWN])
    value = record.value
    if value is None:
        return place, key, "(tombstone)", True
    try:
        decode(value)
    except (BadRecord, NewerSchema) as error:
        return place, key, f"(unreadable, {len(value)} bytes: {_first_line(error)}) {printable(value[:200])}", False
    return place, key, printable(value), True


def printable(data: bytes) -> str:
    """Return bytes as text on one line that no terminal takes for commands."""
    text = data.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def plain(place: str, key: str, value: str, good: bool) -> str:
    """Return the line of a record, its parts separated by tabs."""
    return f"{place}\t{key}\t{value}"


def coloured(place: str, key: str, value: str, good: bool) -> str:
    """Return the line of a record for a terminal."""
    shown = value if good else click.style(value, fg="red")
    return f"{click.style(place, dim=True)}\t{click.style(key, fg='cyan')}\t{shown}"


def write_raw(record: Any) -> None:
    """Write the bytes of a value and a newline."""
    sys.stdout.buffer.write((record.value or b"") + b"\n")


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
