"""Exactly once against a venue that misbehaves. The count is the venue's, never the store's (execution.md, 11)."""

import asyncio
import shutil
import sqlite3
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from executors.account import AccountWorker
from executors.engine import ExecutionEngine
from executors.lifecycle import READY
from executors.protocols import Attempt, client_order_id
from schemas.orders import Order
from tests.executors.support import Bench, FakeVenue, eventually, exit_of, order

BARE = {"protected": False}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def venue(tmp_path: Path, **settings: Any) -> FakeVenue:
    return FakeVenue(tmp_path / "venue.db", **settings)


async def settled(bench: Bench) -> None:
    """Wait until nothing is live any more."""

    async def live() -> set[str]:
        return set(bench.engine.status()) - {"partitions", "accounts"}

    await eventually(live, lambda states: not states)


@pytest.mark.parametrize(
    ("faults", "lag", "attempts", "told"),
    [
        ([], 0, 1, ["submitted", "accepted", "fill"]),
        (["reject"], 0, 1, ["submitted", "rejected"]),
        (["drop_before"], 0, 2, ["submitted", "unknown", "accepted", "fill"]),
        (["drop_after"], 0, 1, None),
        (["hang"], 0, 1, None),
        (["drop_after"], 3, 1, None),
        (
            ["drop_before", "drop_before", "drop_before"],
            0,
            3,
            ["submitted", "unknown", "unknown", "unknown", "expired"],
        ),
        (["drop_before", "drop_after"], 0, 2, None),
    ],
)
async def test_one_order_is_executed_at_most_once(
    bench: Bench, tmp_path: Path, faults: list[str], lag: int, attempts: int, told: list[str] | None
) -> None:
    # The window covers the read lag: "not found" proves nothing before it is over.
    paper = venue(tmp_path, faults=faults, lag=lag, window_ms=50 if lag else 0, now_ms=lambda: bench.market.now_ms)
    entry = order("a", **BARE)
    async with bench.running(paper):
        await bench.accept(entry)
        for step in range(30):
            bench.market.now_ms += 5
            await asyncio.sleep(0.01 if step < 20 else 0)
        await settled(bench)
        submits = [cid for kind, cid in paper.requests if kind == "submit"]
        assert submits == [client_order_id(entry.order_id, number) for number in range(1, attempts + 1)]
        kinds = [report.kind for report in await bench.reports(entry.order_id)]
    if told is not None:
        assert kinds == told
    else:
        assert kinds.count("accepted") == 1
        assert kinds.count("fill") == 1
    # Second start and a duplicate delivery.
    async with bench.running(venue(tmp_path)):
        await bench.accept(entry)
        await settled(bench)
    none = "reject" in faults or (told is not None and told[-1] == "expired")
    assert paper.executed() == ({} if none else {entry.order_id: Decimal(1)})


@pytest.mark.parametrize(("window_ms", "late_by", "fence"), [(100, 50, True), (100, 150, True), (100, 50, False)])
async def test_a_late_request_is_fenced_by_its_deadline(
    bench: Bench, tmp_path: Path, window_ms: int, late_by: int, fence: bool
) -> None:
    """A request that reaches the venue after the line was cut; without the fence the order doubles."""
    paper = venue(tmp_path, faults=["late"], window_ms=window_ms, now_ms=lambda: bench.market.now_ms)
    entry = order("a", **BARE)
    async with bench.running(paper):
        if not fence:
            paper.read_lag_ms = -window_ms  # the mutation: "not found" believed at once
        await bench.accept(entry)
        await eventually(lambda: bench.reports(entry.order_id), lambda found: len(found) >= 2)
        if not fence:
            await eventually(lambda: bench.reports(entry.order_id), lambda found: [r.kind for r in found][-1] == "fill")
        bench.market.now_ms += late_by
        paper.release_late()
        await asyncio.sleep(0.05)
        bench.market.now_ms += window_ms
        await settled(bench)
    assert paper.executed() == {entry.order_id: Decimal(1 if fence else 2)}


async def test_no_request_without_its_committed_attempt(bench: Bench, tmp_path: Path) -> None:
    seen = await _committed_when_sent(bench, tmp_path)
    assert seen == ["sending"]


async def test_that_check_sees_a_missing_persist(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def later(self: AccountWorker, row: Any, attempt: Attempt, changes: Any) -> None: ...

    monkeypatch.setattr(AccountWorker, "_persist", later)
    assert await _committed_when_sent(bench, tmp_path) == [None]


async def _committed_when_sent(bench: Bench, tmp_path: Path) -> list[str | None]:
    """State of the attempt, as another connection sees it while the venue executes."""
    seen: list[str | None] = []

    def look(attempt: Attempt) -> None:
        with sqlite3.connect(tmp_path / "execution.db") as connection:
            row = connection.execute(
                "SELECT state FROM execution_attempts WHERE client_order_id = ?", (attempt.client_order_id,)
            ).fetchone()
        seen.append(None if row is None else row[0])

    async with bench.running(venue(tmp_path, before_execution=look)):
        await bench.accept(order("a", **BARE))
        await settled(bench)
    return seen


@pytest.mark.parametrize("ask_first", [True, False])
async def test_a_store_restored_from_a_backup_asks_before_it_sends(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask_first: bool
) -> None:
    """The log holds orders that the restored store has never seen; with the rule off each is executed again."""
    entry = order("a", **BARE)
    leaving = exit_of(entry)
    async with bench.running(venue(tmp_path)):
        pass
    shutil.copy(tmp_path / "execution.db", tmp_path / "backup.db")
    async with bench.running(venue(tmp_path)):
        await bench.accept(entry)
        await settled(bench)
        await bench.accept(leaving)
        await settled(bench)
    for suffix in ("-wal", "-shm"):
        (tmp_path / f"execution.db{suffix}").unlink(missing_ok=True)
    shutil.copy(tmp_path / "backup.db", tmp_path / "execution.db")
    if not ask_first:
        monkeypatch.setattr(ExecutionEngine, "_first_state", lambda self, partition, offset: READY)
    bench.offset = 0
    paper = venue(tmp_path, history=False)
    async with bench.running(paper, log_end=2):
        for message in (entry, leaving):
            await bench.accept(message)
            await settled(bench)
        for order_id in (entry.order_id, leaving.order_id):
            assert [report.kind for report in await bench.reports(order_id)][-1] == "fill"
    expected = Decimal(1 if ask_first else 2)
    assert paper.executed() == {entry.order_id: expected, leaving.order_id: expected}


async def test_an_order_the_venue_knows_by_a_later_attempt_is_found(bench: Bench, tmp_path: Path) -> None:
    entry = order("a", **BARE)
    async with bench.running(venue(tmp_path, faults=["drop_before"])):
        await bench.accept(entry)
        await settled(bench)
    (tmp_path / "execution.db").unlink()
    bench.offset = 0
    paper = venue(tmp_path)
    async with bench.running(paper, log_end=1):
        await bench.accept(entry)
        await settled(bench)
    assert paper.executed() == {entry.order_id: Decimal(1)}


async def test_orders_accepted_without_a_known_log_end_are_asked_about(bench: Bench, tmp_path: Path) -> None:
    paper = venue(tmp_path)
    async with bench.running(paper, log_end=None):
        await bench.accept(order("a", **BARE))
        await settled(bench)
    assert [kind for kind, _ in paper.requests] == ["query", "query", "query", "submit"]


async def test_a_hanging_account_delays_no_other(bench: Bench, tmp_path: Path) -> None:
    paper = venue(tmp_path)
    paper.hung.add("acc-slow")
    slow = [order(f"slow-{n}", account="acc-slow", **BARE) for n in range(3)]
    quick = [order(f"quick-{n}", account=f"acc-{n}", **BARE) for n in range(20)]
    async with bench.running(paper):
        await bench.accept(*slow, *quick)

        async def executed() -> set[str]:
            return set(paper.executed())

        await eventually(executed, lambda ids: ids == {entry.order_id for entry in quick})


async def test_a_fill_reported_twice_counts_once(bench: Bench, tmp_path: Path) -> None:
    paper = venue(tmp_path)
    paper.repeats = True
    entries = [order(f"e{n}", account=f"acc-{n}", **BARE) for n in range(3)]
    async with bench.running(paper):
        await bench.accept(*entries)
        await settled(bench)
        await asyncio.sleep(0.05)
        for entry in entries:
            assert [report.kind for report in await bench.reports(entry.order_id)].count("fill") == 1
        assert await bench.alerts() == []


async def test_an_order_that_is_not_ours_is_told_to_the_operator(bench: Bench, tmp_path: Path) -> None:
    paper = venue(tmp_path)
    async with bench.running(paper) as engine:
        stranger = order("manual", **BARE)
        paper._execute(_attempt_of(stranger))
        await eventually(bench.alerts, lambda kinds: kinds == ["foreign_order"])
        assert set(engine.status()) == {"partitions", "accounts"}


def _attempt_of(message: Order) -> Attempt:
    return Attempt(
        client_order_id="f" * 32, number=1, order=message, partition=0, epoch=1, prepared_ms=0, deadline_ms=0
    )


async def test_a_long_queue_waits_in_the_store_in_order(bench: Bench, tmp_path: Path) -> None:
    bench.timing = replace(bench.timing, max_queue=4)
    paper = venue(tmp_path)
    entries = [order(f"e{n}", subscription=f"sub-{n}", **BARE) for n in range(30)]
    async with bench.running(paper, control=False) as engine:
        await bench.accept(*entries[:20])
        await bench.accept(*entries[20:])
        assert engine.unsent_entries() == 30
        assert engine.status()["ready"] == 4
        engine.control_read_to_end()
        await eventually(_executed(paper), lambda ids: len(ids) == 30)
        await settled(bench)
    submits = [cid for kind, cid in paper.requests if kind == "submit"]
    assert submits == [client_order_id(entry.order_id, 1) for entry in entries]


async def test_an_exit_drops_entries_that_wait_in_the_store(bench: Bench, tmp_path: Path) -> None:
    bench.timing = replace(bench.timing, max_queue=2)
    paper = venue(tmp_path)
    entries = [order(f"e{n}", **BARE) for n in range(9)]
    leaving = exit_of(order("old"))
    async with bench.running(paper, control=False) as engine:
        await bench.accept(*entries, leaving)
        await eventually(_executed(paper), lambda ids: ids == {leaving.order_id})
        engine.control_read_to_end()
        await settled(bench)
        for entry in entries:
            assert [report.code for report in await bench.reports(entry.order_id)] == ["exit"]


def _executed(paper: FakeVenue) -> Any:
    async def look() -> set[str]:
        return set(paper.executed())

    return look


async def test_exits_pass_entries_of_their_account(bench: Bench, tmp_path: Path) -> None:
    paper = venue(tmp_path)
    entries: list[Order] = [order(f"e{n}", subscription=f"sub-{n}", **BARE) for n in range(3)]
    leaving = exit_of(order("old", subscription="sub-old"))
    async with bench.running(paper):
        await bench.accept(*entries, leaving)
        await settled(bench)
    submits = [cid for kind, cid in paper.requests if kind == "submit"]
    assert submits[0] == client_order_id(leaving.order_id, 1)


async def test_an_exit_waits_for_an_entry_in_flight(bench: Bench, tmp_path: Path) -> None:
    paper = venue(tmp_path, faults=["late"], window_ms=1000, now_ms=lambda: bench.market.now_ms)
    entry = order("a", **BARE)
    leaving = exit_of(entry)
    async with bench.running(paper):
        await bench.accept(entry)
        await bench.until(entry.order_id, "submitted", "unknown")
        await bench.accept(leaving)
        await asyncio.sleep(0.05)
        assert await bench.reports(leaving.order_id) == []
        paper.release_late()
        await settled(bench)
    assert paper.executed() == {entry.order_id: 1, leaving.order_id: 1}
    assert list(paper.executed()) == [entry.order_id, leaving.order_id]


async def test_an_unresolved_order_is_alarmed_and_still_asked_about(bench: Bench, tmp_path: Path) -> None:
    bench.timing = replace(bench.timing, unresolved_s=0.05)
    paper = venue(tmp_path, faults=["late"], window_ms=10_000, now_ms=lambda: bench.market.now_ms)
    entry = order("a", **BARE)
    async with bench.running(paper):
        await bench.accept(entry)
        await eventually(bench.alerts, lambda kinds: kinds == ["order_unresolved"])
        paper.release_late()
        await settled(bench)
        assert [report.kind for report in await bench.reports(entry.order_id)][-1] == "fill"


async def test_a_bug_in_an_executor_ends_the_engine(bench: Bench, tmp_path: Path) -> None:
    paper = venue(tmp_path)

    async def broken(attempt: Attempt) -> None:
        raise ZeroDivisionError

    paper.submit = broken  # type: ignore[method-assign,assignment]
    async with bench.running(paper) as engine:
        await bench.accept(order("a", **BARE))
        with pytest.raises(ZeroDivisionError):
            await asyncio.wait_for(engine.run(), 5)
