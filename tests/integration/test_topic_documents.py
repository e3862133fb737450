"""What stands on each topic is what the documents say, read with Kafka's own console tools."""

import asyncio
import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jsonschema
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from schemas import codec
from schemas.asyncapi import record_schema
from schemas.examples import EXAMPLES
from schemas.topics import Topic, key_of
from streams.broker import install
from streams.broker.cluster import Cluster
from streams.topics_admin import ensure_topics, load_catalogue
from tests.broker_fixtures import kafka

__all__ = ["kafka"]

CATALOGUE = load_catalogue()
TOPICS = [topic for topic in CATALOGUE.topics.values() if topic.messages]
STAMPS = [("src", b"account@account-events/0"), ("st", b"1024.0"), ("pv", b"1023.1"), ("t0", b"1723104000000123")]


def console(tool: str, *arguments: str, text: str = "") -> str:
    """Run one of Kafka's own command-line tools and return what it printed."""
    classpath = os.pathsep.join(str(path) for path in install.libraries())
    command = [str(install.java()), "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", classpath, tool]
    told = subprocess.run([*command, *arguments], input=text, capture_output=True, text=True, timeout=90, check=False)
    assert told.returncode == 0, told.stderr
    return told.stdout


def consumed(bootstrap: str, topic: Topic) -> list[dict[str, Any]]:
    """Read a topic whole with Kafka's console consumer."""
    properties = ["print.key=true", "print.headers=true", "headers.separator=|", "null.literal=NULL"]
    printed = console(
        "org.apache.kafka.tools.consumer.ConsoleConsumer",
        *("--bootstrap-server", bootstrap, "--topic", topic.name, "--from-beginning"),
        *("--max-messages", str(len(topic.messages)), "--timeout-ms", "30000"),
        *(part for one in properties for part in ("--formatter-property", one)),
    )
    records = []
    for line in printed.splitlines():
        headers, key, value = line.split("\t", 2)
        pairs = [] if headers == "NO_HEADERS" else [header.split(":", 1) for header in headers.split("|")]
        records.append({"headers": dict(pairs), "key": key, "value": json.loads(value)})
    return records


@pytest.fixture(scope="module")
def records(kafka: Cluster) -> dict[str, list[dict[str, Any]]]:
    """Records of every topic as the console consumer shows them: one of each message."""

    async def produce() -> None:
        await ensure_topics(CATALOGUE, kafka.bootstrap, replication=1)
        async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all") as producer:
            for topic in TOPICS:
                for tag in topic.messages:
                    key = "*" if tag in topic.broadcast else key_of(topic, EXAMPLES[tag])
                    value = codec.encode(EXAMPLES[tag])
                    headers = [] if topic.edge else STAMPS
                    await producer.send_and_wait(topic.name, value, key=key.encode(), headers=headers)

    asyncio.run(produce())
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda topic: consumed(kafka.bootstrap, topic), TOPICS))
    return {topic.name: read for topic, read in zip(TOPICS, found, strict=True)}


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_every_record_of_the_topic_is_as_its_document_says(
    topic: Topic, records: dict[str, list[dict[str, Any]]]
) -> None:
    read = records[topic.name]
    assert sorted(record["value"]["type"] for record in read) == sorted(topic.messages)
    for record in read:
        schema = record_schema(topic, record["value"]["type"])
        jsonschema.validate(record, schema, cls=jsonschema.Draft202012Validator)


async def test_a_record_written_from_outside_is_decoded(kafka: Cluster) -> None:
    topic = CATALOGUE["market-data"]
    await ensure_topics(CATALOGUE, kafka.bootstrap, replication=1)
    quote = '{"type":"trade","now_ms":1723104000000,"instrument":"outside:X/Y","price":"1.5","size":"2",'
    quote += '"side":"sell","id":7,"ts":1723104000000}'
    await asyncio.to_thread(
        console,
        "org.apache.kafka.tools.ConsoleProducer",
        *("--bootstrap-server", kafka.bootstrap, "--topic", topic.name),
        *("--reader-property", "parse.key=true", "--reader-property", "key.separator=|"),
        text=f"outside:X/Y|{quote}\n",
    )
    decoder = codec.decoder_for(topic.messages)
    partitions = [TopicPartition(topic.name, number) for number in range(topic.partitions)]
    async with AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest") as consumer:
        consumer.assign(partitions)
        async for record in consumer:
            if record.key == b"outside:X/Y":
                break
    message = decoder(record.value)
    assert codec.encode(message).decode() == quote
    assert key_of(topic, message).encode() == record.key
