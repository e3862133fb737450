"""Many accounts in the queue: who goes first, what a pause or the time stops, and who waits for whom."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from executors.protocols import Accepted, Attempt, SubmitResult, client_order_id
from schemas.reasons import ReportKind
from schemas.system import ControlState
from tests.executors.support import Bench, FakeVenue, eventually, exit_of, order

ACCOUNTS = 1000


class SlowVenue(FakeVenue):
    """Takes every request and answers none of them until `answers` is set."""

    def __init__(self, *args: Any, **fields: Any) -> None:
        super().__init__(*args, **fields)
        self.answers = asyncio.Event()
        self.arrived: list[Attempt] = []

    async def submit(self, attempt: Attempt) -> SubmitResult:
        self.arrived.append(attempt)
        await self.answers.wait()
        return Accepted("v", attempt.client_order_id)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def entries(count: int = ACCOUNTS, each: int = 1) -> list[Any]:
    return [
        order(
            f"e{number}-{turn}",
            account=f"acc-{number}",
            subscription=f"acc-{number}/{turn}",
            leader=f"lead-{number % 2}",
            protected=False,
        )
        for number in range(count)
        for turn in range(each)
    ]


@pytest.mark.parametrize(
    ("scope", "stopped"),
    [
        ("*", lambda each: True),
        ("leader:lead-1", lambda each: each.leader == "lead-1"),
        ("account:acc-7", lambda each: each.account == "acc-7"),
        ("subscription:acc-7/1", lambda each: each.subscription == "acc-7/1"),
    ],
)
async def test_a_pause_stops_every_unsent_entry_of_a_thousand_accounts(
    bench: Bench, tmp_path: Path, scope: str, stopped: Any
) -> None:
    """Each account has one entry at the slow venue and one behind it when the pause comes."""
    venue = SlowVenue(tmp_path / "venue.db")
    bench.timing = type(bench.timing)(request_timeout_s=30)
    orders = entries(each=2)
    async with bench.running(venue) as engine:
        await bench.accept(*orders)

        async def arrived() -> int:
            return len(venue.arrived)

        await eventually(arrived, lambda count: count == ACCOUNTS, seconds=30)
        engine.control(ControlState(now_ms=1, scope=scope, paused=True, reason="test"))
        venue.answers.set()
        sent_before = {attempt.order.order_id for attempt in venue.arrived}
        unsent = [each for each in orders if each.order_id not in sent_before]
        wanted = {each.order_id for each in unsent if stopped(each)}
        free = {each.order_id for each in unsent} - wanted
        assert wanted

        async def told() -> set[str]:
            return {report.order_id for report in await bench.reports() if report.kind is ReportKind.CANCELLED}

        assert await eventually(told, lambda found: found == wanted, seconds=30)
        await eventually(arrived, lambda count: count == ACCOUNTS + len(free), seconds=30)
        assert {attempt.order.order_id for attempt in venue.arrived} == sent_before | free


async def test_a_pause_before_anything_is_sent_stops_all(bench: Bench, tmp_path: Path) -> None:
    venue = SlowVenue(tmp_path / "venue.db")
    async with bench.running(venue, control=False) as engine:
        await bench.accept(*entries())
        engine.control(ControlState(now_ms=1, scope="*", paused=True))
        engine.control_read_to_end()

        async def told() -> int:
            return len([report for report in await bench.reports() if report.code == "paused"])

        await eventually(told, lambda count: count == ACCOUNTS, seconds=30)
        assert venue.arrived == []


async def test_an_exit_passes_the_entries_that_wait(bench: Bench, tmp_path: Path) -> None:
    """The exit comes last in the log and leaves first: the entries wait for the control topic."""
    held = order("held", subscription="sub-9", protected=False)
    waiting = [order(f"w{number}", subscription=f"sub-{number}", protected=False) for number in range(5)]
    venue = FakeVenue(tmp_path / "venue.db")
    async with bench.running(venue, control=False) as engine:
        await bench.accept(*waiting, exit_of(held))
        await bench.until(exit_of(held).order_id, "submitted", "accepted", "fill")
        engine.control(ControlState(now_ms=1, scope="subscription:sub-3", paused=True))
        engine.control_read_to_end()
        for each in waiting:
            wanted = ("cancelled",) if each.subscription == "sub-3" else ("submitted", "accepted", "fill")
            await bench.until(each.order_id, *wanted)
        submits = [cid for kind, cid in venue.requests if kind == "submit"]
        assert submits[0] == client_order_id(exit_of(held).order_id, 1)


async def test_an_exit_passes_entries_behind_a_slow_request(bench: Bench, tmp_path: Path) -> None:
    bench.timing = type(bench.timing)(request_timeout_s=30)
    held = order("held", subscription="sub-9", protected=False)
    waiting = [order(f"w{number}", subscription=f"sub-{number}", protected=False) for number in range(3)]
    venue = SlowVenue(tmp_path / "venue.db")

    async def arrived() -> list[str]:
        return [attempt.order.order_id for attempt in venue.arrived]

    async with bench.running(venue):
        await bench.accept(*waiting)
        await eventually(arrived, lambda ids: len(ids) == 1)
        await bench.accept(exit_of(held))
        venue.answers.set()
        ids = await eventually(arrived, lambda ids: len(ids) == 4)
        assert ids[1] == exit_of(held).order_id


async def test_an_entry_whose_time_passes_in_the_queue_is_not_sent(bench: Bench, tmp_path: Path) -> None:
    bench.timing = type(bench.timing)(request_timeout_s=30)
    first = order("first", protected=False)
    late = order("late", subscription="sub-2", protected=False, not_after_ms=5000)
    venue = SlowVenue(tmp_path / "venue.db")
    async with bench.running(venue):
        await bench.accept(first, late)

        async def arrived() -> int:
            return len(venue.arrived)

        await eventually(arrived, lambda count: count == 1)
        bench.market.now_ms = 5001
        venue.answers.set()
        assert (await bench.until(late.order_id, "expired"))[0].code == "expired"
        assert len(venue.arrived) == 1


async def test_a_slow_account_delays_no_other(bench: Bench, tmp_path: Path) -> None:
    bench.timing = type(bench.timing)(request_timeout_s=30)
    venue = FakeVenue(tmp_path / "venue.db")
    venue.hung = {"acc-0", "acc-500"}
    orders = entries()
    async with bench.running(venue):
        await bench.accept(*orders)

        async def filled() -> set[str]:
            return {report.account for report in await bench.reports() if report.kind is ReportKind.FILL}

        others = {each.account for each in orders} - venue.hung
        await eventually(filled, lambda accounts: accounts == others, seconds=30)
