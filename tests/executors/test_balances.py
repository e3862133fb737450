"""Balances at the paper venue: an entry that an account cannot pay for is rejected, and after a top-up it is not."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from processors.matching.core import MatchingCore
from processors.matching.types import VenueOrder
from schemas.accounts import Transfer
from schemas.reasons import Side
from tests.executors.support import PLAIN, Bench, eventually, exit_of, order, quote

D = Decimal


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    bench.params = PLAIN.model_copy(update={"balances": {"acc-1": D(25)}})
    bench.market.add(quote(1000))
    return bench


def transfer(name: str, amount: str, account: str = "acc-1") -> Transfer:
    return Transfer(now_ms=2000, transfer_id=name, account=account, amount=D(amount))


def small(name: str, leverage: int = 5, **fields: Any) -> Any:
    return order(name, subscription=f"sub-{name}", leverage=leverage, **fields)


def balance(bench: Bench) -> Decimal:
    return bench.paper._shards[0].core.funds.balances["acc-1"]  # type: ignore[no-any-return]


async def test_an_entry_fails_for_lack_of_balance_and_works_after_a_top_up(bench: Bench) -> None:
    first, second, third = small("a"), small("b"), small("c")
    async with bench.running():
        await bench.accept(first)
        await bench.until(first.order_id, "submitted", "accepted")
        await bench.accept(second)  # the first holds 20.05 of 25
        told = (await bench.until(second.order_id, "submitted", "rejected"))[1]
        assert told.code == "insufficient_balance"
        assert told.message == "acc-1: margin and fee 20.050000 at leverage 5, free 4.950000 of 25"
        await bench.tick(quote(1100))
        await bench.until(first.order_id, "submitted", "accepted", "fill")
        assert balance(bench) == D("24.95")
        await bench.accept(transfer("t1", "20"), third)
        await bench.until(third.order_id, "submitted", "accepted")
        other = small("d", account="acc-2", leverage=1)
        await bench.accept(transfer("t2", "1", "acc-2"), other)  # not named: not checked
        await bench.until(other.order_id, "submitted", "accepted")
    async with bench.running():
        assert balance(bench) == D("44.95")
        await bench.accept(transfer("t1", "20"))  # each transfer once, also after a restart
        assert balance(bench) == D("44.95")


async def test_profit_fees_and_closing_move_the_balance(bench: Bench) -> None:
    entry = small("a")
    leaving = exit_of(entry)
    async with bench.running():
        await bench.accept(entry)
        await bench.until(entry.order_id, "submitted", "accepted")
        await bench.tick(quote(1100))
        await bench.until(entry.order_id, "submitted", "accepted", "fill")
        await bench.accept(transfer("t", "-24.9"))  # an exit needs nothing
        await bench.accept(leaving)

        async def kinds() -> list[str]:
            await bench.tick(quote(bench.market.now_ms + 1, "103.00", "103.10"))
            return [report.kind for report in await bench.reports(leaving.order_id)]

        await eventually(kinds, lambda seen: seen == ["submitted", "accepted", "fill"])
        assert balance(bench) == D(25) - D("24.9") - D("0.05") + 3 - D("0.0515")
    async with bench.running():
        assert balance(bench) == bench.paper._shards[0].core.funds.free("acc-1") == D("2.9985")


def venue_order(name: str, side: Side, size: str, **fields: Any) -> VenueOrder:
    return VenueOrder(
        client_order_id=name, account="a", group="g", instrument="v:A/USD", side=side, kind="market", size=D(size),
        leverage=2, **fields,
    )  # fmt: skip


def test_free_is_what_lots_and_open_entries_leave() -> None:
    core = MatchingCore(PLAIN)
    core.funds.add("a", D(1000))
    core.apply(0, quote(1000, "100", "100", instrument="v:A/USD"))
    core.submit(venue_order("one", Side.BUY, "4", hold=D(51)), 1000)
    assert core.funds.free("a") == 1000 - 4 * 51
    core.apply(0, quote(1001, "100", "100", "1", instrument="v:A/USD"))
    assert core.funds.free("a") == D(1000) - D("0.05") - 50 - 3 * 51  # one filled, three wait
    core.cancel("one", 1001)
    core.apply(0, quote(1002, "100", "100", "0", instrument="v:A/USD"))
    assert core.funds.free("a") == D(1000) - D("0.05") - 50
    again = MatchingCore.restore(PLAIN, core.snapshot())
    assert again.funds.free("a") == core.funds.free("a")
    core.submit(venue_order("out", Side.SELL, "1", reduce_only=True), 1002)
    core.apply(0, quote(1003, "90", "91", instrument="v:A/USD"))
    assert core.funds.free("a") == core.funds.balances["a"] == D(1000) - D("0.05") - D("0.045") - 10
