"""Golden runs over the built-in recording: straight, restarted, and with every message twice. Same bytes.

Every processor (strategy, leader, account, statistics) runs on the real inbox core with the real matching core as its
venue. What the processors say is compared record by record between the three ways, and as a digest per topic with a
file in `expected/`. After a change that is meant: `UPDATE_GOLDEN=1 make test ARGS=tests/golden`, and review the
difference.
"""

import hashlib
import json
import os
import tempfile
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from processors.account.processor import AccountProcessor
from processors.inbox import partition_of
from processors.leader.processor import LeaderProcessor
from processors.matching.params import MatchingParams
from processors.statistics.processor import StatisticsProcessor
from processors.strategy.processor import StrategyProcessor
from replay.chain import Chain
from replay.venue import ReplayVenue
from schemas.codec import decode
from streams.decisions import DecisionStore
from streams.feeds.params import FeedParams
from streams.feeds.publisher import open_feed
from streams.outbox import stamped
from streams.settings import load_settings
from streams.topics_admin import load_catalogue

EXPECTED = Path(__file__).with_name("expected") / "recording.json"
ORIGIN_MS = 1_723_161_255_000
RECORDS = 150_000
CHUNK = 150  # records of market data between two looks at the venue, about a third of a second of log time
SAID = (
    "signals", "bars", "leader-events", "account-events", "orders", "order-status", "outcomes", "copy-results",
    "statistics", "alerts", "parked",
)  # fmt: skip


def _run(restart_every: int = 0, twice: bool = False) -> tuple[Chain, ReplayVenue]:
    settings = load_settings(environment={})
    topics = load_catalogue().topics
    count = topics["account-events"].partitions
    venue = ReplayVenue(MatchingParams(), count)
    processors = [
        StrategyProcessor(settings.strategies), LeaderProcessor(), AccountProcessor(), StatisticsProcessor()
    ]  # fmt: skip
    chain = Chain(topics, processors, outside=venue.take, restart_every=restart_every, twice=twice)
    feed = open_feed(FeedParams())
    with tempfile.TemporaryDirectory() as folder:
        store = DecisionStore(
            f"sqlite:///{folder}/decisions.db", {name: topic.partitions for name, topic in topics.items()}
        )
        store.decide(settings, feed.instruments(ORIGIN_MS), ORIGIN_MS)
        for emit in stamped(store.rows(), store.source):
            chain.append(emit.topic, emit.partition, emit.value, emit.headers)
        store.close()
    chain.settle()
    records = feed.records(ORIGIN_MS)
    lanes = topics["market-data"].partitions
    for _ in range(RECORDS // CHUNK):
        for record in islice(records, CHUNK):
            lane = partition_of(record.key.encode(), lanes)
            venue.market(lane, decode(record.value))
            chain.append("market-data", lane, record.value)
        chain.settle()
    return chain, venue


def _said(chain: Chain) -> dict[str, list[list[bytes]]]:
    partitions = {topic: len(chain.log.partitions[topic]) for topic in SAID}
    return {topic: [chain.emitted.get((topic, p), []) for p in range(n)] for topic, n in partitions.items()}


def _digests(chain: Chain) -> dict[str, object]:
    said = _said(chain)
    digest = {
        topic: hashlib.sha256(b"\n".join(value for part in parts for value in part)).hexdigest()[:16]
        for topic, parts in said.items()
    }
    counts = {topic: sum(map(len, parts)) for topic, parts in said.items()}
    fills = Counter(m.leg.value for m in _messages(said["order-status"]) if type(m).__name__ == "Fill")
    states = Counter(m.state.value for m in _messages(said["outcomes"]) if type(m).__name__ == "Outcome")
    return {
        "records": counts,
        "fills": dict(sorted(fills.items())),
        "outcomes": dict(sorted(states.items())),
        "sha256": digest,
    }


def _messages(parts: list[list[bytes]]) -> list[Any]:
    return [decode(value) for part in parts for value in part]


@pytest.fixture(scope="module")
def straight() -> tuple[Chain, ReplayVenue]:
    return _run()


def test_straight_run_is_the_expected_one(straight: tuple[Chain, ReplayVenue]) -> None:
    got = _digests(straight[0])
    if os.environ.get("UPDATE_GOLDEN"):
        EXPECTED.write_text(json.dumps(got, indent=1) + "\n")
    assert got == json.loads(EXPECTED.read_text())
    assert got["fills"].keys() >= {"entry", "stop_loss", "take_profit"}, "a golden run that trades nothing sees nothing"


@pytest.mark.parametrize("every", [1, 7])
def test_restarted_run_says_the_same(straight: tuple[Chain, ReplayVenue], every: int) -> None:
    assert _said(_run(restart_every=every)[0]) == _said(straight[0])


def test_doubled_run_says_the_same(straight: tuple[Chain, ReplayVenue]) -> None:
    assert _said(_run(twice=True)[0]) == _said(straight[0])


def test_every_event_has_one_terminal_outcome_per_active_subscription(straight: tuple[Chain, ReplayVenue]) -> None:
    said = _said(straight[0])
    events: dict[str, set[str]] = {}
    for message in _messages([said["account-events"][0]]):  # broadcast: each partition has them all
        if type(message).__name__ in ("LeaderEvent", "LeaderStateChanged"):
            events.setdefault(message.leader, set()).add(message.event_id)
    told = _messages(said["outcomes"])
    outcomes = [m for m in told if type(m).__name__ == "Outcome"]
    leader_of = {m.subscription: m.leader for m in told if type(m).__name__ == "FollowerState"}
    terminal = Counter((m.event_id, m.subscription) for m in outcomes if m.state != "pending")
    waiting = {(m.event_id, m.subscription) for m in outcomes if m.state == "pending"}
    in_flight = {(m.event_id, m.subscription) for m in _messages(said["orders"]) if getattr(m, "event_id", "")}
    pending = (waiting | in_flight) - terminal.keys()
    assert set(terminal.values()) == {1}
    assert len(leader_of) >= 5 and len(events) >= 2, "the demonstration shows leaders of two kinds and their followers"
    owed = {(event, name) for name, leader in leader_of.items() for event in events[leader]}
    assert terminal.keys() | pending == owed
    counted = sum(m.active for m in told if type(m).__name__ == "FanOut")
    assert counted == len(owed)
    assert len(pending) <= len(leader_of) * 2, "only what was in flight at the end may be pending"
