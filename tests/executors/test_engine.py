"""The execution engine with the paper venue: the life of orders, legs, exits, pauses, restarts."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from executors.protocols import client_order_id
from schemas.reasons import Leg, ReportKind, Side
from schemas.system import ControlState
from tests.executors.support import Bench, cancel_of, exit_of, order, quote, trade, venue_fills

ENTRY_DONE = ("submitted", "accepted", "fill")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    bench.market.add(quote(1000))
    return bench


async def test_entry_fills_and_its_legs_rest_until_the_stop_fires(bench: Bench) -> None:
    entry = order("a")
    protection = entry.protection
    assert protection is not None
    async with bench.running():
        await bench.accept(entry)
        await bench.until(entry.order_id, "submitted", "accepted")
        await bench.tick(quote(1100))
        told = await bench.until(entry.order_id, *ENTRY_DONE)
        assert told[2].price == Decimal("100.00")
        assert told[2].size == 1
        assert told[2].fee == Decimal("0.05")
        stop = await bench.until(protection.stop_loss_order_id, "submitted", "accepted")
        assert (stop[1].leg, stop[1].side, stop[1].trigger_price, stop[1].entry_order_id) == (
            Leg.STOP_LOSS,
            Side.SELL,
            Decimal(97),
            entry.order_id,
        )
        await bench.tick(trade(1200, "96.95"))
        await bench.until(protection.stop_loss_order_id, "submitted", "accepted", "fill")
        await bench.until(protection.take_profit_order_id, "submitted", "accepted", "cancelled")
        assert bench.engine.status().get("working") is None


async def test_legs_follow_the_size_of_partial_fills(bench: Bench) -> None:
    entry = order("a", size=Decimal(3))
    assert entry.protection is not None
    async with bench.running():
        await bench.accept(entry)
        await bench.until(entry.order_id, "submitted", "accepted")
        await bench.tick(quote(1100, size="2"), quote(1200, size="5"))
        await bench.until(entry.order_id, *ENTRY_DONE, "fill")
        told = await bench.until(entry.protection.take_profit_order_id, "submitted", "accepted", "accepted")
        assert [report.size for report in told] == [2, 2, 3]


async def test_exit_cancels_both_legs_first(bench: Bench) -> None:
    entry = order("a")
    leaving = exit_of(entry)
    assert entry.protection is not None
    async with bench.running():
        await bench.accept(entry)
        await bench.until(entry.order_id, "submitted", "accepted")
        await bench.tick(quote(1100))
        await bench.until(entry.order_id, *ENTRY_DONE)
        await bench.accept(leaving)
        for step in range(20):
            await bench.tick(quote(1200 + step))
            await asyncio.sleep(0.02)
        await bench.until(leaving.order_id, *ENTRY_DONE)
        for leg in (entry.protection.stop_loss_order_id, entry.protection.take_profit_order_id):
            await bench.until(leg, "submitted", "accepted", "cancelled")
        order_of_things = [(r.order_id, r.kind) for r in await bench.reports()]
        assert order_of_things.index((leaving.order_id, ReportKind.SUBMITTED)) > order_of_things.index(
            (entry.protection.stop_loss_order_id, ReportKind.CANCELLED)
        )


async def test_a_smaller_exit_leaves_the_rest_protected(bench: Bench) -> None:
    entry = order("a", size=Decimal(5))
    leaving = exit_of(entry, size="2")
    assert entry.protection is not None
    async with bench.running():
        await bench.accept(entry)
        await bench.until(entry.order_id, "submitted", "accepted")
        await bench.tick(quote(1100))
        await bench.until(entry.order_id, *ENTRY_DONE)
        await bench.accept(leaving)
        await bench.until(leaving.order_id, "submitted", "accepted")
        await bench.tick(quote(1200))
        await bench.until(leaving.order_id, *ENTRY_DONE)
        told = await bench.until(entry.protection.stop_loss_order_id, "submitted", "accepted", "accepted")
        assert told[-1].size == 3


async def test_exit_drops_unsent_entries_before_it_but_not_those_after(bench: Bench) -> None:
    before, after = order("before"), order("after", side=Side.SELL)
    leaving = exit_of(before)
    async with bench.running(control=False) as engine:
        await bench.accept(before, leaving, after)
        told = await bench.until(before.order_id, "cancelled")
        assert told[0].code == "exit"
        await bench.until(leaving.order_id, "submitted", "accepted")
        engine.control_read_to_end()
        await bench.until(after.order_id, "submitted", "accepted")
        await bench.tick(quote(1100))
        assert (await bench.until(leaving.order_id, "submitted", "accepted", "rejected"))[2].code == "reduce_only"
        await bench.until(after.order_id, *ENTRY_DONE)


async def test_entries_wait_for_the_control_topic_and_a_pause_refuses_them(bench: Bench) -> None:
    held, refused, free = order("held"), order("refused"), order("free", leader="lead-2", subscription="sub-2")
    async with bench.running(control=False) as engine:
        await bench.accept(held)
        await asyncio.sleep(0.05)
        assert await bench.reports() == []
        engine.control(ControlState(now_ms=1, scope="leader:lead-1", paused=True, reason="breaker"))
        engine.control_read_to_end()
        told = await bench.until(held.order_id, "cancelled")
        assert told[0].code == "paused"
        assert "breaker" in told[0].message
        await bench.accept(refused, free)
        await bench.until(refused.order_id, "cancelled")
        await bench.until(free.order_id, "submitted", "accepted")
        engine.control(ControlState(now_ms=2, scope="leader:lead-1", paused=False))
        again = order("again")
        await bench.accept(again)
        await bench.until(again.order_id, "submitted", "accepted")


async def test_pause_is_looked_at_again_between_commit_and_request(bench: Bench) -> None:
    entry = order("a")

    def pause(point: str) -> None:
        if point == "persisted":
            bench.engine.control(ControlState(now_ms=1, scope="*", paused=True))

    async with bench.running(reached=pause):
        await bench.accept(entry)
        await bench.until(entry.order_id, "submitted", "cancelled")
        assert await bench.paper._journal.find(client_order_id(entry.order_id, 1)) is None


async def test_expired_entries_are_told_and_never_sent(bench: Bench) -> None:
    late = order("late", not_after_ms=1050)
    bench.market.add(quote(1100))
    async with bench.running():
        await bench.accept(late)
        assert (await bench.until(late.order_id, "expired"))[0].code == "expired"


async def test_a_repeated_order_is_known_and_a_different_one_alarms(bench: Bench) -> None:
    entry = order("a")
    async with bench.running() as engine:
        await bench.accept(entry)
        await bench.until(entry.order_id, "submitted", "accepted")
        await bench.tick(quote(1100))
        await bench.until(entry.order_id, *ENTRY_DONE)
        await bench.accept(entry, order("a", now_ms=1000), order("a", size=Decimal(7)))
        await engine.accept(0, [0, 1], [entry, entry])  # below the position: not even looked at
        await bench.tick(quote(1200), quote(1300))
        await asyncio.sleep(0.05)
        await bench.until(entry.order_id, *ENTRY_DONE)
        assert await bench.alerts() == ["order_repeated_differently"]
        assert venue_fills(bench.store) == {client_order_id(entry.order_id, 1): Decimal(1)}


async def test_cancel_of_a_resting_limit_order_and_of_an_unknown_one(bench: Bench) -> None:
    entry = order("a", kind="limit", limit_price=Decimal("99.00"))
    assert entry.protection is not None
    async with bench.running():
        await bench.accept(entry)
        await bench.until(entry.order_id, "submitted", "accepted")
        await bench.tick(quote(1100))
        await bench.accept(cancel_of(entry.order_id), cancel_of("ffff"))
        for step in range(10):
            await bench.tick(quote(1200 + step))
            await asyncio.sleep(0.02)
        await bench.until(entry.order_id, "submitted", "accepted", "cancelled")
        assert await bench.alerts() == ["cancel_unknown"]
        assert bench.engine.status() == {"partitions": 1, "accounts": 1}  # its legs went with it


async def test_restart_goes_on_with_orders_and_legs(bench: Bench) -> None:
    entry = order("a")
    assert entry.protection is not None
    async with bench.running():
        await bench.accept(entry)
        await bench.until(entry.order_id, "submitted", "accepted")
        await bench.tick(quote(1100))
        await bench.until(entry.order_id, *ENTRY_DONE)
        await bench.until(entry.protection.stop_loss_order_id, "submitted", "accepted")
    bench.market.add(trade(1200, "106.50"))  # while nobody is there
    async with bench.running():
        await bench.until(entry.protection.take_profit_order_id, "submitted", "accepted", "fill")
        await bench.until(entry.protection.stop_loss_order_id, "submitted", "accepted", "cancelled")
    numbers = [stamp for stamp, _ in bench.published]
    assert numbers == sorted(set(numbers))


async def test_order_for_an_unknown_venue_is_rejected(bench: Bench) -> None:
    entry = order("a", venue="elsewhere")
    async with bench.running():
        await bench.accept(entry)
        assert (await bench.until(entry.order_id, "rejected"))[0].code == "no_executor"


async def test_exit_does_not_wait_for_ever(bench: Bench) -> None:
    bench.timing = replace(bench.timing, exit_wait_s=0.1)
    entry = order("a", kind="limit", limit_price=Decimal("99.00"))
    leaving = exit_of(entry)
    async with bench.running():
        await bench.accept(entry)
        await bench.until(entry.order_id, "submitted", "accepted")
        await bench.accept(leaving)  # the market stands still: the cancel of the entry is never confirmed
        await bench.until(leaving.order_id, "submitted", "accepted")
        assert await bench.alerts() == ["exit_did_not_wait"]
