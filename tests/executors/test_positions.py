"""The venue's netted positions on account-events: equal to the sum of the fills told before, whenever they are told."""

import asyncio
from collections import defaultdict
from decimal import Decimal
from pathlib import Path

import pytest

from schemas.reasons import ReportKind, Side
from schemas.status import VenuePosition, VenueReport
from tests.executors.support import Bench, FakeVenue, eventually, exit_of, order, quote

MINUTE = 60_000


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    bench.market.add(quote(1000))
    return bench


async def told(bench: Bench) -> list[tuple[str, Decimal]]:
    """Publish and check: at each VenuePosition, the fills before it add up to it."""
    await bench.publish()
    sums: dict[str, Decimal] = defaultdict(Decimal)
    found = []
    for _, message in bench.published:
        if isinstance(message, VenueReport) and message.kind is ReportKind.FILL:
            sums[message.account] += message.size if message.side is Side.BUY else -message.size
        elif isinstance(message, VenuePosition):
            assert sums[message.account] == message.size
            found.append((message.account, message.size))
    return found


async def until(bench: Bench, *wanted: tuple[str, int]) -> None:
    await eventually(lambda: told(bench), lambda found: sorted(found) == sorted(wanted))


async def test_positions_are_told_every_minute_if_they_changed_and_once_after_a_claim(bench: Bench) -> None:
    entries = [
        order("a"),
        order("b", subscription="sub-2", size=Decimal(2)),
        order("c", account="acc-2", side=Side.SELL),
    ]
    async with bench.running():
        await bench.accept(*entries)
        for entry in entries:
            await bench.until(entry.order_id, "submitted", "accepted")
        await bench.tick(quote(1100))
        for entry in entries:
            await bench.until(entry.order_id, "submitted", "accepted", "fill")
        await asyncio.sleep(0.05)
        assert await told(bench) == []  # within the minute after the claim, which told that there is nothing
        await bench.tick(quote(1100 + MINUTE))
        await until(bench, ("acc-1", 3), ("acc-2", -1))
        await bench.tick(quote(1100 + 2 * MINUTE))
        await asyncio.sleep(0.05)
        await until(bench, ("acc-1", 3), ("acc-2", -1))  # nothing has changed
    async with bench.running():
        await until(bench, ("acc-1", 3), ("acc-2", -1), ("acc-1", 3), ("acc-2", -1))
        leaving = exit_of(entries[2], now_ms=bench.market.now_ms)
        await bench.accept(leaving)
        for _ in range(20):
            await bench.tick(quote(bench.market.now_ms + 1))
            await asyncio.sleep(0.01)
        await bench.until(leaving.order_id, "submitted", "accepted", "fill")
        await bench.tick(quote(bench.market.now_ms + MINUTE))
        await eventually(lambda: told(bench), lambda found: found[-1] == ("acc-2", 0))


async def test_a_position_waits_until_its_fills_are_booked(bench: Bench, tmp_path: Path) -> None:
    held = asyncio.Event()

    class Slow(FakeVenue):
        async def reports(self, partition, after):  # type: ignore[no-untyped-def]
            await held.wait()
            async for events in super().reports(partition, after):
                yield events

    async with bench.running(Slow(tmp_path / "venue.db")):
        await bench.accept(order("a", protected=False))
        await eventually(lambda: bench.paper.positions(0), lambda positions: positions.holdings)
        bench.market.now_ms += MINUTE
        await asyncio.sleep(0.05)
        assert await told(bench) == []
        held.set()
        await until(bench, ("acc-1", 1))


async def test_what_our_books_hold_and_the_venue_does_not_is_told_as_zero(bench: Bench, tmp_path: Path) -> None:
    entry = order("a")
    async with bench.running(FakeVenue(tmp_path / "venue.db")):
        await bench.accept(entry)
        await bench.until(entry.order_id, "submitted", "accepted", "fill")
    async with bench.running(FakeVenue(tmp_path / "other.db", history=False)):  # the venue has forgotten

        async def positions() -> list[VenuePosition]:
            await bench.publish()
            return [message for _, message in bench.published if isinstance(message, VenuePosition)]

        seen = await eventually(positions, lambda found: found)
        assert [(each.account, each.size) for each in seen] == [("acc-1", 0)]
