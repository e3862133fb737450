"""Tables of the decision store, their migration, and the numbering of its outbox.

Entry points: `open_engine`, `prepare`, `writing`, `Outbox`.

1. Several processes write (the worker, commands, the webhook, the API): a writing transaction holds the one write lock
   from its beginning (SQLite: BEGIN IMMEDIATE; PostgreSQL: the row of `decision_meta`), so numbers are given, and seen
   by the relay, in order.
2. A row names the row before it to the same topic and partition, within its generation (processors/inbox.py, 2).
3. An older file is migrated forward when it is opened: its rows were all for `account-events`, and all by the file.
"""

import contextlib
from collections.abc import Iterator
from typing import Any, Final

import sqlalchemy as sa

ACCOUNTS: Final = "account-events"
KEPT: Final = 10_000
"""Sent rows that are kept, for whoever looks; the last of each chain stays besides."""

metadata = sa.MetaData()
meta = sa.Table("decision_meta", metadata, sa.Column("generation", sa.Integer, primary_key=True))
decided = sa.Table(
    "decided",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("value", sa.LargeBinary, nullable=False),
    sa.Column("asked", sa.LargeBinary),
)
outbox = sa.Table(
    "decision_outbox",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("topic", sa.String, nullable=False, server_default=ACCOUNTS),
    sa.Column("partition", sa.Integer, nullable=False),
    sa.Column("previous", sa.Integer),
    sa.Column("key", sa.String, nullable=False),
    sa.Column("value", sa.LargeBinary, nullable=False),
    sa.Column("sent", sa.Boolean, nullable=False, default=False),
)
requests = sa.Table(
    "decision_requests",
    metadata,
    sa.Column("request", sa.String, primary_key=True),
    sa.Column("content", sa.String, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
)
_unsent = sa.Index(
    "decision_outbox_unsent", outbox.c.number, sqlite_where=~outbox.c.sent, postgresql_where=~outbox.c.sent
)


def open_engine(dsn: str) -> sa.Engine:
    """Return an engine whose commits are durable and whose writers wait for each other."""
    engine = sa.create_engine(dsn)
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _durable)
        sa.event.listen(engine, "begin", _begin)
    return engine


def _durable(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # BEGIN is ours, see _begin
    cursor = connection.cursor()
    cursor.execute("PRAGMA busy_timeout=5000")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _begin(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextlib.contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Open a transaction that holds the write lock."""
    with engine.execution_options(writes=True).begin() as tx:
        if engine.dialect.name != "sqlite":
            tx.execute(sa.select(meta.c.generation).with_for_update())
        yield tx


def prepare(engine: sa.Engine) -> None:
    """Make the tables, or bring those of an older build up to date; several processes may try at once."""
    with engine.execution_options(writes=True).begin() as tx:
        if engine.dialect.name == "postgresql":
            tx.execute(sa.text("SELECT pg_advisory_xact_lock(7315025)"))  # else two could make the same table
        there = sa.inspect(tx).has_table("decision_outbox")
        if there:
            _migrate(tx)
        metadata.create_all(tx)
        _unsent.create(tx, checkfirst=True)
        if tx.execute(sa.select(meta.c.generation)).first() is None:
            tx.execute(meta.insert().values(generation=1))


def _migrate(tx: sa.Connection) -> None:
    def columns(table: sa.Table) -> set[str]:
        return {column["name"] for column in sa.inspect(tx).get_columns(table.name)}

    if "topic" not in columns(outbox):
        tx.execute(sa.text(f"ALTER TABLE {outbox.name} ADD COLUMN topic VARCHAR NOT NULL DEFAULT '{ACCOUNTS}'"))
    if "asked" not in columns(decided):
        kind = "BYTEA" if tx.dialect.name == "postgresql" else "BLOB"
        tx.execute(sa.text(f"ALTER TABLE decided ADD COLUMN asked {kind}"))
        tx.execute(decided.update().values(asked=decided.c.value))


class Outbox:
    """Numbers records within one writing transaction."""

    def __init__(self, tx: sa.Connection) -> None:
        self._tx = tx
        self._generation: int = tx.execute(sa.select(sa.func.max(meta.c.generation))).scalar_one()
        last = tx.execute(sa.select(sa.func.max(outbox.c.number))).scalar_one()
        self.last: int = -1 if last is None else last
        heads = (
            sa.select(outbox.c.topic, outbox.c.partition, sa.func.max(outbox.c.number))
            .where(outbox.c.generation == self._generation)
            .group_by(outbox.c.topic, outbox.c.partition)
        )
        self._heads: dict[tuple[str, int], int] = {(row[0], row[1]): row[2] for row in tx.execute(heads)}
        self._rows: list[dict[str, Any]] = []

    def add(self, topic: str, partition: int, key: str, value: bytes) -> int:
        """Give a record its number and its place in the chain; written by `flush`."""
        self.last += 1
        self._rows.append(
            {
                "number": self.last,
                "generation": self._generation,
                "topic": topic,
                "partition": partition,
                "previous": self._heads.get((topic, partition)),
                "key": key,
                "value": value,
                "sent": False,
            }
        )
        self._heads[topic, partition] = self.last
        return self.last

    def flush(self) -> None:
        """Write what was added."""
        if self._rows:
            self._tx.execute(outbox.insert(), self._rows)
            self._rows = []

    def forget(self) -> None:
        """Delete old rows that were sent."""
        self._tx.execute(
            outbox.delete().where(
                outbox.c.sent,
                outbox.c.number < self.last - KEPT,
                outbox.c.number.not_in(list(self._heads.values())),
            )
        )
