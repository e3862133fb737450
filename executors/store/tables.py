"""Tables of the execution store (SQLite and PostgreSQL). Money is text, exact; bodies are JSON bytes.

`SCHEMA` rises with every change of a table; a store of another schema is refused by name. A further table does not
raise it: it is made in a store that lacks it.
"""

import functools
from typing import Any

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
        connection.execute(_upsert(connection.dialect.name, table, only), rows)


def insert_missing(connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    """Insert rows, leaving alone those whose primary key exists."""
    if rows:
        connection.execute(_insert_missing(connection.dialect.name, table), rows)


@functools.cache  # building a statement costs more than running it
def _upsert(dialect: str, table: sa.Table, only: tuple[str, ...]) -> Any:
    statement = _insert(dialect, table)
    keys = [column.name for column in table.primary_key]
    names = only or tuple(column.name for column in table.columns if column.name not in keys)
    changed = {name: statement.excluded[name] for name in names}
    return statement.on_conflict_do_update(index_elements=keys, set_=changed)


@functools.cache
def _insert_missing(dialect: str, table: sa.Table) -> Any:
    return _insert(dialect, table).on_conflict_do_nothing()


def _insert(dialect: str, table: sa.Table) -> Any:
    if dialect == "sqlite":
        from sqlalchemy.dialects import sqlite

        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql

    return postgresql.insert(table)
