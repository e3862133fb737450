"""Parts for the tests of execution: a market in a list, a venue that misbehaves on demand, orders, a running engine."""

import asyncio
import contextlib
import sqlite3
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from executors.account import Timing
from executors.engine import ExecutionEngine
from executors.paper import PaperExecutor, PaperParams
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
    Unknown,
    VenueEvent,
)
from executors.store import Store
from processors.matching.params import Latency
from schemas import codec
from schemas.accounts import Transfer
from schemas.ids import derive_id
from schemas.market import Quote, Trade
from schemas.orders import CancelOrder, ChangeProtection, Order, Protection
from schemas.reasons import Leg, ReportKind, Side
from schemas.status import VenueReport

INSTRUMENT = "binanceusdm:BTC/USDT:USDT"
FAST = Timing(
    request_timeout_s=0.5, ask_first_s=0.002, ask_most_s=0.02, cancel_again_s=0.05, exit_wait_s=3.0, look_again_s=0.01
)
PLAIN = PaperParams(
    order_latency=Latency(), cancel_latency=Latency(), report_latency=Latency(), slippage_bps=Decimal(0)
)


def quote(
    now_ms: int, bid: str = "99.90", ask: str = "100.00", size: str = "10", instrument: str = INSTRUMENT
) -> Quote:
    return Quote(
        now_ms=now_ms,
        instrument=instrument,
        bid=Decimal(bid),
        bid_size=Decimal(size),
        ask=Decimal(ask),
        ask_size=Decimal(size),
        id=now_ms,
        ts=now_ms,
    )


def trade(now_ms: int, price: str, size: str = "10", instrument: str = INSTRUMENT) -> Trade:
    return Trade(
        now_ms=now_ms,
        instrument=instrument,
        price=Decimal(price),
        size=Decimal(size),
        side=Side.BUY,
        id=now_ms,
        ts=now_ms,
    )


def order(name: str, now_ms: int = 1000, **fields: Any) -> Order:
    """An entry that buys 1 at the market with a bracket, unless `fields` say otherwise; its id comes from `name`."""
    leg = fields.pop("leg", Leg.ENTRY)
    protected = fields.pop("protected", leg is Leg.ENTRY)
    account = fields.get("account", "acc-1")
    side = fields.get("side", Side.BUY)
    long = side is Side.BUY
    values: dict[str, Any] = {
        "account": "acc-1",
        "venue": "paper",
        "subscription": "sub-1",
        "leader": "lead-1",
        "instrument": INSTRUMENT,
        "side": side,
        "kind": "market",
        "size": Decimal(1),
        "reference_price": Decimal(100),
        "leader_price": Decimal(100),
        "cause": name,
        "event_id": f"event-{name}",
        "event_ms": now_ms,
        "not_after_ms": now_ms + 3_600_000,
        "reduce_only": leg is Leg.EXIT,
    }
    if protected:
        values["protection"] = Protection(
            now_ms=now_ms,
            stop_loss=Decimal(97 if long else 103),
            take_profit=Decimal(106 if long else 94),
            stop_loss_order_id=derive_id("order", name, account, "stop_loss"),
            take_profit_order_id=derive_id("order", name, account, "take_profit"),
        )
    values |= fields
    return Order(now_ms=now_ms, order_id=derive_id("order", name, account), leg=leg, **values)


def exit_of(entry: Order, name: str = "exit", size: str = "1", now_ms: int = 2000) -> Order:
    return order(
        f"{name}-{entry.cause}",
        now_ms,
        leg=Leg.EXIT,
        side=entry.side.opposite,
        account=entry.account,
        subscription=entry.subscription,
        venue=entry.venue,
        size=Decimal(size),
        closes=entry.order_id,
    )


def cancel_of(order_id: str, account: str = "acc-1", now_ms: int = 2000) -> CancelOrder:
    return CancelOrder(
        now_ms=now_ms, account=account, venue="paper", instrument=INSTRUMENT, order_id=order_id, cause="test"
    )


def protect(entry: Order, stop_loss: str = "", take_profit: str = "", now_ms: int = 2000) -> ChangeProtection:
    return ChangeProtection(
        now_ms=now_ms,
        account=entry.account,
        venue=entry.venue,
        instrument=entry.instrument,
        order_id=entry.order_id,
        cause="test",
        stop_loss=Decimal(stop_loss) if stop_loss else None,
        take_profit=Decimal(take_profit) if take_profit else None,
    )


class ListMarket:
    """market-data in lists, one per partition; `add` appends and wakes readers."""

    def __init__(self, partitions: int = 1) -> None:
        self.records: list[list[Any]] = [[] for _ in range(partitions)]
        self.now_ms = 1000
        self._news = asyncio.Event()

    def add(self, message: Any, partition: int = 0) -> None:
        self.records[partition].append(message)
        if message is not None:
            self.now_ms = max(self.now_ms, message.now_ms)
        self._news.set()
        self._news = asyncio.Event()

    async def bounds(self) -> dict[int, tuple[int, int]]:
        return {partition: (0, len(records)) for partition, records in enumerate(self.records)}

    async def read(self, positions: dict[int, int]) -> AsyncIterator[list[tuple[int, int, Any]]]:
        positions = dict(positions)
        while True:
            news = self._news
            batch = []
            for partition, records in enumerate(self.records):
                for offset in range(positions[partition], min(len(records), positions[partition] + 7)):
                    batch.append((partition, offset, records[offset]))
                    positions[partition] = offset + 1
            if batch:
                yield batch
            else:
                await news.wait()


class FakeVenue:
    """A venue that executes market orders at once and misbehaves as told.

    Like the big exchanges it refuses a client order id only while an order with it is open: a market order sent twice
    is executed twice. What it did lies in an SQLite file of its own, so that it outlives a killed worker; tests count
    its fills. `faults`: per submit, in order; then none.
      drop_before   not executed, no answer       drop_after   executed, no answer
      hang          executed, never answers       reject       refused
      late          executed when `release_late` is called, if its deadline has not passed; no answer
    `lag`: so many queries answer "not found" although the order is there. Without `history` its reports begin with
    what happens from now on, and queries tell older fills, as user streams and order queries do.
    """

    attached_protection = True

    def __init__(
        self,
        path: Path,
        faults: Sequence[str] = (),
        lag: int = 0,
        history: bool = True,
        window_ms: int = 0,
        now_ms: Callable[[], int] = lambda: 0,
        before_execution: Callable[[Attempt], None] = lambda attempt: None,
        after_execution: Callable[[Attempt], None] = lambda attempt: None,
    ) -> None:
        self.venue = "paper"
        self.window_ms, self.read_lag_ms = window_ms, 0
        self.faults, self.lag = list(faults), lag
        self.requests: list[tuple[str, str]] = []
        self.hung: set[str] = set()  # accounts whose requests never return
        self.late: list[Attempt] = []
        self.repeats = False  # every report comes twice
        self._now_ms = now_ms
        self._before, self._after = before_execution, after_execution
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS fills "
            "(number INTEGER PRIMARY KEY, partition, account, cid, order_id, size, side)"
        )
        self._news = asyncio.Event()
        self._since = 0
        if not history:
            self._since = self._database.execute("SELECT coalesce(max(number), 0) FROM fills").fetchone()[0]

    async def start(self) -> None: ...

    async def claim(self, partition: int, epoch: int) -> None: ...

    async def release(self, partition: int) -> None: ...

    async def close(self) -> None: ...

    async def submit(self, attempt: Attempt) -> SubmitResult:
        self.requests.append(("submit", attempt.client_order_id))
        if attempt.order.account in self.hung:
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "drop_before":
            return Unknown("cut")
        if fault == "reject":
            return Rejected("-2019", "margin")
        if fault == "late":
            self.late.append(attempt)
            return Unknown("cut")
        self._before(attempt)
        self._execute(attempt)
        self._after(attempt)
        if fault == "drop_after":
            return Unknown("cut")
        if fault == "hang":
            await asyncio.Event().wait()
        return Accepted(f"v-{attempt.client_order_id[:8]}", attempt.client_order_id)

    def release_late(self) -> None:
        """Late requests reach the engine of the venue now."""
        for attempt in self.late:
            if self._now_ms() <= attempt.deadline_ms:
                self._execute(attempt)
        self.late.clear()

    def _execute(self, attempt: Attempt) -> None:
        self._database.execute(
            "INSERT INTO fills (partition, account, cid, order_id, size, side) VALUES (?,?,?,?,?,?)",
            (
                attempt.partition,
                attempt.order.account,
                attempt.client_order_id,
                attempt.order.order_id,
                str(attempt.order.size),
                attempt.order.side.value,
            ),
        )
        self._news.set()

    async def cancel(self, request: CancelRequest) -> CancelResult:
        self.requests.append(("cancel", request.client_order_id))
        return Rejected("-2011", "nothing rests here")

    async def change_protection(self, request: ProtectionRequest) -> ProtectionResult:
        self.requests.append(("change", request.client_order_id))
        return Rejected("not_resting", "this venue knows no legs")

    async def query(self, attempt: Attempt) -> QueryResult:
        self.requests.append(("query", attempt.client_order_id))
        rows = self._database.execute(
            "SELECT number, cid, size FROM fills WHERE cid = ?", (attempt.client_order_id,)
        ).fetchall()
        if not rows:
            return Absent()
        if self.lag > 0:
            self.lag -= 1
            return Absent()
        cid = rows[0][1]
        return Found(cid, f"v-{cid[:8]}", "filled", tuple(self._event(row) for row in rows))

    def _event(self, row: tuple[int, str, str]) -> VenueEvent:
        number, cid, size = row
        return VenueEvent(
            number=number,
            client_order_id=cid,
            kind=ReportKind.FILL,
            venue_ms=self._now_ms(),
            size=Decimal(size),
            final=True,
            trade_id=f"t-{number}",
            price=Decimal(100),
            fee=Decimal(0),
            liquidity="taker",
        )

    async def transfer(self, transfer: Transfer, partition: int, epoch: int) -> None: ...

    async def positions(self, partition: int) -> Holdings:
        rows = self._database.execute(
            "SELECT account, side, size, number FROM fills WHERE partition = ? ORDER BY number", (partition,)
        ).fetchall()
        sizes: dict[str, tuple[Decimal, int]] = {}
        for account, side, size, number in rows:
            signed = Decimal(size) if side == "buy" else -Decimal(size)
            sizes[account] = (sizes.get(account, (Decimal(0), 0))[0] + signed, number)
        held = [Holding(account, INSTRUMENT, *pair) for account, pair in sizes.items() if pair[0]]
        return Holdings(held, rows[-1][3] if rows else 0)

    async def reports(self, partition: int, after: int) -> AsyncIterator[Sequence[VenueEvent]]:
        after = max(after, self._since)
        while True:
            self._news.clear()
            rows = self._database.execute(
                "SELECT number, cid, size FROM fills WHERE partition = ? AND number > ? ORDER BY number",
                (partition, after),
            ).fetchall()
            if rows:
                after = rows[-1][0]
                yield [self._event(row) for row in rows]
                if self.repeats:
                    yield [self._event(row) for row in rows]
            else:
                await self._news.wait()

    def executed(self) -> dict[str, Decimal]:
        """Executed size by order id: the truth that counts."""
        sizes: dict[str, Decimal] = defaultdict(Decimal)
        for order_id, size in self._database.execute("SELECT order_id, size FROM fills"):
            sizes[order_id] += Decimal(size)
        return dict(sizes)


class Bench:
    """An engine with the paper venue (or another executor) on a store in `folder`; log time is the market's."""

    def __init__(self, folder: Path, url: str = "", partitions: int = 1) -> None:
        self.url = url or f"sqlite:///{folder / 'execution.db'}"
        self.market = ListMarket(partitions)
        self.params = PLAIN
        self.timing = FAST
        self.offset = 0
        self.published: list[tuple[tuple[int, int], Any]] = []
        self.engine: ExecutionEngine
        self.store: Store
        self.paper: Any

    @contextlib.asynccontextmanager
    async def running(
        self, executor: Any = None, log_end: int | None = 0, control: bool = True, **engine: Any
    ) -> AsyncIterator[ExecutionEngine]:
        """A running engine that holds partition 0; a failure of `run` is raised at the end."""
        self.store = Store(self.url)
        self.paper = executor or PaperExecutor(self.params, self.store, self.market)
        self.engine = ExecutionEngine(
            self.store,
            {"paper": self.paper},
            lambda: self.market.now_ms,
            lambda partition: None,
            timing=self.timing,
            **engine,
        )
        if control:
            self.engine.control_read_to_end()
        running = asyncio.create_task(self.engine.run())
        try:
            await self.engine.claim(0, log_end)
            yield self.engine
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
            self.store.close()

    async def accept(self, *messages: Any) -> None:
        await self.engine.accept(0, range(self.offset, self.offset + len(messages)), messages)
        self.offset += len(messages)

    async def publish(self) -> None:
        """Take the outbox as the relay does."""
        while rows := await self.engine.outbox(0, 10):
            self.published += [((row.generation, row.number), codec.decode(row.value)) for row in rows]
            await self.engine.outbox_sent(0, rows[-1].number)

    async def reports(self, order_id: str = "") -> list[VenueReport]:
        await self.publish()
        return [
            message
            for _, message in self.published
            if isinstance(message, VenueReport) and order_id in ("", message.order_id)
        ]

    async def alerts(self) -> list[str]:
        await self.publish()
        return [message.kind for _, message in self.published if message.__struct_config__.tag == "alert"]

    async def until(self, order_id: str, *kinds: str) -> list[VenueReport]:
        """Wait until the reports of an order are of these kinds, in order."""
        return await eventually(lambda: self.reports(order_id), lambda found: [r.kind for r in found] == list(kinds))

    async def tick(self, *messages: Any) -> None:
        for message in messages:
            self.market.add(message)
        await asyncio.sleep(0)


async def eventually(look: Callable[[], Any], good: Callable[[Any], bool], seconds: float = 10) -> Any:
    """Poll until `good(await look())`; fail with what was seen last."""
    seen: Any = None
    try:
        async with asyncio.timeout(seconds):
            while True:
                seen = await look()
                if good(seen):
                    return seen
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"never came; last seen: {seen}") from None


def venue_fills(store: Store) -> dict[str, Decimal]:
    """Executed size by client order id at the paper venue, from its own journal."""
    import sqlalchemy as sa

    from executors.paper.journal import fills

    sizes: dict[str, Decimal] = defaultdict(Decimal)
    for row in store.database.run_blocking(lambda connection: connection.execute(sa.select(fills)).all()):
        sizes[row.client_order_id] += Decimal(row.size)
    return dict(sizes)
