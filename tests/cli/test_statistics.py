"""`wakeline statistics`: what it shows, what it refuses, and how it reads the topics (over a broker of lists)."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from aiokafka import TopicPartition
from click.testing import CliRunner, Result

from cli import bootstrap
from cli import statistics as reading
from cli.exit_codes import ExitCode
from cli.main import cli
from schemas.codec import encode
from schemas.reasons import Leg, Side
from tests.processors.statistics.stories import ACTION, counted, equity, fill, follows, leads, outcome

STORY: list[Any] = [
    leads(1, ACTION.ENTRY, Side.BUY, "100", "2", "2", equity="1000"),
    follows(),
    equity("500"),
    fill(1, Leg.ENTRY, fee="1"),
    outcome(1, delay_ms=20, bps="3"),
    fill(2, Leg.EXIT, "10", "1", at=10),
    leads(2, ACTION.EXIT, Side.SELL, "110", "2", "0"),
]
PLACES = {"LeaderEvent": "account-events", "FollowerEquity": "copy-results", "Fill": "order-status"}


class Row(NamedTuple):
    partition: int
    offset: int
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


class Broker:
    """Topics as lists; stands in for aiokafka's consumer."""

    def __init__(self) -> None:
        self.rows: dict[TopicPartition, list[Row]] = {}
        self.deleted: dict[TopicPartition, int] = {}

    def append(self, topic: str, value: bytes | None, partition: int = 0) -> None:
        rows = self.rows.setdefault(TopicPartition(topic, partition), [])
        rows.append(Row(partition, len(rows), value))

    def consumer(self, **_: Any) -> "Consumer":
        return Consumer(self)


class Consumer:
    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._at: dict[TopicPartition, int] = {}

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def assign(self, places: list[TopicPartition]) -> None: ...

    def seek(self, place: TopicPartition, offset: int) -> None:
        self._at[place] = offset

    async def position(self, place: TopicPartition) -> int:
        return self._at[place]

    async def beginning_offsets(self, places: list[TopicPartition]) -> dict[TopicPartition, int]:
        return {place: self._broker.deleted.get(place, 0) for place in places}

    async def end_offsets(self, places: list[TopicPartition]) -> dict[TopicPartition, int]:
        return {place: len(self._broker.rows.get(place, ())) for place in places}

    async def getmany(self, *places: TopicPartition, timeout_ms: int, max_records: int) -> dict[Any, list[Row]]:
        found = {}
        for place in places:
            batch = self._broker.rows.get(place, [])[self._at[place] :][:2]
            self._at[place] += len(batch)
            found[place] = batch
        return found


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    """The story on its topics, and its statistics as the role tells them."""
    broker = Broker()
    for record in STORY:
        topic = PLACES.get(type(record).__name__, "outcomes")
        for partition in range(4) if topic == "account-events" else (1,):
            broker.append(topic, encode(record), partition)
    broker.append("outcomes", b"not JSON")
    for told in (counted(STORY[:4]), counted(STORY)):
        for one in told.values():
            broker.append("statistics", encode(one), 2)

    async def partitions(client: Any, topic: str) -> list[int]:
        return [0, 1, 2, 3]

    monkeypatch.setattr(reading, "AIOKafkaConsumer", broker.consumer)
    monkeypatch.setattr(reading, "partitions_of", partitions)
    monkeypatch.setattr(bootstrap, "client", lambda settings: {"bootstrap_servers": "nowhere:1"})
    yield broker


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["statistics", *arguments])


def test_reading_takes_the_latest_of_each_subject(broker: Broker) -> None:
    told = reading.read_statistics("nowhere:1")
    assert told.keys() == {"leader:lead", "subscription:ann/lead"}
    assert told["subscription:ann/lead"].trades == 1
    assert (told["leader:lead"].rank, told["leader:lead"].copiers_realized_pnl) == (1, 10)


def test_a_recount_finds_the_same(broker: Broker) -> None:
    assert reading.difference(reading.read_statistics("nowhere:1"), reading.recompute("nowhere:1")) == []


def test_table(broker: Broker) -> None:
    result = run()
    assert result.exit_code == 0, result.output
    head, leader, subscription = result.stdout.splitlines()
    assert head.split()[:3] == ["subject", "net", "return"]
    assert leader.split()[:4] == ["leader:lead", "20.00", "2.00%", "1"]
    assert subscription.split()[:4] == ["subscription:ann/lead", "8.00", "1.60%", "1"]
    assert len({len(line) for line in (head, leader, subscription)}) == 1


def test_json_of_one_subject(broker: Broker) -> None:
    for name in ("ann/lead", "subscription:ann/lead"):
        line = json.loads(run(name, "--json").stdout)
        assert (line["subject"], line["realized_pnl"]) == ("subscription:ann/lead", "10")


def test_an_unknown_subject_is_told_with_the_nearest(broker: Broker) -> None:
    result = run("ann/leed")
    assert result.exit_code == ExitCode.FAILURE
    assert "no statistics of 'ann/leed'. Did you mean 'ann/lead'?" in result.stderr


def test_verified(broker: Broker) -> None:
    result = run("--verify")
    assert result.exit_code == 0, result.output
    assert "2 subjects, no difference" in result.stderr


def test_a_difference_is_told_with_both_values(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "lag", lambda *_: 3)
    broker.append("order-status", encode(fill(9, Leg.EXIT, "5")), 1)
    result = run("--verify", "--wait", "1ms")
    assert result.exit_code == ExitCode.FAILURE
    assert "subscription:ann/lead: realized_pnl was told as 10, counted as 15" in result.stderr
    assert "3 records behind" in result.stderr


@pytest.mark.parametrize("topic", ["order-status", "outcomes", "account-events", "copy-results"])
def test_deleted_records_refuse_a_recount(broker: Broker, topic: str) -> None:
    partition = 0 if topic == "account-events" else 1
    broker.deleted[TopicPartition(topic, partition)] = 1
    result = run("--verify")
    assert result.exit_code == ExitCode.FAILURE
    assert f"retention deleted records that the statistics are made of: {topic}/{partition} below 1" in result.stderr
