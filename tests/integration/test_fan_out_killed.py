"""kill -9 of the workers that lead, copy and execute, in the middle of fan-outs of a thousand.

Each role group is a worker of its own on one broker. Every round a leader outside trades, and workers are killed at
another moment: with the first orders on the log, with half of them, with fills coming back. Afterwards each event has
exactly one outcome per follower, each order one content and one set of fills, as the topics, ClickHouse and the
venue's own journal tell it.
"""

import itertools
import json
import sqlite3
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from decimal import Decimal as D
from typing import Any

import pytest

from schemas.leaders import LeaderEvent
from schemas.orders import Order
from schemas.reasons import Leg, OutcomeState
from schemas.status import FanOut, Fill
from streams import runtime
from streams.broker.cluster import Cluster
from streams.broker.install import install
from tests.integration.copying import (
    BTC,
    INSTRUMENTS,
    Watch,
    check_ledger,
    configuration,
    marked,
    outcomes,
    owed,
    positions,
    posted,
)
from tests.integration.runs import LIMIT_S, Workers, until, wakeline

pytestmark = pytest.mark.integration

FOLLOWERS = 1_000
HASTY = 10  # each tenth follower lets an entry that waited for a new worker go
ROLES = {
    "outer": "outbox,webhook,feed,strategy,execution,statistics",
    "leader": "leader",
    "account": "account",
    "sink": "sink",
}
TOPICS = ("account-events", "orders", "order-status", "outcomes", "alerts", "parked")


def accounts() -> list[dict[str, Any]]:
    """A thousand followers: by position and by change in turn, some of them in a hurry."""
    found = []
    for number in range(FOLLOWERS):
        settings: dict[str, Any] = {"size": {"kind": ("mirror", "ratio")[number % 2]}}
        if number % HASTY == 0:
            settings["order_ttl_ms"] = 1_000
        follows = [{"leader": "desk", "ratio": "0.0001", "settings": settings}]
        found.append({"account": f"f{number:04d}", "initial_balance": 100_000, "subscriptions": follows})
    return found


class Crowd:
    """The workers, what stands on their topics, and the leader outside."""

    def __init__(self, workers: Workers, watch: Watch) -> None:
        self.workers, self.watch = workers, watch
        self.sent: list[str] = []

    def lead(self, side: str, size: str) -> str:
        """Trade, as often as it takes: while the worker is away nobody answers; return the trade's id."""
        trade_id = f"trade-{len(self.sent)}"
        self.sent.append(trade_id)
        trade = {"id": trade_id, "instrument": BTC, "side": side, "price": "13592", "size": size}

        def taken() -> bool:
            told = runtime.read_process(self.workers.folder, "outer")
            if told is None or not told.webhook_port:
                return False
            body = json.dumps(trade | {"time": time.time_ns() // 1_000_000}).encode()
            try:
                status, answer = posted(told.webhook_port, "desk", body)
            except OSError:
                return False
            assert status in (200, 202), answer
            return True

        until(taken, f"{trade_id} is taken")
        return trade_id

    def kill_when(self, condition: Callable[[], bool], names: tuple[str, ...], what: str) -> None:
        """Kill workers at a moment, and start them again."""
        deadline = time.monotonic() + 120
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain: {what}"
            time.sleep(0.001)
        for name in names:
            self.workers.kill(name)
        for name in names:
            self.workers.start(name, ROLES[name])
        self.workers.wait_running(*names, timeout_s=LIMIT_S)

    def more(self, topic: str, count: int) -> Callable[[], bool]:
        """Return what is true once a topic has this many records more than now."""
        goal = self.watch.count(topic) + count
        return lambda: self.watch.count(topic) >= goal

    def ended(self, trade_id: str) -> bool:
        """Return whether every follower's outcome of a trade is told."""
        events = {told.event_id for told in self.watch.messages("outcomes", FanOut) if told.cause == trade_id}
        return sum(event in events for event, _ in outcomes(self.watch)) == FOLLOWERS


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowd]:
    folder = tmp_path_factory.mktemp("crowd")
    config = configuration(folder, ["desk"], accounts(), 200)
    install()
    with Cluster(folder / "broker", 1) as cluster:
        bootstrap = cluster.start().bootstrap
        made = wakeline("topics", "create", "--broker", bootstrap, "--config", str(config))
        assert made.returncode == 0, made.stderr
        workers = Workers(folder, bootstrap, config)
        try:
            workers.start("sink", ROLES["sink"])
            workers.start("outer", ROLES["outer"])
            workers.wait_running("outer", timeout_s=LIMIT_S)  # it begins log time
            for name in ("leader", "account"):
                workers.start(name, ROLES[name])
            workers.wait_running(*ROLES, timeout_s=LIMIT_S)
            with Watch(bootstrap, *TOPICS) as watch:
                until(lambda: marked(watch, INSTRUMENTS), "every instrument has a price in every partition")
                yield Crowd(workers, watch)
            ended = {name: workers.stop(name) for name in ROLES}
            assert set(ended.values()) == {0}, {name: workers.log(name) for name, code in ended.items() if code}
        finally:
            for name in list(workers.running):
                workers.kill(name)


def test_a_fan_out_of_a_thousand(crowd: Crowd) -> None:
    trade_id = crowd.lead("buy", "20")
    until(lambda: crowd.ended(trade_id), "a thousand outcomes")
    watch = crowd.watch
    events = {told.event_id for told in watch.messages("outcomes", FanOut) if told.cause == trade_id}
    states = Counter(one.state for (event, _), one in outcomes(watch).items() if event in events)
    assert FOLLOWERS - FOLLOWERS // HASTY <= states[OutcomeState.COPIED] <= FOLLOWERS
    begins = [record.timestamp for record, message in _pairs(watch, "account-events") if _is(message, events)]
    orders = [record.timestamp for record, message in _pairs(watch, "orders") if message.event_id in events]
    ends = [record.timestamp for record, message in _pairs(watch, "outcomes") if _is(message, events)]
    print(
        f"\n{len(orders)} orders in {max(orders) - min(begins)} ms, "
        f"{FOLLOWERS} outcomes in {max(ends) - min(begins)} ms after the leader's event stood on account-events"
    )


def test_workers_are_killed_in_the_middle_of_it(crowd: Crowd) -> None:
    started = time.monotonic()
    moments = (
        ("orders", 1, ("leader", "account")),
        ("orders", FOLLOWERS // 2, ("account",)),
        ("order-status", FOLLOWERS, ("leader", "account", "outer")),
    )
    for number, (topic, count, names) in enumerate(moments):
        reached = crowd.more(topic, count)
        trade_id = crowd.lead(("buy", "sell")[number % 2], "10")
        crowd.kill_when(reached, names, f"{count} more on {topic}")
        if number:  # else the next event comes while this one is not over
            until(lambda name=trade_id: crowd.ended(name), f"the outcomes of {trade_id}")
    print(f"\nthree rounds of kills and recoveries in {time.monotonic() - started:.0f} s")


def test_every_event_has_one_outcome_of_every_follower(crowd: Crowd) -> None:
    watch = crowd.watch
    check_ledger(watch, crowd.workers.folder)
    wanted = Counter(event for event, _ in owed(watch))
    trades = {told.event_id: told.cause for told in watch.messages("account-events", LeaderEvent)}
    assert sorted(trades.values()) == sorted(crowd.sent)
    assert {wanted[event] for event in trades} == {FOLLOWERS}
    assert watch.count("parked") == 0
    states = Counter(one.state.value for (event, _), one in outcomes(watch).items() if event in trades)
    print(f"\noutcomes: {dict(states)}; repeated: {_repeats(watch)}")
    assert states["copied"] > FOLLOWERS and states.keys() <= {"copied", "skipped"}


def test_every_order_was_said_once_and_filled_once(crowd: Crowd) -> None:
    watch = crowd.watch
    said: dict[str, Order] = {}
    for order in watch.messages("orders", Order):
        assert said.setdefault(order.order_id, order) == order, "an order was said in two ways"
    copies = Counter((order.event_id, order.subscription) for order in said.values() if order.leg is Leg.ENTRY)
    assert set(copies.values()) == {1}
    fills = {fill.fill_id: fill for fill in watch.messages("order-status", Fill)}
    filled: defaultdict[str, D] = defaultdict(D)
    sums: defaultdict[tuple[str, str], D] = defaultdict(D)
    for fill in fills.values():
        filled[fill.order_id] += fill.size
        sums[fill.subscription, fill.instrument] += fill.size if fill.side == "buy" else -fill.size
    assert dict(sums) == positions(watch)
    patient = {sums[f"f{number:04d}/desk", BTC] for number in range(FOLLOWERS) if number % HASTY}
    assert patient == {D("0.003")}, "the leader holds 30, each follower a ten-thousandth"
    for name, order in said.items():
        assert filled[name] <= order.size, f"{name} was filled beyond its size"
    path = crowd.workers.folder / "execution.db"
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as venue:
        rows = venue.execute("SELECT trade_id, client_order_id, size FROM paper_fills").fetchall()
    assert {trade: D(size) for trade, _, size in rows} == {fill.trade_id: fill.size for fill in fills.values()}


def _pairs(watch: Watch, topic: str) -> Iterator[tuple[Any, Any]]:
    return itertools.islice(zip(watch.records[topic], watch.messages(topic), strict=False), None)


def _is(message: Any, events: set[str]) -> bool:
    return getattr(message, "event_id", "") in events


def _repeats(watch: Watch) -> dict[str, int]:
    return {topic: len(records) - len({r.value for r in records}) for topic, records in watch.records.items()}
