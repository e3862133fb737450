"""The shell on one real broker, without faults of processes: positions, snapshots, refusals, failures, metrics."""

import aiohttp
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import OffsetAndMetadata

from processors.inbox import StreamHole
from schemas.codec import NewerSchema, decode, encode
from schemas.market import Clock
from streams import app as app_module
from streams.app import PositionLost
from streams.http import HttpServer
from streams.metrics import Metrics
from streams.snapshots import SnapshotRefused
from tests.streams import toy
from tests.streams.inprocess import running, until
from tests.streams.pipeline import Pipeline


@pytest.fixture
async def line(kafka, unique):
    async with Pipeline(kafka.bootstrap, unique, partitions=1, mid=1) as pipeline:
        yield pipeline


def applied(role, count):
    return until(lambda: (role.handler._partitions and role.handler.inbox(0).position >= count) or role.failures)


async def commit(line, group, offset):
    consumer = AIOKafkaConsumer(bootstrap_servers=line.bootstrap, group_id=group, enable_auto_commit=False)
    await consumer.start()
    consumer.assign([TopicPartition(f"{line.prefix}in", 0)])
    await consumer.commit({TopicPartition(f"{line.prefix}in", 0): OffsetAndMetadata(offset, "")})
    await consumer.stop()


async def delete_below(line, offset):
    admin = AIOKafkaAdminClient(bootstrap_servers=line.bootstrap)
    await admin.start()
    from aiokafka.admin.records_to_delete import RecordsToDelete

    await admin.delete_records({TopicPartition(f"{line.prefix}in", 0): RecordsToDelete(before_offset=offset)})
    await admin.close()


async def test_the_groups_committed_offset_is_never_believed(line):
    await line.feed(1_000)
    await commit(line, f"{line.prefix}first", 900)
    async with running(line) as role:
        await applied(role, 1_000)
        assert role.handler.inbox(0).state.count == 1_000
        await until(lambda: not role.app.consumer._applied)
    async with running(line) as role:
        await until(lambda: role.app.runner.ready)
        assert role.handler.inbox(0).state.count == 1_000


async def test_a_clean_stop_lets_another_configuration_go_on_and_a_kill_does_not(line):
    await line.feed(500)
    async with running(line) as role:
        await applied(role, 500)
    await line.feed(500)
    async with running(line, build="b2", config="c2", clean=False) as role:  # not closed: nothing saved
        await applied(role, 1_000)
        assert role.handler.inbox(0).state.count == 1_000
    async with running(line) as role:
        failure = await role.failure()
        assert isinstance(failure, SnapshotRefused)
        assert "build (was b2, is b1), configuration (was c2, is c1)" in str(failure)
        assert "wakeline up --reset" in str(failure)
    async with running(line, build="b2", config="c2") as role:  # what the message says
        await applied(role, 1_000)
    async with running(line) as role:
        await until(lambda: role.app.runner.ready)
        assert not role.failures
        assert role.handler.inbox(0).position == 1_000


async def test_a_state_closed_before_it_caught_up_is_not_clean(line):
    await line.feed(2_000)
    async with running(line, clean=False) as role:  # published all of them, then was killed
        await applied(role, 2_000)
    async with running(line, max_batch=10) as role:
        await until(lambda: role.app.runner.ready and role.handler.inbox(0).position >= 10)
        assert role.handler._partitions[0].clean_from == 2_000
        role.app.stopping = True
        role.app.runner.owned.clear()  # takes no more: closes in the middle of what the other had published
        position = role.handler.inbox(0).position
    assert position < 2_000
    async with running(line, config="c2") as role:
        assert isinstance(await role.failure(), SnapshotRefused)


async def test_an_older_schema_needs_a_migration(line):
    class Second(toy.BatchToy):
        state_schema = 2

    class Migrating(Second):
        def migrate(self, data, schema):
            state = self.decode(data)
            state.count += 1_000_000
            return state

    await line.feed(100)
    async with running(line) as role:
        await applied(role, 100)
    names = ("first", f"{line.prefix}in", f"{line.prefix}mid")
    async with running(line, processor=Second(*names)) as role:
        assert "has schema 1, this build has 2 and no migration" in str(await role.failure())
    async with running(line, processor=Migrating(*names)) as role:
        await until(lambda: role.app.runner.ready)
        assert role.handler.inbox(0).state.count == 1_000_100
    async with running(line) as role:
        assert "was 2, is 1" in str(await role.failure()) or "reads up to 1" in str(role.failures[0])


async def test_a_position_beyond_the_end_ends_the_worker(line, monkeypatch):
    monkeypatch.setattr(app_module, "END_PATIENCE_S", 0.5)
    await line.feed(100)
    async with running(line) as role:
        await applied(role, 100)
        role.handler.inbox(0).position = 5_000  # as if the log had lost its tail
    async with running(line) as role:
        failure = await role.failure()
        assert isinstance(failure, PositionLost)
        assert "stands at offset 5000, but the log ends at 100" in str(failure)
        assert role.handler.inbox(0).state.count == 100


async def test_a_position_below_the_beginning_ends_the_worker_where_a_gap_is_fatal(line):
    await line.feed(1_000)
    async with running(line) as role:
        await applied(role, 1_000)
    await line.feed(1_000)
    await delete_below(line, 1_500)
    fatal = {f"{line.prefix}in": toy.ToyTopic(("clock",), 1, True, "fatal")}
    async with running(line, topics=fatal, clean=False) as role:
        failure = await role.failure()
        assert isinstance(failure, PositionLost)
        assert "500 records are lost" in str(failure)
    async with running(line) as role:  # allowed: goes on from the beginning
        await applied(role, 2_000)
        assert role.handler.inbox(0).state.count == 1_500
        assert not role.failures
    alerts = [decode(record.value) for record, _ in (await line.read("alerts", 1))[0]]
    [alert] = [alert for alert in alerts if alert.source == f"first@{line.prefix}in/0"]
    assert (alert.kind, alert.numbers) == ("input_gap", {"position": "1000", "beginning": "1500"})


async def test_bad_records_are_parked_with_their_place(line):
    await line.feed(10)
    for value in (b"junk", None, b'{"type":"clock","v":9,"now_ms":1}'):
        await line.producer.send_and_wait(f"{line.prefix}in", value, key=b"k", partition=0)
    await line.feed(10)
    async with running(line) as role:
        await applied(role, 23)
        assert role.handler.inbox(0).state.count == 20
    parked = [decode(record.value) for record, _ in (await line.read("parked", 1))[0]]
    assert [one.source for one in parked if one.source.startswith(line.prefix)] == [
        f"{line.prefix}in/0/{offset}" for offset in (10, 11, 12)
    ]


async def test_a_newer_schema_on_an_inner_topic_ends_the_worker(line):
    await line.producer.send_and_wait(f"{line.prefix}mid", b'{"type":"clock","v":9,"now_ms":1}', partition=0)
    async with running(line, "second") as role:
        assert isinstance(await role.failure(), NewerSchema)


async def test_a_fork_ends_the_worker_and_is_told(line):
    def headers(stamp, before):
        return [("src", b"w@x/0"), ("st", stamp)] + ([("pv", before)] if before else [])

    for number, one in enumerate([headers(b"1.0", None), headers(b"5.0", b"1.0"), headers(b"7.0", b"3.0")]):
        value = encode(Clock(now_ms=number, position=number))
        await line.producer.send_and_wait(f"{line.prefix}mid", value, partition=0, headers=one)
    async with running(line, "second") as role:
        assert isinstance(await role.failure(), StreamHole)
    alerts = [decode(record.value) for record, _ in (await line.read("alerts", 1))[0]]
    assert [alert.kind for alert in alerts if alert.source == f"second@{line.prefix}mid/0"] == ["stream_fork"]


async def test_a_bug_ends_the_worker_once_and_nothing_goes_on(line):
    class Broken(toy.BatchToy):
        def step(self, state, event, meta):
            if event.position == 777:
                raise ZeroDivisionError("a bug")
            return super().step(state, event, meta)

    await line.feed(2_000)
    async with running(line, processor=Broken("first", f"{line.prefix}in", f"{line.prefix}mid"), max_batch=100) as role:
        assert isinstance(await role.failure(), ZeroDivisionError)
        await line.feed(100)
        position = role.handler.inbox(0).position
    assert len(role.failures) == 1
    assert position <= 777
    async with running(line) as role:  # the mended build: nothing was saved as clean, nothing is lost
        await applied(role, 2_100)
        assert role.handler.inbox(0).state.count == 2_100


async def test_metrics_and_health(line):
    await line.feed(1_000)
    wrong: dict[str, str] = {}
    async with running(line, snapshot_interval_s=0.2) as role:
        role.metrics.role("first").watch_lag(role.app.runner.lag)
        server = HttpServer(role.metrics, live=lambda: wrong, ready=dict)
        port = await server.start()
        other = HttpServer(Metrics(), dict, dict)
        with pytest.raises(OSError, match=f"port 127.0.0.1:{port} cannot be opened"):
            await other.start(port=port)
        await applied(role, 1_000)
        await until(lambda: role.handler._partitions[0].saved_position == 1_000)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
            page = await (await http.get("/metrics")).text()
            assert (await http.get("/livez")).status == (await http.get("/readyz")).status == 200
            wrong["role first"] = "failed"
            assert (await http.get("/livez")).status == 503
        await server.stop()
    topic = f"{line.prefix}in"
    for sample in (
        f'wakeline_records_total{{role="first",topic="{topic}"}} 1000.0',
        f'wakeline_lag_records{{partition="0",role="first",topic="{topic}"}} 0.0',
        'wakeline_snapshot_position{partition="0",role="first"} 1000.0',
        'wakeline_latency_seconds_count{role="first"} 200.0',
        f'wakeline_outputs_total{{role="first",topic="{line.prefix}mid"}} 220.0',
    ):
        assert sample in page, page
