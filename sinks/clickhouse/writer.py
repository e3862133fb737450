"""Buffers rows by table and writes them, rows first and positions after.

Entry points: `Writer(client, params)`, `.add`, `.move`, `.flush`, `.due`.

1. A flush writes every table's rows, then the positions. A crash between the two repeats rows, which the views show
   once; it never loses one.
2. A flush that gives up keeps what it has not written; what it has written is not written again.
3. Rows in memory are bounded by `flush_rows` and `flush_bytes` plus one append, since a caller flushes when `due`.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence

import pyarrow as pa
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from sinks.clickhouse.errors import Action, SinkBroken, SinkUnavailable, decide
from sinks.clickhouse.params import ClickHouseParams
from sinks.clickhouse.tables import POSITIONS

log = logging.getLogger(__name__)

Place = tuple[str, int]
"""(topic, partition)."""


class Writer:
    """Owned by one thread, save `stop`."""

    def __init__(
        self, client: Client, params: ClickHouseParams, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._params = params
        self._monotonic = monotonic
        self._batches: dict[str, list[pa.RecordBatch]] = {}
        self._moved: dict[Place, int] = {}
        self._rows = 0
        self._bytes = 0
        self._first_at: float | None = None
        self._stopping = threading.Event()

    def add(self, batches: Sequence[tuple[str, pa.RecordBatch]], place: Place, next_offset: int) -> None:
        """Buffer rows; once they are written, `place` stands at `next_offset`."""
        for table, batch in batches:
            self._batches.setdefault(table, []).append(batch)
            self._rows += batch.num_rows
            self._bytes += batch.nbytes
        self._moved[place] = next_offset
        if self._first_at is None:
            self._first_at = self._monotonic()

    def due(self) -> bool:
        """Return whether the buffer is full, or its oldest row has waited long enough."""
        if self._first_at is None:
            return False
        waited_ms = (self._monotonic() - self._first_at) * 1000
        return (
            waited_ms >= self._params.flush_interval_ms
            or self._rows >= self._params.flush_rows
            or self._bytes >= self._params.flush_bytes
        )

    def flush(self) -> dict[Place, int]:
        """Write everything buffered; return the positions that are now stored.

        Raises:
            SinkUnavailable: an error that passes did not pass for `retry_seconds`, or `stop` was called meanwhile.
            SinkBroken: an error that no retry mends.
        """
        deadline = self._monotonic() + self._params.retry_seconds
        if self._first_at is not None:
            self._first_at = -math.inf  # a flush that gives up stays due
        for table in list(self._batches):
            rows = pa.Table.from_batches(self._batches[table]).combine_chunks()
            self._insert(table, rows, deadline)
            del self._batches[table]
        moved = dict(self._moved)
        if moved:
            self._insert(POSITIONS, _positions_table(moved), deadline)
        self._moved.clear()
        self._rows = self._bytes = 0
        self._first_at = None
        return moved

    def stop(self) -> None:
        """End a wait between retries (from any thread)."""
        self._stopping.set()

    def _insert(self, table: str, rows: pa.Table, deadline: float) -> None:
        wait_ms = self._params.retry_first_ms
        while True:
            try:
                self._client.insert_arrow(table, rows)
                return
            except (ClickHouseError, OSError) as error:
                verdict = decide(error)
                line = f"{rows.num_rows} rows for {table}: {verdict.line}"
                if verdict.action is Action.END:
                    raise SinkBroken(line) from error
                if self._stopping.is_set() or self._monotonic() + wait_ms / 1000 > deadline:
                    raise SinkUnavailable(line) from error
                log.warning("%s; trying again in %d ms", line, wait_ms)
            self._stopping.wait(wait_ms / 1000)
            wait_ms = min(wait_ms * 2, self._params.retry_longest_ms)


def _positions_table(moved: dict[Place, int]) -> pa.Table:
    return pa.table(
        {
            "topic": pa.array([topic for topic, _ in moved], pa.string()),
            "kafka_partition": pa.array([partition for _, partition in moved], pa.uint16()),
            "next_offset": pa.array(list(moved.values()), pa.int64()),
        }
    )
