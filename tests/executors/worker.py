"""An execution worker in a process of its own, ended by kill -9 at a named point (see test_kill.py).

Arguments: folder, crash point or "-" , "fake" or "paper". It delivers the orders of `log` from the position the store
names, relays the outbox into `published.jsonl`, and prints "done" when nothing is live.
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from executors.engine import ExecutionEngine
from executors.paper import PaperExecutor
from executors.store import Store
from tests.executors.support import FAST, PLAIN, FakeVenue, ListMarket, exit_of, order, protect, quote, trade

ENTRIES = [order(f"e{n}", account=f"acc-{n % 2}", subscription=f"sub-{n}") for n in range(4)]
BARE = [order(f"e{n}", account=f"acc-{n % 2}", subscription=f"sub-{n}", protected=False) for n in range(4)]


def log(kind: str) -> list[Any]:
    """Return the orders in the log: entries, exits of two of them, every entry once more, and new stop-losses of the
    other two (the fake venue knows no legs)."""
    entries = ENTRIES if kind == "paper" else BARE
    changes = [protect(entry, stop_loss) for stop_loss in ("96", "95") for entry in entries[2:] if kind == "paper"]
    return [*entries, *(exit_of(entry) for entry in entries[:2]), *entries, *changes]


def record(offset: int) -> Any:
    """Market record at `offset`: quotes that move a little, and in the end a trade through every stop."""
    now_ms = 1000 + offset * 10
    if offset and offset % 50 == 0:
        return trade(now_ms, "90")
    return quote(now_ms, size="0.4")


def main(folder: Path, crash: str, kind: str) -> None:
    """Run until done or killed."""
    seen: dict[str, int] = {}
    point, _, nth = crash.partition(":")

    def reached(name: str) -> None:
        seen[name] = seen.get(name, 0) + 1
        if name == point and seen[name] == int(nth or 1):
            os.kill(os.getpid(), signal.SIGKILL)

    asyncio.run(work(folder, kind, reached))


async def work(folder: Path, kind: str, reached: Any) -> None:
    """Deliver, relay, move the market, until nothing is live."""
    store = Store(f"sqlite:///{folder / 'execution.db'}")
    market = ListMarket()
    length = folder / "market.length"
    for offset in range(int(length.read_text()) if length.exists() else 1):
        market.add(record(offset))
    executor: Any
    if kind == "paper":
        executor = PaperExecutor(PLAIN, store, market)
    else:
        executor = FakeVenue(
            folder / "venue.db",
            before_execution=lambda attempt: reached("in_flight"),
            after_execution=lambda attempt: reached("executed"),
        )
    engine = ExecutionEngine(
        store, {"paper": executor}, lambda: market.now_ms, lambda partition: None, timing=FAST, reached=reached
    )
    engine.control_read_to_end()
    running = asyncio.create_task(engine.run())
    orders = log(kind)
    begin = await engine.claim(0, len(orders))
    published = (folder / "published.jsonl").open("a")
    idle = 0
    offset = begin
    while idle < 5:
        if running.done():
            running.result()
        if offset < len(orders):
            await engine.accept(0, [offset], [orders[offset]])
            offset += 1
        reached("market")
        market.add(record(len(market.records[0])))
        length.write_text(str(len(market.records[0])))
        await asyncio.sleep(0.003)
        rows = await engine.outbox(0, 5)
        for row in rows:
            published.write(
                json.dumps([row.generation, row.number, row.topic, row.previous, row.value.decode()]) + "\n"
            )
        published.flush()
        os.fsync(published.fileno())
        reached("published")
        if rows:
            await engine.outbox_sent(0, rows[-1].number)
        live = set(engine.status()) - {"partitions", "accounts"}
        idle = idle + 1 if not live and not rows and offset == len(orders) else 0
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    store.close()
    print("done", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
