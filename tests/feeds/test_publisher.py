"""The feed's loop on an in-memory log: pacing, clocks, checkpoints, restarts after death at any send."""

import asyncio
import bisect
import json
import random
import tempfile
from itertools import islice, pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.feeds import publisher
from streams.feeds.base import FeedError, log_origin
from streams.feeds.params import FeedParams
from streams.feeds.publisher import FeedRun, open_feed
from streams.timebase import TimeBase, TimeBaseError
from tests.feeds.fake_log import FailingLog, FakeLog, Killed, Time, open_base
from tests.feeds.samples import recorded_lines, trade_line, write

START = 1_723_161_255_000


def make_run(folder, params, log, time, stop=None, **more):
    feed = open_feed(params)
    speed = None if params.speed == "max" else params.speed
    base = open_base(folder, feed, log, time, speed, log_origin(feed, round(time() * 1000)))
    return FeedRun(feed, params, log, base, stop or asyncio.Event(), pause=time.pause, monotonic=time, **more)


async def run_whole(folder, params, log=None, time=None):
    log, time = log or FakeLog(), time or Time()
    return await make_run(folder, params, log, time).run(), log, time


def simulated(**more):
    return FeedParams(**{"kind": "simulated", "instruments": 7, "rate": 500, "limit": 3_000, "speed": "max", **more})


def identities(rows):
    return [(m["type"], m.get("instrument"), m.get("id", m.get("end_ms")), m["now_ms"]) for m in rows]


# --- one run


@pytest.mark.parametrize("speed", ["max", 1.0, 50.0])
async def test_everything_is_published_once_in_order_by_key(tmp_path, speed):
    params = simulated(speed=speed)
    result, log, _ = await run_whole(tmp_path, params)
    assert (result.sent, result.position, result.finished, result.skipped) == (3_000, 2_999, True, 0)
    wanted = [[] for _ in range(4)]
    for record in open_feed(params).records(log_origin(open_feed(params), 1_800_000_000_000)):
        wanted[log.partition(record.key)].append((record.key.encode(), record.value))
    assert [[row for row in rows if row[0] != b"*"] for rows in log.topics["market-data"]] == wanted


@pytest.mark.parametrize("speed", ["max", 10.0])
async def test_clocks_stand_in_every_partition_and_time_never_falls(tmp_path, speed):
    result, log, _ = await run_whole(tmp_path, simulated(speed=speed, clock_interval_ms=100))
    clocks = [[m["now_ms"] for m in rows if m["type"] == "clock"] for rows in log.messages()]
    assert clocks.count(clocks[0]) == 4
    assert len(clocks[0]) == result.clocks > 50
    for rows in log.messages():
        assert all(before["now_ms"] <= after["now_ms"] for before, after in pairwise(rows))
    assert all(m % 100 == 0 for m in clocks[0][:-1])
    assert max(after - before for before, after in pairwise(clocks[0])) <= 100, "no multiple is passed silently"
    assert log.messages()[0][-1]["type"] == "clock", "the last record of each partition"
    assert log.messages()[0][-1]["position"] == result.position == 2_999
    assert log.messages()[0][-1]["feed"] == result.feed


def checkpoints_are_true(log, whole):
    """Every checkpoint stands behind all records of its partition that it speaks of (the market is in order)."""
    positions = [[] for _ in range(log.count)]
    for position, record in enumerate(whole):
        positions[log.partition(record.key)].append(position)
    seen = 0
    for own, rows in zip(positions, log.messages(), strict=True):
        before = 0
        for m in rows:
            if m["type"] != "clock":
                before += 1
            elif m.get("position", -1) >= 0:
                seen += 1
                assert before == bisect.bisect_right(own, m["position"])
    assert seen > 0


async def test_checkpoints_wait_for_the_broker(tmp_path):
    class Counting(FakeLog):
        confirmed = 0

        async def append(self, topic, partition, rows):
            for _, value in rows:
                if b'"position"' in value:
                    assert json.loads(value)["position"] < self.confirmed, "all it speaks of is confirmed"
            await super().append(topic, partition, rows)

        async def flush(self):
            self.confirmed = sum(len(rows) for rows in self.market())
            await super().flush()

    log = Counting()
    result, _, _ = await run_whole(tmp_path, simulated(speed=10.0, clock_interval_ms=100), log)
    assert result.clocks > 10
    assert log.flushes >= 3


async def test_records_are_published_when_their_time_has_come_and_not_before(tmp_path):
    path = write(tmp_path / "r.jsonl", [trade_line(n, START + ms) for n, ms in enumerate((0, 40, 41, 9_000, 9_001))])
    time, seen = Time(), []

    class Watching(FakeLog):
        async def append(self, topic, partition, rows):
            seen.extend((time.seconds, value) for _, value in rows)
            await super().append(topic, partition, rows)

    params = FeedParams(path=path, loop=False, speed=10.0, clock_interval_ms=1_000)
    run = make_run(tmp_path / "data", params, Watching(), time)
    began = time.seconds
    origin = run._timebase.feed_origin_ms
    result = await run.run()
    due = {n: began + ms / 10_000 for n, ms in enumerate((0, 40, 41, 9_000, 9_001))}
    published = {n: s for s, v in seen for n in due if f'"id":{n},'.encode() in v}
    for number, second in published.items():
        assert -1e-6 <= second - due[number] <= publisher.SLICE_S + 1e-3
    clocks = sorted({int(v.split(b'"now_ms":')[1].split(b"}")[0].split(b",")[0]) for _, v in seen if b"clock" in v})
    wanted = list(range(origin // 1_000 * 1_000 + 1_000, origin + 9_002, 1_000))
    assert [c for c in clocks if c % 1_000 == 0] == wanted, "clocks move quiet time at their own pace"
    assert result.now_ms >= origin + 9_001
    assert max(time.pauses) <= publisher.IDLE_S
    assert min(time.pauses) >= publisher.SLICE_S


async def test_a_late_feed_catches_up_without_its_clock_passing_records(tmp_path):
    time = Time()
    run = make_run(tmp_path, simulated(speed=1.0, rate=1_000, limit=5_000), log := FakeLog(), time)
    run._timebase.start()
    time.seconds += 60
    result = await run.run()
    assert result.sent == 5_000
    assert not time.pauses
    for rows in log.messages():
        assert all(before["now_ms"] <= after["now_ms"] for before, after in pairwise(rows))


async def test_a_late_feed_that_is_stopped_is_not_overtaken_by_its_last_clock(tmp_path):
    time, stop = Time(), asyncio.Event()

    class Stopping(FakeLog):
        async def append(self, topic, partition, rows):
            await super().append(topic, partition, rows)
            stop.set()

    params, log = simulated(speed=1.0, rate=1_000, limit=5_000), Stopping()
    run = make_run(tmp_path, params, log, time, stop)
    run._timebase.start()
    time.seconds += 60
    result = await run.run()
    assert 0 < result.sent < 5_000
    await make_run(tmp_path, params, log, time).run()
    for rows in log.messages():
        assert all(before["now_ms"] <= after["now_ms"] for before, after in pairwise(rows))


async def test_stop_ends_with_a_checkpoint_and_the_next_run_goes_on_without_a_gap_in_time(tmp_path):
    params, log, time, stop = simulated(speed=2.0, limit=None), FakeLog(), Time(), asyncio.Event()
    run = make_run(tmp_path, params, log, time, stop)
    pause = time.pause

    async def pausing(seconds):
        await pause(seconds)
        if time.seconds > 1_800_000_003:
            stop.set()

    run._pause = pausing
    first = await run.run()
    assert not first.finished
    assert 2_500 < first.sent < 3_500
    assert {rows[-1]["position"] for rows in log.messages()} == {first.position}
    time.seconds += 86_400
    again = make_run(tmp_path, simulated(speed=4.0, limit=6_000), log, time)
    assert again._timebase.now_ms() == first.now_ms, "log time stood still in between"
    second = await again.run()
    assert second.skipped == 0
    assert second.sent == 6_000 - first.sent
    checkpoints_are_true(log, list(islice(open_feed(params).records(again._timebase.feed_origin_ms), 6_000)))


# --- restarts


async def straight(params):
    with tempfile.TemporaryDirectory() as folder:
        _, log, _ = await run_whole(Path(folder) / "data", params)
        return log


async def run_with_ends(folder, params, ends, chance):
    """Run again and again, each run ended as `ends` says, then to the input's end; return the log."""
    log, time = FakeLog(), Time()
    log.survivors = lambda unconfirmed: chance.randint(0, unconfirmed)
    results = []
    for sends, end in [*ends, (None, "")]:
        log.kill_after = None if sends is None else log.sends + sends
        stop = asyncio.Event()
        log.stop = stop if end == "s" else None
        try:
            results.append(await make_run(folder, params, log, time, stop).run())
        except Killed:
            time.seconds += chance.random()
    return log, results[-1]


# How each run ends: after so many sends, by death or by a stop; long after a start, or during the catching up.
ENDS = st.lists(st.tuples(st.one_of(st.integers(0, 60), st.integers(0, 1_500)), st.sampled_from("dds")), max_size=8)


@pytest.fixture(scope="module")
def many_checkpoints():
    """So often that small runs die around them, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publisher, "CHECKPOINT_S", 0.0)
        patch.setattr(publisher, "CHECKPOINT_RECORDS", 120)
        patch.setattr(publisher, "SLICE_RECORDS", 90)
        yield


@pytest.mark.usefixtures("many_checkpoints")
@pytest.mark.parametrize("speed", ["max", 20.0])
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**9), ends=ENDS, pace=st.sampled_from([(50, 500), (100_000, 500), (100_000, 50_000)]))
def test_death_at_any_send_loses_and_repeats_nothing(speed, seed, ends, pace):
    params = simulated(speed=speed, limit=1_000, clock_interval_ms=pace[0], rate=pace[1])
    wanted = asyncio.run(straight(params)).market()
    with tempfile.TemporaryDirectory() as folder:
        log, result = asyncio.run(run_with_ends(Path(folder), params, ends, random.Random(seed)))
        base = TimeBase.load(folder)
        assert base.feed_origin_ms == 1_800_000_000_000
        assert result.finished
        assert log.market() == wanted
        checkpoints_are_true(log, list(open_feed(params).records(base.feed_origin_ms)))
        for rows in log.messages():
            assert all(before["now_ms"] <= after["now_ms"] for before, after in pairwise(rows))


@pytest.mark.usefixtures("many_checkpoints")
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**9), ends=ENDS)
def test_death_in_a_looping_recording_with_bad_lines(seed, ends):
    lines = recorded_lines(200)
    lines[50:50] = ["{bad", trade_line(1, START - 500), "worse"]
    for number in range(60, 180, 4):
        lines[number] = lines[number - 1]  # the venue sent some twice
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "r.jsonl.gz", lines)
        params = FeedParams(path=path, speed="max", limit=1_000, clock_interval_ms=50)
        wanted = asyncio.run(straight(params))
        log, result = asyncio.run(run_with_ends(Path(folder) / "data", params, ends, random.Random(seed)))
        assert log.market() == wanted.market()
        assert log.messages("parked") == wanted.messages("parked")
        assert [m["source"] for m in log.messages("parked")[0]] == ["r.jsonl.gz:51", "r.jsonl.gz:53"]
        assert log.messages("alerts") == wanted.messages("alerts")
        assert result.finished
        assert result.position == 999


async def test_foreign_records_at_the_tail_do_not_stop_checkpoints_for_ever(tmp_path):
    params, log, time = simulated(limit=1_000), FakeLog(), Time()
    await make_run(tmp_path, params, log, time).run()
    end = log.messages()[0][-1]["now_ms"]
    foreign = b'{"type":"trade","now_ms":%d,"instrument":"x:Y","price":"1","size":"1","side":"buy","id":5,"ts":1}' % end
    log.topics["market-data"][0] += [(b"x:Y", foreign), (b"x:Y", b"{garbage"), (b"x:Y", b"")]
    result = await make_run(tmp_path, simulated(limit=60_000), log, time).run()
    assert result.sent == 59_000
    assert log.messages()[0][-1]["position"] == 59_999
    assert (
        sum(len(rows) for rows in log.market()[1:])
        + len([r for r in log.topics["market-data"][0] if r[0] not in (b"*", b"x:Y")])
        == 60_000
    )


async def test_a_log_that_retention_emptied_goes_on_from_the_saved_position(tmp_path):
    log, time = FakeLog(), Time()
    first = await make_run(tmp_path, simulated(limit=1_000), log, time).run()
    kept = [len(rows) for rows in log.topics["market-data"]]
    for number, rows in enumerate(log.topics["market-data"]):
        log.beginnings["market-data", number] = len(rows)
        rows[:] = [(b"gone", b"")] * len(rows)
    run = make_run(tmp_path, simulated(limit=1_500), log, time)
    assert run._timebase.now_ms() == first.now_ms
    result = await run.run()
    assert (result.sent, result.skipped, result.position) == (500, 0, 1_499)
    new = [m for number, rows in enumerate(log.topics["market-data"]) for _, m in rows[kept[number] :]]
    assert sum(b'"clock"' not in value for value in new) == 500


async def test_a_clock_that_landed_alone_is_not_followed_by_an_earlier_one(tmp_path):
    """Death after one partition got its Clock, before the others got the records in front of theirs; then a stop."""
    log, time, stop = FakeLog(), Time(), asyncio.Event()
    origin = make_run(tmp_path, simulated(), log, time)._timebase.feed_origin_ms
    log.topics["market-data"][0].append((b"*", b'{"type":"clock","now_ms":%d}' % (origin + 500)))
    stop.set()
    await make_run(tmp_path, simulated(), log, time, stop).run()
    await make_run(tmp_path, simulated(), log, time).run()
    clocks = [[m["now_ms"] for m in rows if m["type"] == "clock"] for rows in log.messages()]
    assert all(rows == sorted(rows) for rows in clocks)
    assert clocks[0][0] == origin + 500
    assert sum(map(len, log.market())) == 3_000


# --- refusals


async def test_another_feed_in_the_same_log_is_refused(tmp_path):
    log, time = FakeLog(), Time()
    await make_run(tmp_path / "a", simulated(), log, time).run()
    with pytest.raises(TimeBaseError, match="another data folder"):
        make_run(tmp_path / "a", simulated(seed=2), log, time)
    with pytest.raises(TimeBaseError, match="is missing"):
        make_run(tmp_path / "b", simulated(seed=2), log, time)
    feed = open_feed(simulated(seed=2))
    base = TimeBase.open(tmp_path / "c", "replayed", 1_800_000_000_000, None, feed=feed.name, wall=time)
    with pytest.raises(FeedError, match="one log has one"):
        await FeedRun(feed, simulated(seed=2), log, base, asyncio.Event()).run()


async def test_a_log_from_before_this_time_base_is_refused(tmp_path):
    log, time = FakeLog(), Time()
    await make_run(tmp_path / "a", simulated(), log, time).run()
    feed = open_feed(simulated())
    base = TimeBase.open(tmp_path / "b", "replayed", 1_900_000_000_000, None, feed=feed.name, wall=time)
    with pytest.raises(FeedError, match="before this time base"):
        await FeedRun(feed, simulated(), log, base, asyncio.Event()).run()


async def test_an_empty_log_under_an_old_time_base_is_refused(tmp_path):
    await make_run(tmp_path, simulated(), FakeLog(), Time()).run()
    with pytest.raises(FeedError, match="market-data is empty"):
        await make_run(tmp_path, simulated(), FakeLog(), Time()).run()


async def test_a_time_base_of_another_feed_or_kind_is_refused(tmp_path):
    feed = open_feed(simulated())
    for base in (TimeBase.live(), TimeBase.open(tmp_path, "replayed", 1, None, feed="x")):
        with pytest.raises(FeedError, match="time base"):
            FeedRun(feed, simulated(), FakeLog(), base, asyncio.Event())


# --- failures, throttle, status


async def test_an_input_that_fails_is_published_up_to_there_first(tmp_path):
    path = write(tmp_path / "r.jsonl.gz", [trade_line(n, START + n) for n in range(3_000)])
    path.write_bytes(path.read_bytes()[:-2_000])
    params, log, time = FeedParams(path=path, speed="max"), FakeLog(), Time()
    run = make_run(tmp_path / "data", params, log, time)
    with pytest.raises(FeedError, match="cut off after line"):
        await run.run()
    sent = sum(len(rows) for rows in log.market())
    assert sent > 1_000
    assert log.messages()[0][-1]["position"] == sent - 1
    again = make_run(tmp_path / "data", params, log, time)
    with pytest.raises(FeedError, match="cut off after line"):
        await again.run()
    assert sum(len(rows) for rows in log.market()) == sent, "a restart repeats nothing"


async def test_a_broker_that_does_not_confirm_ends_the_feed(tmp_path):
    with pytest.raises(FeedError, match="did not confirm"):
        await run_whole(tmp_path, simulated(), FailingLog())


async def test_at_speed_max_the_feed_waits_for_the_echo(tmp_path):
    told, allowed = [], asyncio.Semaphore(0)

    async def throttle(now_ms):
        told.append(now_ms)
        await allowed.acquire()

    stop = asyncio.Event()
    run = make_run(tmp_path, simulated(limit=None), log := FakeLog(), Time(), stop, throttle=throttle)
    task = asyncio.create_task(run.run())
    for slices in (1, 2, 3):
        async with asyncio.timeout(60):
            while len(told) < slices:
                await asyncio.sleep(0.001)
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(told) == slices
        assert log.sends < (slices + 1) * (publisher.SLICE_RECORDS + 200)
        allowed.release()
    stop.set()
    result = await asyncio.wait_for(task, 10)
    assert told == sorted(told) and not result.finished, "the stop does not wait for an echo that never comes"


async def test_a_slice_that_is_waited_for_spans_little_log_time(tmp_path):
    path = write(tmp_path / "r.jsonl", [trade_line(n, START + 700 * n) for n in range(60)])
    told = []

    async def throttle(now_ms):
        told.append(now_ms)

    params = FeedParams(path=path, loop=False, speed="max")
    await make_run(tmp_path / "data", params, FakeLog(), Time(), throttle=throttle).run()
    assert len(told) >= 30
    assert max(after - before for before, after in pairwise(told)) <= FeedParams().lead_ms


async def test_log_time_starts_with_the_first_record(tmp_path):
    time = Time()
    run = make_run(tmp_path, simulated(speed=1.0, rate=1_000, limit=100), FakeLog(), time)
    began = run._timebase.now_ms()
    time.seconds += 5
    assert run._timebase.now_ms() == began
    await run.run()
    assert run._timebase.now_ms() - began < 1_000


async def test_an_echo_that_fails_ends_the_feed(tmp_path):
    async def throttle(now_ms):
        raise RuntimeError("account role is gone")

    with pytest.raises(RuntimeError, match="is gone"):
        await make_run(tmp_path, simulated(), FakeLog(), Time(), throttle=throttle).run()


async def test_status_is_told_about_once_a_second(tmp_path):
    told = []
    run = make_run(tmp_path, simulated(speed=1.0, limit=5_000), FakeLog(), Time(), on_status=told.append)
    result = await run.run()
    assert 8 <= len(told) <= 11
    assert [s.sent for s in told] == sorted(s.sent for s in told)
    assert told[-1].sent <= result.sent
    assert told[0] is not told[1]
