"""Tables of the execution store (SQLite and PostgreSQL). Money is text, exact; bodies are JSON bytes.

`SCHEMA` rises with every change of a table; a store of another schema is refused by name. A further table does not
raise it: it is made in a store that lacks it.
"""

import functools
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import sqlalchemy as sa

SCHEMA = 1
metadata = sa.MetaData()

meta = sa.Table(
    "execution_meta",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

# One row per partition of `orders`: the lease, the input position, the outbox counter.
partitions = sa.Table(
    "execution_partitions",
    metadata,
    sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("next_offset", sa.BigInteger, nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("inbox", sa.LargeBinary),
)

# How far each venue's reports are booked.
cursors = sa.Table(
    "execution_cursors",
    metadata,
    sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("venue", sa.String(64), primary_key=True),
    sa.Column("number", sa.BigInteger, nullable=False),
)

orders = sa.Table(
    "execution_orders",
    metadata,
    sa.Column("order_id", sa.String(64), primary_key=True),
    sa.Column("partition", sa.Integer, nullable=False),
    sa.Column("sequence", sa.BigInteger, nullable=False),  # input offset; legs have their entry's
    sa.Column("account", sa.Text, nullable=False),
    sa.Column("venue", sa.String(64), nullable=False),
    sa.Column("leg", sa.String(16), nullable=False),
    sa.Column("entry_order_id", sa.String(64), nullable=False),
    sa.Column("state", sa.String(24), nullable=False),
    sa.Column("size", sa.Text, nullable=False),
    sa.Column("filled", sa.Text, nullable=False),
    sa.Column("closed", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("venue_order_id", sa.Text, nullable=False),
    sa.Column("cancel_requested", sa.Boolean, nullable=False),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("live", sa.Boolean, nullable=False),  # not terminal, or part of a bracket that is not
    sa.Column("body", sa.LargeBinary, nullable=False),  # the Order; a leg has its entry's
    sa.Index("execution_orders_live", "partition", "live", "sequence"),
)

attempts = sa.Table(
    "execution_attempts",
    metadata,
    sa.Column("client_order_id", sa.String(64), primary_key=True),
    sa.Column("order_id", sa.String(64), nullable=False, index=True),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("state", sa.String(24), nullable=False),
    sa.Column("prepared_ms", sa.BigInteger, nullable=False),
    sa.Column("deadline_ms", sa.BigInteger, nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("code", sa.Text, nullable=False),
)

fills = sa.Table(
    "execution_fills",
    metadata,
    sa.Column("venue", sa.String(64), primary_key=True),
    sa.Column("account", sa.String(128), primary_key=True),
    sa.Column("instrument", sa.String(128), primary_key=True),
    sa.Column("trade_id", sa.String(128), primary_key=True),
    sa.Column("order_id", sa.String(64), nullable=False, index=True),
    sa.Column("price", sa.Text, nullable=False),
    sa.Column("size", sa.Text, nullable=False),
    sa.Column("fee", sa.Text, nullable=False),
    sa.Column("venue_ms", sa.BigInteger, nullable=False),
)

# Trigger prices asked for (the leg that is left alone: NULL) that the venue does not have yet, by entry.
protection = sa.Table(
    "execution_protection",
    metadata,
    sa.Column("order_id", sa.String(64), primary_key=True),
    sa.Column("partition", sa.Integer, nullable=False, index=True),
    sa.Column("stop_loss", sa.Text),
    sa.Column("take_profit", sa.Text),
)

# Unsent records. A row goes when it is sent; `heads` keeps the stamp of the last one per partition and topic.
outbox = sa.Table(
    "execution_outbox",
    metadata,
    sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("topic", sa.String(128), nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("value", sa.LargeBinary, nullable=False),
    sa.Column("previous_generation", sa.BigInteger),
    sa.Column("previous_number", sa.BigInteger),
)

heads = sa.Table(
    "execution_outbox_heads",
    metadata,
    sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("topic", sa.String(128), primary_key=True),
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
)


def upsert(connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]], only: tuple[str, ...] = ()) -> None:
    """Insert rows, or overwrite those whose primary key exists (`only`: these columns of them)."""
    if rows:
        _execute_many(connection, _upsert(connection.dialect, table, tuple(rows[0]), only), rows)


def insert_missing(connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    """Insert rows, leaving alone those whose primary key exists."""
    if rows:
        _execute_many(connection, _insert_missing(connection.dialect, table, tuple(rows[0])), rows)


def insert(connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    """Insert rows that do not exist."""
    if rows:
        _execute_many(connection, _insert(connection.dialect, table, tuple(rows[0])), rows)


class _Many(NamedTuple):
    """A statement as the driver takes it: where places are numbered, what stands in each."""

    text: str
    places: Callable[[dict[str, Any]], tuple[Any, ...]] | None


def _execute_many(connection: sa.Connection, many: _Many, rows: list[dict[str, Any]]) -> None:
    # Past SQLAlchemy's handling of every single value, which costs more than the database: columns here are numbers,
    # text, bytes and booleans, which both drivers take as they are. All rows have the keys of the first one.
    connection.exec_driver_sql(many.text, rows if many.places is None else list(map(many.places, rows)))


@functools.cache  # building a statement costs more than running it
def _upsert(dialect: sa.Dialect, table: sa.Table, columns: tuple[str, ...], only: tuple[str, ...]) -> _Many:
    statement = _insert_of(dialect, table, columns)
    keys = [column.name for column in table.primary_key]
    names = only or tuple(column.name for column in table.columns if column.name not in keys)
    changed = {name: statement.excluded[name] for name in names}
    return _compiled(dialect, statement.on_conflict_do_update(index_elements=keys, set_=changed))


@functools.cache
def _insert_missing(dialect: sa.Dialect, table: sa.Table, columns: tuple[str, ...]) -> _Many:
    return _compiled(dialect, _insert_of(dialect, table, columns).on_conflict_do_nothing())


@functools.cache
def _insert(dialect: sa.Dialect, table: sa.Table, columns: tuple[str, ...]) -> _Many:
    return _compiled(dialect, _insert_of(dialect, table, columns))


def _compiled(dialect: sa.Dialect, statement: Any) -> _Many:
    compiled = statement.compile(dialect=dialect)
    if compiled.positiontup is None:
        return _Many(str(compiled), None)
    return _Many(str(compiled), operator.itemgetter(*compiled.positiontup))


def _insert_of(dialect: sa.Dialect, table: sa.Table, columns: tuple[str, ...]) -> Any:
    values: dict[str, Any] = {name: sa.bindparam(name) for name in columns}
    if dialect.name == "sqlite":
        from sqlalchemy.dialects import sqlite

        return sqlite.insert(table).values(values)
    from sqlalchemy.dialects import postgresql

    return postgresql.insert(table).values(values)
