"""The execution engine: orders from the log are placed at venues once, and what happens is told through the outbox.

Entry point: `ExecutionEngine(store, executors, now_ms, on_outbox)`. The life of an order: `accept` (rows and input
position in one transaction) -> its account's worker (account.py) -> the venue -> reports, booked (partition.py) ->
outbox -> `account-events`.

1. One worker task per account, one report task per partition and venue: a slow venue delays nobody else.
2. Entries wait until `control_read_to_end()` was called: before that, a pause might not be known yet.
3. What was accepted but not terminal at `claim`, and what stands in the log below `log_end`, is asked about at the
   venue before it is sent.
4. Any failure that is not a venue's ends `run()` with that failure; start-up is the recovery path.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from executors import lifecycle
from executors.account import AccountWorker, Timing
from executors.errors import ExecutionError
from executors.partition import LateChange, Partition, alert_record
from executors.positions import tell_positions
from executors.protocols import Executor
from executors.rows import OrderRow, Triggers, rows_of
from executors.store import Changes, OutboxRow, Record, Store
from schemas.accounts import Transfer
from schemas.orders import CancelOrder, ChangeProtection, Order
from schemas.reasons import Leg, ReportKind
from schemas.system import ControlState, scopes_of

log = logging.getLogger(__name__)


def _no_point(_: str) -> None:
    return None


class ExecutionEngine:
    """Places the orders of the claimed partitions. All methods belong to one event loop."""

    def __init__(
        self,
        store: Store,
        executors: Mapping[str, Executor],
        now_ms: Callable[[], int],
        on_outbox: Callable[[int], None],
        timing: Timing | None = None,
        reached: Callable[[str], None] = _no_point,
    ) -> None:
        """Make an engine; nothing is connected yet.

        Args:
            store: opened execution store.
            executors: by the name of the venue that orders carry.
            now_ms: log time in ms.
            on_outbox: called with a partition whose outbox has got new rows.
            timing: waits in real time.
            reached: called at named points of the protocol (tests end the process there).
        """
        self._store = store
        self._executors = dict(executors)
        self._now_ms = now_ms
        self._on_outbox = on_outbox
        self._timing = timing or Timing()
        self._reached = reached
        self._partitions: dict[int, Partition] = {}
        self._log_ends: dict[int, int | None] = {}
        self._next_offsets: dict[int, int] = {}
        self._workers: dict[tuple[int, str], AccountWorker] = {}
        self._tasks: dict[int, list[asyncio.Task[None]]] = {}
        self._paused: dict[str, ControlState] = {}
        self._control_known = False
        self._started = False
        self._start_lock = asyncio.Lock()
        self._failure: BaseException | None = None
        self._failed = asyncio.Event()
        for venue, executor in self._executors.items():
            if not executor.attached_protection:
                raise ExecutionError(
                    f"the executor of {venue} does not take protection with the entry, and this engine derives no "
                    "legs of its own: entries there would stand unprotected"
                )

    # ---- partitions

    async def claim(self, partition: int, log_end: int | None = None) -> int:
        """Take over a partition of `orders`; return the next input offset.

        Args:
            partition: partition number.
            log_end: the log's end offset now; orders below it are asked about before they are sent. None: every
                order is (safe, one query more per order).

        Raises:
            StoreFailed, MarketLost and others of executors.errors.
        """
        await self._start()
        if partition in self._partitions:
            await self.release(partition)
        claim = await self._store.claim(partition)
        work = Partition(claim, self._store, self._now_ms, self._on_outbox, self._fail, self._timing.max_attempts)
        work.wake = lambda account: self._wake(partition, account)
        for executor in self._executors.values():
            await executor.claim(partition, claim.epoch)
        rows, cursors = await self._store.load(partition)
        changes = Changes()
        for row in rows:
            state = lifecycle.move(row.state, "ask")
            if state is not None:
                row.state = state
                changes.touch(row)
        work.add(rows)
        await work.commit(changes)
        self._partitions[partition] = work
        self._log_ends[partition] = log_end
        self._next_offsets[partition] = claim.next_offset
        self._tasks[partition] = []
        for venue, executor in self._executors.items():
            work.booked[venue] = cursors.get(venue, 0)
            self._spawn(partition, self._read_reports(work, executor, cursors.get(venue, 0)))
            self._spawn(partition, tell_positions(work, executor, self._timing.look_again_s))
        for account in list(work.by_account):
            self._wake(partition, account)
        if rows:
            log.info("partition %d of orders: %d orders and legs are not terminal", partition, len(rows))
        return claim.next_offset

    async def release(self, partition: int) -> None:
        """Stop working on a partition. A request on its way stays `sending`: the next owner asks about it."""
        tasks = self._tasks.pop(partition, [])
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        work = self._partitions.pop(partition, None)
        if work is not None:
            work.flush()
        for key in [key for key in self._workers if key[0] == partition]:
            del self._workers[key]
        for executor in self._executors.values():
            await executor.release(partition)

    # ---- input

    async def accept(
        self,
        partition: int,
        offsets: Sequence[int],
        messages: Sequence[Order | CancelOrder | ChangeProtection | Transfer],
        next_offset: int | None = None,
        inbox: bytes | None = None,
    ) -> None:
        """Take messages of `orders`, in order: rows and the new position in one transaction.

        Transfers are told to the venues first: each counts once there, so a repeat after a crash does no harm.
        Offsets below the position are skipped; a known order id with equal fields changes nothing, with other fields
        it raises an alert. Returns after the commit, not after the execution.

        Args:
            partition: a claimed partition.
            offsets: one per message, rising.
            messages: decoded messages.
            next_offset: position to store if records after the last message were parked (default: last offset + 1).
            inbox: state of the inbox (watermarks) to store with it; `inbox_state` returns it.

        Raises:
            LeaseLost: another worker holds the partition; StoreFailed.
        """
        work = self._claimed(partition)
        position = self._next_offsets[partition]
        groups: list[list[OrderRow]] = []
        pending: dict[str, OrderRow] = {}
        cancels: list[str] = []
        changes = Changes()
        late: dict[str, LateChange] = {}
        changing = {each.account for each in messages if isinstance(each, ChangeProtection)}
        for account in changing & work.stored_only.keys():
            await work.refill(account, None)
        for offset, message in zip(offsets, messages, strict=True):
            if offset >= position and isinstance(message, Transfer):
                for executor in self._executors.values():
                    await executor.transfer(message, partition, work.claim.epoch)
        for offset, message in zip(offsets, messages, strict=True):
            if offset < position or isinstance(message, Transfer):
                continue
            if isinstance(message, Order):
                group = rows_of(message, partition, offset, self._first_state(partition, offset))
                groups.append(group)
                pending |= {row.order_id: row for row in group if row.order_id not in pending}
            elif isinstance(message, ChangeProtection):
                self._change(work, pending, message, changes, late)
            else:
                cancels.append(message.order_id)
                row = work.rows.get(message.order_id) or pending.get(message.order_id)
                if row is not None:
                    row.cancel_requested = True
        end = max([position, next_offset or 0, *(offset + 1 for offset in offsets)])
        work.flush()
        inserted, strange = await self._store.accept(
            work.claim, groups, cancels, end, inbox, self._alarm_repeat, changes, late
        )
        self._next_offsets[partition] = end
        self._reached("accepted")
        self._take(work, groups, inserted, strange, cancels)
        for account in {work.rows[order_id].account for order_id in changes.protection if order_id in work.rows}:
            self._wake(partition, account)

    def _change(
        self,
        work: Partition,
        pending: dict[str, OrderRow],
        message: ChangeProtection,
        changes: Changes,
        late: dict[str, "LateChange"],
    ) -> None:
        """Note new trigger prices: of an entry that is not sent yet on its rows, else for the worker to ask for."""
        wanted = Triggers(message.stop_loss, message.take_profit)
        entry = work.rows.get(message.order_id)
        if entry is not None and entry.order.protection is not None and entry.leg is Leg.ENTRY:
            entry.change, entry.change_at = wanted.after(entry.change), 0.0
            changes.protection[entry.order_id] = entry.change
            if entry.state == lifecycle.READY:
                work.take_change(changes, entry)
        elif entry is None and message.order_id in pending:
            for row in pending.values():  # not even stored yet
                if row.entry_order_id == message.order_id:
                    row.protect(wanted)
        else:
            late[message.order_id] = LateChange(message, self._now_ms())

    def _take(
        self, work: Partition, groups: list[list[OrderRow]], inserted: set[str], strange: set[str], cancels: list[str]
    ) -> None:
        changes = Changes()
        for group in groups:
            if group[0].order_id not in inserted:
                continue
            inserted.discard(group[0].order_id)  # a repeat in the same batch
            account = group[0].account
            full = account in work.stored_only or work.queued(account) >= self._timing.max_queue
            if group[0].leg is Leg.ENTRY and full and group[0].order.venue in self._executors:
                work.stored_only[account] = work.stored_only.get(account, 0) + 1
            else:
                work.add(group)
            if group[0].order.venue not in self._executors:
                text = f"no executor for venue {group[0].order.venue!r} in this worker"
                work.end(changes, group[0], "reject", ReportKind.REJECTED, "no_executor", text)
            self._wake(work.claim.partition, group[0].account)
        for order_id in strange:
            work.alarm(
                changes, "cancel_unknown", f"a cancel names order {order_id}, which was never accepted", "warning"
            )
        for order_id in cancels:
            if order_id in work.rows:
                self._wake(work.claim.partition, work.rows[order_id].account)
        if changes.rows or changes.records:
            work.queue(changes)
        else:
            self._on_outbox(work.claim.partition)

    def _first_state(self, partition: int, offset: int) -> str:
        log_end = self._log_ends[partition]
        return lifecycle.UNPROVEN if log_end is None or offset < log_end else lifecycle.READY

    def _alarm_repeat(self, row: OrderRow) -> Record:
        return alert_record(
            "order_repeated_differently",
            "critical",
            f"order id {row.order_id} of {row.account} came again with other fields at orders/{row.partition} offset "
            f"{row.sequence}: the first one stands, this one is ignored",
            self._now_ms(),
        )

    async def inbox_state(self, partition: int) -> bytes | None:
        """Return the inbox state stored by the last `accept`."""
        return await self._store.inbox(partition)

    # ---- pauses

    def control(self, state: ControlState) -> None:
        """Apply one record of `control`: a pause of `*`, `leader:NAME`, `account:NAME` or `subscription:NAME`."""
        if state.paused:
            self._paused[state.scope] = state
        else:
            self._paused.pop(state.scope, None)
        for worker in self._workers.values():
            worker.wake()

    def control_read_to_end(self) -> None:
        """`control` has been read to its end: entries may be sent from now on."""
        self._control_known = True
        for worker in self._workers.values():
            worker.wake()

    def _pause_of(self, order: Order) -> str | None:
        """None: may be sent; "": not known yet (hold); else the reason of the pause."""
        if not self._control_known:
            return ""
        for scope in scopes_of(order.leader, order.account, order.subscription):
            state = self._paused.get(scope)
            if state is not None:
                return f"{scope} is paused: {state.reason or 'no reason given'}"
        return None

    # ---- outbox

    async def outbox(self, partition: int, limit: int) -> list[OutboxRow]:
        """Return the oldest unsent records of a partition, in order."""
        return await self._store.outbox(partition, limit)

    async def outbox_sent(self, partition: int, up_to: int) -> None:
        """The broker has the records up to this number."""
        await self._store.outbox_sent(self._claimed(partition).claim, up_to)

    # ---- running

    async def run(self) -> None:
        """Work until cancelled.

        Raises:
            the first failure of any task: LeaseLost, StoreFailed, MarketLost, or a bug.
        """
        await self._start()
        try:
            await self._failed.wait()
            assert self._failure is not None
            raise self._failure
        finally:
            for partition, work in self._partitions.items():
                tasks = self._tasks.pop(partition, [])
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                work.flush()
            for executor in self._executors.values():
                await executor.close()

    def status(self) -> dict[str, int]:
        """Return counts for metrics: live orders and legs by state, accounts, partitions."""
        counts = {"partitions": len(self._partitions), "accounts": len(self._workers)}
        for work in self._partitions.values():
            for row in work.rows.values():
                counts[row.state] = counts.get(row.state, 0) + 1
        return counts

    def unsent_entries(self) -> int:
        """Return how many entries wait to be sent (all accounts; an upper bound while some are only in the store)."""
        return sum(
            sum(work.stored_only.values()) + sum(work.queued(account) for account in work.by_account)
            for work in self._partitions.values()
        )

    async def _start(self) -> None:
        async with self._start_lock:
            if not self._started:
                for executor in self._executors.values():
                    await executor.start()
                self._started = True

    async def _read_reports(self, work: Partition, executor: Executor, after: int) -> None:
        async for events in executor.reports(work.claim.partition, after):
            await work.book(executor, events)
            self._reached("booked")

    def _wake(self, partition: int, account: str) -> None:
        worker = self._workers.get((partition, account))
        if worker is None:
            work = self._partitions.get(partition)
            if work is None:
                return
            worker = AccountWorker(account, work, self._executors, self._timing, self._pause_of, self._reached)
            self._workers[(partition, account)] = worker
            self._spawn(partition, worker.run())
        worker.wake()

    def _spawn(self, partition: int, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[partition].append(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and task.exception() is not None:
            self._fail(task.exception())

    def _fail(self, error: BaseException | None) -> None:
        if self._failure is None:
            self._failure = error
        self._failed.set()

    def _claimed(self, partition: int) -> Partition:
        work = self._partitions.get(partition)
        if work is None:
            raise ExecutionError(f"partition {partition} of orders is not claimed by this worker")
        return work
