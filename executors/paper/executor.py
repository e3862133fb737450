"""The paper venue behind the executor protocol.

Entry point: `PaperExecutor(params, store, market)`.

1. A shard (the accounts of one partition of `orders`) has a matching core of its own, its market position and its
   journal. One reader feeds all shards; a shard skips what it has.
2. Memory first, journal in the same order: all that changed in the core within one turn of the event loop is one
   transaction, so the journal is always a state that the core has been in. Events leave only from the journal.
3. `claim` returns when the shard has caught up with the end of market-data at that moment.
4. The engine's epoch is compared in every transaction: an order sent by a worker that was taken over is never taken.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from typing import Any

from executors.errors import ExecutionError
from executors.grouping import Group, Lookups
from executors.paper.journal import Journal
from executors.paper.market import MarketRecord, MarketSource, begin_at
from executors.paper.params import PaperParams
from executors.protocols import (
    Absent,
    Accepted,
    Attempt,
    CancelRequest,
    CancelResult,
    Found,
    Holding,
    Holdings,
    ProtectionRequest,
    ProtectionResult,
    QueryResult,
    Rejected,
    SubmitResult,
    VenueEvent,
)
from executors.store import Store
from processors.matching import pricing
from processors.matching.core import Changes, MatchingCore
from processors.matching.positions import ZERO
from processors.matching.types import Bracket, VenueOrder
from schemas.accounts import Transfer
from schemas.reasons import Leg, ReportKind

log = logging.getLogger(__name__)
_EVENTS = 500
_FORGET_EVERY = 2000


class _Shard:
    """One partition's accounts at the venue."""

    def __init__(self, epoch: int, core: MatchingCore, positions: dict[int, int], ends: dict[int, int]) -> None:
        self.epoch = epoch
        self.core = core
        self.positions = positions
        self.ends = ends
        self.caught_up = asyncio.Event()
        self.moved: set[int] = set()  # lanes whose position is not journalled yet
        self.journalled_at = 0.0
        self.news = asyncio.Event()
        self.transfers: list[str] = []  # ids not journalled yet
        self.time_ms = 0
        self.group: Group  # joins what is written within one turn of the event loop
        self.loaded = core.number
        self.filled: dict[tuple[str, str], int] = {}  # number of the last fill by account and instrument
        self.check_caught_up()

    def check_caught_up(self) -> None:
        if not self.caught_up.is_set() and all(self.positions[lane] >= end for lane, end in self.ends.items()):
            self.caught_up.set()
            self.news.set()

    def drain(self) -> Changes:
        """Return the core's changes, noting who traded."""
        changes = self.core.drain()
        by_id = {order.client_order_id: order for order in changes.orders}
        for event in changes.events:
            if event.kind is ReportKind.FILL:
                order = by_id[event.client_order_id]
                self.filled[(order.account, order.instrument)] = event.number
        return changes

    def holdings(self) -> list[Holding]:
        """Return the netted positions; before the first fill of this life, as loaded."""
        sizes: dict[tuple[str, str], Decimal] = {}
        for group in self.core.positions.groups.values():
            key = (group.account, group.instrument)
            sizes[key] = sizes.get(key, ZERO) + group.position
        return [Holding(*key, size, self.filled.get(key, self.loaded)) for key, size in sizes.items()]


class PaperExecutor:
    """Executor of the paper venue."""

    attached_protection = True
    read_lag_ms = 0

    def __init__(self, params: PaperParams, store: Store, market: MarketSource, venue: str = "paper") -> None:
        """`venue`: the name that orders carry."""
        self.venue = venue
        self.window_ms = params.receive_window_ms
        self._params = params
        self._journal = Journal(store, venue)
        self._known = Lookups(self._journal.find_all)
        self._market = market
        self._shards: dict[int, _Shard] = {}
        self._reader: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None

    # ---- life

    async def start(self) -> None:
        """Make the journal's tables."""
        await self._journal.create()

    async def claim(self, partition: int, epoch: int) -> None:
        """Load the shard and catch up with the market."""
        loaded = await self._journal.load(partition)
        bounds = await self._market.bounds()
        positions, lost = begin_at(loaded.positions, bounds, self._params.warm_up_records)
        for lane, count in lost.items():
            log.warning(
                "paper venue: %d records of market-data/%d were deleted before shard %d read them; what rests there "
                "did not see them",
                count,
                lane,
                partition,
            )
        core = MatchingCore.restore(self._params, loaded.snapshot)
        ends = {lane: end for lane, (_, end) in bounds.items()}
        shard = _Shard(epoch, core, positions, ends)
        shard.group = Group(lambda: self._queue(partition, shard))
        await self._stop_reader()
        self._shards[partition] = shard
        self._start_reader()
        await self._unless_failed(shard.caught_up)
        # Lanes without a message yet are journalled too: the next start must not begin after what comes now.
        shard.moved |= set(shard.positions)
        await self._write(shard)

    async def release(self, partition: int) -> None:
        """Forget the shard; its journal is complete up to its position."""
        if partition not in self._shards:
            return
        await self._stop_reader()
        shard = self._shards.pop(partition)
        shard.group.flush()
        shard.news.set()
        self._start_reader()

    async def close(self) -> None:
        """Stop reading."""
        await self._stop_reader()
        for shard in self._shards.values():
            shard.group.flush()
            shard.news.set()
        self._shards.clear()

    # ---- the protocol

    async def submit(self, attempt: Attempt) -> SubmitResult:
        """Take an order into the venue and its journal; a client order id it knows is answered like the first time."""
        shard = self._shard(attempt.partition, attempt.epoch)
        client_id = attempt.client_order_id
        accepted = Accepted(pricing.venue_order_id(client_id), client_id)
        if client_id in shard.core.orders or await self._known.find(client_id) is not None:
            return accepted
        if client_id in shard.core.orders:  # a second call of the same attempt while we looked
            return accepted
        now_ms = max(attempt.prepared_ms, shard.core.lane_time_ms(attempt.order.instrument))
        if self.window_ms and now_ms > attempt.deadline_ms:
            return Rejected("receive_window", f"arrived {now_ms - attempt.deadline_ms} ms after its deadline")
        wanted = venue_order(attempt)
        lacking = self._lacking(shard, attempt, wanted)
        if lacking:
            return Rejected("insufficient_balance", f"{attempt.order.account}: {lacking}")
        shard.core.submit(wanted, attempt.prepared_ms)
        await self._write(shard)
        return accepted

    def _lacking(self, shard: _Shard, attempt: Attempt, order: VenueOrder) -> str:
        """Give an entry of an account with a balance its hold; return what the account lacks for it."""
        if order.reduce_only or not self._has_balance(shard, order.account):
            return ""
        touch = shard.core.touch_price(order.instrument, order.side)
        price = order.limit_price or touch or attempt.order.reference_price
        order.hold = price / order.leverage + price * self._params.taker_fee
        return shard.core.funds.lacking(order)

    def _has_balance(self, shard: _Shard, account: str) -> bool:
        """Whether an account has a balance here; its opening balance counts when it is first seen."""
        opening = self._params.balances.get(account, self._params.balances.get("*"))
        if opening is None:
            return False
        if account not in shard.core.funds.balances:
            shard.core.funds.add(account, opening)
        return True

    async def transfer(self, transfer: Transfer, partition: int, epoch: int) -> None:
        """Book money paid in or out, once per transfer id; an account without a balance has no use for it."""
        shard = self._shard(partition, epoch)
        if not self._has_balance(shard, transfer.account) or await self._journal.has_transfer(transfer.transfer_id):
            return
        shard.core.funds.add(transfer.account, transfer.amount)
        shard.transfers.append(transfer.transfer_id)
        await self._write(shard)

    async def cancel(self, request: CancelRequest) -> CancelResult:
        """Take a cancel request into the venue and its journal."""
        shard = self._shard(request.partition, request.epoch)
        if not shard.core.cancel(request.client_order_id, request.sent_ms):
            return Rejected("not_resting", "nothing rests under this client order id")
        await self._write(shard)
        return Accepted(pricing.venue_order_id(request.client_order_id), request.client_order_id)

    async def change_protection(self, request: ProtectionRequest) -> ProtectionResult:
        """Take new trigger prices into the venue and its journal."""
        shard = self._shard(request.partition, request.epoch)
        client_id = request.client_order_id
        if not shard.core.change_protection(client_id, request.stop_loss, request.take_profit, request.sent_ms):
            return Rejected("not_resting", "no leg of this entry rests, nor will one")
        await self._write(shard)
        return Accepted(pricing.venue_order_id(client_id), client_id)

    async def query(self, attempt: Attempt) -> QueryResult:
        """Look an order up in the journal."""
        self._shard(attempt.partition, attempt.epoch)
        order = await self._journal.find(attempt.client_order_id)
        if order is None:
            return Absent()
        match order.state:
            case "filled" | "cancelled" | "expired" | "rejected":
                return Found(order.client_order_id, pricing.venue_order_id(order.client_order_id), order.state)
            case _:
                return Found(order.client_order_id, pricing.venue_order_id(order.client_order_id), "open")

    async def positions(self, partition: int) -> Holdings:
        """Return the positions by the matching core's books, whose events stand in the journal in the same order."""
        self._raise_failure()
        shard = self._shards[partition]
        return Holdings(shard.holdings(), shard.core.number)

    async def reports(self, partition: int, after: int) -> AsyncIterator[Sequence[VenueEvent]]:
        """Yield journalled events once their report latency has passed.

        The latency is market time; where the market stands still, real time.
        """
        forgotten = after
        while True:
            self._raise_failure()
            shard = self._shards.get(partition)
            if shard is None:
                return
            shard.news.clear()
            events = await self._journal.read_events(partition, after, _EVENTS)
            if not events:
                await shard.news.wait()
                continue
            loop = asyncio.get_running_loop()
            seen_at = loop.time()
            while events:
                ready = self._ready(shard, events, (loop.time() - seen_at) * 1000)
                if ready:
                    yield events[:ready]
                    after = events[ready - 1].number
                    events = events[ready:]
                else:
                    await self._wait_news(shard, events[0])
                    self._raise_failure()
            if after - forgotten >= _FORGET_EVERY and partition in self._shards:
                # What was yielded before this batch is booked: the engine has asked for more.
                await self._journal.forget_events(partition, shard.epoch, forgotten)
                forgotten = after

    def _latency_ms(self, event: VenueEvent) -> int:
        return pricing.delay_ms(self._params.report_latency, self._params.seed, "report", str(event.number))

    def _ready(self, shard: _Shard, events: list[VenueEvent], waited_ms: float) -> int:
        count = 0
        for event in events:
            latency = self._latency_ms(event)
            if event.venue_ms + latency > shard.time_ms and waited_ms < latency:
                break
            count += 1
        return count

    async def _wait_news(self, shard: _Shard, event: VenueEvent) -> None:
        shard.news.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(shard.news.wait(), max(1, self._latency_ms(event)) / 1000)

    # ---- the market

    def _start_reader(self) -> None:
        if self._shards and self._failure is None:
            self._reader = asyncio.get_running_loop().create_task(self._read())
            self._reader.add_done_callback(self._reader_done)

    async def _stop_reader(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
            self._reader = None

    def _reader_done(self, task: "asyncio.Task[None]") -> None:
        if task.cancelled():
            return
        self._failure = task.exception() or ExecutionError("the paper venue's market data ended")
        for shard in self._shards.values():
            shard.news.set()

    async def _read(self) -> None:
        shards = self._shards.values()
        lanes = {lane for shard in shards for lane in shard.positions}
        positions = {lane: min(shard.positions[lane] for shard in shards) for lane in lanes}
        async with contextlib.aclosing(self._market.read(positions)) as batches:
            async for batch in batches:
                await self._apply_all(batch)

    async def _apply_all(self, batch: list[MarketRecord]) -> None:
        for shard in self._shards.values():
            changed = self._apply(shard, batch)
            now = asyncio.get_running_loop().time()
            overdue = shard.moved and now - shard.journalled_at >= self._params.journal_interval_ms / 1000
            if changed or overdue:
                shard.journalled_at = now
                await self._write(shard)
            shard.check_caught_up()
            shard.news.set()

    def _apply(self, shard: _Shard, batch: list[MarketRecord]) -> bool:
        core, positions = shard.core, shard.positions
        before = core.number
        for lane, offset, message in batch:
            if offset < positions.get(lane, 0):
                continue
            if message is not None:
                core.apply(lane, message)
            positions[lane] = offset + 1
            shard.moved.add(lane)
        shard.time_ms = max((lane_.time_ms for lane_ in core.lanes.values()), default=0)
        return core.number != before

    async def _write(self, shard: _Shard) -> None:
        """Journal what changed, together with what else changes in this turn of the event loop."""
        await shard.group.join()

    def _queue(self, partition: int, shard: _Shard) -> Any:
        """Queue all that has changed; nothing awaits in between, so memory and the queue's order stay equal."""
        market = {lane: (shard.positions[lane], shard.core.lane_state(lane)) for lane in shard.moved}
        shard.moved = set()
        transfers, shard.transfers = shard.transfers, []
        core = shard.core
        counters = (core.number, core.rank)
        future: Any = self._journal.write(partition, shard.epoch, shard.drain(), counters, market, transfers)
        future.add_done_callback(lambda _: shard.news.set())
        return future

    # ---- failures

    def _shard(self, partition: int, epoch: int) -> _Shard:
        self._raise_failure()
        shard = self._shards.get(partition)
        if shard is None or shard.epoch != epoch:
            raise ExecutionError(f"the paper venue was not claimed for partition {partition} with epoch {epoch}")
        return shard

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def _unless_failed(self, event: asyncio.Event) -> None:
        waiting = asyncio.get_running_loop().create_task(event.wait())
        assert self._reader is not None
        await asyncio.wait({waiting, self._reader}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if not event.is_set():
            self._reader_done(self._reader)
            self._raise_failure()


def venue_order(attempt: Attempt) -> VenueOrder:
    """Return the venue's order for an attempt: its bracket from the protection, exits reduce-only."""
    order = attempt.order
    protection = order.protection if order.leg is Leg.ENTRY else None
    bracket = None
    if protection is not None:
        bracket = Bracket(
            stop_loss=protection.stop_loss,
            take_profit=protection.take_profit,
            stop_loss_client_id=attempt.stop_loss_client_id,
            take_profit_client_id=attempt.take_profit_client_id,
            trigger=protection.trigger,
        )
    return VenueOrder(
        client_order_id=attempt.client_order_id,
        account=order.account,
        group=order.subscription,
        instrument=order.instrument,
        side=order.side,
        kind=order.kind,
        size=order.size,
        limit_price=order.limit_price,
        reduce_only=order.reduce_only or order.leg is Leg.EXIT,
        expires_ms=order.not_after_ms if order.leg is Leg.ENTRY and order.kind == "market" else None,
        bracket=bracket,
        closes=attempt.closes_client_id,
        leverage=order.leverage,
    )
