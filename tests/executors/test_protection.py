"""New trigger prices and partial reductions through the engine, with the paper venue."""

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from executors.protocols import Accepted, ProtectionRequest, ProtectionResult, Rejected, Unknown, client_order_id
from executors.store import tables
from schemas.orders import Order
from schemas.reasons import Leg
from schemas.status import VenueReport
from tests.executors.support import Bench, FakeVenue, eventually, exit_of, order, protect, quote, trade

ENTRY_DONE = ("submitted", "accepted", "fill")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    bench.market.add(quote(1000))
    return bench


async def entered(bench: Bench, *entries: Order) -> None:
    await bench.accept(*entries)
    for entry in entries:
        await bench.until(entry.order_id, "submitted", "accepted")
    await bench.tick(quote(bench.market.now_ms + 100))
    for entry in entries:
        await bench.until(entry.order_id, *ENTRY_DONE)
        assert entry.protection is not None
        await bench.until(entry.protection.stop_loss_order_id, "submitted", "accepted")
        await bench.until(entry.protection.take_profit_order_id, "submitted", "accepted")


def legs(entry: Order) -> tuple[str, str]:
    assert entry.protection is not None
    return entry.protection.stop_loss_order_id, entry.protection.take_profit_order_id


async def ticking(bench: Bench, order_id: str, good: Any) -> list[VenueReport]:
    """Quotes go by until the reports of an order are good."""

    async def look() -> list[VenueReport]:
        await bench.tick(quote(bench.market.now_ms + 1))
        return await bench.reports(order_id)

    return await eventually(look, good)


async def unsettled(bench: Bench) -> list[Any]:
    return await bench.store.database.run(lambda connection: connection.execute(sa.select(tables.protection)).all())


async def test_new_trigger_prices_reach_the_venue_and_are_told(bench: Bench) -> None:
    entry = order("a")
    async with bench.running():
        await entered(bench, entry)
        await bench.accept(protect(entry, stop_loss="98.5"))
        told = await ticking(bench, legs(entry)[0], lambda told: len(told) == 3)
        assert [(report.kind, report.trigger_price) for report in told[1:]] == [
            ("accepted", 97),
            ("accepted", Decimal("98.5")),
        ]
        assert told[2].leg is Leg.STOP_LOSS
        await bench.until(legs(entry)[1], "submitted", "accepted")
        await eventually(lambda: unsettled(bench), lambda rows: not rows)
        await bench.tick(trade(bench.market.now_ms + 1, "98.4"))
        await bench.until(legs(entry)[0], "submitted", "accepted", "accepted", "fill")
    async with bench.running():
        assert await bench.alerts() == []


async def test_an_entry_that_is_not_sent_yet_brings_the_new_prices(bench: Bench) -> None:
    entry, same_batch = order("a"), order("b", subscription="sub-2")
    async with bench.running(control=False):
        await bench.accept(entry, same_batch, protect(same_batch, "96", "104"))
        await bench.accept(protect(entry, stop_loss="98"))
        assert await unsettled(bench) == []
    async with bench.running():  # a restart in between: the rows carry it
        for each in (entry, same_batch):
            await bench.until(each.order_id, "submitted", "accepted")
        await bench.tick(quote(1100))
        for each, prices in ((entry, (98, 106)), (same_batch, (96, 104))):
            for leg, price in zip(legs(each), prices, strict=True):
                assert (await bench.until(leg, "submitted", "accepted"))[1].trigger_price == price
        await bench.accept(entry, same_batch)  # the first form stands in the log: known, no alarm
        assert await bench.alerts() == []


async def test_too_many_entries_in_the_queue_do_not_hide_one_from_a_change(bench: Bench) -> None:
    entries = [order(f"e{number}", subscription=f"sub-{number}") for number in range(5)]
    bench.timing = type(bench.timing)(**{**_fields(bench.timing), "max_queue": 2})
    async with bench.running(control=False) as engine:
        await bench.accept(*entries)
        await bench.accept(protect(entries[4], stop_loss="98"))
        engine.control_read_to_end()
        await bench.until(entries[4].order_id, "submitted", "accepted")
        await bench.tick(quote(1100))
        assert (await bench.until(legs(entries[4])[0], "submitted", "accepted"))[1].trigger_price == 98


def _fields(timing: Any) -> dict[str, Any]:
    return {name: getattr(timing, name) for name in type(timing).__dataclass_fields__}


async def test_a_change_of_a_bracket_that_has_ended_is_told_and_harmless(bench: Bench) -> None:
    entry = order("a")
    async with bench.running():
        await entered(bench, entry)
        await bench.tick(trade(bench.market.now_ms + 1, "96"))
        await bench.until(legs(entry)[0], "submitted", "accepted", "fill")
        await bench.until(legs(entry)[1], "submitted", "accepted", "cancelled")
        await bench.accept(protect(entry, "90", "120"))
        for leg in legs(entry):
            told = await eventually(lambda leg=leg: bench.reports(leg), lambda told: len(told) == 4)
            assert (told[3].kind, told[3].code) == ("rejected", "not_resting")
            assert told[3].trigger_price in (97, 106)
        assert await unsettled(bench) == []


async def test_a_change_that_the_fill_overtakes_is_told(bench: Bench) -> None:
    entry = order("a")
    async with bench.running():
        await entered(bench, entry)
        await bench.tick(trade(bench.market.now_ms + 1, "96"))  # fired; its reports may not be booked yet
        await bench.accept(protect(entry, "90", "120"))
        told = await eventually(lambda: bench.reports(legs(entry)[0]), lambda told: len(told) == 4)
        assert [report.kind for report in told] == ["submitted", "accepted", "fill", "rejected"]
        assert await unsettled(bench) == []


async def test_a_change_for_an_unknown_order_alarms(bench: Bench) -> None:
    async with bench.running():
        await bench.accept(protect(order("never"), "90"))
        assert await bench.alerts() == ["protection_unknown"]


class Answering(FakeVenue):
    """Answers changes as told, one after the other."""

    answers: list[ProtectionResult]

    async def change_protection(self, request: ProtectionRequest) -> ProtectionResult:
        self.requests.append(("change", str(request.stop_loss)))
        return self.answers.pop(0) if self.answers else Accepted("v", request.client_order_id)


def fake(bench: Bench, tmp_path: Path, *answers: ProtectionResult) -> Answering:
    venue = Answering(tmp_path / "venue.db", now_ms=lambda: bench.market.now_ms)
    venue.answers = list(answers)
    return venue


async def asked(venue: FakeVenue) -> list[str]:
    return [price for kind, price in venue.requests if kind == "change"]


async def test_a_change_without_an_answer_is_asked_for_again_also_after_a_restart(bench: Bench, tmp_path: Path) -> None:
    entry = order("a")
    venue = fake(bench, tmp_path, *[Unknown("cut")] * 1000)
    async with bench.running(venue):
        await bench.accept(entry)
        await bench.until(entry.order_id, *ENTRY_DONE)
        await bench.accept(protect(entry, "98"))
        await eventually(lambda: asked(venue), lambda prices: prices[:2] == ["98", "98"])
        await bench.accept(protect(entry, take_profit="104"))  # joined with the first
        assert [(row.stop_loss, row.take_profit) for row in await unsettled(bench)] == [("98", "104")]
    venue = fake(bench, tmp_path)
    async with bench.running(venue):
        await eventually(lambda: unsettled(bench), lambda rows: not rows)
        assert await asked(venue) == ["98"]
        await asyncio.sleep(0.1)
        assert await asked(venue) == ["98"]  # once it has it, no more


async def test_a_change_that_the_venue_refuses_alarms(bench: Bench, tmp_path: Path) -> None:
    entry = order("a")
    venue = fake(bench, tmp_path, Rejected("-2021", "Order would immediately trigger."))
    async with bench.running(venue):
        await bench.accept(entry)
        await bench.until(entry.order_id, *ENTRY_DONE)
        await bench.accept(protect(entry, "101"))
        assert await eventually(bench.alerts, lambda alerts: alerts == ["protection_unchanged"])
        assert await unsettled(bench) == []


async def test_several_exits_at_once_close_the_oldest_brackets_and_leave_the_rest_protected(bench: Bench) -> None:
    sizes = {"a": "2", "b": "3", "c": "1"}
    entries = [order(name, size=Decimal(size)) for name, size in sizes.items()]
    async with bench.running():
        for entry in entries:
            await entered(bench, entry)
        first, second = exit_of(entries[0], size="2"), exit_of(entries[1], size="1")
        await bench.accept(first, second)
        for leaving in (first, second):
            await ticking(bench, leaving.order_id, lambda told: [each.kind for each in told] == [*ENTRY_DONE])
        for leg in legs(entries[0]):
            await bench.until(leg, "submitted", "accepted", "cancelled")
        for leg in legs(entries[1]):
            told = await eventually(lambda leg=leg: bench.reports(leg), lambda told: told[-1].size == 2)
            assert {report.kind for report in told[1:]} == {"accepted"}
        for leg in legs(entries[2]):
            await bench.until(leg, "submitted", "accepted")
        await bench.tick(trade(bench.market.now_ms + 1, "96"))
        for entry, size in ((entries[1], 2), (entries[2], 1)):
            told = await eventually(
                lambda entry=entry: bench.reports(legs(entry)[0]), lambda told: told[-1].kind == "fill"
            )
            assert told[-1].size == size
        groups = bench.paper._shards[0].core.positions.groups
        assert groups == {}
        stop = client_order_id(legs(entries[1])[0], 1)
        assert bench.paper._shards[0].core.orders.get(stop) is None


async def test_a_smaller_exit_leaves_stop_and_profit_for_the_rest(bench: Bench) -> None:
    entry = order("a", size=Decimal(5))
    leaving = exit_of(entry, size="2")
    async with bench.running():
        await entered(bench, entry)
        await bench.accept(leaving)
        await ticking(bench, leaving.order_id, lambda told: [each.kind for each in told] == [*ENTRY_DONE])
        for leg in legs(entry):
            assert (await bench.until(leg, "submitted", "accepted", "accepted"))[2].size == 3
        last = exit_of(entry, "last", size="3")
        await bench.accept(last)
        await ticking(bench, last.order_id, lambda told: [each.kind for each in told] == [*ENTRY_DONE])
        for leg in legs(entry):
            await bench.until(leg, "submitted", "accepted", "accepted", "cancelled")
