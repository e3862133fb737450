"""The execution store: what execution must know before it sends, in one SQL database.

Entry points: `Store(url)`, `.claim`, `.accept`, `.write(changes)`, `.load`, `.find`, `.outbox`, `.outbox_sent`,
`.renew_generation`, `.close`. `database` is shared with the paper venue's journal (own tables).

1. Every write of a partition compares the lease epoch in its own transaction: a worker that was taken over writes
   nothing more (LeaseLost).
2. SQLite serves one execution worker; a second one is refused by a file lock that names the first one's process.
   PostgreSQL serves several.
3. Input position, rows and outbox records of one change stand in one transaction.
4. Outbox numbers rise by one per partition. The generation rises when the store was restored from a backup: found by
   itself for SQLite (a note beside the file says how far was sent), else by `renew_generation`.
"""

import fcntl
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

import sqlalchemy as sa

from executors import lifecycle
from executors.errors import StoreLocked
from executors.protocols import Attempt
from executors.rows import OrderRow, Triggers
from executors.store import sql, tables
from executors.store.database import Database
from executors.store.sql import Record, check_lease
from schemas.reasons import Leg

log = logging.getLogger(__name__)
_NOTE_INTERVAL_S = 1.0
_MOVING = ("state", "size", "filled", "closed", "attempts", "venue_order_id", "cancel_requested")
"""What changes of a live row; the rest is written with its end or a new protection (its index costs as much again)."""


class OutboxRow(NamedTuple):
    """One record to publish. Its stamp is (generation, number); `previous` is the stamp of the record before it on
    this topic from this partition's outbox (None: the first of its generation)."""

    generation: int
    number: int
    topic: str
    key: str
    value: bytes
    previous: tuple[int, int] | None = None


class Claim(NamedTuple):
    """A lease on a partition."""

    partition: int
    epoch: int
    next_offset: int


@dataclass(slots=True)
class Changes:
    """What one step of the engine writes in one transaction. Rows are captured when `Store.write` is called."""

    rows: dict[str, OrderRow] = field(default_factory=dict)
    attempts: list[dict[str, Any]] = field(default_factory=list)
    fills: list[dict[str, Any]] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    protection: dict[str, Triggers | None] = field(default_factory=dict)  # by entry; None: settled
    cursors: dict[str, int] = field(default_factory=dict)  # by venue

    def touch(self, row: OrderRow) -> None:
        """Write this row."""
        self.rows[row.order_id] = row

    def add(self, later: "Changes") -> None:
        """Take in what was changed after this."""
        self.rows |= later.rows
        self.attempts += later.attempts
        self.fills += later.fills
        self.records += later.records
        self.protection |= later.protection
        self.cursors |= later.cursors

    def attempt(self, attempt: Attempt, state: str, code: str = "", order_id: str = "", client_id: str = "") -> None:
        """Write an attempt (or, with the last two, that of a leg attached to it)."""
        self.attempts.append(
            {
                "client_order_id": client_id or attempt.client_order_id,
                "order_id": order_id or attempt.order.order_id,
                "number": attempt.number,
                "state": state,
                "prepared_ms": attempt.prepared_ms,
                "deadline_ms": attempt.deadline_ms,
                "epoch": attempt.epoch,
                "code": code,
            }
        )


class Store:
    """See the module's text."""

    def __init__(self, url: str, owner: str = "") -> None:
        """Open (and make) the store at an SQLAlchemy URL (`sqlite:////dir/execution.db`, `postgresql+psycopg://...`).

        Raises:
            StoreLocked: another worker has this SQLite store; StoreFailed: cannot be opened, or of another schema.
        """
        self.owner = owner or f"pid {os.getpid()}"
        parsed = sa.engine.make_url(url)
        self._lock: IO[str] | None = None
        self._note: Path | None = None
        self._noted_at = 0.0
        self._noted: dict[str, list[int]] = {}
        if parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:"):
            path = Path(str(parsed.database))
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(path)
            self._note = path.with_name(path.name + ".sent")
        self.database = Database(url)
        self.database.run_blocking(sql.create)
        if self._was_restored():
            log.warning("the execution store was restored from a backup: its outbox begins a new generation")
            self.database.run_blocking(sql.renew)

    def close(self) -> None:
        """Finish pending writes, close, release the lock."""
        self._write_note(force=True)
        self.database.close()
        if self._lock is not None:
            self._lock.close()

    # ---- lease

    async def claim(self, partition: int) -> Claim:
        """Take over a partition; whoever held it can write nothing more."""
        owner = self.owner

        def work(connection: sa.Connection) -> Claim:
            row = connection.execute(sql.partition_row(partition)).one_or_none()
            if row is None:
                tables.insert_missing(
                    connection,
                    tables.partitions,
                    [
                        {
                            "partition": partition,
                            "epoch": 0,
                            "owner": owner,
                            "generation": sql.generation(connection),
                            "next_offset": 0,
                            "number": 0,
                            "inbox": None,
                        }
                    ],
                )
                row = connection.execute(sql.partition_row(partition)).one()
            connection.execute(
                sa.update(tables.partitions)
                .where(tables.partitions.c.partition == partition)
                .values(epoch=row.epoch + 1, owner=owner)
            )
            return Claim(partition, row.epoch + 1, row.next_offset)

        return await self.database.run(work)

    async def inbox(self, partition: int) -> bytes | None:
        """Return the inbox state (watermarks) that the last `accept` stored."""
        column = sa.select(tables.partitions.c.inbox).where(tables.partitions.c.partition == partition)
        return await self.database.run(lambda connection: connection.execute(column).scalar_one_or_none())

    # ---- writes

    def write(self, claim: Claim, changes: Changes) -> "Any":
        """Queue the changes, as they are now, in one transaction; return a future of its commit."""
        rows = [row.values() for row in changes.rows.values() if row.live and not row.moved]
        whole = [row.values() for row in changes.rows.values() if row.moved or not row.live]
        attempts, fills, records = changes.attempts, changes.fills, changes.records
        protection = changes.protection
        cursors = [
            {"partition": claim.partition, "venue": venue, "number": number}
            for venue, number in changes.cursors.items()
        ]

        def work(connection: sa.Connection) -> None:
            lease = check_lease(connection, claim.partition, claim.epoch)
            tables.upsert(connection, tables.orders, rows, only=_MOVING)
            tables.upsert(connection, tables.orders, whole)
            tables.upsert(connection, tables.attempts, attempts, only=("state", "code"))
            tables.insert_missing(connection, tables.fills, fills)
            tables.upsert(connection, tables.cursors, cursors)
            sql.write_protection(connection, claim.partition, protection)
            sql.add_records(connection, claim.partition, lease, records)

        return self.database.enqueue(work)

    async def accept(
        self,
        claim: Claim,
        rows: Sequence[list[OrderRow]],
        cancels: Iterable[str],
        next_offset: int,
        inbox: bytes | None,
        alarm: Callable[[OrderRow], Record],
        changes: Changes | None = None,
        look_up: Mapping[str, Callable[[OrderRow | None], Sequence[Record]]] | None = None,
    ) -> tuple[set[str], set[str]]:
        """Insert the rows of new orders, note cancels, write `changes`, move the position: one transaction.

        A known order id with equal fields changes nothing; with other fields, `alarm(row)` goes to the outbox. So do
        the records that `look_up` makes of the stored rows of the orders it names (None: there is no such order).

        Returns:
            Order ids inserted; order ids among `cancels` that the store does not know.
        """
        wanted = set(cancels)
        changes = changes or Changes()
        changed = [row.values() for row in changes.rows.values()]
        calls = look_up or {}

        def work(connection: sa.Connection) -> tuple[set[str], set[str]]:
            lease = check_lease(connection, claim.partition, claim.epoch)
            order_ids = [group[0].order_id for group in rows]
            orders = tables.orders.c
            known: dict[str, str] = {
                row.order_id: row.fingerprint
                for row in connection.execute(
                    sa.select(orders.order_id, orders.fingerprint).where(orders.order_id.in_(order_ids))
                )
            }
            new: list[dict[str, Any]] = []
            records: list[Record] = []
            inserted: set[str] = set()
            for group in rows:
                main = group[0]
                if main.order_id not in known:
                    known[main.order_id] = main.fingerprint
                    inserted.add(main.order_id)
                    new += [row.values() for row in group]
                elif known[main.order_id] != main.fingerprint:
                    records.append(alarm(main))
            tables.insert_missing(connection, tables.orders, new)
            tables.upsert(connection, tables.orders, changed)
            sql.write_protection(connection, claim.partition, changes.protection)
            stored = {row.order_id: row for row in sql.order_rows(connection, calls)}
            for order_id, call in calls.items():
                records += call(stored.get(order_id))
            records += changes.records
            there: set[str] = set()
            if wanted:
                there = set(connection.execute(sa.select(orders.order_id).where(orders.order_id.in_(wanted))).scalars())
                connection.execute(
                    sa.update(tables.orders)
                    .where(orders.order_id.in_(there), orders.live)
                    .values(cancel_requested=True)
                )
            values: dict[str, Any] = {"next_offset": next_offset}
            if inbox is not None:
                values["inbox"] = inbox
            connection.execute(
                sa.update(tables.partitions).where(tables.partitions.c.partition == claim.partition).values(**values)
            )
            sql.add_records(connection, claim.partition, lease, records)
            return inserted, wanted - there

        return await self.database.run(work)

    # ---- reads

    async def load(self, partition: int) -> tuple[list[OrderRow], dict[str, int]]:
        """Return the partition's live rows by sequence, and how far each venue's reports are booked."""

        def work(connection: sa.Connection) -> tuple[list[OrderRow], dict[str, int]]:
            orders = tables.orders.c
            found = connection.execute(
                sa.select(tables.orders)
                .where(orders.partition == partition, orders.live)
                .order_by(orders.sequence, orders.order_id)
            ).all()
            cursors = connection.execute(
                sa.select(tables.cursors.c.venue, tables.cursors.c.number).where(
                    tables.cursors.c.partition == partition
                )
            ).all()
            rows = sql.with_protection(connection, partition, sql.with_trades(connection, found))
            return rows, {row.venue: row.number for row in cursors}

        return await self.database.run(work)

    async def load_waiting(self, partition: int, account: str, known: set[str], limit: int | None) -> list[OrderRow]:
        """Return an account's oldest unsent entries, and their legs, beside those in `known`."""

        def work(connection: sa.Connection) -> list[OrderRow]:
            orders = tables.orders.c
            waiting = connection.execute(
                sa.select(orders.order_id)
                .where(orders.partition == partition, orders.live, orders.account == account)
                .where(orders.leg == Leg.ENTRY.value, orders.state.in_((lifecycle.READY, lifecycle.UNPROVEN)))
                .order_by(orders.sequence)
            ).scalars()
            ids = [order_id for order_id in waiting if order_id not in known][:limit]
            found = connection.execute(
                sa.select(tables.orders)
                .where(orders.partition == partition, orders.live, orders.entry_order_id.in_(ids))
                .where(orders.leg != Leg.EXIT.value)
                .order_by(orders.sequence)
            ).all()
            return sql.with_protection(connection, partition, sql.with_trades(connection, found))

        return await self.database.run(work)

    async def find(self, client_order_ids: Iterable[str]) -> dict[str, OrderRow]:
        """Return the rows (terminal ones too) that these client order ids belong to."""
        wanted = list(client_order_ids)

        def work(connection: sa.Connection) -> dict[str, OrderRow]:
            attempts = tables.attempts.c
            pairs = connection.execute(
                sa.select(attempts.client_order_id, attempts.order_id).where(attempts.client_order_id.in_(wanted))
            ).all()
            rows = {row.order_id: row for row in sql.order_rows(connection, {pair.order_id for pair in pairs})}
            return {pair.client_order_id: rows[pair.order_id] for pair in pairs if pair.order_id in rows}

        return await self.database.run(work)

    # ---- outbox

    async def outbox(self, partition: int, limit: int) -> list[OutboxRow]:
        """Return the oldest unsent records, in order."""
        outbox = tables.outbox.c
        query = sa.select(tables.outbox).where(outbox.partition == partition).order_by(outbox.number).limit(limit)

        def work(connection: sa.Connection) -> list[OutboxRow]:
            return [
                OutboxRow(
                    row.generation,
                    row.number,
                    row.topic,
                    row.key,
                    bytes(row.value),
                    None if row.previous_number is None else (row.previous_generation, row.previous_number),
                )
                for row in connection.execute(query).all()  # row by row costs three times as much
            ]

        return await self.database.run(work)

    async def outbox_sent(self, claim: Claim, up_to: int) -> None:
        """Forget the records up to this number: the broker has them."""
        outbox = tables.outbox.c

        def work(connection: sa.Connection) -> int:
            lease = check_lease(connection, claim.partition, claim.epoch)
            connection.execute(
                sa.delete(tables.outbox).where(outbox.partition == claim.partition, outbox.number <= up_to)
            )
            return int(lease.generation)

        generation = await self.database.run(work)
        self._noted[str(claim.partition)] = [generation, up_to]
        self._write_note()

    async def renew_generation(self) -> int:
        """Begin a new generation (after the store was restored from a backup); return it."""
        return await self.database.run(sql.renew)

    # ---- the note beside an SQLite store

    def _write_note(self, force: bool = False) -> None:
        now = time.monotonic()
        if self._note is None or not self._noted or (not force and now - self._noted_at < _NOTE_INTERVAL_S):
            return
        self._noted_at = now
        beside = self._note.with_name(self._note.name + ".new")
        beside.write_text(json.dumps(self._noted))
        beside.replace(self._note)

    def _was_restored(self) -> bool:
        """Whether the note knows of records sent that the store does not."""
        if self._note is None or not self._note.exists():
            return False
        try:
            self._noted = json.loads(self._note.read_text())
        except ValueError:  # a torn note proves nothing
            self._noted = {}
            return False
        rows = self.database.run_blocking(lambda connection: connection.execute(sa.select(tables.partitions)).all())
        known = {str(row.partition): (row.generation, row.number) for row in rows}
        return any(tuple(sent) > known.get(partition, (0, 0)) for partition, sent in self._noted.items())


def _lock(path: Path) -> IO[str]:
    lock = open(path.with_name(path.name + ".lock"), "a+", encoding="ascii")  # noqa: SIM115 (held while open)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        lock.close()
        raise StoreLocked(
            f"the execution store {path} is in use by process {holder}: stop that one first "
            "(SQLite serves one execution worker; several need PostgreSQL)"
        ) from error
    lock.seek(0)
    lock.truncate()
    lock.write(str(os.getpid()))
    lock.flush()
    return lock
