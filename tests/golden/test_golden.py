"""Golden runs over the built-in recording: straight, restarted, and with every message twice. Same bytes.

Every processor (strategy, leader, account) runs on the real inbox core with the real matching core as its venue. What
the processors say is compared record by record between the three ways, and as a digest per topic with a file in
`expected/`. After a change that is meant: `UPDATE_GOLDEN=1 make test ARGS=tests/golden`, and review the difference.
"""

import hashlib
import json
import os
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from processors.account.processor import AccountProcessor
from processors.inbox import partition_of
from processors.leader.processor import LeaderProcessor
from processors.matching.params import MatchingParams
from processors.strategy.processor import StrategyProcessor
from replay.chain import Chain
from replay.venue import ReplayVenue
from schemas.accounts import AccountChanged, SubscriptionChanged
from schemas.codec import decode, encode
from streams.feeds.params import FeedParams
from streams.feeds.publisher import open_feed
from streams.settings import load_settings
from streams.topics_admin import load_catalogue

EXPECTED = Path(__file__).with_name("expected") / "recording.json"
ORIGIN_MS = 1_723_161_255_000
RECORDS = 150_000
CHUNK = 150  # records of market data between two looks at the venue, about a third of a second of log time
SAID = ("signals", "bars", "leader-events", "account-events", "orders", "order-status", "outcomes", "alerts", "parked")


def _run(restart_every: int = 0, twice: bool = False) -> tuple[Chain, ReplayVenue]:
    settings = load_settings(environment={})
    topics = load_catalogue().topics
    count = topics["account-events"].partitions
    venue = ReplayVenue(MatchingParams(), count)
    processors = [StrategyProcessor(settings.strategies), LeaderProcessor(), AccountProcessor()]
    chain = Chain(topics, processors, outside=venue.take, restart_every=restart_every, twice=twice)
    feed = open_feed(FeedParams())
    for rules in feed.instruments(ORIGIN_MS):
        for partition in range(count):
            chain.append("account-events", partition, encode(rules))
    for account in settings.accounts:
        partition = partition_of(account.account.encode(), count)
        chain.append(
            "account-events",
            partition,
            encode(
                AccountChanged(
                    account=account.account,
                    venue=account.venue,
                    currency=account.currency,
                    initial_balance=account.initial_balance,
                    settings=account.settings.model_dump(mode="json"),
                    now_ms=ORIGIN_MS,
                )
            ),
        )
        for subscription in account.subscriptions:
            followed = SubscriptionChanged(
                subscription=f"{account.account}/{subscription.leader}",
                account=account.account,
                leader=subscription.leader,
                status="active",
                ratio=subscription.ratio,
                settings=subscription.settings,
                now_ms=ORIGIN_MS,
            )
            chain.append("account-events", partition, encode(followed))
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
    states = Counter(m.state.value for m in _messages(said["outcomes"]))
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
    events = {m.event_id for m in _messages(said["account-events"]) if type(m).__name__ == "LeaderEvent"}
    outcomes = _messages(said["outcomes"])
    terminal = Counter((m.event_id, m.subscription) for m in outcomes if m.state != "pending")
    pending = {(m.event_id, m.subscription) for m in outcomes if m.state == "pending"} - terminal.keys()
    subscriptions = {m.subscription for m in outcomes}
    assert set(terminal.values()) == {1}
    assert terminal.keys() | pending == {(event, subscription) for event in events for subscription in subscriptions}
    assert len(pending) <= len(subscriptions) * 2, "only what was in flight at the end may be pending"
