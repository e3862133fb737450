"""The paper venue's journal: its own tables in the execution store, one shard per partition of `orders`.

The market position of each lane stands in the transaction of what its messages changed, so that after a kill the
venue reads on from there and makes the same fills (processors/matching/core.py, rule 1).
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from executors.store import Store, check_lease, tables
from processors.matching.core import Changes
from processors.matching.types import TERMINAL, Group, Lane, Snapshot, VenueEvent, VenueOrder
from schemas.reasons import ReportKind

_encode = msgspec.json.Encoder().encode
metadata = sa.MetaData()


def _key(name: str, kind: Any = None) -> Any:
    return sa.Column(name, kind if kind is not None else sa.String(128), primary_key=True, autoincrement=False)


shards = sa.Table(
    "paper_shards",
    metadata,
    _key("venue"),
    _key("shard", sa.Integer),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("rank", sa.BigInteger, nullable=False),
)
lanes = sa.Table(
    "paper_market",
    metadata,
    _key("venue"),
    _key("shard", sa.Integer),
    _key("lane", sa.Integer),
    sa.Column("next_offset", sa.BigInteger, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
)
orders = sa.Table(
    "paper_orders",
    metadata,
    _key("venue"),
    _key("client_order_id"),
    sa.Column("shard", sa.Integer, nullable=False),
    sa.Column("state", sa.String(24), nullable=False),
    sa.Column("live", sa.Boolean, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Index("paper_orders_live", "venue", "shard", "live"),
)
groups = sa.Table(
    "paper_positions",
    metadata,
    _key("venue"),
    _key("shard", sa.Integer),
    _key("account"),
    _key("group_name"),
    _key("instrument"),
    sa.Column("position", sa.Text, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
)
fills = sa.Table(
    "paper_fills",
    metadata,
    _key("venue"),
    _key("trade_id"),
    sa.Column("shard", sa.Integer, nullable=False),
    sa.Column("client_order_id", sa.String(128), nullable=False),
    sa.Column("account", sa.Text, nullable=False),
    sa.Column("group_name", sa.Text, nullable=False),
    sa.Column("instrument", sa.Text, nullable=False),
    sa.Column("side", sa.String(8), nullable=False),
    sa.Column("price", sa.Text, nullable=False),
    sa.Column("size", sa.Text, nullable=False),
    sa.Column("fee", sa.Text, nullable=False),
    sa.Column("venue_ms", sa.BigInteger, nullable=False),
)
events = sa.Table(
    "paper_events",
    metadata,
    _key("venue"),
    _key("shard", sa.Integer),
    _key("number", sa.BigInteger),
    sa.Column("body", sa.LargeBinary, nullable=False),
)


balances = sa.Table(
    "paper_balances",
    metadata,
    _key("venue"),
    _key("shard", sa.Integer),
    _key("account"),
    sa.Column("balance", sa.Text, nullable=False),
)
transfers = sa.Table("paper_transfers", metadata, _key("venue"), _key("transfer_id"))


class Loaded(NamedTuple):
    """A shard as journalled: the core's state and the next offset per lane (empty: never seen)."""

    snapshot: Snapshot
    positions: dict[int, int]


class Journal:
    """Journal of one paper venue in an execution store."""

    def __init__(self, store: Store, venue: str) -> None:
        self._database = store.database
        self._venue = venue

    async def create(self) -> None:
        """Make the tables."""

        def work(connection: sa.Connection) -> None:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": 0x77616B66})
            metadata.create_all(connection)

        await self._database.run(work)

    async def load(self, shard: int) -> Loaded:
        """Return a shard's state."""
        mine = {"venue": self._venue, "shard": shard}

        def rows(connection: sa.Connection, table: sa.Table, *more: Any) -> Sequence[Any]:
            return connection.execute(sa.select(table).filter_by(**mine).where(*more)).all()

        def work(connection: sa.Connection) -> Loaded:
            head = next(iter(rows(connection, shards)), None)
            market = rows(connection, lanes)
            snapshot = Snapshot(
                orders=[_order(row.body) for row in rows(connection, orders, orders.c.live)],
                groups=[msgspec.json.decode(row.body, type=Group) for row in rows(connection, groups)],
                lanes=[msgspec.json.decode(row.body, type=Lane) for row in market],
                number=0 if head is None else head.number,
                rank=0 if head is None else head.rank,
                balances={row.account: Decimal(row.balance) for row in rows(connection, balances)},
            )
            return Loaded(snapshot, {row.lane: row.next_offset for row in market})

        return await self._database.run(work)

    def write(
        self,
        shard: int,
        epoch: int,
        changes: Changes,
        counters: tuple[int, int],
        market: Mapping[int, tuple[int, Lane]],
        transfer_ids: Sequence[str] = (),
    ) -> Any:
        """Queue one transaction with what changed and the positions of `market` (lane -> next offset, state)."""
        balance_rows = [{"account": name, "balance": str(amount)} for name, amount in changes.balances.items()]
        transfer_rows = [{"venue": self._venue, "transfer_id": transfer_id} for transfer_id in transfer_ids]
        mine = {"venue": self._venue, "shard": shard}
        order_rows = [self._order_row(mine, order) for order in changes.orders]
        group_rows = [_group_row(mine, group) for group in changes.groups]
        event_rows = [mine | {"number": event.number, "body": _encode(event)} for event in changes.events]
        by_id = {order.client_order_id: order for order in changes.orders}
        fill_rows = [
            self._fill_row(shard, by_id[event.client_order_id], event)
            for event in changes.events
            if event.kind is ReportKind.FILL
        ]
        lane_rows = [
            mine | {"lane": lane, "next_offset": position, "body": _encode(state)}
            for lane, (position, state) in market.items()
        ]
        head = mine | {"number": counters[0], "rank": counters[1]}

        def work(connection: sa.Connection) -> None:
            check_lease(connection, shard, epoch)
            tables.upsert(connection, orders, order_rows)
            tables.upsert(connection, groups, [row for row in group_rows if row["position"] is not None])
            for row in group_rows:
                if row["position"] is None:
                    key = {name: row[name] for name in ("venue", "shard", "account", "group_name", "instrument")}
                    connection.execute(sa.delete(groups).filter_by(**key))
            for table, rows in ((events, event_rows), (fills, fill_rows)):
                tables.insert(connection, table, rows)
            tables.upsert(connection, balances, [mine | row for row in balance_rows])
            tables.insert(connection, transfers, transfer_rows)
            tables.upsert(connection, lanes, lane_rows)
            tables.upsert(connection, shards, [head])

        return self._database.enqueue(work)

    async def find(self, client_order_id: str) -> VenueOrder | None:
        """Return an order that ever reached the venue."""

        return (await self.find_all([client_order_id])).get(client_order_id)

    async def find_all(self, client_order_ids: list[str]) -> dict[str, VenueOrder]:
        """Return those of these orders that ever reached the venue."""

        def work(connection: sa.Connection) -> dict[str, VenueOrder]:
            rows = connection.execute(
                sa.select(orders.c.client_order_id, orders.c.body)
                .filter_by(venue=self._venue)
                .where(orders.c.client_order_id.in_(client_order_ids))
            )
            return {row.client_order_id: _order(row.body) for row in rows.all()}

        return await self._database.run(work)

    async def has_transfer(self, transfer_id: str) -> bool:
        """Whether a transfer was booked."""
        query = sa.select(transfers.c.transfer_id).filter_by(venue=self._venue, transfer_id=transfer_id)
        return await self._database.run(lambda connection: connection.execute(query).one_or_none() is not None)

    async def read_events(self, shard: int, after: int, limit: int) -> list[VenueEvent]:
        """Return events with numbers above `after`, in order."""

        def work(connection: sa.Connection) -> list[VenueEvent]:
            rows = connection.execute(
                sa.select(events.c.body)
                .filter_by(venue=self._venue, shard=shard)
                .where(events.c.number > after)
                .order_by(events.c.number)
                .limit(limit)
            )
            return [msgspec.json.decode(row.body, type=VenueEvent) for row in rows.all()]

        return await self._database.run(work)

    async def forget_events(self, shard: int, epoch: int, up_to: int) -> None:
        """Drop events that the engine has booked."""

        def work(connection: sa.Connection) -> None:
            check_lease(connection, shard, epoch)
            connection.execute(
                sa.delete(events).filter_by(venue=self._venue, shard=shard).where(events.c.number <= up_to)
            )

        await self._database.run(work)

    def _order_row(self, mine: dict[str, Any], order: VenueOrder) -> dict[str, Any]:
        return mine | {
            "client_order_id": order.client_order_id,
            "state": order.state,
            "live": order.state not in TERMINAL,
            "body": _encode(order),
        }

    def _fill_row(self, shard: int, order: VenueOrder, event: VenueEvent) -> dict[str, Any]:
        return {
            "venue": self._venue,
            "trade_id": event.trade_id,
            "shard": shard,
            "client_order_id": event.client_order_id,
            "account": order.account,
            "group_name": order.group,
            "instrument": order.instrument,
            "side": order.side.value,
            "price": str(event.price),
            "size": str(event.size),
            "fee": str(event.fee),
            "venue_ms": event.venue_ms,
        }


def _order(body: bytes) -> VenueOrder:
    return msgspec.json.decode(body, type=VenueOrder)


def _group_row(mine: dict[str, Any], group: Group) -> dict[str, Any]:
    flat = group.position == 0 and not group.lots
    return mine | {
        "account": group.account,
        "group_name": group.group,
        "instrument": group.instrument,
        "position": None if flat else str(group.position),
        "body": _encode(group),
    }
