"""Feeds on a real broker: kill -9, a broker that goes, what the log's end says."""

import asyncio
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from processors.inbox import partition_of
from streams.feeds.base import FeedError
from streams.feeds.log import KafkaFeedLog
from streams.feeds.params import FeedParams
from streams.feeds.publisher import TOPIC, open_feed, open_timebase, run_feed
from streams.timebase import TimeBase
from streams.topics_admin import ensure_topics, load_catalogue
from tests.feeds.samples import trade_line, write

ROOT = Path(__file__).parents[2]
START = 1_723_161_255_000


@pytest.fixture
async def bootstrap(feed_broker):
    """The address of a broker that has our topics, empty."""
    await ensure_topics(load_catalogue(), feed_broker.bootstrap, replication=1)
    return feed_broker.bootstrap


async def read(bootstrap, topic):
    """Every record of each partition as (key, value)."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="none")
    await consumer.start()
    try:
        found = []
        for number in range(load_catalogue()[topic].partitions):
            partition = TopicPartition(topic, number)
            consumer.assign([partition])
            end = (await consumer.end_offsets([partition]))[partition]
            consumer.seek(partition, 0)
            rows = []
            while await consumer.position(partition) < end:
                for records in (await consumer.getmany(partition, timeout_ms=500)).values():
                    rows += [(record.key, record.value) for record in records]
            found.append(rows)
        return found
    finally:
        await consumer.stop()


def market(partitions):
    return [[row for row in rows if b'"type":"clock"' not in row[1]] for rows in partitions]


def expected(params, origin_ms):
    wanted = [[] for _ in range(load_catalogue()[TOPIC].partitions)]
    for record in open_feed(params).records(origin_ms):
        key = record.key.encode()
        wanted[partition_of(key, len(wanted))].append((key, record.value))
    return wanted


async def test_killed_at_any_moment_the_log_holds_the_feed_exactly_once(bootstrap, tmp_path):
    params = FeedParams(
        kind="simulated", instruments=40, rate=20_000, limit=120_000, speed=1.5, clock_interval_ms=200, seed=11
    )
    seed = random.randrange(10**9)
    chance = random.Random(seed)
    command = [sys.executable, "-m", "tests.feeds.feed_process", params.model_dump_json(), bootstrap, str(tmp_path)]
    log, kills = KafkaFeedLog(bootstrap), 0
    while True:
        before = sum(tail.end for tail in await log.tails(TOPIC))
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        if kills == 4:
            output, _ = await asyncio.to_thread(process.communicate, timeout=120)
            break
        wanted = before + chance.randint(1, 20_000)
        while process.poll() is None and sum(tail.end for tail in await log.tails(TOPIC)) < wanted:
            await asyncio.sleep(0.02)
        process.kill()
        process.communicate()
        kills += 1
    assert process.returncode == 0
    result = json.loads(output)
    assert result["finished"]
    assert result["position"] == 119_999
    partitions = await read(bootstrap, TOPIC)
    assert market(partitions) == expected(params, TimeBase.load(tmp_path).feed_origin_ms), f"seed {seed}"
    for rows in partitions:
        clock = json.loads(rows[-1][1])
        assert (clock["type"], clock["position"], clock["feed"]) == ("clock", 119_999, result["feed"])


async def test_bad_lines_reach_parked_and_a_second_run_adds_nothing(bootstrap, tmp_path):
    lines = [trade_line(n, START + n) for n in range(1, 50)]
    lines[10:10] = ["{bad", "x" * 10_000_000]
    path = write(tmp_path / "r.jsonl.gz", lines)
    params = FeedParams(path=path, loop=False, speed="max")
    for sent in (49, 0):
        timebase = await open_timebase(params, bootstrap, tmp_path / "data")
        result = await run_feed(params, load_catalogue(), bootstrap, timebase, stop=asyncio.Event())
        assert (result.sent, result.finished) == (sent, True)
        ((first, second),) = await read(bootstrap, "parked")
        assert (first[0], second[0]) == (b"r.jsonl.gz:11", b"r.jsonl.gz:12")
        assert json.loads(second[1])["size"] == 10_000_000
        assert sum(map(len, market(await read(bootstrap, TOPIC)))) == 49


async def test_no_broker_is_one_clear_error(tmp_path):
    timebase = TimeBase.open(tmp_path, "replayed", 1, None, feed=open_feed(FeedParams()).name)
    for work in (
        run_feed(FeedParams(), None, "127.0.0.1:9", timebase, stop=asyncio.Event()),
        open_timebase(FeedParams(), "127.0.0.1:9", tmp_path),
    ):
        with pytest.raises(FeedError, match=r"127\.0\.0\.1:9.*is it running\?") as caught:
            await work
        assert "\n" not in str(caught.value)
