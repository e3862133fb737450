"""Leader event sent -> last follower order read: `python -m bench.fan_out [--runs N] [--json]`.

One account worker (the real role: snapshots, commits, stamps, metrics) on one core; the broker and the bench, which is
leader, venue and reader of `orders`, on the other. Each of `--sizes` has a broker and a worker of its own.

1. Every follower is an account with one subscription: mode ratio, ratios all different (10,000 of them), a stop-loss by
   percent or by ATR in turn, guards and caps as they are by default but for the notional of a position (5,000), which
   cuts about every sixth order.
2. Entries and exits of the leader take turns. Between two runs the bench tells a fill of every order, then marks two
   seconds later, and waits until the worker has applied and published all of it: positions never pile up, while the
   history of the accounts grows as in use.
3. A run is from just before the leader event is handed to the client (once per partition, as the leader role does it)
   to the moment at which the client hands the last order to the reader, which reads as our execution role does. Every
   run counts, those in which the worker made a snapshot too: `max` is the worst of all.
   Before a run the bench waits, `--patience` seconds at most, until nobody else uses the machine; how many runs began
   on a busy one is told.
4. `--large` subscriptions of ten leaders in one worker: resident memory, snapshots, how long the worker stands still
   for one, the fan-out of one leader of the ten, and how long a worker needs until it goes on after a clean stop and
   after kill -9 (which waits until the broker has given the dead one up).
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import aiokafka
import msgspec
import uvloop

from bench import child, machine
from bench.broker import PARTITIONS, Topics, broker
from processors.inbox import Emit, InboxCore, partition_of
from schemas.accounts import AccountChanged, InstrumentChanged, SubscriptionChanged
from schemas.base import Message
from schemas.codec import encode
from schemas.ids import derive_id
from schemas.leaders import LeaderEvent
from schemas.market import Mark, Marks
from schemas.orders import Order
from schemas.reasons import LeaderAction, ReportKind, Side
from schemas.status import VenueReport
from streams import worker
from streams.producer import Publisher
from streams.settings import Settings
from streams.snapshots import SnapshotStore
from streams.transport import _Fetched  # our own roles read through it

SIZES: Final = (1_000, 10_000)
GOAL_MS: Final = {1_000: 100.0, 10_000: 700.0}
RUNS: Final = 50
LARGE: Final = 100_000
LARGE_LEADERS: Final = 10
LARGE_RUNS: Final = 10
START_MS: Final = 1_723_075_200_000
STEP_MS: Final = 2_000
INBOX: Final = "account-events"
INSTRUMENT: Final = "binanceusdm:BTC/USDT:USDT"
BID, ASK = Decimal("60000.0"), Decimal("60000.1")
RATIOS: Final = 10_000
CHUNK: Final = 10_000
QUIET_S: Final = 0.3
QUIET: Final = 0.85
"""Share of all cores that must be idle over so many seconds before a run."""
PATIENCE_S: Final = 5.0
WAIT_S: Final = 240.0

_order = msgspec.json.Decoder(Order)


def settings_of(number: int) -> dict[str, Any]:
    """Return the settings of the follower with this number."""
    settings: dict[str, Any] = {"size": {"kind": "ratio"}, "max_position_notional": "5000"}
    if number % 2:
        settings["stop_loss"] = {"kind": "atr", "multiple": "2"}
    return settings


def followers(count: int, leaders: int) -> Iterator[tuple[str, Message]]:
    """Yield (account, message): the accounts and their subscriptions."""
    for number in range(count):
        account = f"account-{number:06d}"
        yield (
            account,
            AccountChanged(
                now_ms=START_MS,
                account=account,
                venue="paper",
                currency="USDT",
                initial_balance=Decimal(10_000),
                settings={},
            ),
        )
        yield (
            account,
            SubscriptionChanged(
                now_ms=START_MS,
                subscription=f"subscription-{number:06d}",
                account=account,
                leader=f"leader-{number % leaders}",
                status="active",
                ratio=Decimal(100 + number % RATIOS) / 10_000,
                settings=settings_of(number),
            ),
        )


def instrument() -> InstrumentChanged:
    """Return the rules of the one instrument."""
    lot = Decimal("0.001")
    return InstrumentChanged(
        now_ms=START_MS, instrument=INSTRUMENT, tick=Decimal("0.1"), lot=lot, min_size=lot, min_notional=Decimal(5)
    )


def marks(now_ms: int) -> Marks:
    """Return the market, which stands still."""
    return Marks(now_ms=now_ms, marks=(Mark(now_ms=now_ms, instrument=INSTRUMENT, bid=BID, ask=ASK),))


def leader_event(leader: str, sequence: int, now_ms: int) -> LeaderEvent:
    """Return the leader's event of this number: entries and exits in turn."""
    entry, cause = sequence % 2 == 1, f"trade-{leader}-{sequence}"
    return LeaderEvent(
        now_ms=now_ms,
        event_id=derive_id("leader-event", leader, cause, 0),
        leader=leader,
        sequence=sequence,
        action=LeaderAction.ENTRY if entry else LeaderAction.EXIT,
        instrument=INSTRUMENT,
        side=Side.BUY if entry else Side.SELL,
        price=ASK if entry else BID,
        cause=cause,
        event_ms=now_ms,
        detected_ms=now_ms,
        atr=300.0,
        size=Decimal("0.1"),
        position=Decimal("0.1") if entry else Decimal(0),
        equity=Decimal(100_000),
    )


def fill_of(order: Order, now_ms: int) -> VenueReport:
    """Return the venue's word that all of an order was filled."""
    return VenueReport(
        now_ms=now_ms,
        account=order.account,
        venue=order.venue,
        subscription=order.subscription,
        instrument=order.instrument,
        order_id=order.order_id,
        entry_order_id=order.closes or order.order_id,
        leg=order.leg,
        side=order.side,
        kind=ReportKind.FILL,
        venue_ms=now_ms,
        size=order.size,
        trade_id=order.order_id[:16],
        price=order.reference_price,
        fee=Decimal("0.05"),
        fee_currency="USDT",
        liquidity="taker",
    )


class Log:
    """Writes to the inbox of the account role and counts what it wrote."""

    def __init__(self, publisher: Publisher) -> None:
        self.publisher, self.sent = publisher, 0

    async def tell_all(self, message: Message) -> None:
        """Write a message to every partition."""
        value = encode(message)
        await self._send([Emit(INBOX, number, b"", value, (), 0) for number in range(PARTITIONS)])

    async def tell(self, messages: Iterator[tuple[str, Message]]) -> None:
        """Write messages to the partitions of their accounts."""
        emits: list[Emit] = []
        for account, message in messages:
            key = account.encode()
            emits.append(Emit(INBOX, partition_of(key, PARTITIONS), key, encode(message), (), 0))
            if len(emits) == CHUNK:
                await self._send(emits)
                emits = []
        await self._send(emits)

    async def _send(self, emits: Sequence[Emit]) -> None:
        await self.publisher.publish(emits)
        self.sent += len(emits)


class Reader:
    """Reads `orders` from its end, as raw records."""

    def __init__(self, bootstrap: str) -> None:
        self._consumer = aiokafka.AIOKafkaConsumer(bootstrap_servers=bootstrap, fetch_max_wait_ms=50)

    async def start(self) -> None:
        """Stand at the end of every partition."""
        await self._consumer.start()
        self._consumer._fetcher._records = _Fetched()
        partitions = [aiokafka.TopicPartition("orders", number) for number in range(PARTITIONS)]
        self._consumer.assign(partitions)
        await self._consumer.seek_to_end(*partitions)
        for partition in partitions:
            await self._consumer.position(partition)

    async def take(self, count: int) -> tuple[float, float, list[Any]]:
        """Return when the first and the last of `count` records came (perf_counter), and the records."""
        found: list[Any] = []
        first = last = 0.0
        until = time.monotonic() + WAIT_S
        while len(found) < count:
            for records in (await self._consumer.getmany(timeout_ms=500)).values():
                last = time.perf_counter()
                first = first or last
                found += records
            if time.monotonic() > until:
                raise child.ChildFailed(f"{len(found)} of {count} orders came in {WAIT_S:.0f} s")
        return first, last, found

    async def stop(self) -> None:
        """Leave."""
        await self._consumer.stop()


class AccountWorker:
    """One account worker in a process of its own."""

    def __init__(self, bootstrap: str, folder: Path) -> None:
        self.folder, self.applied_before = folder, 0
        self._settings = folder / "wakeline.json"
        self._settings.write_text(json.dumps({"data_dir": str(folder), "broker": {"bootstrap": bootstrap}}))
        self.process: Any = None

    def start(self) -> float:
        """Start it and return after how many seconds it was ready: its partitions loaded, its position sought."""
        began = time.perf_counter()
        self.process = child.start("bench.fan_out", [f"--worker={self._settings}", f"--core={machine.cores()[1]}"])
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline and self.process.poll() is None:
            for file in self.folder.glob("run/worker-*.json"):
                told = json.loads(file.read_text())
                if told["pid"] == self.process.pid and told["state"] == "running":
                    self._url = f"http://127.0.0.1:{told['http_port']}/metrics"
                    return time.perf_counter() - began
            time.sleep(0.02)
        raise child.ChildFailed(
            f"the account worker did not start: {self.process.stderr.read() if self.process.poll() else ''}"
        )

    async def applied(self, wanted: int) -> None:
        """Wait until it has applied, and published for, at least so many records."""
        await self._until(lambda: sum(self._metric("wakeline_records_total")) >= wanted, f"{wanted} records applied")

    async def caught_up(self) -> int:
        """Wait until nothing is left to apply in any partition; return how many records it has applied."""
        await self._until(lambda: self._metric("wakeline_lag_records") == [0.0] * PARTITIONS, "no lag")
        return int(sum(await asyncio.to_thread(self._metric, "wakeline_records_total")))

    async def _until(self, reached: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + WAIT_S
        while not await asyncio.to_thread(reached):
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise child.ChildFailed(f"the account worker ended, or had not reached this in {WAIT_S:.0f} s: {what}")
            await asyncio.sleep(0.02)

    def _metric(self, name: str) -> list[float]:
        """Return a metric of the worker, by label."""
        with urllib.request.urlopen(self._url) as answer:
            lines = answer.read().decode().splitlines()
        return [float(line.rpartition(" ")[2]) for line in lines if line.startswith(name + "{")]

    def cpu_s(self) -> float:
        """Return the CPU seconds it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> dict[str, Any]:
        """End it as a signal does and return what it measured of itself."""
        self.process.terminate()
        return child.result_of(self.process, "the account worker", WAIT_S)

    def kill(self) -> None:
        """End it without warning."""
        self.process.kill()
        self.process.communicate()


class Bench:
    """A worker with its followers, and what is done to them."""

    def __init__(
        self, account_worker: AccountWorker, log: Log, reader: Reader, count: int, leaders: int, patience_s: float
    ) -> None:
        self.worker, self.log, self.reader = account_worker, log, reader
        self.count, self.leaders, self.now_ms = count, leaders, START_MS
        self.events = [0] * leaders
        self.patience_s, self.busy = patience_s, 0

    async def applied(self) -> None:
        """Wait until the worker has applied and published for all that it was sent."""
        await self.worker.applied(self.log.sent - self.worker.applied_before)

    async def fill(self) -> float:
        """Make the followers; return the seconds until the worker had taken them in."""
        began = time.perf_counter()
        await self.log.tell_all(instrument())
        await self.log.tell_all(marks(self.now_ms))
        await self.log.tell(followers(self.count, self.leaders))
        await self.applied()
        return time.perf_counter() - began

    async def run(self, leader: int = 0) -> tuple[float, float, float]:
        """Do one event of a leader; return ms to the first and to the last order, and ms of the worker's CPU."""
        self.events[leader] += 1
        event = leader_event(f"leader-{leader}", self.events[leader], self.now_ms)
        await self._quiet()
        wanted, used = self.count // self.leaders, self.worker.cpu_s()
        taking = asyncio.ensure_future(self.reader.take(wanted))
        await asyncio.sleep(0.05)  # the reader waits in its fetch
        began = time.perf_counter()
        await self.log.tell_all(event)
        first, last, records = await taking
        await self.applied()
        used = self.worker.cpu_s() - used
        await self._settle(records, wanted)
        return (first - began) * 1000, (last - began) * 1000, used * 1000

    async def _quiet(self) -> None:
        until = time.monotonic() + self.patience_s
        while await asyncio.to_thread(machine.idle_share, QUIET_S) < QUIET:
            if time.monotonic() > until:
                self.busy += 1
                return

    async def _settle(self, records: Sequence[Any], wanted: int) -> None:
        orders = [_order.decode(record.value) for record in records]
        if len({order.subscription for order in orders}) != wanted or len(orders) != wanted:
            raise child.ChildFailed(f"{len(orders)} orders for {wanted} followers, not one for each")
        await self.log.tell((order.account, fill_of(order, self.now_ms)) for order in orders)
        self.now_ms += STEP_MS
        await self.log.tell_all(marks(self.now_ms))
        await self.applied()


def summary(count: int, runs: Sequence[tuple[float, float, float]]) -> dict[str, Any]:
    """Return the figures of the runs of one size."""

    def at(share: float, place: int) -> float:
        ordered = sorted(run[place] for run in runs)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))]

    return {
        "followers": count,
        "runs": len(runs),
        "first_p50": at(0.5, 0),
        "min": at(0, 1),
        "p50": at(0.5, 1),
        "p99": at(0.99, 1),
        "max": at(1, 1),
        "us_per_follower": at(0.5, 1) * 1000 / count,
        "cpu_us_per_follower": sum(run[2] for run in runs) * 1000 / count / len(runs),
        "load": os.getloadavg()[0],
        "all_ms": [round(run[1], 1) for run in runs],
    }


async def _small(bootstrap: str, folder: Path, count: int, runs: int, patience_s: float) -> dict[str, Any]:
    one, publisher, reader = AccountWorker(bootstrap, folder), Publisher(bootstrap), Reader(bootstrap)
    one.start()
    try:
        await publisher.start()
        await reader.start()
        bench = Bench(one, Log(publisher), reader, count, 1, patience_s)
        await bench.fill()
        for _ in range(2):  # left out: code and caches warm up
            await bench.run()
        bench.busy = 0
        found = summary(count, [await bench.run() for _ in range(runs)])
        found["busy"] = bench.busy
        found["resident_mb"] = machine.resident_mb(one.process.pid)
        told = one.stop()
        return {**found, "snapshots": told["snapshots"], "pause_max_ms": told["pause_max_ms"]}
    finally:
        child.stop(one.process)
        await reader.stop()
        await publisher.stop()


async def _large(
    bootstrap: str, folder: Path, count: int, leaders: int, runs: int, patience_s: float
) -> dict[str, Any]:
    one, publisher, reader = AccountWorker(bootstrap, folder), Publisher(bootstrap), Reader(bootstrap)
    empty_s = one.start()
    try:
        await publisher.start()
        await reader.start()
        bench = Bench(one, Log(publisher), reader, count, leaders, patience_s)
        found: dict[str, Any] = {"subscriptions": count}
        found |= {"empty_start_s": empty_s, "empty_mb": machine.resident_mb(one.process.pid)}
        found["fill_s"] = await bench.fill()
        found["full_mb"] = machine.resident_mb(one.process.pid)
        taken = [await bench.run(number % leaders) for number in range(runs)]
        found["fan_out"] = {**summary(count // leaders, taken), "busy": bench.busy}
        found["peak_mb"] = machine.resident_mb(one.process.pid)
        found |= one.stop()
        one.applied_before = bench.log.sent
        found["restart_s"] = one.start()
        found["restarted_mb"] = machine.resident_mb(one.process.pid)
        await bench.run(runs % leaders)  # it goes on
        one.kill()
        began = time.perf_counter()
        one.start()
        behind = await one.caught_up()
        found |= {"killed_s": time.perf_counter() - began, "killed_behind": behind}
        return found
    finally:
        child.stop(one.process)
        await reader.stop()
        await publisher.stop()


def measure(how: Any, *arguments: Any) -> dict[str, Any]:
    """Run one measurement with a broker of its own."""
    with broker() as (bootstrap, folder), tempfile.TemporaryDirectory(dir=folder) as state:
        Topics(bootstrap).declared()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            found: dict[str, Any] = runner.run(how(bootstrap, Path(state), *arguments))
            return found


def work(settings: Path, core: int) -> int:
    """Be the worker: the account role, with the clock put around its snapshots."""
    machine.pin(core)
    pauses: list[float] = []
    sizes: dict[int, int] = {}
    saves: list[float] = []
    stored: dict[int, int] = {}
    encode_state, save = InboxCore.encode, SnapshotStore.save

    def timed_encode(core: InboxCore, inbox: Any) -> bytes:
        began = time.perf_counter()
        data = encode_state(core, inbox)
        pauses.append((time.perf_counter() - began) * 1000)
        sizes[inbox.partition] = len(data)
        return data

    async def timed_save(store: SnapshotStore, partition: int, *given: Any, **more: Any) -> int:
        began = time.perf_counter()
        stored[partition] = await save(store, partition, *given, **more)
        saves.append(time.perf_counter() - began)
        return stored[partition]

    InboxCore.encode = timed_encode  # type: ignore[method-assign]
    SnapshotStore.save = timed_save  # type: ignore[method-assign]
    tree = Settings.model_validate_json(settings.read_text())
    failure = worker.run(tree, ("account",), "bench")
    told = {
        "snapshots": len(saves),
        "snapshot_interval_s": tree.worker.snapshot_interval_s,
        "pause_max_ms": max(pauses, default=0.0),
        "state_bytes": sum(sizes.values()),
        "snapshot_bytes": sum(stored.values()),
        "save_max_s": max(saves, default=0.0),
    }
    print(json.dumps(told), flush=True)
    return 0 if failure is None else 1


def main() -> int:
    """Measure and print; with --worker be the worker."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", default=",".join(str(size) for size in SIZES), help="followers of one leader")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--large", type=int, default=LARGE, help="subscriptions in one worker; 0: leave that out")
    parser.add_argument("--patience", type=float, default=PATIENCE_S, help="seconds to wait for a quiet machine")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--core", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker is not None:
        return work(given.worker, given.core)
    rows: list[dict[str, Any]] = []
    for size in [int(one) for one in given.sizes.split(",") if one]:
        rows.append(measure(_small, size, given.runs, given.patience))
        print(f"{size:,}: p50 {rows[-1]['p50']:.0f} ms, p99 {rows[-1]['p99']:.0f} ms", file=sys.stderr, flush=True)
    result: dict[str, Any] = {"bench": "fan_out", "sizes": rows}
    if given.large:
        result["large"] = measure(_large, given.large, LARGE_LEADERS, min(given.runs, LARGE_RUNS), given.patience)
    print(json.dumps(result) if given.json else json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
