"""The executor contract: numbered cases that every venue's executor must pass.

A venue joins by adding a harness to `HARNESSES`: a class that opens an executor on a venue under the test's control
(the paper venue on a list of market data; ccxt on a fake server) with the methods of `Harness`.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

import pytest

from executors.paper import PaperExecutor
from executors.protocols import (
    Absent,
    Accepted,
    Attempt,
    CancelRequest,
    Executor,
    Found,
    ProtectionRequest,
    Rejected,
    VenueEvent,
    client_order_id,
)
from executors.store import Store
from schemas.orders import Order
from schemas.reasons import ReportKind, Side
from tests.executors.support import INSTRUMENT, PLAIN, ListMarket, exit_of, order, quote, trade, venue_fills


class Harness(Protocol):
    """A venue whose market the test moves. Its touch is 99.90 / 100.00 unless said otherwise."""

    executor: Executor
    partition: int
    epoch: int

    async def open(self) -> None: ...
    async def close(self) -> None: ...
    async def kill(self) -> None:
        """End the executor without any goodbye; `open` starts the next life."""
        ...

    def now_ms(self) -> int: ...
    async def show(self, bid: str = "99.90", ask: str = "100.00", size: str = "10") -> None:
        """Move the touch and wait until the venue has matched."""
        ...

    async def print(self, price: str) -> None:
        """A public trade at this price."""
        ...

    def executed(self) -> dict[str, Decimal]:
        """Executed size by client order id, by the venue's own books."""
        ...


class PaperHarness:
    """The paper venue on a list of market data."""

    partition = 0

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.market = ListMarket()
        self.market.add(quote(1000))
        self.epoch = 0

    async def open(self) -> None:
        self.store = Store(f"sqlite:///{self.folder / 'execution.db'}")
        self.executor = PaperExecutor(PLAIN, self.store, self.market)
        await self.executor.start()
        self.epoch = (await self.store.claim(0)).epoch
        await self.executor.claim(0, self.epoch)

    async def close(self) -> None:
        await self.executor.close()
        self.store.close()

    kill = close  # what a kill -9 leaves behind is tested in tests/executors/test_kill.py

    def now_ms(self) -> int:
        return self.market.now_ms

    async def show(self, bid: str = "99.90", ask: str = "100.00", size: str = "10") -> None:
        await self._add(quote(self.market.now_ms + 10, bid, ask, size))

    async def print(self, price: str) -> None:
        await self._add(trade(self.market.now_ms + 10, price))

    async def _add(self, message: Any) -> None:
        self.market.add(message)
        while self.executor._shards[0].positions[0] < len(self.market.records[0]):
            await asyncio.sleep(0.001)
        await self.store.database.run(lambda connection: None)

    def executed(self) -> dict[str, Decimal]:
        return venue_fills(self.store)


HARNESSES = [PaperHarness]


class Case:
    """One executor under test, with the events it has reported so far."""

    def __init__(self, harness: Harness) -> None:
        self.harness = harness
        self.seen: list[VenueEvent] = []

    def attempt(self, message: Order, number: int = 1) -> Attempt:
        protection = message.protection
        now_ms = self.harness.now_ms()
        return Attempt(
            client_order_id=client_order_id(message.order_id, number),
            number=number,
            order=message,
            partition=self.harness.partition,
            epoch=self.harness.epoch,
            prepared_ms=now_ms,
            deadline_ms=now_ms + self.harness.executor.window_ms,
            stop_loss_client_id=client_order_id(protection.stop_loss_order_id, number) if protection else "",
            take_profit_client_id=client_order_id(protection.take_profit_order_id, number) if protection else "",
        )

    async def submit(self, message: Order, number: int = 1) -> str:
        attempt = self.attempt(message, number)
        answer = await self.harness.executor.submit(attempt)
        assert isinstance(answer, Accepted)
        assert answer.client_order_id == attempt.client_order_id
        assert answer.venue_order_id
        return attempt.client_order_id

    async def cancel(self, client_id: str) -> Any:
        request = CancelRequest(
            account="acc-1",
            instrument=INSTRUMENT,
            client_order_id=client_id,
            venue_order_id="",
            partition=self.harness.partition,
            epoch=self.harness.epoch,
            sent_ms=self.harness.now_ms(),
        )
        return await self.harness.executor.cancel(request)

    async def protect(self, entry: Order, stop_loss: str = "", take_profit: str = "") -> Any:
        assert entry.protection is not None
        request = ProtectionRequest(
            account=entry.account,
            instrument=INSTRUMENT,
            client_order_id=client_order_id(entry.order_id, 1),
            venue_order_id="",
            stop_loss_client_id=client_order_id(entry.protection.stop_loss_order_id, 1),
            take_profit_client_id=client_order_id(entry.protection.take_profit_order_id, 1),
            stop_loss=Decimal(stop_loss) if stop_loss else None,
            take_profit=Decimal(take_profit) if take_profit else None,
            partition=self.harness.partition,
            epoch=self.harness.epoch,
            sent_ms=self.harness.now_ms(),
        )
        return await self.harness.executor.change_protection(request)

    async def told(self, client_id: str, *kinds: str) -> list[VenueEvent]:
        """Read reports until those on `client_id` are of these kinds."""
        mine: list[VenueEvent] = []
        async with asyncio.timeout(5):
            reports = self.harness.executor.reports(self.harness.partition, self.seen[-1].number if self.seen else 0)
            while True:
                mine = [event for event in self.seen if event.client_order_id == client_id]
                if [event.kind for event in mine] == list(kinds):
                    return mine
                assert len(mine) < len(kinds) or not mine, [event.kind for event in mine]
                batch: Sequence[VenueEvent] = await anext(reports)  # type: ignore[arg-type]
                self.seen += batch
                numbers = [event.number for event in self.seen]
                assert numbers == sorted(set(numbers)), "numbers rise"


@pytest.fixture(params=HARNESSES, ids=lambda harness: harness.__name__)
async def case(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Case]:
    harness = request.param(tmp_path)
    await harness.open()
    yield Case(harness)
    await harness.close()


async def test_e01_market_order_is_accepted_then_filled_at_the_touch(case: Case) -> None:
    cid = await case.submit(order("a", protected=False))
    await case.harness.show()
    fill = (await case.told(cid, "accepted", "fill"))[1]
    assert (fill.price, fill.size, fill.final, fill.liquidity) == (Decimal("100.00"), 1, True, "taker")
    assert fill.trade_id
    assert fill.fee is not None
    assert fill.fee_currency == "USDT"
    assert case.harness.executed() == {cid: 1}


async def test_e02_a_repeated_client_order_id_executes_once(case: Case) -> None:
    entry = order("a", protected=False)
    cid = await case.submit(entry)
    for _ in range(2):
        await case.harness.executor.submit(case.attempt(entry))
        await case.harness.show()
    assert case.harness.executed() == {cid: 1}


async def test_e03_query_has_three_answers(case: Case) -> None:
    entry = order("a", kind="limit", limit_price=Decimal("99.00"), protected=False)
    assert isinstance(await case.harness.executor.query(case.attempt(entry)), Absent)
    cid = await case.submit(entry)
    found = await case.harness.executor.query(case.attempt(entry))
    assert isinstance(found, Found)
    assert (found.client_order_id, found.state) == (cid, "open")
    await case.harness.show()
    await case.harness.show(bid="98.00", ask="98.50")
    await case.told(cid, "accepted", "fill")
    found = await case.harness.executor.query(case.attempt(entry))
    assert isinstance(found, Found)
    assert found.state == "filled"
    assert isinstance(await case.harness.executor.query(case.attempt(entry, 2)), Absent)


async def test_e04_limit_order_rests_and_is_a_maker(case: Case) -> None:
    cid = await case.submit(order("a", kind="limit", limit_price=Decimal("99.00"), protected=False))
    await case.harness.show()
    await case.harness.show(bid="98.80", ask="98.90")
    fill = (await case.told(cid, "accepted", "fill"))[1]
    assert (fill.price, fill.liquidity) == (Decimal("99.00"), "maker")


async def test_e05_cancel_of_a_resting_order(case: Case) -> None:
    cid = await case.submit(order("a", kind="limit", limit_price=Decimal("99.00"), protected=False))
    await case.harness.show()
    assert isinstance(await case.cancel(cid), Accepted)
    assert isinstance(await case.cancel(cid), Accepted)  # repeating is harmless
    await case.harness.show()
    assert (await case.told(cid, "accepted", "cancelled"))[1].final
    assert isinstance(await case.cancel(cid), Rejected)
    assert case.harness.executed() == {}


async def test_e06_cancel_of_nothing_is_rejected(case: Case) -> None:
    assert isinstance(await case.cancel("0" * 32), Rejected)


async def test_e07_partial_fill_then_cancel(case: Case) -> None:
    cid = await case.submit(order("a", size=Decimal(5), protected=False))
    await case.harness.show(size="2")
    assert isinstance(await case.cancel(cid), Accepted)
    await case.harness.show(size="0")
    told = await case.told(cid, "accepted", "fill", "cancelled")
    assert (told[1].size, told[1].final, told[2].final) == (2, False, True)
    await case.harness.show()
    assert case.harness.executed() == {cid: 2}


async def test_e08_cancel_that_comes_after_the_fill(case: Case) -> None:
    cid = await case.submit(order("a", protected=False))
    await case.harness.show()
    assert isinstance(await case.cancel(cid), Rejected)
    await case.harness.show()
    await case.told(cid, "accepted", "fill")


async def test_e09_partial_fills_add_up_with_trade_ids_of_their_own(case: Case) -> None:
    cid = await case.submit(order("a", size=Decimal(5), protected=False))
    for _ in range(3):
        await case.harness.show(size="2")
    told = await case.told(cid, "accepted", "fill", "fill", "fill")
    assert [event.size for event in told[1:]] == [2, 2, 1]
    assert len({event.trade_id for event in told[1:]}) == 3
    assert [event.final for event in told] == [False, False, False, True]


async def test_e10_protection_rests_with_the_first_fill_and_grows(case: Case) -> None:
    entry = order("a", size=Decimal(5))
    assert entry.protection is not None
    await case.submit(entry)
    for _ in range(3):
        await case.harness.show(size="2")
    for leg, trigger in (("stop_loss", Decimal(97)), ("take_profit", Decimal(106))):
        leg_id = client_order_id(getattr(entry.protection, f"{leg}_order_id"), 1)
        told = await case.told(leg_id, "accepted", "accepted", "accepted")
        assert [event.size for event in told] == [2, 4, 5]
        assert told[0].trigger_price == trigger


@pytest.mark.parametrize(
    ("price", "fires", "ends"), [("96.50", "stop_loss", "take_profit"), ("106", "take_profit", "stop_loss")]
)
async def test_e11_one_leg_fires_and_the_other_is_cancelled(case: Case, price: str, fires: str, ends: str) -> None:
    entry = order("a")
    await case.submit(entry)
    await case.harness.show()
    await case.harness.print(price)
    await case.harness.show()
    ids = {leg: client_order_id(getattr(entry.protection, f"{leg}_order_id"), 1) for leg in (fires, ends)}
    assert (await case.told(ids[fires], "accepted", "fill"))[1].final
    assert (await case.told(ids[ends], "accepted", "cancelled"))[1].final
    for number in range(4):
        await case.harness.print(("96", "107")[number % 2])
    assert sum(case.harness.executed().values()) == 2  # in and out, once


async def test_e12_protection_of_a_short(case: Case) -> None:
    entry = order("a", side=Side.SELL)
    await case.submit(entry)
    await case.harness.show()
    await case.harness.print("103.20")
    await case.harness.show(bid="103.10", ask="103.20")
    assert entry.protection is not None
    await case.told(client_order_id(entry.protection.stop_loss_order_id, 1), "accepted", "fill")


async def test_e13_reduce_only_closes_its_own_subscription_and_no_more(case: Case) -> None:
    entry, other = order("a", protected=False), order("b", subscription="sub-2", protected=False)
    await case.submit(entry)
    await case.submit(other)
    await case.harness.show(size="50")
    leaving = exit_of(entry, size="3")
    cid = await case.submit(leaving)
    await case.harness.show(size="50")
    assert (await case.told(cid, "accepted", "fill"))[1].size == 1
    again = await case.submit(exit_of(entry, "again"))
    await case.harness.show(size="50")
    assert (await case.told(again, "rejected"))[0].final
    assert case.harness.executed() == {
        client_order_id(entry.order_id, 1): 1,
        client_order_id(other.order_id, 1): 1,
        cid: 1,
    }


async def test_e14_exit_takes_the_legs_with_it(case: Case) -> None:
    entry = order("a")
    assert entry.protection is not None
    await case.submit(entry)
    await case.harness.show()
    await case.submit(exit_of(entry))
    await case.harness.show()
    for leg_id in (entry.protection.stop_loss_order_id, entry.protection.take_profit_order_id):
        await case.told(client_order_id(leg_id, 1), "accepted", "cancelled")


async def test_e15_restart_keeps_orders_legs_and_reports(case: Case) -> None:
    entry = order("a")
    resting = order("b", kind="limit", limit_price=Decimal("99.00"), subscription="sub-2", protected=False)
    assert entry.protection is not None
    cid = await case.submit(entry)
    other = await case.submit(resting)
    await case.harness.show()
    await case.told(cid, "accepted", "fill")
    await case.harness.kill()
    await case.harness.open()
    stop = client_order_id(entry.protection.stop_loss_order_id, 1)
    await case.told(stop, "accepted")
    found = await case.harness.executor.query(case.attempt(resting))
    assert isinstance(found, Found)
    assert found.state == "open"
    await case.harness.print("96.50")
    await case.harness.show(bid="98.00", ask="98.50")
    await case.told(stop, "accepted", "fill")
    await case.told(other, "accepted", "fill")
    assert case.harness.executed() == {cid: 1, stop: 1, other: 1}


async def test_e16_reports_resume_after_any_number(case: Case) -> None:
    cid = await case.submit(order("a"))
    await case.harness.show()
    await case.told(cid, "accepted", "fill")
    first = list(case.seen)
    while len(first) < 4:
        reports = case.harness.executor.reports(case.harness.partition, first[-1].number)
        first += await asyncio.wait_for(anext(reports), 5)  # type: ignore[arg-type]
    for cut in range(len(first)):
        after = first[cut].number if cut else 0
        again: list[VenueEvent] = []
        reports = case.harness.executor.reports(case.harness.partition, after)
        while not again or again[-1].number < first[-1].number:
            if after == first[-1].number:
                break
            again += await asyncio.wait_for(anext(reports), 5)  # type: ignore[arg-type]
        assert again == [event for event in first if event.number > after]


async def test_e17_another_epoch_is_never_served(case: Case) -> None:
    old = case.attempt(order("a"))
    await case.harness.kill()
    await case.harness.open()
    with pytest.raises(Exception, match="epoch"):
        await case.harness.executor.submit(old)
    await case.harness.show()
    assert case.harness.executed() == {}


async def test_e18_cancel_of_a_leg_leaves_its_sibling(case: Case) -> None:
    entry = order("a")
    assert entry.protection is not None
    await case.submit(entry)
    await case.harness.show()
    profit = client_order_id(entry.protection.take_profit_order_id, 1)
    stop = client_order_id(entry.protection.stop_loss_order_id, 1)
    assert isinstance(await case.cancel(profit), Accepted)
    await case.harness.show()
    await case.told(profit, "accepted", "cancelled")
    await case.harness.print("110")
    await case.harness.print("96")
    await case.harness.show()
    assert (await case.told(stop, "accepted", "fill"))[1].kind is ReportKind.FILL


def legs(entry: Order) -> tuple[str, str]:
    assert entry.protection is not None
    return (
        client_order_id(entry.protection.stop_loss_order_id, 1),
        client_order_id(entry.protection.take_profit_order_id, 1),
    )


async def test_e20_new_trigger_prices_move_the_legs_and_are_told(case: Case) -> None:
    entry = order("a")
    stop, profit = legs(entry)
    await case.submit(entry)
    await case.harness.show()
    for _ in range(2):  # repeating is harmless
        assert isinstance(await case.protect(entry, "98.5", "107"), Accepted)
    await case.harness.show()
    assert [event.trigger_price for event in await case.told(stop, "accepted", "accepted")] == [97, Decimal("98.5")]
    assert [event.trigger_price for event in await case.told(profit, "accepted", "accepted")] == [106, 107]
    await case.harness.print("106.5")  # the old take-profit is gone
    await case.harness.print("98.4")
    await case.harness.show(bid="98.40", ask="98.50")
    await case.told(stop, "accepted", "accepted", "fill")
    await case.told(profit, "accepted", "accepted", "cancelled")


async def test_e21_none_leaves_a_leg_as_it_is(case: Case) -> None:
    entry = order("a")
    stop, profit = legs(entry)
    await case.submit(entry)
    await case.harness.show()
    assert isinstance(await case.protect(entry, take_profit="104"), Accepted)
    await case.harness.show()
    await case.harness.print("104.10")
    await case.harness.show(bid="104.10", ask="104.20")
    await case.told(profit, "accepted", "accepted", "fill")
    assert (await case.told(stop, "accepted", "cancelled"))[0].trigger_price == 97


async def test_e22_new_trigger_prices_before_the_entry_fills_are_those_it_brings(case: Case) -> None:
    entry = order("a", kind="limit", limit_price=Decimal("99.00"))
    stop, profit = legs(entry)
    await case.submit(entry)
    await case.harness.show()
    assert isinstance(await case.protect(entry, "96", "105"), Accepted)
    await case.harness.show()
    await case.harness.kill()
    await case.harness.open()
    await case.harness.show(bid="98.80", ask="98.90")
    assert (await case.told(stop, "accepted"))[0].trigger_price == 96
    assert (await case.told(profit, "accepted"))[0].trigger_price == 105


async def test_e23_new_trigger_prices_survive_a_restart(case: Case) -> None:
    entry = order("a")
    stop, _ = legs(entry)
    await case.submit(entry)
    await case.harness.show()
    assert isinstance(await case.protect(entry, "98.5"), Accepted)
    await case.harness.kill()  # it may be on its way still
    await case.harness.open()
    await case.harness.show()
    await case.harness.print("98.4")
    await case.harness.show(bid="98.40", ask="98.50")
    told = await case.told(stop, "accepted", "accepted", "fill")
    assert told[1].trigger_price == Decimal("98.5")


async def test_e24_too_late_to_change_is_rejected_and_changes_nothing(case: Case) -> None:
    entry = order("a")
    await case.submit(entry)
    await case.harness.show()
    await case.harness.print("96.50")
    await case.harness.show()
    answer = await case.protect(entry, "90", "120")
    assert isinstance(answer, Rejected)
    assert answer.code == "not_resting"
    await case.harness.show()
    await case.told(legs(entry)[0], "accepted", "fill")


async def test_e25_a_smaller_exit_leaves_both_legs_for_the_rest(case: Case) -> None:
    entry = order("a", size=Decimal(5))
    stop, profit = legs(entry)
    await case.submit(entry)
    await case.harness.show()
    await case.submit(exit_of(entry, size="2"))
    await case.harness.show()
    for leg in (stop, profit):
        assert [event.size for event in await case.told(leg, "accepted", "accepted")] == [5, 3]
    await case.harness.print("96.50")
    await case.harness.show(bid="96.40", ask="96.50")
    assert (await case.told(stop, "accepted", "accepted", "fill"))[2].size == 3
    assert case.harness.executed()[stop] == 3


async def test_e26_positions_are_netted_and_say_up_to_which_event(case: Case) -> None:
    one, other = order("a", size=Decimal(3), protected=False), order("b", subscription="sub-2", side=Side.SELL)
    assert (await case.harness.executor.positions(case.harness.partition)).holdings == []
    for each in (one, other):
        await case.submit(each)
    await case.harness.show()
    fill = (await case.told(client_order_id(other.order_id, 1), "accepted", "fill"))[1]
    for life in range(2):
        answer = await case.harness.executor.positions(case.harness.partition)
        (held,) = answer.holdings
        assert (held.account, held.instrument, held.size) == ("acc-1", INSTRUMENT, 2)
        assert fill.number <= held.number <= answer.number
        if life == 0:
            await case.harness.kill()
            await case.harness.open()
    await case.submit(exit_of(one, size="3"))
    await case.submit(exit_of(other, size="1"))
    await case.harness.show(size="50")
    assert (await case.harness.executor.positions(case.harness.partition)).holdings == []


def test_e19_every_executor_is_under_this_contract() -> None:
    folder = Path(__file__).parents[2] / "executors"
    assert {path.parent.name for path in folder.glob("*/executor.py")} == {
        harness.__name__.removesuffix("Harness").lower() for harness in HARNESSES
    }
