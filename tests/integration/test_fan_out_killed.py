"""kill -9 of the worker that leads, copies and executes, in the middle of fan-outs of a thousand.

Every round a leader outside trades, and the worker is killed at another moment: with the first orders on the log, with
half of them, with fills coming back, while the next event is on its way. `wakeline up` starts it again. Afterwards each
event has exactly one outcome per follower, each order one content and one set of fills, as the topics, ClickHouse and
the venue's own journal tell it.
"""

import itertools
import json
import os
import signal
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
from tests.integration.runs import Run, until

pytestmark = pytest.mark.integration

FOLLOWERS = 1_000
HASTY = 10  # each tenth follower lets an entry that waited for a new worker go
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
    """The run, its leader, and a hand on the worker."""

    def __init__(self, run: Run, watch: Watch) -> None:
        self.run, self.watch = run, watch
        self.sent: list[str] = []

    def lead(self, side: str, size: str) -> str:
        """Trade, as often as it takes: while the worker is away nobody answers; return the trade's id."""
        trade_id = f"trade-{len(self.sent)}"
        self.sent.append(trade_id)
        trade = {"id": trade_id, "instrument": BTC, "side": side, "price": "13592", "size": size}

        def taken() -> bool:
            told = self.run.told("trading")
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

    def kill_when(self, condition: Callable[[], bool], what: str) -> None:
        """Kill the worker at a moment, and wait until it runs again."""
        pid = self.run.pids()["trading"]
        deadline = time.monotonic() + 120
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain: {what}"
            time.sleep(0.001)
        os.kill(pid, signal.SIGKILL)
        until(lambda: self.run.running("trading") and self.run.pids()["trading"] != pid, "the worker runs again")

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
    with Run(folder, "--config", str(config)) as run:
        run.wait_running()
        with Watch(run.bootstrap, *TOPICS) as watch:
            until(lambda: marked(watch, INSTRUMENTS), "every instrument has a price in every partition")
            yield Crowd(run, watch)


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


def test_the_worker_is_killed_at_four_moments(crowd: Crowd) -> None:
    started = time.monotonic()
    for number, (topic, count) in enumerate(
        (("orders", 1), ("orders", FOLLOWERS // 2), ("order-status", FOLLOWERS), ("account-events", 4))
    ):
        reached = crowd.more(topic, count)
        trade_id = crowd.lead(("buy", "sell")[number % 2], "10")
        crowd.kill_when(reached, f"{count} more on {topic}")
        if number % 2:  # else the next event comes while this one is not over
            until(lambda name=trade_id: crowd.ended(name), f"the outcomes of {trade_id}")
    print(f"\nfour kills and their ends in {time.monotonic() - started:.0f} s")
    assert crowd.run.said.count("was ended by SIGKILL") == 4


def test_every_event_has_one_outcome_of_every_follower(crowd: Crowd) -> None:
    watch = crowd.watch
    check_ledger(watch, crowd.run.data_dir)
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
    for name, order in said.items():
        assert filled[name] <= order.size, f"{name} was filled beyond its size"
    path = crowd.run.data_dir / "execution.db"
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as venue:
        rows = venue.execute("SELECT trade_id, client_order_id, size FROM paper_fills").fetchall()
    assert {trade: D(size) for trade, _, size in rows} == {fill.trade_id: fill.size for fill in fills.values()}


def _pairs(watch: Watch, topic: str) -> Iterator[tuple[Any, Any]]:
    return itertools.islice(zip(watch.records[topic], watch.messages(topic), strict=False), None)


def _is(message: Any, events: set[str]) -> bool:
    return getattr(message, "event_id", "") in events


def _repeats(watch: Watch) -> dict[str, int]:
    return {topic: len(records) - len({r.value for r in records}) for topic, records in watch.records.items()}
