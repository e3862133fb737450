"""Numbered DDL: applied once, in order, refused when changed, repeated safely after a crash."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from sinks.clickhouse import migrate as migrations
from sinks.clickhouse.client import connect
from sinks.clickhouse.errors import SinkBroken
from sinks.clickhouse.migrate import DDL_FOLDER, Migration, load, migrate
from sinks.clickhouse.params import ClickHouseParams
from sinks.clickhouse.rows import RowReader
from sinks.clickhouse.sink import ClickHouseSink
from sinks.clickhouse.tables import TABLES, VIEWS
from tests.sinks import samples
from tests.sinks.conftest import LONG
from tests.sinks.samples import record

OpenSink = Callable[..., ClickHouseSink]


def client_of(sink: ClickHouseSink) -> Any:
    return sink._client


def rows(sink: ClickHouseSink, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in client_of(sink).query(sql).result_rows]


def test_the_second_start_applies_nothing(open_sink: OpenSink) -> None:
    sink = open_sink()
    applied = rows(sink, "SELECT number, name, sha256 FROM schema_migrations ORDER BY number")
    assert applied == [(migration.number, migration.name, migration.sha256) for migration in load()]
    sink = open_sink()
    assert migrate(client_of(sink), sink.params) == []


def test_an_applied_file_that_changed_is_refused(sink: ClickHouseSink) -> None:
    first, *rest = load()
    changed = first._replace(sha256="0" * 64)
    with pytest.raises(SinkBroken, match=r"0001_log.sql was changed after it was applied.*new file"):
        migrate(client_of(sink), sink.params, [changed, *rest])


def test_a_database_of_a_newer_build_is_refused(sink: ClickHouseSink) -> None:
    with pytest.raises(SinkBroken, match=r"0002_views.sql, which this build does not know"):
        migrate(client_of(sink), sink.params, load()[:1])


def test_a_new_file_is_applied_after_the_others(sink: ClickHouseSink) -> None:
    number = len(load()) + 1
    added = Migration(number, "more.sql", "1" * 64, ("CREATE TABLE IF NOT EXISTS more (a Int8) ENGINE = Memory",))
    assert migrate(client_of(sink), sink.params, [*load(), added]) == ["more.sql"]
    assert rows(sink, "EXISTS TABLE more") == [(1,)]


@pytest.mark.parametrize("fails_after", [0, 1, 7, 13, 17, 25, 36, 37, 39, 45, 50, -1])
def test_a_crash_between_two_statements_is_made_good(
    open_sink: OpenSink, monkeypatch: pytest.MonkeyPatch, fails_after: int
) -> None:
    """Every file up to the statement where it fails, then a normal start."""
    statements = [(migration, statement) for migration in load() for statement in migration.statements]
    assert len(statements) > 50
    broken_at = statements[fails_after]

    def breaking() -> list[Migration]:
        found = []
        for migration in load():
            texts = list(migration.statements)
            if migration == broken_at[0]:
                texts[texts.index(broken_at[1])] = "SELECT throwIf(1, 'crash')"
            found.append(migration._replace(statements=tuple(texts)))
        return found

    monkeypatch.setattr(migrations, "load", breaking)
    with pytest.raises(SinkBroken, match="crash"):
        open_sink()
    monkeypatch.undo()
    assert open_sink().counts() == dict.fromkeys(VIEWS, 0)


def make_database_at_0002(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the database as the first two files did, with an order and outcomes of that time in it."""
    params = ClickHouseParams(sync_writes=False, retention_days=LONG)
    client = connect(params, folder)
    with monkeypatch.context() as patched:
        patched.setattr(migrations, "_set_retention", lambda *_: None)  # they know the tables of this build
        patched.setattr(migrations, "_set_durability", lambda *_: None)
        assert migrate(client, params, load()[:2]) == ["0001_log.sql", "0002_views.sql"]
    old = {"orders": [samples.order(n) for n in range(2)], "outcomes": [samples.outcome(n) for n in range(1, 4)]}
    for topic, messages in old.items():
        records = [record(number, message) for number, message in enumerate(messages)]
        ((table, batch),) = RowReader(topic, latency=False).read(0, records).batches
        known = {str(row[0]) for row in client.query(f"DESCRIBE TABLE {table}").result_rows}
        assert set(batch.schema.names) - known, "the new build writes more"
        names = [name for name in batch.schema.names if name in known]
        client.insert_arrow(table, pa.Table.from_batches([batch]).select(names))
    position: list[Any] = ["outcomes", 0, 3]
    client.insert("sink_positions", [position], column_names=["topic", "kafka_partition", "next_offset"])
    client.close()


def test_a_database_at_0002_keeps_its_rows(
    open_sink: OpenSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_database_at_0002(tmp_path, monkeypatch)
    sink = open_sink()
    applied = [name for (name,) in rows(sink, "SELECT name FROM schema_migrations ORDER BY number")]
    assert applied == [migration.name for migration in load()]
    assert sink.position("outcomes", 0) == 3
    assert (sink.counts()["orders"], sink.counts()["outcomes"]) == (2, 3)
    old = rows(sink, "SELECT error_id, cost_total_bps, cost_filled_at, reason FROM outcomes")
    assert old == [("", None, None, "position_open")] * 3
    assert rows(sink, "SELECT DISTINCT margin_mode, trigger FROM orders") == [("", "trade")]
    # What that time told without fan-outs owes nothing, before and after the ledger begins, and new rows stand beside.
    nothing_wrong = [(0, 0, 0)]
    assert rows(sink, "SELECT missing, unowed, doubled FROM outcome_ledger_total") == nothing_wrong
    new = [samples.fan_out(4), samples.copied(4), samples.outcome(2)]  # the last is a repeat of an old one
    sink.append("outcomes", 0, [record(3 + n, message) for n, message in enumerate(new)])
    sink.flush()
    assert sink.counts()["outcomes"] == 4
    assert rows(sink, "SELECT owed, told FROM outcome_ledger_total") == [(1, 1)]
    assert rows(sink, "SELECT missing, unowed, doubled FROM outcome_ledger_total") == nothing_wrong
    assert rows(sink, "SELECT toFloat64(cost_total_bps) FROM outcomes WHERE event_id = 'event-4'") == [(3.0,)]
    assert open_sink().counts()["outcomes"] == 4


def test_the_two_sides_of_the_ledger_are_kept_as_long(open_sink: OpenSink) -> None:
    sink = open_sink(retention_days=LONG.model_copy(update={"outcomes": 77, "orders": 88}))
    engines = dict(rows(sink, "SELECT name, engine_full FROM system.tables WHERE name LIKE '%_rows'"))
    for table, days in {"outcomes": 77, "leader_events": 77, "orders": 88, "protection_changes": 88}.items():
        assert f"toIntervalDay({days})" in engines[f"{table}_rows"], table


def test_files_are_numbered_without_gaps(tmp_path: Path) -> None:
    assert [path.name for path in sorted(DDL_FOLDER.glob("*.sql"))] == [migration.name for migration in load()]
    (tmp_path / "0002_gap.sql").write_text("SELECT 1;")
    with pytest.raises(SinkBroken, match="expected 0001_"):
        load(tmp_path)


def test_statements_end_at_the_end_of_a_line(tmp_path: Path) -> None:
    (tmp_path / "0001_a.sql").write_text("-- about; this\nSELECT ';' AS a,\n  -- b;\n  2;\n\nSELECT 3 ;  \n")
    assert load(tmp_path)[0].statements == ("SELECT ';' AS a,\n  2", "SELECT 3")


def test_retention_follows_the_settings_and_drops_what_is_old(open_sink: OpenSink) -> None:
    sink = open_sink()
    sink.append("bars", 0, [record(n, samples.bar(n)) for n in range(5)])  # of 2025
    sink.append("alerts", 0, [record(0, samples.alert())])
    sink.flush()
    assert sink.counts()["bars"] == 5
    sink = open_sink(retention_days=LONG.model_copy(update={"bars": 7}))
    deadline = time.monotonic() + 60
    while sink.counts()["bars"] and time.monotonic() < deadline:
        time.sleep(0.05)  # the engine goes through what is stored in the background
    assert sink.counts()["bars"] == 0
    assert sink.counts()["alerts"] == 1
    (engine,) = rows(sink, "SELECT engine_full FROM system.tables WHERE name = 'bars_rows'")
    assert "toIntervalDay(7)" in engine[0]


@pytest.mark.parametrize("sync_writes", [True, False])
def test_every_table_syncs_as_the_settings_say(open_sink: OpenSink, sync_writes: bool) -> None:
    sink = open_sink(sync_writes=not sync_writes)
    sink = open_sink(sync_writes=sync_writes)
    engines = dict(
        rows(sink, "SELECT name, engine_full FROM system.tables WHERE name LIKE '%_rows' OR name = 'sink_positions'")
    )
    assert len(engines) == len(TABLES) + 2  # the latency table and the positions
    for name, engine in engines.items():
        assert f"fsync_after_insert = {int(sync_writes)}" in engine, name
        assert f"fsync_part_directory = {int(sync_writes)}" in engine, name
