"""One account's queue: what to send, ask or cancel next, one request at a time.

1. Persist, send once, ask: an attempt is committed before its request; no answer means `unknown`, and unknown is
   resolved by asking, never by sending again before absence is proven (deadline of the attempt + read lag).
2. Cancels go before exits, exits before new trigger prices, those before asks, asks before entries.
3. An exit first cancels the unsent entries before it, waits for those in flight, cancels what rests of them, and, if it
   closes the whole of its entry's position, that entry's legs. A smaller exit leaves the legs to protect the rest.
   It waits `exit_wait_s` at most: it is reduce-only and must not hang on another order's unknown fate.
4. Pause and expiry stop entries; they are looked at again after the commit, just before the request.
5. What is `unproven` (it lay in the log or the store at the start) is asked about before it may be sent.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from executors import lifecycle
from executors.partition import Partition, leg_price
from executors.protocols import (
    Absent,
    Accepted,
    Attempt,
    CancelRequest,
    Executor,
    Found,
    ProtectionRequest,
    QueryResult,
    Rejected,
    SubmitResult,
    Unknown,
    client_order_id,
)
from executors.rows import OrderRow
from executors.store import Changes
from schemas.orders import Order
from schemas.reasons import Leg, ReportKind

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Timing:
    """Waits of the engine in seconds of real time, and how often an entry is tried again after proven absence."""

    request_timeout_s: float = 10.0
    ask_first_s: float = 0.1
    ask_most_s: float = 5.0
    cancel_again_s: float = 2.0
    exit_wait_s: float = 10.0
    unresolved_s: float = 60.0
    look_again_s: float = 0.5
    max_attempts: int = 3
    max_queue: int = 1000  # unsent entries per account in memory; more wait in the store


def _no_point(_: str) -> None:
    return None


class AccountWorker:
    """Works through the rows of one account; `wake` after any change of them."""

    def __init__(
        self,
        account: str,
        partition: Partition,
        executors: dict[str, Executor],
        timing: Timing,
        pause_of: Callable[[Order], str | None],
        reached: Callable[[str], None] = _no_point,
    ) -> None:
        """Make a worker; `pause_of(order)` is ExecutionEngine's, `reached` is called at test points."""
        self.account = account
        self._partition = partition
        self._executors = executors
        self._timing = timing
        self._pause_of = pause_of
        self._reached = reached
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Look again at what there is to do."""
        self._wake.set()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            self._wake.clear()
            if not await self.act():
                try:
                    await asyncio.wait_for(self._wake.wait(), self._pause_s())
                except TimeoutError:
                    continue

    # ---- choosing

    async def act(self) -> bool:
        """Do the most urgent thing that is possible now; False if there is none."""
        await self._refill()
        now = asyncio.get_running_loop().time()
        rows = list(self._partition.by_account.get(self.account, {}).values())
        changes = Changes()
        for row in rows:
            if row.cancel_requested and row.state == lifecycle.READY:
                self._partition.end(changes, row, "drop", ReportKind.CANCELLED, "requested")
        exits = [row for row in rows if row.leg is Leg.EXIT and row.state == lifecycle.READY]
        clear = [row for row in exits if self._clear_way(row, rows, changes, now)]
        if changes.rows:
            await self._partition.commit(changes)
        for row in rows:
            if row.cancel_requested and row.state in lifecycle.AT_VENUE and row.cancel_at <= now:
                await self._cancel(row, now)
                return True
        if clear:
            await self._send(min(clear, key=_by_sequence))
            return True
        for row in rows:
            if _changeable(row) and row.change_at <= now:
                await self._change_protection(row, now)
                return True
        asks = [row for row in rows if row.state in (lifecycle.UNPROVEN, lifecycle.UNKNOWN) and row.ask_at <= now]
        if asks:
            await self._ask(min(asks, key=lambda row: (row.leg is not Leg.EXIT, row.sequence)), now)
            return True
        entries = [
            row for row in rows if row.leg is Leg.ENTRY and row.state == lifecycle.READY and not self._held(row, rows)
        ]
        if entries:
            await self._send(min(entries, key=_by_sequence))
            return True
        return bool(changes.rows)

    async def _refill(self) -> None:
        """Bring entries from the store when there is room, and all of them when an exit has to look at them."""
        partition, most = self._partition, self._timing.max_queue
        if self.account not in partition.stored_only:
            return
        rows = partition.by_account.get(self.account, {}).values()
        if any(row.leg is Leg.EXIT and row.state == lifecycle.READY for row in rows):
            await partition.refill(self.account, None)
        elif partition.queued(self.account) <= most // 2:
            await partition.refill(self.account, most - most // 2)

    def _pause_s(self) -> float | None:
        """Seconds until something falls due by itself; None: only a change can matter."""
        now = asyncio.get_running_loop().time()
        due: list[float] = []
        for row in self._partition.by_account.get(self.account, {}).values():
            if row.state in (lifecycle.UNPROVEN, lifecycle.UNKNOWN):
                due.append(row.ask_at)
            elif row.state == lifecycle.READY:
                due.append(now + self._timing.look_again_s)
            elif row.cancel_requested and row.state in lifecycle.AT_VENUE:
                due.append(row.cancel_at)
            if _changeable(row):
                due.append(row.change_at)
        return max(0.001, min(due) - now) if due else None

    def _held(self, entry: OrderRow, rows: list[OrderRow]) -> bool:
        """Whether an entry waits: for the control topic, or for an earlier exit that is not at the venue yet."""
        waiting = {lifecycle.READY} | lifecycle.IN_FLIGHT
        if any(
            row.leg is Leg.EXIT and row.state in waiting and row.sequence < entry.sequence and _same(row, entry)
            for row in rows
        ):
            return True
        return self._pause_of(entry.order) == "" and not self._expired(entry)

    def _expired(self, row: OrderRow) -> bool:
        return row.leg is Leg.ENTRY and self._partition.now_ms() > row.order.not_after_ms

    def _clear_way(self, leaving: OrderRow, rows: list[OrderRow], changes: Changes, now: float) -> bool:
        """Prepare an exit: True once nothing of its entries is unsent, in flight or resting (rule 3)."""
        waits = False
        for row in rows:
            if row.leg is not Leg.ENTRY or row.state in lifecycle.TERMINAL:
                continue
            if row.order_id != leaving.order.closes and not (_same(row, leaving) and row.sequence < leaving.sequence):
                continue
            if row.state == lifecycle.READY:
                self._partition.end(
                    changes, row, "drop", ReportKind.CANCELLED, "exit", "an exit came before it was sent"
                )
                continue
            self._want_cancel(row, changes)
            waits = True
        entry = self._partition.rows.get(leaving.order.closes or "")
        if entry is not None and not waits and leaving.size >= entry.filled - entry.closed:
            for leg in self._partition.bracket(entry.order_id)[1:]:
                if leg.state not in lifecycle.TERMINAL:
                    self._want_cancel(leg, changes)
                    waits = True
        if not waits:
            return True
        if leaving.waits_since is None:
            leaving.waits_since = now
        if now - leaving.waits_since < self._timing.exit_wait_s:
            return False
        if leaving.told_unresolved:
            return True
        leaving.told_unresolved = True
        self._partition.alarm(
            changes,
            "exit_did_not_wait",
            f"exit {leaving.order_id} of {self.account} goes to {leaving.order.venue} although an entry or leg before "
            "it is not settled there",
            "warning",
        )
        changes.touch(leaving)
        return True

    def _want_cancel(self, row: OrderRow, changes: Changes) -> None:
        if not row.cancel_requested:
            row.cancel_requested, row.cancel_at = True, 0.0
            changes.touch(row)

    # ---- sending

    async def _send(self, row: OrderRow) -> None:
        if row.state != lifecycle.READY:
            return  # a report came while others were committed
        changes = Changes()
        if self._refused(row, changes):
            await self._partition.commit(changes)
            return
        executor = self._executors[row.order.venue]
        self._partition.take_change(changes, row)
        attempt = self._prepare(row, executor)
        row.attempt, row.attempts, row.state = attempt, attempt.number, lifecycle.MOVES[row.state]["send"]
        await self._persist(row, attempt, changes)
        self._reached("persisted")
        changes = Changes()
        if row.cancel_requested or self._refused(row, changes, withdraw=True):
            # Not a byte has left: the attempt ends here.
            if row.cancel_requested:
                self._partition.end(changes, row, "withdraw", ReportKind.CANCELLED, "requested")
            changes.attempt(attempt, "unsent")
            await self._partition.commit(changes)
            return
        self._reached("before_send")
        result: SubmitResult
        try:
            result = await self._answer(executor.submit(attempt))
        except TimeoutError:
            result = Unknown(f"no answer within {self._timing.request_timeout_s} s")
        self._reached("sent")
        await self._settle(row, attempt, result)
        self._reached("settled")

    async def _answer(self, request: Awaitable[T]) -> T:
        async with asyncio.timeout(self._timing.request_timeout_s):
            return await request

    def _prepare(self, row: OrderRow, executor: Executor) -> Attempt:
        number, prepared_ms = row.attempts + 1, self._partition.now_ms()
        return _attempt(row, number, self._partition, prepared_ms, prepared_ms + executor.window_ms)

    async def _persist(self, row: OrderRow, attempt: Attempt, changes: Changes) -> None:
        """Commit the attempt: no row, no network byte."""
        changes.touch(row)
        changes.attempt(attempt, "sending")
        for leg in self._partition.bracket(row.order_id)[1:] if row.leg is Leg.ENTRY else ():
            leg.attempts = attempt.number
            changes.touch(leg)
            client_id = client_order_id(leg.order_id, attempt.number)
            changes.attempt(attempt, "attached", order_id=leg.order_id, client_id=client_id)
        if attempt.number == 1:
            self._partition.tell(changes, row, ReportKind.SUBMITTED)
        await self._partition.commit(changes)

    def _refused(self, row: OrderRow, changes: Changes, withdraw: bool = False) -> bool:
        """End an entry that is expired or paused; `withdraw`: its attempt was committed but not sent."""
        if row.leg is not Leg.ENTRY:
            return False
        if self._expired(row):
            return self._partition.end(changes, row, "lapse", ReportKind.EXPIRED, "expired", "not_after_ms has passed")
        pause = self._pause_of(row.order)
        if pause:
            event = "withdraw" if withdraw else "drop"
            return self._partition.end(changes, row, event, ReportKind.CANCELLED, "paused", pause)
        return False

    async def _settle(self, row: OrderRow, attempt: Attempt, result: SubmitResult) -> None:
        """Note the venue's answer; reports may have told more already, then it only closes the attempt."""
        changes = Changes()
        match result:
            case Accepted(venue_order_id, echoed) if echoed == attempt.client_order_id:
                changes.attempt(attempt, "accepted")
                if row.state == lifecycle.SENDING:
                    self._partition.place(changes, row, venue_order_id)
            case Rejected(code, message):
                changes.attempt(attempt, "rejected", code)
                self._partition.end(changes, row, "reject", ReportKind.REJECTED, code, message)
            case _:
                reason = result.reason if isinstance(result, Unknown) else "the echoed client order id is another one"
                changes.attempt(attempt, "unknown", reason)
                if row.state == lifecycle.SENDING:
                    row.state = lifecycle.MOVES[row.state]["lose"]
                    row.asks, row.ask_at, row.asked_since = 0, 0.0, None
                    changes.touch(row)
                    self._tell_unknown(row, changes, reason)
        await self._partition.commit(changes)

    def _tell_unknown(self, row: OrderRow, changes: Changes, reason: str) -> None:
        if not row.told_unknown:
            row.told_unknown = True
            self._partition.tell(changes, row, ReportKind.UNKNOWN, message=reason)

    # ---- asking

    async def _ask(self, row: OrderRow, now: float) -> None:
        executor = self._executors[row.order.venue]
        row.asked_since = now if row.asked_since is None else row.asked_since
        attempts, proof_ms = self._to_ask(row, executor)
        # Read before asking: an answer proves nothing about the time after its question.
        proven = self._partition.now_ms() >= proof_ms
        absent = True
        for attempt in attempts:
            answer = await self._query(executor, attempt)
            if row.state not in (lifecycle.UNPROVEN, lifecycle.UNKNOWN):
                return  # a report told it meanwhile
            if isinstance(answer, Found) and answer.client_order_id == attempt.client_order_id:
                await self._found(row, attempt, answer, executor)
                return
            absent = absent and isinstance(answer, Absent)
        changes = Changes()
        if absent and proven:
            self._absent(row, next((each for each in attempts if each.number == row.attempts), attempts[0]), changes)
        else:
            row.asks += 1
            row.ask_at = now + min(self._timing.ask_most_s, self._timing.ask_first_s * 2 ** min(row.asks, 16))
            if row.attempts:
                self._tell_unknown(row, changes, "not found yet")
            if now - row.asked_since > self._timing.unresolved_s and not row.told_unresolved:
                row.told_unresolved = True
                self._partition.alarm(
                    changes,
                    "order_unresolved",
                    f"order {row.order_id} of {row.account} was sent to {row.order.venue} and its fate is not proven: "
                    "count it as filled and look at the venue",
                    size=row.size,
                )
        if changes.rows or changes.records:
            await self._partition.commit(changes)

    def _to_ask(self, row: OrderRow, executor: Executor) -> tuple[list[Attempt], int]:
        """Return the attempts to ask about and from when on (log time) not finding them proves absence."""
        if row.state == lifecycle.UNKNOWN and row.attempt is not None:
            return [row.attempt], row.attempt.deadline_ms + executor.read_lag_ms
        # An earlier life may have sent any attempt, the last one just before this worker took over.
        numbers = range(1, max(row.attempts, self._timing.max_attempts) + 1)
        deadline_ms = self._partition.claimed_ms + executor.window_ms
        attempts = [
            _attempt(row, number, self._partition, self._partition.claimed_ms, deadline_ms) for number in numbers
        ]
        return attempts, deadline_ms + executor.read_lag_ms

    async def _query(self, executor: Executor, attempt: Attempt) -> QueryResult:
        try:
            return await self._answer(executor.query(attempt))
        except TimeoutError:
            return Unknown("no answer to the query")

    async def _found(self, row: OrderRow, attempt: Attempt, found: Found, executor: Executor) -> None:
        changes = Changes()
        row.attempts = max(row.attempts, attempt.number)
        for leg in self._partition.bracket(row.order_id)[1:] if row.leg is Leg.ENTRY else ():
            leg.attempts = row.attempts
            changes.touch(leg)
        changes.attempt(attempt, "found")
        if found.state == "rejected":
            self._partition.end(changes, row, "reject", ReportKind.REJECTED, "rejected")
        else:
            self._partition.place(changes, row, found.venue_order_id)
        await self._partition.commit(changes)
        if found.events:
            await self._partition.book(executor, found.events, cursor=False)

    def _absent(self, row: OrderRow, attempt: Attempt, changes: Changes) -> None:
        """Proven absent: it may be sent (again, under a new client order id)."""
        if row.attempts:
            changes.attempt(attempt, "absent")
        row.state = lifecycle.MOVES[row.state]["absent"]
        row.asks, row.ask_at, row.asked_since, row.told_unknown = 0, 0.0, None, False
        changes.touch(row)
        if row.leg is Leg.ENTRY and row.attempts >= self._timing.max_attempts:
            text = f"{row.attempts} attempts did not reach the venue"
            self._partition.end(changes, row, "lapse", ReportKind.EXPIRED, "attempts_exhausted", text)

    # ---- cancelling

    async def _cancel(self, row: OrderRow, now: float) -> None:
        executor = self._executors[row.order.venue]
        row.cancel_at = now + self._timing.cancel_again_s  # reports end the row; until then it is asked for again
        request = CancelRequest(
            account=row.account,
            instrument=row.order.instrument,
            client_order_id=row.client_id(),
            venue_order_id=row.venue_order_id,
            partition=self._partition.claim.partition,
            epoch=self._partition.claim.epoch,
            sent_ms=self._partition.now_ms(),
        )
        try:
            await self._answer(executor.cancel(request))
        except TimeoutError:
            log.warning("no answer to the cancel of %s at %s", row.order_id, row.order.venue)

    # ---- new trigger prices

    async def _change_protection(self, entry: OrderRow, now: float) -> None:
        executor, wanted = self._executors[entry.order.venue], entry.change
        assert wanted is not None
        entry.change_at = now + self._timing.cancel_again_s  # without an answer it is asked for again
        legs = {leg.leg: leg.client_id() for leg in self._partition.bracket(entry.order_id)[1:]}
        request = ProtectionRequest(
            account=entry.account,
            instrument=entry.order.instrument,
            client_order_id=entry.client_id(),
            venue_order_id=entry.venue_order_id,
            stop_loss_client_id=legs.get(Leg.STOP_LOSS, ""),
            take_profit_client_id=legs.get(Leg.TAKE_PROFIT, ""),
            stop_loss=wanted.stop_loss,
            take_profit=wanted.take_profit,
            partition=self._partition.claim.partition,
            epoch=self._partition.claim.epoch,
            sent_ms=self._partition.now_ms(),
        )
        try:
            result = await self._answer(executor.change_protection(request))
        except TimeoutError:
            result = Unknown(f"no answer within {self._timing.request_timeout_s} s")
        self._reached("changed")
        if isinstance(result, Unknown) or (isinstance(result, Rejected) and result.code == "not_resting"):
            # Not resting: the reports that say what became of the legs are on their way, and end the change.
            log.info("trigger prices of %s at %s: %s", entry.order_id, entry.order.venue, result)
            return
        if entry.change is not wanted:
            entry.change_at = 0.0  # a later change came meanwhile
            return
        changes = Changes()
        if isinstance(result, Rejected):
            self._keep_protection(entry, result, changes)
        self._partition.tell_unchanged(changes, entry, wanted)
        self._partition.settle_change(changes, entry)
        await self._partition.commit(changes)

    def _keep_protection(self, entry: OrderRow, result: Rejected, changes: Changes) -> None:
        """The venue refused new trigger prices: the legs stand as they did."""
        assert entry.change is not None
        for leg in self._partition.bracket(entry.order_id)[1:]:
            if leg.state in lifecycle.AT_VENUE and leg_price(leg, entry.change) is not None:
                self._partition.tell(changes, leg, ReportKind.ACCEPTED, code=result.code, message=result.message)
        self._partition.alarm(
            changes,
            "protection_unchanged",
            f"{entry.order.venue} refused new trigger prices of entry {entry.order_id} of {entry.account} "
            f"({result.code} {result.message}): its legs keep the old ones",
        )


def _changeable(row: OrderRow) -> bool:
    """Whether new trigger prices are asked for and may be sent: the entry is at the venue, or has been there."""
    waits = row.state == lifecycle.READY or row.state in lifecycle.IN_FLIGHT
    return row.change is not None and not waits


def _by_sequence(row: OrderRow) -> int:
    return row.sequence


def _same(one: OrderRow, other: OrderRow) -> bool:
    return (one.order.subscription, one.order.instrument) == (other.order.subscription, other.order.instrument)


def _attempt(row: OrderRow, number: int, partition: Partition, prepared_ms: int, deadline_ms: int) -> Attempt:
    protection = row.order.protection if row.leg is Leg.ENTRY else None
    closes = partition.rows.get(row.order.closes or "")
    return Attempt(
        client_order_id=client_order_id(row.order_id, number),
        number=number,
        order=row.order,
        partition=partition.claim.partition,
        epoch=partition.claim.epoch,
        prepared_ms=prepared_ms,
        deadline_ms=deadline_ms,
        stop_loss_client_id="" if protection is None else client_order_id(protection.stop_loss_order_id, number),
        take_profit_client_id="" if protection is None else client_order_id(protection.take_profit_order_id, number),
        closes_client_id="" if closes is None else closes.client_id(),
    )
