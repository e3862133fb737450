"""The paper venue's journal, catching up, and what it does when its market data is not what it was."""

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from executors.errors import MarketLost
from executors.paper import PaperExecutor, PaperParams
from executors.paper.market import begin_at
from executors.protocols import Absent, Accepted, Attempt, CancelRequest, Found, Rejected, client_order_id
from executors.store import Claim, Store
from processors.matching.params import Latency
from schemas.market import Clock
from tests.executors.support import INSTRUMENT, PLAIN, ListMarket, eventually, exit_of, order, quote, trade

JITTER = PaperParams(
    order_latency=Latency(fixed_ms=20, jitter_ms=200), cancel_latency=Latency(fixed_ms=5, jitter_ms=90)
)


class Venue:
    """A paper venue on a store, without an engine."""

    def __init__(self, folder: Path, market: ListMarket, params: PaperParams = PLAIN) -> None:
        self.path = folder / "execution.db"
        self.store = Store(f"sqlite:///{self.path}")
        self.market = market
        self.executor = PaperExecutor(params, self.store, market)
        self.claim: Claim

    async def __aenter__(self) -> "Venue":
        await self.executor.start()
        self.claim = await self.store.claim(0)
        await self.executor.claim(0, self.claim.epoch)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.executor.close()
        self.store.close()

    def attempt(self, message: Any, number: int = 1, **fields: Any) -> Attempt:
        protection = message.protection
        legs = {}
        if protection is not None:
            legs = {
                "stop_loss_client_id": client_order_id(protection.stop_loss_order_id, number),
                "take_profit_client_id": client_order_id(protection.take_profit_order_id, number),
            }
        values = {
            "client_order_id": client_order_id(message.order_id, number),
            "number": number,
            "order": message,
            "partition": 0,
            "epoch": self.claim.epoch,
            "prepared_ms": self.market.now_ms,
            "deadline_ms": self.market.now_ms + self.executor.window_ms,
        }
        return Attempt(**(values | legs | fields))

    def cancel_request(self, client_id: str) -> CancelRequest:
        return CancelRequest(
            account="acc-1",
            instrument=INSTRUMENT,
            client_order_id=client_id,
            venue_order_id="",
            partition=0,
            epoch=self.claim.epoch,
            sent_ms=self.market.now_ms,
        )

    async def caught_up(self) -> None:
        ends = [len(records) for records in self.market.records]

        async def positions() -> list[list[int]]:
            shards = self.executor._shards.values()
            return [[shard.positions[lane] for lane in range(len(ends))] for shard in shards]

        await eventually(positions, lambda seen: all(each == ends for each in seen))
        await self.store.database.run(lambda connection: None)

    def fills(self) -> list[tuple[Any, ...]]:
        with sqlite3.connect(self.path) as connection:
            return sorted(
                connection.execute("SELECT trade_id, client_order_id, price, size, fee, venue_ms FROM paper_fills")
            )


def records(seed: int) -> list[Any]:
    """A market that rises, falls through every stop and comes back."""
    made: list[Any] = []
    for step in range(1, 120):
        now_ms, price = 2000 + step * 10, 100 + (step * seed) % 7 - (15 if 80 < step < 90 else 0)
        made.append(quote(now_ms, bid=f"{price}.10", ask=f"{price}.20", size="0.3"))
        if step % 3 == 0:
            made.append(trade(now_ms + 1, f"{price}.15"))
    return made


async def test_a_killed_venue_makes_the_same_fills_again(tmp_path: Path) -> None:
    """Two lives from one journal read the same market in other batches: same trade ids, prices, times."""
    market = ListMarket()
    market.add(quote(1000))
    async with Venue(tmp_path, market, JITTER) as venue:
        for number in range(5):
            await venue.executor.submit(venue.attempt(order(f"o{number}", subscription=f"s{number}", size=Decimal(2))))
        limit = order("limit", kind="limit", limit_price=Decimal("99"), subscription="s9")
        await venue.executor.submit(venue.attempt(limit))
        await venue.executor.cancel(venue.cancel_request(client_order_id(limit.order_id, 1)))
    for life in ("one", "two"):
        (tmp_path / life).mkdir()
        shutil.copy(tmp_path / "execution.db", tmp_path / life)
    lives: dict[str, list[Any]] = {}
    for life in ("one", "two"):
        again = ListMarket()
        for record in market.records[0]:
            again.add(record)
        if life == "two":  # all of it lies there before the venue starts
            for record in records(3):
                again.add(record)
        venue = Venue(tmp_path / life, again, JITTER)
        async with venue:
            for step, record in enumerate(records(3) if life == "one" else []):
                again.add(record)
                if step % 10 == 0:
                    await asyncio.sleep(0.001)
            await venue.caught_up()
        lives[life] = venue.fills()
    assert lives["one"] == lives["two"]
    assert len(lives["one"]) > 20


async def test_journal_holds_what_memory_held_at_any_kill(tmp_path: Path) -> None:
    """A copy of the files taken at any moment, read on, ends in the same fills as the life that went on."""
    market = ListMarket()
    market.add(quote(1000))
    async with Venue(tmp_path, market, JITTER) as venue:
        for number in range(4):
            await venue.executor.submit(venue.attempt(order(f"o{number}", subscription=f"s{number}", size=Decimal(2))))
        for step, record in enumerate(records(5)):
            market.add(record)
            if step % 9 == 0:
                await venue.caught_up()
                folder = tmp_path / f"copy-{step}"
                folder.mkdir()
                for suffix in ("", "-wal"):
                    shutil.copy(f"{venue.path}{suffix}", folder / f"execution.db{suffix}")
        await venue.caught_up()
    expected = venue.fills()
    assert len(expected) > 20
    for folder in sorted(tmp_path.glob("copy-*")):
        copy = Venue(folder, market, JITTER)
        async with copy:
            await copy.caught_up()
        assert copy.fills() == expected, folder.name


async def test_a_claim_waits_until_the_market_is_read_to_its_end(tmp_path: Path) -> None:
    market = ListMarket(2)
    market.add(quote(1000))
    entry = order("a")
    async with Venue(tmp_path, market) as venue:
        await venue.executor.submit(venue.attempt(entry))
    market.add(quote(1100))
    for step in range(500):
        market.add(quote(1200 + step))
    market.add(None)  # a record that could not be decoded: the position moves over it
    market.add(Clock(now_ms=1300), partition=1)
    async with Venue(tmp_path, market) as venue:
        assert len(venue.fills()) == 1
        assert venue.executor._shards[0].positions == {0: 503, 1: 1}


async def test_a_virgin_venue_starts_a_little_before_the_end(tmp_path: Path) -> None:
    market = ListMarket()
    for step in range(100):
        market.add(quote(1000 + step))
    asked: list[dict[int, int]] = []
    read = market.read

    def noted(positions: dict[int, int]) -> AsyncIterator[Any]:
        asked.append(positions)
        return read(positions)

    market.read = noted  # type: ignore[method-assign]
    async with Venue(tmp_path, market, PLAIN.model_copy(update={"warm_up_records": 30})):
        assert asked == [{0: 70}]
    async with Venue(tmp_path, market):
        assert asked[1] == {0: 100}  # journalled: it goes on


def test_positions_outside_the_log() -> None:
    bounds = {0: (50, 100), 1: (0, 10)}
    assert begin_at({0: 60, 1: 10}, bounds, 5) == ({0: 60, 1: 10}, {})
    assert begin_at({0: 20}, bounds, 5) == ({0: 50, 1: 5}, {0: 30})
    assert begin_at({}, {0: (99, 100)}, 5) == ({0: 99}, {})
    with pytest.raises(MarketLost, match="0/101 lies beyond the end 100"):
        begin_at({0: 101}, bounds, 5)
    with pytest.raises(MarketLost, match=r"partitions \[7\]"):
        begin_at({7: 1}, bounds, 5)


async def test_an_attempt_after_its_deadline_is_refused(tmp_path: Path) -> None:
    market = ListMarket()
    market.add(quote(1000))
    async with Venue(tmp_path, market, PLAIN.model_copy(update={"receive_window_ms": 500})) as venue:
        attempt = venue.attempt(order("a"))
        assert attempt.deadline_ms == 1500
        market.add(quote(1501))
        await venue.caught_up()
        answer = await venue.executor.submit(attempt)
        assert isinstance(answer, Rejected)
        assert answer.code == "receive_window"
        assert isinstance(await venue.executor.query(attempt), Absent)


async def test_a_client_order_id_is_taken_once_for_ever(tmp_path: Path) -> None:
    market = ListMarket()
    market.add(quote(1000))
    async with Venue(tmp_path, market) as venue:
        attempt = venue.attempt(order("a"))
        answers = await asyncio.gather(*(venue.executor.submit(attempt) for _ in range(3)))
        assert len(set(answers)) == 1
        assert isinstance(answers[0], Accepted)
        market.add(quote(1100))
        await venue.caught_up()
        assert await venue.executor.submit(attempt) == answers[0]
        market.add(quote(1200))
        await venue.caught_up()
        found = await venue.executor.query(attempt)
        assert isinstance(found, Found)
        assert found.state == "filled"
        assert len(venue.fills()) == 1


async def test_lost_market_data_ends_everyone_who_waits_for_it(tmp_path: Path) -> None:
    market = ListMarket()
    market.add(quote(1000))
    async with Venue(tmp_path, market) as venue:
        reports = venue.executor.reports(0, 0)
        waiting = asyncio.ensure_future(anext(reports))  # type: ignore[arg-type]
        await asyncio.sleep(0.01)

        async def broken(positions: dict[int, int]) -> AsyncIterator[Any]:
            raise OSError("the broker is gone")
            yield []

        market.read = broken  # type: ignore[method-assign]
        await venue.executor._stop_reader()
        venue.executor._start_reader()
        with pytest.raises(OSError, match="the broker is gone"):
            await waiting
        with pytest.raises(OSError, match="the broker is gone"):
            await venue.executor.submit(venue.attempt(order("a")))


async def test_two_partitions_are_two_shards_with_one_reader(tmp_path: Path) -> None:
    market = ListMarket()
    market.add(quote(1000))
    async with Venue(tmp_path, market) as venue:
        other = await venue.store.claim(1)
        await venue.executor.claim(1, other.epoch)
        first, second = order("a"), order("b", account="acc-2")
        await venue.executor.submit(venue.attempt(first))
        await venue.executor.submit(venue.attempt(second, partition=1, epoch=other.epoch))
        market.add(quote(1100))
        await venue.caught_up()
        assert len(venue.fills()) == 2
        await venue.executor.release(1)
        market.add(quote(1200))
        await venue.caught_up()
        await venue.executor.submit(venue.attempt(exit_of(first)))
        market.add(quote(1300))
        await venue.caught_up()
        assert len(venue.fills()) == 3


async def test_reports_wait_for_their_latency_and_resume_after_a_number(tmp_path: Path) -> None:
    market = ListMarket()
    market.add(quote(1000))
    slow = PLAIN.model_copy(update={"report_latency": Latency(fixed_ms=60_000)})
    async with Venue(tmp_path, market, slow) as venue:
        await venue.executor.submit(venue.attempt(order("a")))
        market.add(quote(1100))
        await venue.caught_up()
        reports = venue.executor.reports(0, 0)
        waiting = asyncio.ensure_future(anext(reports))  # type: ignore[arg-type]
        await asyncio.sleep(0.05)
        assert not waiting.done()
        market.add(Clock(now_ms=61_100))
        events = await asyncio.wait_for(waiting, 5)
        assert [event.number for event in events] == [1, 2, 3, 4]
        rest = await anext(aiter(venue.executor.reports(0, 3)))
        assert [event.number for event in rest] == [4]
