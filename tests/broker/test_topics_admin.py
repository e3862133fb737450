"""Topics on a real broker: made as declared, mended, or refused with the mend."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from schemas.topics import Catalogue, CatalogueError
from streams.broker.cluster import Cluster, free_ports
from streams.broker.errors import BrokerError
from streams.topics_admin import TopicsMismatch, ensure_topics, list_topics, load_catalogue


@pytest.fixture
def catalogue(unique: str) -> Catalogue:
    """The real catalogue under names of this test's own."""
    topics = load_catalogue().topics.values()
    named = [topic.model_copy(update={"name": f"{unique}-{topic.name}"}) for topic in topics]
    return Catalogue(version=1, topics={topic.name: topic for topic in named})


def changed(catalogue: Catalogue, ending: str, **update: Any) -> Catalogue:
    """`catalogue` with one topic declared otherwise."""
    topics = {
        name: topic.model_copy(update=update) if name.endswith(ending) else topic
        for name, topic in catalogue.topics.items()
    }
    assert topics != catalogue.topics
    return Catalogue(version=1, topics=topics)


@pytest.fixture
async def admin(kafka: Cluster) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await client.start()
    yield client
    await client.close()


async def overrides(admin: AIOKafkaAdminClient, topic: str) -> dict[str, str]:
    (response,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    return {entry[0]: entry[1] for entry in response.resources[0][4] if entry[3] == 1}


async def settled(admin: AIOKafkaAdminClient, topic: str, wanted: dict[str, str]) -> None:
    """Wait for a change of settings to reach the broker that is asked (the controller answers before that)."""
    for _ in range(200):
        found = await overrides(admin, topic)
        if found == wanted:
            return
        await asyncio.sleep(0.05)
    assert found == wanted


async def test_topics_are_made_as_declared_and_the_second_time_nothing_is_done(
    kafka: Cluster, catalogue: Catalogue, admin: AIOKafkaAdminClient, unique: str
) -> None:
    report = await ensure_topics(catalogue, kafka.bootstrap, replication=1)
    assert report.created == tuple(catalogue.topics)
    assert report.mended == {}
    assert await overrides(admin, f"{unique}-market-data") == {
        "cleanup.policy": "delete",
        "retention.ms": "86400000",
        "min.insync.replicas": "1",
        "message.timestamp.type": "LogAppendTime",
        "segment.ms": "10800000",
    }
    assert await overrides(admin, f"{unique}-control") == {
        "cleanup.policy": "compact",
        "retention.ms": "-1",
        "min.insync.replicas": "1",
        "message.timestamp.type": "LogAppendTime",
        "segment.bytes": "8388608",
        "segment.ms": "60000",
        "min.cleanable.dirty.ratio": "0.1",
    }
    described = {entry["topic"]: entry for entry in await admin.describe_topics(list(catalogue.topics))}
    assert {name: len(entry["partitions"]) for name, entry in described.items()} == {
        name: topic.partitions for name, topic in catalogue.topics.items()
    }
    assert await ensure_topics(catalogue, kafka.bootstrap, replication=1) == ((), {})


async def test_settings_are_mended_and_foreign_overrides_stay(
    kafka: Cluster, catalogue: Catalogue, admin: AIOKafkaAdminClient, unique: str
) -> None:
    name = f"{unique}-control"
    await ensure_topics(catalogue, kafka.bootstrap, replication=1)
    before = await overrides(admin, name)
    # As an operator's tool would do it: this replaces every override, compaction included.
    wrong = {"retention.ms": "1000", "max.message.bytes": "2000000"}
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, wrong)])
    await settled(admin, name, wrong)
    report = await ensure_topics(catalogue, kafka.bootstrap, replication=1)
    assert list(report.mended) == [name]
    assert report.mended[name]["retention.ms"] == ("1000", "-1")
    assert report.mended[name]["cleanup.policy"] == (None, "compact")
    await settled(admin, name, before | {"max.message.bytes": "2000000"})


async def test_another_number_of_partitions_is_refused_with_every_topic_and_the_migration(
    kafka: Cluster, catalogue: Catalogue
) -> None:
    await ensure_topics(catalogue, kafka.bootstrap, replication=1)
    other = changed(changed(catalogue, "-orders", partitions=8), "-control", partitions=2)
    with pytest.raises(TopicsMismatch) as caught:
        await ensure_topics(other, kafka.bootstrap, replication=1)
    assert "-orders has 4 partitions, topics.yaml says 8" in caught.value.message
    assert "-control has 1 partitions, topics.yaml says 2" in caught.value.message
    assert "docs/topics.md" in caught.value.mend
    document = (Path(__file__).parents[2] / "docs" / "topics.md").read_text(encoding="utf-8")
    assert "## Changing the number of partitions" in document


async def test_more_copies_than_brokers_is_one_clear_error_and_makes_nothing(
    kafka: Cluster, catalogue: Catalogue, admin: AIOKafkaAdminClient, unique: str
) -> None:
    with pytest.raises(BrokerError, match=r"3 copies .* 1 broker answer; .*broker\.replication: 1"):
        await ensure_topics(catalogue, kafka.bootstrap)
    assert not [name for name in await admin.list_topics() if name.startswith(unique)]


async def test_topics_with_too_few_copies_are_refused(kafka: Cluster, catalogue: Catalogue) -> None:
    await ensure_topics(catalogue, kafka.bootstrap, replication=1)
    with pytest.raises(TopicsMismatch, match=r"has 1 copies, 3 are wanted.*and \d+ topics more.*broker\.replication"):
        await ensure_topics(catalogue, kafka.bootstrap)


async def test_three_brokers_keep_three_copies(kafka3: Cluster, catalogue: Catalogue, unique: str) -> None:
    await ensure_topics(catalogue, kafka3.bootstrap)
    found = {topic.name: topic for topic in await list_topics(kafka3.bootstrap, catalogue=catalogue)}
    assert all(len(part.replicas) == 3 for name in catalogue.topics for part in found[name].partitions)
    client = AIOKafkaAdminClient(bootstrap_servers=kafka3.bootstrap)
    await client.start()
    assert (await overrides(client, f"{unique}-orders"))["min.insync.replicas"] == "2"
    await client.close()


async def test_workers_that_start_together_agree(kafka: Cluster, catalogue: Catalogue) -> None:
    reports = await asyncio.gather(
        *(ensure_topics(catalogue, kafka.bootstrap, replication=1) for _ in range(4)),
    )
    assert {report.mended == {} for report in reports} == {True}
    assert await ensure_topics(catalogue, kafka.bootstrap, replication=1) == ((), {})


async def test_a_topic_the_broker_refuses_is_told_with_its_reason(kafka: Cluster, catalogue: Catalogue) -> None:
    wrong = changed(catalogue, "-orders", name="no/topic")
    with pytest.raises(BrokerError, match=r"refuses 1 topics: no/topic: InvalidTopicError"):
        await ensure_topics(wrong, kafka.bootstrap, replication=1)


async def test_a_missing_broker_is_one_clear_error(catalogue: Catalogue) -> None:
    address = f"127.0.0.1:{free_ports(1)[0].client}"
    with pytest.raises(BrokerError, match=rf"no answer from the broker at {address}.*broker\.bootstrap"):
        await ensure_topics(catalogue, address)
    with pytest.raises(BrokerError, match="no answer"):
        await list_topics(address)


async def test_listing_counts_records_bytes_and_tells_strangers(
    kafka: Cluster, catalogue: Catalogue, admin: AIOKafkaAdminClient, unique: str
) -> None:
    await ensure_topics(catalogue, kafka.bootstrap, replication=1)
    await admin.create_topics([NewTopic(f"{unique}-stranger", 2, 1)])
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as producer:
        for partition in (0, 0, 1):
            await producer.send_and_wait(f"{unique}-stranger", b"x" * 100, partition=partition)
    found = await list_topics(kafka.bootstrap, catalogue=catalogue)
    assert [topic.name for topic in found][: len(catalogue.topics)] == list(catalogue.topics)
    assert not [topic.name for topic in found if topic.name.startswith("__")]
    stranger = next(topic for topic in found if topic.name == f"{unique}-stranger")
    assert not stranger.declared
    assert [(part.begin, part.end) for part in stranger.partitions] == [(0, 2), (0, 1)]
    assert stranger.records == 3
    assert 300 < stranger.size_bytes < 3000


def test_a_catalogue_file_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"topics\.yaml: 1 problem\n  line 1: cannot be read: No such file"):
        load_catalogue(tmp_path / "topics.yaml")
