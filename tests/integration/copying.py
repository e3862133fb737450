"""Copying as a user sees it, over a run of `wakeline up`: trades sent to the webhook, commands, what became of them.

Entry points: `configuration` (one file), `Desk` (a leader outside, and eyes on what its followers do), `owed`.
"""

import asyncio
import contextlib
import hashlib
import hmac
import http.client
import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml
from aiokafka import AIOKafkaConsumer, TopicPartition

from processors.inbox import read_stamp
from schemas.accounts import SubscriptionChanged
from schemas.codec import decode
from schemas.leaders import LeaderEvent, LeaderStateChanged
from schemas.market import Marks
from schemas.reasons import OutcomeState
from schemas.status import FanOut, Outcome, PositionChanged
from streams.topics_admin import load_catalogue
from tests.integration.runs import query, until

BTC, ETH, SOL = INSTRUMENTS = ("sim:BTC/USD", "sim:ETH/USD", "sim:SOL/USD")
SECRET = b"a secret of the desk"
HOUR_MS = 3_600_000
FAR: dict[str, Any] = {"kind": "percent", "fraction": "0.5"}
GENEROUS: dict[str, Any] = {
    "max_position_notional": None,
    "max_signal_age_ms": None,
    "max_price_drift_bps": None,
    "order_ttl_ms": HOUR_MS,
    "stop_loss": FAR,
    "take_profit": FAR,
}
"""Caps off, and guards that no busy machine meets."""


def configuration(folder: Path, leaders: Iterable[str], accounts: list[dict[str, Any]], rate: float) -> Path:
    """Write a configuration with leaders of kind feed over a calm made-up market; return its path."""
    secret = folder / "secret"
    secret.write_bytes(SECRET)
    tree = {
        "broker": {"replication": 1},
        "feed": {
            "kind": "simulated", "instruments": list(INSTRUMENTS), "rate": rate, "speed": 1, "seed": 7,
            "volatility": 0.001,
        },
        "leaders": [
            {"name": name, "kind": "feed", "secret_file": str(secret), "settings": {"defaults": GENEROUS}}
            for name in leaders
        ],
        "accounts": [{"currency": "USD"} | account for account in accounts],
    }  # fmt: skip
    path = folder / "wakeline.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def posted(port: int, leader: str, body: bytes, secret: bytes = SECRET, at_ms: int | None = None) -> tuple[int, Any]:
    """Send a signed body as a source outside would; return status and answer."""
    timestamp = str(time.time_ns() // 1_000_000 if at_ms is None else at_ms)
    digest = hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    headers = {"X-Wakeline-Timestamp": timestamp, "X-Wakeline-Signature": f"sha256={digest}"}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", f"/hooks/{leader}", body, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


class Watch:
    """Everything that stands on some topics, read as it comes; use as a context manager."""

    def __init__(self, bootstrap: str, *topics: str) -> None:
        self.records: dict[str, list[Any]] = {topic: [] for topic in topics}
        self._bootstrap, self._stop = bootstrap, threading.Event()
        self._decoded: dict[str, list[Any]] = {topic: [] for topic in topics}
        self._failure: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join(30)

    def _run(self) -> None:
        try:
            asyncio.run(self._read())
        except Exception as error:  # told to whoever looks next
            self._failure.append(error)

    async def _read(self) -> None:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap, enable_auto_commit=False, fetch_max_wait_ms=10,
            max_partition_fetch_bytes=8 * 1024 * 1024,
        )  # fmt: skip
        await consumer.start()
        try:
            catalogue = load_catalogue()
            tps = [TopicPartition(name, lane) for name in self.records for lane in range(catalogue[name].partitions)]
            consumer.assign(tps)
            await consumer.seek_to_beginning(*tps)
            while not self._stop.is_set():
                for tp, found in (await consumer.getmany(timeout_ms=50)).items():
                    self.records[tp.topic] += found
        finally:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(consumer.stop(), 5)

    def count(self, topic: str) -> int:
        """Return how many records stand there."""
        assert not self._failure, self._failure
        return len(self.records[topic])

    def messages(self, topic: str, *kinds: type) -> list[Any]:
        """Return the messages of a topic, of these kinds or all; a repeat of a killed worker is in it again."""
        known, length = self._decoded[topic], self.count(topic)
        known += [decode(record.value) for record in self.records[topic][len(known) : length]]
        return [message for message in known if not kinds or isinstance(message, kinds)]


def marked(watch: Watch, instruments: Iterable[str]) -> bool:
    """Return whether every partition of the account role knows a price of each of these."""
    seen: dict[int, set[str]] = defaultdict(set)
    messages = watch.messages("account-events")
    for record, message in zip(watch.records["account-events"], messages, strict=False):
        if isinstance(message, Marks):
            seen[record.partition] |= {mark.instrument for mark in message.marks}
    return len(seen) == load_catalogue()["account-events"].partitions and all(
        names >= set(instruments) for names in seen.values()
    )


def outcomes(watch: Watch) -> dict[tuple[str, str], Outcome]:
    """Return the terminal outcomes by event and subscription; fail where one was told in two ways."""
    found: dict[tuple[str, str], Outcome] = {}
    for outcome in watch.messages("outcomes", Outcome):
        if outcome.state is not OutcomeState.PENDING:
            known = found.setdefault((outcome.event_id, outcome.subscription), outcome)
            assert known == outcome, f"two outcomes of one event: {known} and {outcome}"
    return found


def positions(watch: Watch) -> dict[tuple[str, str], Decimal]:
    """Return the size by subscription and instrument, as last told."""
    return {(m.subscription, m.instrument): m.size for m in watch.messages("order-status", PositionChanged)}


def owed(watch: Watch) -> dict[tuple[str, str], LeaderEvent | LeaderStateChanged]:
    """Count from the inbox of the account role, without its help, who owes an outcome for which event.

    A record counts once (its stamp says which one it is), a leader's event once per partition; a subscription owes
    while it is active or paused.
    """
    following: dict[int, dict[str, tuple[str, str]]] = defaultdict(dict)  # partition -> name -> leader, status
    heads: dict[tuple[int, str], tuple[int, int]] = {}
    found: dict[tuple[str, str], LeaderEvent | LeaderStateChanged] = {}
    messages = watch.messages("account-events")
    for record, message in zip(watch.records["account-events"], messages, strict=False):
        stamped = read_stamp(record.headers)
        assert stamped is not None
        place = (record.partition, stamped.source)
        if place in heads and stamped.stamp <= heads[place]:
            continue
        heads[place] = stamped.stamp
        mine = following[record.partition]
        if isinstance(message, SubscriptionChanged):
            mine[message.subscription] = (message.leader, message.status)
        elif isinstance(message, LeaderEvent | LeaderStateChanged):
            for name, (leader, status) in mine.items():
                if leader == message.leader and status in ("active", "paused"):
                    found[message.event_id, name] = message
    return found


def check_ledger(watch: Watch, data_dir: Path) -> None:
    """Wait until every outcome that is owed was told; then ask ClickHouse the same, and compare."""
    wanted = until(lambda: (names := owed(watch)).keys() <= outcomes(watch).keys() and names, "every outcome is told")
    made_up = {event.event_id for event in watch.messages("outcomes", FanOut)} - {event for event, _ in wanted}
    assert outcomes(watch).keys() - wanted.keys() <= {key for key in outcomes(watch) if key[0] in made_up}

    def total() -> bool:
        (row,) = query(data_dir, "SELECT * FROM outcome_ledger_total")
        numbers = {name: int(value) for name, value in row.items()}
        assert numbers["unowed"] == numbers["doubled"] == 0, numbers
        return numbers["owed"] == numbers["told"] == len(outcomes(watch)) and not numbers["pending"]

    until(total, "the ledger of ClickHouse is complete")
