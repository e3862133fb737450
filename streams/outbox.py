"""Relay of a transactional outbox: rows numbered in SQL reach the log in order, each with its stamp.

An impure writer stores the record in the transaction that changes its state; this relay sends in number order,
waits for the broker, and marks as sent. A crash in between repeats rows with equal stamps, which inboxes skip.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from processors.inbox import Emit
from streams.producer import Publisher


class OutboxRow(NamedTuple):
    """One numbered record; `previous` is the stamp of the row before it to the same topic and partition."""

    generation: int
    number: int
    previous: tuple[int, int] | None
    topic: str
    partition: int
    key: bytes
    value: bytes
    origin_us: int = 0


def stamped(rows: Sequence[OutboxRow], source: str) -> list[Emit]:
    """Return the rows as records of `source`, with stamp `generation.number` and the stamp before it."""
    records = []
    for row in rows:
        headers = [("src", source.encode()), ("st", b"%d.%d" % (row.generation, row.number))]
        if row.previous is not None:
            headers.append(("pv", b"%d.%d" % row.previous))
        records.append(Emit(row.topic, row.partition, row.key, row.value, tuple(headers), row.number))
    return records


class Relay:
    """Sends an outbox's rows in order, for ever. `wake` may be called from the loop whenever a row was added.

    `look_s`: how long a row that another process added may lie before it is seen.
    """

    def __init__(
        self,
        source: str,
        rows: Callable[[], Awaitable[Sequence[OutboxRow]]],
        sent: Callable[[int], Awaitable[None]],
        publisher: Publisher,
        look_s: float = 1.0,
    ) -> None:
        self._source, self._rows, self._sent, self._publisher = source, rows, sent, publisher
        self._look_s = look_s
        self._more = asyncio.Event()

    def wake(self) -> None:
        """Tell that a row was added."""
        self._more.set()

    async def relay(self) -> int:
        """Send what there is and return how many rows that was."""
        rows = await self._rows()
        if rows:
            await self._publisher.publish(stamped(rows, self._source), origins(rows))
            await self._sent(rows[-1].number)
        return len(rows)

    async def run(self) -> None:
        """Send rows as they come; looks every `look_s` even without a call to `wake`. Ends only by failure."""
        while True:
            self._more.clear()
            if not await self.relay():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._more.wait(), self._look_s)


def origins(rows: Sequence[OutboxRow]) -> Callable[[int], int]:
    """Return the `t0` of each row by number: its own if it carries one, else now."""
    known = {row.number: row.origin_us for row in rows}
    return lambda number: known.get(number) or time.time_ns() // 1000
