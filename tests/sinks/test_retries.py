"""What is tried again, what ends the worker, and what a flush that gives up leaves behind."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError, ProgrammingError

from sinks.clickhouse.errors import Action, SinkBroken, SinkUnavailable, decide
from sinks.clickhouse.params import ClickHouseParams
from sinks.clickhouse.tables import POSITIONS
from sinks.clickhouse.writer import Writer


def database_error(code: int, words: str = "words") -> DatabaseError:
    return DatabaseError(f"Code: {code}. DB::Exception: {words}", code=code)


DISK_FULL = "Cannot write to file: No space left on device"


@pytest.mark.parametrize(
    ("error", "action", "words"),
    [
        (OperationalError("connection refused"), Action.RETRY, "cannot be reached"),
        (ConnectionResetError(104, "reset"), Action.RETRY, "cannot be reached"),
        (TimeoutError("slow"), Action.RETRY, "cannot be reached"),
        (database_error(252), Action.RETRY, "too many parts"),
        (database_error(241), Action.RETRY, "memory limit"),
        (database_error(210), Action.RETRY, "network error"),
        (database_error(202), Action.RETRY, "too many simultaneous"),
        (database_error(999), Action.RETRY, "Keeper"),
        (database_error(243), Action.RETRY, "disk full"),
        (database_error(75, DISK_FULL), Action.RETRY, "disk full"),
        (database_error(1001, DISK_FULL), Action.RETRY, "disk full"),
        (OSError(28, "No space left on device"), Action.RETRY, "disk full"),
        (database_error(53), Action.END, "another type"),
        (database_error(117), Action.END, "do not fit"),
        (database_error(16), Action.END, "column is missing"),
        (database_error(60), Action.END, "table is missing"),
        (database_error(516), Action.END, "user and password"),
        (database_error(164), Action.END, "may only read"),
        (database_error(62), Action.END, "code 62"),
        (ProgrammingError("no such thing"), Action.END, "cannot be used"),
        (ValueError("ours"), Action.END, "ValueError: ours"),
    ],
)
def test_each_error_has_one_verdict(error: Exception, action: Action, words: str) -> None:
    verdict = decide(error)
    assert verdict.action is action
    assert words in verdict.line
    assert "\n" not in verdict.line


class Engine:
    """Stands in for a client: fails as told, keeps what was inserted."""

    def __init__(self, *failures: Exception | None) -> None:
        self.failures = list(failures)
        self.inserted: list[tuple[str, int]] = []

    def insert_arrow(self, table: str, rows: pa.Table) -> None:
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure
        self.inserted.append((table, rows.num_rows))


def writer_of(engine: Any, retry_seconds: float = 5.0) -> Writer:
    return Writer(engine, ClickHouseParams(retry_seconds=retry_seconds, retry_first_ms=1, retry_longest_ms=2))


def add(writer: Writer, table: str, rows: int, next_offset: int) -> None:
    batch = pa.RecordBatch.from_pydict({"a": list(range(rows))})
    writer.add([(table, batch)], (table, 0), next_offset)


def test_rows_go_before_positions() -> None:
    engine = Engine()
    writer = writer_of(engine)
    add(writer, "a", 3, 3)
    add(writer, "b", 2, 2)
    add(writer, "a", 4, 7)
    assert writer.flush() == {("a", 0): 7, ("b", 0): 2}
    assert engine.inserted == [("a", 7), ("b", 2), (POSITIONS, 2)]
    assert writer.flush() == {}
    assert len(engine.inserted) == 3, "nothing to write, nothing written"


def test_a_passing_error_passes() -> None:
    engine = Engine(None, database_error(252), OperationalError("away"), OSError(28, "No space left on device"))
    writer = writer_of(engine)
    add(writer, "a", 3, 3)
    add(writer, "b", 2, 2)
    writer.flush()
    assert engine.inserted == [("a", 3), ("b", 2), (POSITIONS, 2)]


def test_a_flush_that_gives_up_keeps_what_was_not_written() -> None:
    engine = Engine(None, *[OperationalError("away")] * 3)
    writer = writer_of(engine, retry_seconds=0)
    add(writer, "a", 3, 3)
    add(writer, "b", 2, 2)
    with pytest.raises(SinkUnavailable, match="2 rows for b: ClickHouse cannot be reached: away"):
        writer.flush()
    assert engine.inserted == [("a", 3)], "and no position"
    assert writer.due(), "it is still to be written"
    engine.failures.clear()
    add(writer, "b", 1, 3)
    assert writer.flush() == {("a", 0): 3, ("b", 0): 3}
    assert engine.inserted == [("a", 3), ("b", 3), (POSITIONS, 2)], "what was written is not written again"


def test_an_error_of_schema_ends_at_once() -> None:
    engine = Engine(database_error(53, "Type mismatch"))
    writer = writer_of(engine)
    add(writer, "a", 3, 3)
    with pytest.raises(SinkBroken, match=r"3 rows for a: ClickHouse refuses \(code 53\): .*Type mismatch"):
        writer.flush()
    assert engine.inserted == []


def test_a_stop_ends_the_waiting() -> None:
    engine = Engine(*[OperationalError("away")] * 1_000_000)
    writer = writer_of(engine, retry_seconds=3_600)
    add(writer, "a", 1, 1)
    writer.stop()
    with pytest.raises(SinkUnavailable):
        writer.flush()


def test_a_full_disk_beneath_the_embedded_engine_is_named(open_sink: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.sinks import samples

    sink = open_sink(retry_seconds=0)
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")

    def to_full_disk(*_: Any, **__: Any) -> Any:
        return full.open("wb")

    sink.append("alerts", 0, [samples.record(0, samples.alert())])
    with monkeypatch.context() as patched:
        patched.setattr("clickhouse_connect.driver._backend.chdb_backend.tempfile.NamedTemporaryFile", to_full_disk)
        patched.setattr("clickhouse_connect.driver._backend.chdb_backend.os.unlink", lambda _: None)
        with pytest.raises(SinkUnavailable, match="disk full"):
            sink.flush()
    sink.flush()
    assert sink.counts()["alerts"] == 1
