"""Numbered, forward-only DDL.

Entry point: `migrate(client, database, params)`.

1. `ddl/NNNN_name.sql` are applied in order, from 0001 without a gap; what was applied stands in `schema_migrations`
   with the SHA-256 of the file. An applied file that has changed, or one this build does not know, is refused.
2. ClickHouse has no transactions over DDL: every statement can run twice, and a file is recorded after its last.
3. Retention comes from the settings at each start: TTLs are altered where they differ.
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from clickhouse_connect.driver.client import Client

from sinks.clickhouse.errors import SinkBroken
from sinks.clickhouse.params import ClickHouseParams
from sinks.clickhouse.tables import LATENCY, POSITIONS, TABLES

DDL_FOLDER: Final = Path(__file__).with_name("ddl")
_FILE_NAME: Final = re.compile(r"([0-9]{4})_[a-z0-9_]+\.sql")
_MIGRATIONS_TABLE: Final = """
CREATE TABLE IF NOT EXISTS {database}.schema_migrations
(number UInt32, name String, sha256 String, applied_at DateTime64(3, 'UTC') DEFAULT now64(3))
ENGINE = ReplacingMergeTree ORDER BY number
"""
# Cancels are kept as long as the orders they belong to, and the two sides of the outcome ledger as long as each other.
_RETENTION_OF: Final = {
    **{table.storage: table.name for table in TABLES.values()},
    "cancels_rows": "orders",
    "protection_changes_rows": "orders",
    "transfers_rows": "orders",
    "leader_events_rows": "outcomes",
    LATENCY: "pipeline_latency",
}


class Migration(NamedTuple):
    """One file of DDL."""

    number: int
    name: str
    sha256: str
    statements: tuple[str, ...]


def load(folder: Path = DDL_FOLDER) -> list[Migration]:
    """Return the migrations in `folder`, in order.

    Raises:
        SinkBroken: a wrong file name, a gap or a number used twice.
    """
    migrations = []
    for number, path in enumerate(sorted(folder.glob("*.sql")), start=1):
        match = _FILE_NAME.fullmatch(path.name)
        if match is None or int(match[1]) != number:
            raise SinkBroken(f"migration {path.name}: expected {number:04d}_lower_case_name.sql, without gaps")
        text = path.read_text(encoding="utf-8")
        migrations.append(Migration(number, path.name, hashlib.sha256(text.encode()).hexdigest(), _statements(text)))
    return migrations


def _statements(text: str) -> tuple[str, ...]:
    """Return the statements of a file: they end in `;` at the end of a line; whole lines of `--` are comments."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
    parts = re.split(r";[ \t]*(?:\n|$)", "\n".join(lines))
    return tuple(part.strip() for part in parts if part.strip())


def migrate(client: Client, params: ClickHouseParams, migrations: Sequence[Migration] | None = None) -> list[str]:
    """Bring the database to this build's schema; return the names of the files applied now.

    Raises:
        SinkBroken: an applied file was changed, or the database was made by a newer build.
    """
    wanted = load() if migrations is None else migrations
    database = params.database
    client.command(f"CREATE DATABASE IF NOT EXISTS {database}", use_database=False)
    client.command(_MIGRATIONS_TABLE.format(database=database), use_database=False)
    client.database = database
    found = client.query("SELECT number, name, sha256 FROM schema_migrations FINAL ORDER BY number").result_rows
    applied = {int(number): (str(name), str(sha256)) for number, name, sha256 in found}
    _refuse_changed(applied, wanted, database)
    now: list[str] = []
    for migration in wanted:
        if migration.number in applied:
            continue
        for statement in migration.statements:
            client.command(statement)
        row: list[Any] = [migration.number, migration.name, migration.sha256]
        client.insert("schema_migrations", [row], column_names=["number", "name", "sha256"])
        now.append(migration.name)
    _set_retention(client, params)
    _set_durability(client, params)
    return now


def _refuse_changed(applied: dict[int, tuple[str, str]], wanted: Sequence[Migration], database: str) -> None:
    known = {migration.number: migration for migration in wanted}
    for number, (name, sha256) in sorted(applied.items()):
        migration = known.get(number)
        if migration is None:
            raise SinkBroken(
                f"database {database} has migration {name}, which this build does not know: it was made by a newer "
                "build; use that build, or another database"
            )
        if migration.sha256 != sha256:
            raise SinkBroken(
                f"migration {migration.name} was changed after it was applied to database {database} (as {name}): "
                "put the applied text back and write the change as a new file with the next number"
            )


def _engines(client: Client, database: str) -> dict[str, str]:
    rows = client.query(
        "SELECT name, engine_full FROM system.tables WHERE database = {database:String}",
        parameters={"database": database},
    ).result_rows
    return {str(name): str(engine) for name, engine in rows}


def _set_retention(client: Client, params: ClickHouseParams) -> None:
    engines = _engines(client, params.database)
    for storage, name in _RETENTION_OF.items():
        days = getattr(params.retention_days, name)
        if f"toIntervalDay({days})" not in engines[storage]:
            # What is stored already is gone through in the background; the start does not wait for it.
            client.command(f"ALTER TABLE {storage} MODIFY TTL toDateTime(recorded_at) + INTERVAL {days} DAY")


def _set_durability(client: Client, params: ClickHouseParams) -> None:
    wanted = int(params.sync_writes)
    settings = {
        "fsync_after_insert": wanted,
        "fsync_part_directory": wanted,
        # chDB drops the parts a merge has replaced at once, so the merged one must be on the disk by then.
        "min_rows_to_fsync_after_merge": wanted,
        "min_compressed_bytes_to_fsync_after_merge": wanted,
    }
    engines = _engines(client, params.database)
    for table in (*_RETENTION_OF, POSITIONS):
        if any(f"{name} = {value}" not in engines[table] for name, value in settings.items()):
            changes = ", ".join(f"{name} = {value}" for name, value in settings.items())
            client.command(f"ALTER TABLE {table} MODIFY SETTING {changes}")
