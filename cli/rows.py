"""How many rows of a run each ClickHouse table holds, asked of the running sink.

Entry point: `RowCounter`. A row belongs to the run when Kafka took its record after the run's zero.
"""

import asyncio
import csv
import io
import time
from pathlib import Path

from sinks.clickhouse.query import run_query
from sinks.clickhouse.tables import TABLES, TOPICS, VIEWS
from streams import runtime

STORED_TOPICS = tuple(TOPICS)
_STORED_TABLES = frozenset(table.name for table in TABLES.values())
_AGAIN_S = 0.1


class RowCounter:
    """Counts rows by table; `trouble` says why it could not."""

    def __init__(self, data_dir: Path) -> None:
        self.trouble = ""
        self._data_dir = data_dir
        self._zero_ms = 0

    def take_zero(self) -> None:
        """Count from now on."""
        self._zero_ms = int(time.time() * 1000)

    async def count(self, timeout_s: float) -> dict[str, int]:
        """Return rows per table; empty when the sink does not answer."""
        sink = next((process for process in runtime.processes(self._data_dir) if "sink" in process.roles), None)
        if sink is None or not sink.http_port:
            self.trouble = "the sink is not running"
            return {}
        url = f"http://127.0.0.1:{sink.http_port}"
        try:
            answer = await asyncio.wait_for(asyncio.to_thread(run_query, url, self.sql(), "csv"), timeout_s)
            return read_counts(answer)
        except TimeoutError:
            self.trouble = f"no answer within {timeout_s:.1f} s"
        except Exception as error:  # any trouble of the read side costs numbers in a summary, nothing more
            self.trouble = str(error) or type(error).__name__
        return {}

    async def settled(self, records: int, timeout_s: float) -> dict[str, int]:
        """Return the counts once each of `records` stored records has its row, or as they are at the time limit.

        Fewer rows than records are right where a restarted worker repeated some.
        """
        limit_s = time.monotonic() + timeout_s
        counts = await self.count(timeout_s)
        while sum(counts.get(name, 0) for name in _STORED_TABLES) < records and time.monotonic() < limit_s - _AGAIN_S:
            await asyncio.sleep(_AGAIN_S)
            counts = await self.count(max(_AGAIN_S, limit_s - time.monotonic())) or counts
        missing = records - sum(counts.get(name, 0) for name in _STORED_TABLES)
        if counts:
            self.trouble = f"{missing} records of this run had no row of their own yet" if missing > 0 else ""
        return counts

    def sql(self) -> str:
        """Return the query: one row per table, its name and its count."""
        since = f"recorded_at >= fromUnixTimestamp64Milli({self._zero_ms})"
        return " UNION ALL ".join(
            f"SELECT '{name}' AS table_name, count() AS row_count FROM {name} WHERE {since}" for name in VIEWS
        )


def read_counts(answer: str) -> dict[str, int]:
    """Return {table: rows} of a CSV answer, with or without a heading, in the order of the tables."""
    found = {row[0]: int(row[1]) for row in csv.reader(io.StringIO(answer)) if len(row) == 2 and row[1].isdigit()}
    return {name: found[name] for name in VIEWS if name in found}
