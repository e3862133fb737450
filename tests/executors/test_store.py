"""The execution store on SQLite and PostgreSQL: leases, positions, outbox, generations, the lock."""

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from executors import lifecycle
from executors.errors import LeaseLost, StoreFailed, StoreLocked
from executors.protocols import client_order_id
from executors.rows import rows_of
from executors.store import Changes, Claim, Store, tables
from tests.executors.support import Bench, order, quote, venue_fills


async def accept(store: Store, claim: Claim, *orders: Any, cancels: tuple[str, ...] = (), next_offset: int = 1) -> Any:
    rows = [rows_of(message, claim.partition, 0, lifecycle.READY) for message in orders]
    return await store.accept(claim, rows, cancels, next_offset, b"inbox", lambda row: ("alerts", "execution", b"{}"))


async def records(store: Store, claim: Claim, *topics: str) -> None:
    await store.write(claim, Changes(records=[(topic, "k", topic.encode()) for topic in topics]))


async def test_accept_is_idempotent_and_moves_the_position(store_url: str) -> None:
    store = Store(store_url)
    claim = await store.claim(3)
    assert claim == Claim(3, 1, 0)
    first, second = order("a"), order("b")
    assert await accept(store, claim, first, second, first, cancels=("nobody",), next_offset=7) == (
        {first.order_id, second.order_id},
        {"nobody"},
    )
    assert await accept(store, claim, first, cancels=(second.order_id,), next_offset=8) == (set(), set())
    assert await store.outbox(3, 9) == []
    await accept(store, claim, order("a", leverage=5), next_offset=9)
    assert [row.topic for row in await store.outbox(3, 9)] == ["alerts"]
    rows, _ = await store.load(3)
    assert len(rows) == 6
    assert {row.order_id for row in rows if row.cancel_requested} == {second.order_id}
    assert await store.inbox(3) == b"inbox"
    assert (await store.claim(3)).next_offset == 9
    store.close()


async def test_a_claim_ends_the_writes_of_the_one_before(store_url: str) -> None:
    store = Store(store_url)
    zombie = await store.claim(0)
    owner = await store.claim(0)
    await accept(store, owner, order("a"))
    with pytest.raises(LeaseLost, match="held by pid"):
        await accept(store, zombie, order("b"), next_offset=50)
    store.close()
    store = Store(store_url)
    assert (await store.claim(0)).next_offset == 1
    store.close()


@pytest.mark.parametrize("late", ["accept", "write", "outbox_sent"])
async def test_a_zombie_on_another_machine_loses(postgres: Any, late: str) -> None:
    url = postgres()
    one, two = Store(url, "one"), Store(url, "two")
    zombie = await one.claim(0)
    await records(one, zombie, "account-events")
    owner = await two.claim(0)
    with pytest.raises(LeaseLost, match="held by two"):
        if late == "accept":
            await accept(one, zombie, order("a"), next_offset=9)
        elif late == "write":
            await records(one, zombie, "account-events")
        else:
            await one.outbox_sent(zombie, 1)
    assert len(await two.outbox(0, 9)) == 1
    assert (await two.load(0))[0] == []
    await records(two, owner, "account-events")
    one.close()
    two.close()


async def test_two_postgresql_workers_share_the_partitions(postgres: Any) -> None:
    url = postgres()
    stores = [Store(url, "one"), Store(url, "two")]
    claims = [await store.claim(partition) for partition, store in enumerate(stores)]
    await asyncio.gather(
        *(
            accept(store, claim, order(f"{claim.partition}-{n}"), next_offset=n + 1)
            for n in range(20)
            for store, claim in zip(stores, claims, strict=True)
        )
    )
    for store, claim in zip(stores, claims, strict=True):
        assert len((await store.load(claim.partition))[0]) == 60
        store.close()


async def test_outbox_numbers_rise_and_chain_per_topic(store_url: str) -> None:
    store = Store(store_url)
    claim = await store.claim(0)
    await asyncio.gather(*(records(store, claim, "account-events", "alerts") for _ in range(5)))
    rows = await store.outbox(0, 100)
    assert [(row.generation, row.number) for row in rows] == [(1, number) for number in range(1, 11)]
    for topic in ("account-events", "alerts"):
        chain = [row for row in rows if row.topic == topic]
        assert chain[0].previous is None
        assert [row.previous for row in chain[1:]] == [(row.generation, row.number) for row in chain[:-1]]
    await store.outbox_sent(claim, 9)
    assert [row.number for row in await store.outbox(0, 100)] == [10]
    await store.outbox_sent(claim, 10)
    await records(store, claim, "alerts")
    assert (await store.outbox(0, 100))[0].previous == (1, 10)
    store.close()


async def test_renewed_generation_restamps_what_is_unsent(store_url: str) -> None:
    store = Store(store_url)
    claim = await store.claim(0)
    await records(store, claim, "account-events", "alerts", "account-events")
    await store.outbox_sent(claim, 1)
    assert await store.renew_generation() == 2
    await records(store, claim, "account-events")
    rows = await store.outbox(0, 9)
    assert [(row.generation, row.number, row.previous) for row in rows] == [
        (2, 2, None),
        (2, 3, None),
        (2, 4, (2, 3)),
    ]
    assert (await store.claim(1)).epoch == 1
    store.close()


async def test_a_restored_backup_begins_a_new_generation_by_itself(tmp_path: Path) -> None:
    path, backup = tmp_path / "execution.db", tmp_path / "backup.db"
    store = Store(f"sqlite:///{path}")
    claim = await store.claim(0)
    await records(store, claim, "account-events")
    store.database.run_blocking(lambda connection: None)
    store.close()
    shutil.copy(path, backup)
    store = Store(f"sqlite:///{path}")
    claim = await store.claim(0)
    await records(store, claim, "account-events")
    await store.outbox_sent(claim, 2)
    store.close()

    Store(f"sqlite:///{path}").close()  # an ordinary restart renews nothing
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    shutil.copy(backup, path)
    store = Store(f"sqlite:///{path}")
    assert [(row.generation, row.number) for row in await store.outbox(0, 9)] == [(2, 1)]
    store.close()


def test_a_second_worker_is_refused_by_name(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'execution.db'}"
    code = (
        f"import time; from executors.store import Store; s = Store({url!r}); print('open', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(StoreLocked, match=f"in use by process {other.pid}: stop that one first"):
            Store(url)
        other.kill()
    Store(url).close()


def test_another_schema_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'execution.db'}"
    store = Store(url)
    store.database.run_blocking(
        lambda connection: connection.execute(
            sa.update(tables.meta).where(tables.meta.c.name == "schema").values(value="99")
        )
    )
    store.close()
    with pytest.raises(StoreFailed, match="schema 99, this build works with 1"):
        Store(url)


def test_a_folder_instead_of_a_file_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(StoreFailed, match="cannot open the execution store"):
        Store(f"sqlite:///{tmp_path}")


async def test_group_commit_fails_one_function_only_and_then_everything(store_url: str) -> None:
    store = Store(store_url)
    claim, gone = await store.claim(0), Claim(0, 0, 0)
    good = store.write(claim, Changes(records=[("alerts", "k", b"1")]))
    bad = store.write(gone, Changes(records=[("alerts", "k", b"2")]))
    also = store.write(claim, Changes(records=[("alerts", "k", b"3")]))
    await good
    with pytest.raises(LeaseLost):
        await bad
    await also
    with pytest.raises(LeaseLost):
        await store.outbox(0, 9)
    store.close()
    store = Store(store_url)
    assert [row.value for row in await store.outbox(0, 9)] == [b"1", b"3"]
    store.close()


async def test_the_engine_works_on_both_databases(store_url: str, tmp_path: Path) -> None:
    bench = Bench(tmp_path, store_url)
    bench.market.add(quote(1000))
    entry = order("a")
    assert entry.protection is not None
    async with bench.running():
        await bench.accept(entry)
        await bench.until(entry.order_id, "submitted", "accepted")
        await bench.tick(quote(1100))
        await bench.until(entry.order_id, "submitted", "accepted", "fill")
    async with bench.running():
        await bench.tick(quote(1200, bid="107", ask="108"))
        await bench.tick(quote(1300, bid="106", ask="108"))
        bench.market.add(quote(1400))
        await bench.until(entry.protection.stop_loss_order_id, "submitted", "accepted")


async def test_a_zombie_engine_ends_and_its_order_never_reaches_the_venue(postgres: Any, tmp_path: Path) -> None:
    url = postgres()
    one, two = Bench(tmp_path, url), Bench(tmp_path, url)
    one.market.add(quote(1000))
    two.market = one.market
    entry = order("a")
    thaw = asyncio.Event()
    async with two.running() as _:
        await two.engine.release(0)
        with pytest.raises(LeaseLost):
            async with one.running() as zombie:
                submit = one.paper.submit

                async def freeze(attempt: Any) -> Any:
                    await thaw.wait()
                    return await submit(attempt)

                one.paper.submit = freeze
                await one.accept(entry)
                await one.until(entry.order_id, "submitted")
                # The successor asks, finds nothing and sends attempt 2; then the zombie wakes with attempt 1.
                await two.engine.claim(0, 1)
                await two.until(entry.order_id, "accepted")
                thaw.set()
                await asyncio.wait_for(zombie.run(), 5)
        await two.tick(quote(1100))
        await two.until(entry.order_id, "accepted", "fill")
        assert venue_fills(two.store) == {client_order_id(entry.order_id, 2): 1}
