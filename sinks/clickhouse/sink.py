"""The ClickHouse sink: records of the log become rows that are queried once each.

Entry point: `ClickHouseSink(params, data_dir)`. Not asynchronous: call it from one thread (`query`, `counts` and
`stop` may be called from others meanwhile).

1. The position in the log is stored in ClickHouse itself, after the rows it covers; Kafka's committed offsets are a
   display of lag. Start reading a partition at `position(topic, partition)`.
2. Records may come again: offsets below what was appended are left out, and rows that were written twice are shown
   once (docs/analytics.md).
3. `append` stores all records but those it returns as bad, which the caller parks before it flushes.
"""

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from sinks.clickhouse.client import connect
from sinks.clickhouse.errors import Action, SinkBroken, SinkUnavailable, decide
from sinks.clickhouse.migrate import migrate
from sinks.clickhouse.params import ClickHouseParams
from sinks.clickhouse.reader import QueryReader
from sinks.clickhouse.rows import Bad, Record, RowReader
from sinks.clickhouse.tables import POSITIONS, TOPICS, VIEWS
from sinks.clickhouse.writer import Place, Writer

__all__ = ["Bad", "ClickHouseSink", "Record", "SinkBroken", "SinkUnavailable"]

log = logging.getLogger(__name__)
# Many small inserts: setting up threads for each costs more than they save (17 ms of CPU an insert, 7 without).
_SMALL_INSERTS: Final = {"max_threads": 1, "max_insert_threads": 1, "input_format_parallel_parsing": 0}
_COUNTS: Final = " UNION ALL ".join(f"SELECT '{view}' AS name, count() AS row_count FROM {view}" for view in VIEWS)


class ClickHouseSink:
    """Takes raw records by topic and partition; see the module's invariants."""

    topics: Final[tuple[str, ...]] = tuple(TOPICS)

    def __init__(self, params: ClickHouseParams, data_dir: Path) -> None:
        self.params = params
        self._data_dir = data_dir
        self._client: Client | None = None
        self._writer: Writer | None = None
        self._query_reader: QueryReader | None = None
        self._readers = {topic: RowReader(topic, latency=topic in params.latency_topics) for topic in TOPICS}
        self._stored: dict[Place, int] = {}
        self._next: dict[Place, int] = {}
        self._closing = threading.Lock()

    def open(self) -> None:
        """Connect and bring the schema to this build's.

        Raises:
            SinkBroken, SinkUnavailable: with one clear line.
        """
        client = connect(self.params, self._data_dir, writing=True)
        try:
            if self.params.embedded:
                for name, value in _SMALL_INSERTS.items():
                    client.command(f"SET {name} = {value}")
            for name in migrate(client, self.params):
                log.info("applied migration %s", name)
            self._query_reader = QueryReader(self.params, self._data_dir)
        except (ClickHouseError, OSError) as error:
            client.close()
            verdict = decide(error)
            raise (SinkUnavailable if verdict.action is Action.RETRY else SinkBroken)(verdict.line) from error
        except BaseException:
            client.close()
            raise
        self._client = client
        self._writer = Writer(client, self.params)

    def position(self, topic: str, partition: int) -> int:
        """Return the next offset wanted of a partition; 0 if nothing of it was ever stored.

        Raises:
            SinkUnavailable, SinkBroken: with one clear line.
        """
        place = (topic, partition)
        if place not in self._stored:
            self._stored[place] = self._read_position(place)
        return self._stored[place]

    def release(self, topic: str, partition: int) -> None:
        """Forget what is known of a partition that another worker may write now; flush before.

        Left out, nothing goes wrong: an old position repeats rows that are there, and the highest one counts.
        """
        self._stored.pop((topic, partition), None)
        self._next.pop((topic, partition), None)

    def append(self, topic: str, partition: int, records: Sequence[Record]) -> list[Bad]:
        """Buffer the rows of `records` (rising offsets) and return those that cannot be stored.

        Raises:
            NewerSchema: a record was written by a newer build; nothing was buffered, the worker must end.
        """
        writer = self._opened_writer()
        place = (topic, partition)
        wanted = self._next.get(place, 0)
        if records and records[0][0] < wanted:
            records = [record for record in records if record[0] >= wanted]
        if not records:
            return []
        rows = self._readers[topic].read(partition, records)
        next_offset = records[-1][0] + 1
        writer.add(rows.batches, place, next_offset)
        self._next[place] = next_offset
        return rows.bad

    def due(self) -> bool:
        """Return whether it is time to flush: cheap, ask it often."""
        return self._writer is not None and self._writer.due()

    def flush(self) -> None:
        """Write everything appended; after it returns it is durable and `position` has moved.

        Raises:
            SinkUnavailable: ClickHouse did not come back in `retry_seconds`; what was appended stays, flush again.
            SinkBroken: no retry mends it; the worker ends.
        """
        self._stored.update(self._opened_writer().flush())

    def stop(self) -> None:
        """Make a flush that waits for a server give up now (from another thread)."""
        if self._writer is not None:
            self._writer.stop()

    def counts(self) -> dict[str, int]:
        """Return the number of rows of each table and view, each row counted once."""
        found = self._opened_query_reader().rows(_COUNTS)
        counted = {str(name): int(row_count) for name, row_count in found}
        return {view: counted[view] for view in VIEWS}

    def query(self, sql: str, fmt: str = "JSON") -> bytes:
        """Return the answer to a reading statement in a format of ClickHouse.

        Raises:
            reader.QueryRefused: not a reading statement, or ClickHouse refused it; in its words.
        """
        return self._opened_query_reader().raw(sql, fmt)

    def close(self) -> None:
        """Let go of ClickHouse; what was not flushed is read again from the log at the next start."""
        with self._closing:
            if self._query_reader is not None:
                self._query_reader.close()
            if self._client is not None:
                self._client.close()
            self._client = self._writer = self._query_reader = None

    def _read_position(self, place: Place) -> int:
        topic, partition = place
        if topic not in TOPICS:
            raise ValueError(f"the sink does not read topic {topic!r}")
        rows = self._opened_query_reader().rows(
            f"SELECT max(next_offset) FROM {POSITIONS} WHERE topic = '{topic}' AND kafka_partition = {int(partition)}"
        )
        return int(rows[0][0])

    def _opened_writer(self) -> Writer:
        if self._writer is None:
            raise RuntimeError("the sink is not open")
        return self._writer

    def _opened_query_reader(self) -> QueryReader:
        if self._query_reader is None:
            raise RuntimeError("the sink is not open")
        return self._query_reader
