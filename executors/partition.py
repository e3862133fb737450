"""The orders of one claimed partition in memory, and the booking of what venues say of them.

1. Memory decides, the store journals: a change is made here first, without awaiting, then queued as one `Changes`
   (the store keeps that order), and nothing is sent to a venue before its commit. A write that fails ends the worker.
   What all accounts queue within one turn of the event loop is one transaction: so no row may be changed before the
   `Changes` that it belongs to are queued in the same turn.
2. A venue's event is booked once: fills by trade id, everything else by the order's life cycle. Events and the number
   up to which they are booked stand in one transaction.
3. A bracket (entry and legs) leaves memory when all of it is terminal; a late event brings its row back from the store.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any

from executors import lifecycle
from executors.grouping import Group
from executors.protocols import Executor, VenueEvent, client_order_id
from executors.rows import OrderRow, Triggers, rows_of
from executors.store import Changes, Claim, Record, Store
from schemas import codec
from schemas.orders import ChangeProtection
from schemas.reasons import Leg, ReportKind
from schemas.status import VenuePosition, VenueReport
from schemas.system import Alert

TOO_LATE = "the leg has ended: its trigger price cannot be changed any more"
_ENDS = {ReportKind.CANCELLED: "cancel", ReportKind.EXPIRED: "expire", ReportKind.REJECTED: "reject"}


def report_record(report: VenueReport) -> Record:
    """Return the outbox record of a report."""
    return ("account-events", report.account, codec.encode(report))


def alert_record(kind: str, severity: str, text: str, now_ms: int, **numbers: object) -> Record:
    """Return the outbox record of an operator's alert."""
    alert = Alert(
        now_ms=now_ms,
        kind=kind,
        severity="critical" if severity == "critical" else "warning",
        source="execution",
        text=text,
        numbers={name: str(value) for name, value in numbers.items()},
    )
    return ("alerts", alert.source, codec.encode(alert))


def leg_price(leg: OrderRow, wanted: Triggers) -> Decimal | None:
    """Return what is asked for this leg."""
    return wanted.stop_loss if leg.leg is Leg.STOP_LOSS else wanted.take_profit


def unchanged_record(leg: OrderRow, now_ms: int) -> Record:
    """Return the report of a leg that has ended: a change of its trigger price came too late."""
    return report_record(leg.report(ReportKind.REJECTED, now_ms, code="not_resting", message=TOO_LATE))


def position_record(account: str, venue: str, instrument: str, size: Decimal, now_ms: int) -> Record:
    """Return the outbox record of a netted position at a venue."""
    position = VenuePosition(now_ms=now_ms, account=account, venue=venue, instrument=instrument, size=size)
    return ("account-events", account, codec.encode(position))


class LateChange:
    """What is told of new trigger prices for an order that is not in memory: its bracket has ended, or never was."""

    def __init__(self, message: ChangeProtection, now_ms: int) -> None:
        self._message, self._now_ms = message, now_ms

    def __call__(self, row: OrderRow | None) -> list[Record]:
        """Return the records, given the stored row."""
        message = self._message
        if row is None or row.leg is not Leg.ENTRY or row.order.protection is None:
            text = f"new trigger prices name order {message.order_id}, which is no entry with protection"
            return [alert_record("protection_unknown", "warning", text, self._now_ms)]
        wanted = Triggers(message.stop_loss, message.take_profit)
        legs = rows_of(row.order, row.partition, row.sequence, row.state)[1:]
        return [unchanged_record(leg, self._now_ms) for leg in legs if leg_price(leg, wanted) is not None]


class Partition:
    """Live rows of one partition, by order id, account and client order id."""

    def __init__(
        self,
        claim: Claim,
        store: Store,
        now_ms: Callable[[], int],
        on_outbox: Callable[[int], None],
        on_failure: Callable[[BaseException], None],
        max_attempts: int,
    ) -> None:
        self.claim = claim
        self.claimed_ms = now_ms()
        self.now_ms = now_ms
        self.max_attempts = max_attempts
        self.rows: dict[str, OrderRow] = {}
        self.by_account: dict[str, dict[str, OrderRow]] = {}
        self.client_ids: dict[str, str] = {}
        # Accounts with accepted entries that are only in the store, and how many ever were.
        self.stored_only: dict[str, int] = {}
        # Up to which event each venue's reports are booked, and the last fill of each (venue, account, instrument).
        self.booked: dict[str, int] = {}
        self._last_fills: dict[tuple[str, str, str], int] = {}
        self.wake: Callable[[str], None] = lambda account: None
        self._store = store
        self._on_outbox = on_outbox
        self._on_failure = on_failure
        self._changes = Changes()  # to be written at the end of this turn of the event loop
        self._group = Group(self._write)

    # ---- memory

    def add(self, rows: Iterable[OrderRow]) -> None:
        """Take rows into memory."""
        for row in rows:
            self.rows[row.order_id] = row
            self.by_account.setdefault(row.account, {})[row.order_id] = row
            for number in range(1, max(row.attempts, self.max_attempts) + 1):
                self.client_ids[client_order_id(row.order_id, number)] = row.order_id

    def bracket(self, entry_order_id: str) -> list[OrderRow]:
        """Return the entry and its legs, as far as they are in memory."""
        entry = self.rows.get(entry_order_id)
        if entry is None or entry.order.protection is None:
            return [] if entry is None else [entry]
        protection = entry.order.protection
        ids = (entry_order_id, protection.stop_loss_order_id, protection.take_profit_order_id)
        return [self.rows[order_id] for order_id in ids if order_id in self.rows]

    def forget_done(self, row: OrderRow, changes: Changes) -> None:
        """Drop what is wholly terminal from memory and mark it in the store."""
        group = [row] if row.leg is Leg.EXIT else self.bracket(row.entry_order_id) or [row]
        if any(member.state not in lifecycle.TERMINAL for member in group):
            return
        if group[0].change is not None:
            self.tell_unchanged(changes, group[0], group[0].change)
            self.settle_change(changes, group[0])
        for member in group:
            member.live = False
            changes.touch(member)
            self.rows.pop(member.order_id, None)
            self.by_account.get(member.account, {}).pop(member.order_id, None)
            for number in range(1, max(member.attempts, self.max_attempts) + 1):
                self.client_ids.pop(client_order_id(member.order_id, number), None)

    def queued(self, account: str) -> int:
        """Return how many entries of an account wait in memory to be sent."""
        rows = self.by_account.get(account, {}).values()
        return sum(row.leg is Leg.ENTRY and row.state in (lifecycle.READY, lifecycle.UNPROVEN) for row in rows)

    async def refill(self, account: str, limit: int | None) -> None:
        """Take the account's oldest entries that are only in the store (None: all of them) into memory."""
        known = self.stored_only[account]
        self.flush()
        rows = await self._store.load_waiting(self.claim.partition, account, set(self.rows), limit)
        self.add(row for row in rows if row.order_id not in self.rows)
        entries = sum(row.leg is Leg.ENTRY for row in rows)
        if self.stored_only[account] == known and (limit is None or entries < limit):
            del self.stored_only[account]

    def last_fill(self, venue: str, account: str, instrument: str) -> int:
        """Return the number of the last fill booked in this life; 0: none."""
        return self._last_fills.get((venue, account, instrument), 0)

    # ---- writing

    async def commit(self, changes: Changes) -> None:
        """Write changes durably; only then may anything be sent that rests on them."""
        await self.queue(changes)

    def queue(self, changes: Changes) -> "asyncio.Future[None]":
        """Queue changes for writing in order; the future ends with their commit."""
        self._changes.add(changes)
        future = self._group.join()
        has_records = bool(changes.records)

        def done(answer: "asyncio.Future[None]") -> None:
            if answer.cancelled():
                return
            error = answer.exception()
            if error is not None:
                self._on_failure(error)
            elif has_records:
                self._on_outbox(self.claim.partition)

        future.add_done_callback(done)
        return future

    def flush(self) -> None:
        """Queue now what was changed: the next call of the store comes after it."""
        self._group.flush()

    def _write(self) -> "asyncio.Future[None]":
        changes, self._changes = self._changes, Changes()
        written: asyncio.Future[None] = self._store.write(self.claim, changes)
        return written

    def tell(self, changes: Changes, row: OrderRow, kind: ReportKind, **fields: Any) -> None:
        """Add a report on `row` to the changes."""
        changes.records.append(report_record(row.report(kind, self.now_ms(), **fields)))

    def alarm(self, changes: Changes, kind: str, text: str, severity: str = "critical", **numbers: object) -> None:
        """Add an operator's alert to the changes."""
        changes.records.append(alert_record(kind, severity, text, self.now_ms(), **numbers))

    def end(self, changes: Changes, row: OrderRow, event: str, kind: ReportKind, code: str, message: str = "") -> bool:
        """Make a row terminal by our own decision or a venue's word, and report it; False if it was terminal."""
        state = lifecycle.move(row.state, event)
        if state is None:
            return False
        row.state = state
        changes.touch(row)
        self.tell(changes, row, kind, code=code, message=message)
        self._after_end(changes, row)
        return True

    def _after_end(self, changes: Changes, row: OrderRow) -> None:
        if row.leg is Leg.ENTRY and row.filled == 0:
            for leg in self.bracket(row.order_id)[1:]:
                # Never placed, so never told: it ends with its entry.
                if leg.state == lifecycle.WAITING:
                    leg.state = lifecycle.CANCELLED
                    changes.touch(leg)
        self.forget_done(row, changes)
        self.wake(row.account)

    # ---- new trigger prices

    def settle_change(self, changes: Changes, entry: OrderRow) -> None:
        """Nothing is asked for any more."""
        entry.change, entry.change_at = None, 0.0
        changes.protection[entry.order_id] = None

    def take_change(self, changes: Changes, entry: OrderRow) -> None:
        """The entry is not sent yet: it will bring the protection asked for."""
        if entry.change is not None:
            for row in self.bracket(entry.order_id):
                row.protect(entry.change)
                changes.touch(row)
            self.settle_change(changes, entry)

    def tell_unchanged(self, changes: Changes, entry: OrderRow, wanted: Triggers) -> None:
        """Report the legs that a change came too late for."""
        for leg in self.bracket(entry.order_id)[1:]:
            if leg.state in lifecycle.TERMINAL and leg_price(leg, wanted) is not None:
                changes.records.append(unchanged_record(leg, self.now_ms()))

    # ---- booking

    async def book(self, executor: Executor, events: Sequence[VenueEvent], cursor: bool = True) -> None:
        """Book a venue's events, in order; `cursor`: they come from its report stream."""
        missing = {event.client_order_id for event in events} - self.client_ids.keys()
        if missing:
            self.flush()
        found = await self._store.find(missing) if missing else {}
        # From here to the queueing of the write nothing awaits.
        changes = Changes()
        for event in events:
            order_id = self.client_ids.get(event.client_order_id)
            row = self.rows[order_id] if order_id is not None else found.get(event.client_order_id)
            if row is None:
                self.alarm(
                    changes,
                    "foreign_order",
                    f"{executor.venue} reports {event.kind} of client order id {event.client_order_id}, which is not "
                    "ours: look for manual trading on this account",
                    "warning",
                )
                continue
            row = self.rows.get(row.order_id, row)
            self._book_one(changes, row, event)
        if cursor and events:
            changes.cursors[executor.venue] = events[-1].number
            self.booked[executor.venue] = events[-1].number
        await self.commit(changes)

    def _book_one(self, changes: Changes, row: OrderRow, event: VenueEvent) -> None:
        if event.kind is ReportKind.FILL:
            self._book_fill(changes, row, event)
        elif event.kind is ReportKind.ACCEPTED:
            self.place(changes, row, event.venue_order_id, event)
        else:
            state = lifecycle.move(row.state, _ENDS[event.kind])
            if state is None:
                return
            row.state = state
            changes.touch(row)
            self.tell(
                changes,
                row,
                event.kind,
                venue_ms=event.venue_ms,
                venue_order_id=event.venue_order_id,
                code=event.code,
                message=event.message,
            )
            if row.is_leg and event.kind is not ReportKind.CANCELLED:
                self.alarm(
                    changes,
                    "protection_lost",
                    f"{row.order.venue} ended the {row.leg} {row.order_id} of {row.account} ({event.kind}, "
                    f"{event.code} {event.message}): its position is not protected",
                )
            self._after_end(changes, row)

    def place(self, changes: Changes, row: OrderRow, venue_order_id: str, event: VenueEvent | None = None) -> None:
        """The venue has the order (or has re-sized a leg)."""
        size = row.size if event is None or not row.is_leg else event.size
        moved = event is not None and row.is_leg and event.trigger_price not in (None, row.trigger_price)
        if moved and event is not None:
            self._move_trigger(changes, row, event.trigger_price)
        state = lifecycle.move(row.state, "placed")
        if state is None:
            if row.state not in lifecycle.AT_VENUE or (row.size == size and not moved):
                return
        else:
            if row.is_leg:
                self.tell(changes, row, ReportKind.SUBMITTED, size=size)
            row.state = state
        row.size, row.venue_order_id = size, venue_order_id or row.venue_order_id
        changes.touch(row)
        fields: dict[str, Any] = {} if event is None else {"venue_ms": event.venue_ms, "price": event.price}
        self.tell(changes, row, ReportKind.ACCEPTED, **fields)
        self.wake(row.account)

    def _move_trigger(self, changes: Changes, leg: OrderRow, price: Decimal | None) -> None:
        is_stop = leg.leg is Leg.STOP_LOSS
        for row in self.bracket(leg.entry_order_id) or [leg]:
            row.protect(Triggers(price if is_stop else None, None if is_stop else price))
            changes.touch(row)

    def _book_fill(self, changes: Changes, row: OrderRow, event: VenueEvent) -> None:
        if event.trade_id in row.trade_ids:
            return
        if row.state not in lifecycle.AT_VENUE and row.state not in lifecycle.TERMINAL:
            self.place(changes, row, event.venue_order_id)
        row.trade_ids.add(event.trade_id)
        self._last_fills[(row.order.venue, row.account, row.order.instrument)] = event.number
        row.filled += event.size
        done = event.final or row.filled >= row.size
        # Fills of a terminal order (late ones) are booked too; its state stays.
        row.state = lifecycle.move(row.state, "filled" if done else "fill") or row.state
        changes.touch(row)
        changes.fills.append(
            {
                "venue": row.order.venue,
                "account": row.account,
                "instrument": row.order.instrument,
                "trade_id": event.trade_id,
                "order_id": row.order_id,
                "price": str(event.price),
                "size": str(event.size),
                "fee": str(event.fee),
                "venue_ms": event.venue_ms,
            }
        )
        self.tell(
            changes,
            row,
            ReportKind.FILL,
            venue_ms=event.venue_ms,
            size=event.size,
            venue_order_id=event.venue_order_id,
            trade_id=event.trade_id,
            price=event.price,
            fee=event.fee,
            fee_currency=event.fee_currency,
            liquidity=event.liquidity,
        )
        entry = self.rows.get(row.entry_order_id)
        if row.leg is not Leg.ENTRY and entry is not None:
            entry.closed += event.size
            changes.touch(entry)
        if row.state in lifecycle.TERMINAL:
            self._after_end(changes, row)
        self.wake(row.account)
