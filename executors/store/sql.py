"""Functions on a connection: the lease, the outbox, a new store. Each runs inside its caller's transaction."""

from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from executors.errors import LeaseLost, StoreFailed
from executors.rows import OrderRow, Triggers
from executors.store import tables

Record = tuple[str, str, bytes]  # topic, key, value


def check_lease(connection: sa.Connection, partition: int, epoch: int) -> Any:
    """Return the partition's row, locked for this transaction.

    Raises:
        LeaseLost: another worker has claimed the partition since.
    """
    row = connection.execute(_LEASE, {"partition": partition}).one_or_none()
    if row is None or row.epoch != epoch:
        held = "nobody" if row is None else f"{row.owner} (epoch {row.epoch})"
        raise LeaseLost(f"partition {partition} of orders is held by {held}, not by epoch {epoch}: this worker ends")
    return row


_LEASE = (
    sa.select(
        tables.partitions.c.epoch, tables.partitions.c.owner, tables.partitions.c.generation, tables.partitions.c.number
    )
    .where(tables.partitions.c.partition == sa.bindparam("partition"))
    .with_for_update()
)
_HEADS = sa.select(tables.heads).where(tables.heads.c.partition == sa.bindparam("partition"))
_SET_NUMBER = (
    sa.update(tables.partitions)
    .where(tables.partitions.c.partition == sa.bindparam("of_partition"))
    .values(number=sa.bindparam("new_number"))
)


def partition_row(partition: int) -> Any:
    """Return the query for a partition's row, locked."""
    return sa.select(tables.partitions).where(tables.partitions.c.partition == partition).with_for_update()


def add_records(connection: sa.Connection, partition: int, lease: Any, records: Sequence[Record]) -> None:
    """Number and chain records into the outbox."""
    if not records:
        return
    found = connection.execute(_HEADS, {"partition": partition}).all()
    heads: dict[str, tuple[int, int]] = {row.topic: (row.generation, row.number) for row in found}
    number, rows = lease.number, []
    for topic, key, value in records:
        number += 1
        generation, previous = heads.get(topic, (None, None))
        rows.append(
            {
                "partition": partition,
                "number": number,
                "generation": lease.generation,
                "topic": topic,
                "key": key,
                "value": value,
                "previous_generation": generation,
                "previous_number": previous,
            }
        )
        heads[topic] = (lease.generation, number)
    tables.insert(connection, tables.outbox, rows)
    tables.upsert(
        connection,
        tables.heads,
        [
            {"partition": partition, "topic": topic, "generation": head[0], "number": head[1]}
            for topic, head in heads.items()
            if head[1] > lease.number
        ],
    )
    connection.execute(_SET_NUMBER, {"of_partition": partition, "new_number": number})


def with_trades(connection: sa.Connection, found: Sequence[Any]) -> list[OrderRow]:
    """Return rows with the trade ids booked for them."""
    fills = tables.fills.c
    trades: dict[str, set[str]] = {}
    ids = [row.order_id for row in found if row.filled != "0"]
    for start in range(0, len(ids), 500):
        chunk = ids[start : start + 500]
        for row in connection.execute(sa.select(fills.order_id, fills.trade_id).where(fills.order_id.in_(chunk))):
            trades.setdefault(row.order_id, set()).add(row.trade_id)
    return [OrderRow.of(row, trades.get(row.order_id, set())) for row in found]


def order_rows(connection: sa.Connection, order_ids: Collection[str]) -> list[OrderRow]:
    """Return the rows (terminal ones too) of these orders and legs."""
    if not order_ids:
        return []
    found = connection.execute(sa.select(tables.orders).where(tables.orders.c.order_id.in_(order_ids))).all()
    return with_trades(connection, found)


def with_protection(connection: sa.Connection, partition: int, rows: list[OrderRow]) -> list[OrderRow]:
    """Return rows with the trigger prices that are asked for."""
    table = tables.protection
    found = connection.execute(sa.select(table).where(table.c.partition == partition)).all()
    wanted = {row.order_id: Triggers(_decimal(row.stop_loss), _decimal(row.take_profit)) for row in found}
    for row in rows:
        row.change = wanted.get(row.order_id)
    return rows


def write_protection(connection: sa.Connection, partition: int, changes: Mapping[str, Triggers | None]) -> None:
    """Note the trigger prices that are asked for; None: the venue has them, or needs them no more."""
    gone = [order_id for order_id, triggers in changes.items() if triggers is None]
    if gone:
        connection.execute(sa.delete(tables.protection).where(tables.protection.c.order_id.in_(gone)))
    rows = [
        {"order_id": order_id, "partition": partition}
        | {name: None if price is None else str(price) for name, price in triggers._asdict().items()}
        for order_id, triggers in changes.items()
        if triggers is not None
    ]
    tables.upsert(connection, tables.protection, rows)


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def create(connection: sa.Connection) -> None:
    """Make the tables; refuse a store of another schema."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": 0x77616B65})
    tables.metadata.create_all(connection)
    tables.insert_missing(
        connection,
        tables.meta,
        [{"name": "schema", "value": str(tables.SCHEMA)}, {"name": "generation", "value": "1"}],
    )
    schema = connection.execute(sa.select(tables.meta.c.value).where(tables.meta.c.name == "schema")).scalar_one()
    if schema != str(tables.SCHEMA):
        raise StoreFailed(
            f"the execution store has schema {schema}, this build works with {tables.SCHEMA}: run the build that made "
            "it, or begin a new store once its orders are terminal"
        )


def generation(connection: sa.Connection) -> int:
    """Return the store's generation."""
    row = connection.execute(sa.select(tables.meta.c.value).where(tables.meta.c.name == "generation")).scalar_one()
    return int(row)


def renew(connection: sa.Connection) -> int:
    """Begin a new generation; what is unsent belongs to it."""
    renewed = generation(connection) + 1
    connection.execute(sa.update(tables.meta).where(tables.meta.c.name == "generation").values(value=str(renewed)))
    connection.execute(sa.update(tables.partitions).values(generation=renewed))
    # Unsent records belong to the new generation too, each topic's first without a previous one.
    connection.execute(sa.delete(tables.heads))
    heads: dict[tuple[int, str], int] = {}
    outbox = tables.outbox.c
    unsent = connection.execute(
        sa.select(outbox.partition, outbox.number, outbox.topic).order_by(outbox.partition, outbox.number)
    ).all()
    for row in unsent:
        previous = heads.get((row.partition, row.topic))
        connection.execute(
            sa.update(tables.outbox)
            .where(outbox.partition == row.partition, outbox.number == row.number)
            .values(
                generation=renewed,
                previous_generation=None if previous is None else renewed,
                previous_number=previous,
            )
        )
        heads[(row.partition, row.topic)] = row.number
    rows = [
        {"partition": partition, "topic": topic, "generation": renewed, "number": number}
        for (partition, topic), number in heads.items()
    ]
    tables.upsert(connection, tables.heads, rows)
    return renewed
