"""The inbox core against tables and slow oracles."""

import base64
import hashlib

import msgspec
import pytest
from aiokafka.partitioner import murmur2 as their_murmur2
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.inbox import (
    PARKED_BYTES,
    InboxCore,
    LogHole,
    Record,
    StreamHole,
    judge,
    murmur2,
    parked,
    partition_of,
    read_stamp,
)
from processors.protocols import BY_KEY, Out
from schemas.codec import NewerSchema, decode, encode
from schemas.market import Clock
from schemas.system import Parked
from tests.streams.toy import BatchToy, Toy, ToyTopic, topics

TOPICS = topics("t-", 4, 3)
STAMPED = InboxCore(Toy("second", "t-mid", "t-out"), TOPICS)
EDGE = InboxCore(BatchToy("first", "t-in", "t-mid"), TOPICS)


def clock(number: int, now_ms: int | None = None) -> bytes:
    return encode(Clock(now_ms=number if now_ms is None else now_ms, feed=f"f{number % 5}", position=number))


def stamped(offset: int, stamp: str, before: str | None, source: str = "w@x/0", value: bytes | None = None) -> Record:
    headers = [("src", source.encode()), ("st", stamp.encode()), ("t0", b"1")]
    if before is not None:
        headers.append(("pv", before.encode()))
    return Record(offset, clock(offset) if value is None else value, headers)


def told(emits, topic="alerts"):
    return [decode(emit.value) for emit in emits if emit.topic == topic]


# -- partitions
@given(st.binary(max_size=200))
def test_murmur2_is_kafkas(key):
    assert murmur2(key) == their_murmur2(key) & 0xFFFFFFFF


@pytest.mark.parametrize(
    ("key", "hashed"),
    # From Kafka's own UtilsTest.testMurmur2, as signed numbers.
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_of_the_java_client(key, hashed):
    assert murmur2(key) == hashed & 0xFFFFFFFF
    assert partition_of(key, 7) == (hashed & 0x7FFFFFFF) % 7


# -- the chain
@pytest.mark.parametrize(
    ("stamp", "before", "watermark", "verdict"),
    [
        ((0, 0), None, None, "apply"),
        ((6, 0), (5, 1), (5, 1), "apply"),
        ((5, 1), (5, 0), (5, 1), "repeat"),
        ((5, 0), None, (5, 1), "repeat"),
        ((5, 1), (9, 9), (5, 1), "repeat"),
        ((6, 0), None, (5, 1), "restart"),
        ((7, 0), (6, 0), (5, 1), "hold"),
        ((7, 0), (6, 0), None, "hold"),
        ((7, 0), (5, 0), (5, 1), "fork"),
        ((10, 0), (9, 0), (9, 0), "apply"),  # numbers, not text
        ((9, 0), None, (10, 0), "repeat"),
    ],
)
def test_what_the_chain_says(stamp, before, watermark, verdict):
    assert judge(stamp, before, watermark) == verdict


def test_repeats_behind_another_source_are_skipped():
    box = STAMPED.new(0)
    STAMPED.apply(
        box,
        [
            stamped(0, "0.0", None),
            stamped(1, "0.0", None, "v@x/1"),
            stamped(2, "3.1", "0.0"),
            stamped(3, "0.0", None),
            stamped(4, "3.1", "0.0"),
            stamped(5, "4.0", "3.1"),
        ],
    )
    assert (box.applied, box.repeats, box.position) == (4, 2, 6)
    assert box.watermarks == {"w@x/0": (4, 0), "v@x/1": (0, 0)}


def test_a_hole_is_told_once_held_and_healed_by_the_repeat():
    box = STAMPED.new(0)
    emits = STAMPED.apply(
        box,
        [stamped(0, "0.0", None), stamped(1, "2.0", "1.0"), stamped(2, "3.0", "2.0"), stamped(3, "0.0", None, "v@x/1")],
    )
    assert [alert.kind for alert in told(emits)] == ["stream_hole"]
    assert told(emits)[0].severity == "critical"
    assert (box.applied, box.held, box.watermarks["w@x/0"]) == (2, 2, (0, 0))
    emits = STAMPED.apply(box, [stamped(4, "1.0", "0.0"), stamped(5, "2.0", "1.0"), stamped(6, "3.0", "2.0")])
    assert [alert.kind for alert in told(emits)] == ["stream_healed"]
    assert (box.applied, box.holes, box.watermarks["w@x/0"]) == (5, {}, (3, 0))


def test_a_source_that_begins_anew_is_applied_and_told():
    box = STAMPED.new(0)
    emits = STAMPED.apply(box, [stamped(0, "0.7", None), stamped(1, "1.1", None)])
    assert [alert.kind for alert in told(emits)] == ["stream_restarted"]
    assert box.applied == 2


def test_a_fork_ends_the_worker_and_leaves_what_came_before():
    box = STAMPED.new(0)
    STAMPED.apply(box, [stamped(0, "0.0", None), stamped(1, "1.0", "0.0")])
    with pytest.raises(StreamHole, match=r"w@x/0 sent 3\.0 after 0\.5, but 1\.0 was applied") as raised:
        STAMPED.apply(box, [stamped(2, "0.0", None, "v@x/1"), stamped(3, "3.0", "0.5")])
    assert [alert.kind for alert in told(raised.value.emits)] == ["stream_fork"]
    assert box.position == 3


@pytest.mark.parametrize(
    "headers",
    [
        [("src", b"w")],
        [("st", b"1.0")],
        [("src", b"w"), ("st", b"1")],
        [("src", b"w"), ("st", b"-1.0")],
        [("src", b"\xff"), ("st", b"1.0")],
        [("src", b"w"), ("st", b"1.0"), ("pv", b"x")],
        [("src", b"w"), ("st", b"1" * 30 + b".0")],
        [("src", b"w"), ("st", "\u0661.0".encode())],
    ],
)
def test_unreadable_stamps_are_parked(headers):
    box = STAMPED.new(0)
    emits = STAMPED.apply(box, [Record(0, clock(0), headers)])
    assert [emit.topic for emit in emits] == ["parked"]
    assert (box.applied, box.position) == (0, 1)


def test_unstamped_records_are_applied():
    box = STAMPED.new(0)
    STAMPED.apply(box, [Record(n, clock(n), [("other", b"")]) for n in range(3)])
    assert box.applied == 3
    assert read_stamp([("t0", b"1")]) is None


# -- position and time
def test_old_records_are_skipped_and_a_jump_ends():
    box = STAMPED.new(0)
    STAMPED.apply(box, [Record(n, clock(n)) for n in range(5)])
    STAMPED.apply(box, [Record(n, clock(n)) for n in range(2, 8)])
    assert (box.applied, box.position) == (8, 8)
    for offsets in ([9], [8, 10]):
        with pytest.raises(LogHole, match="wanted offset 8"):
            STAMPED.apply(box, [Record(n, clock(n)) for n in offsets])
    assert box.position == 8


@pytest.mark.parametrize("core", [STAMPED, EDGE])
def test_step_time_never_runs_back(core):
    box = core.new(0)
    core.apply(box, [Record(0, clock(0, 500)), Record(1, clock(1, 300)), Record(2, clock(2, 600))])
    assert box.now_ms == 600


@pytest.mark.parametrize("now_ms", [-1, 1 << 48, 1 << 70])
def test_absurd_times_are_parked(now_ms):
    box = STAMPED.new(0)
    emits = STAMPED.apply(box, [Record(0, clock(0, 7)), Record(1, b'{"type":"clock","now_ms":%d}' % now_ms)])
    assert [emit.topic for emit in emits] == ["parked"]
    assert box.now_ms == 7
    assert STAMPED.decode(STAMPED.encode(box)).now_ms == 7


# -- parking
BAD = [
    b"",
    b"\xff\xfe",
    b"{",
    b"[]",
    b"null",
    b'{"type":"clock"}',
    b'{"type":"trade"}',
    b'{"type":"clock","now_ms":NaN}',
    b'{"type":"clock","now_ms":1,"surprise":1}',
    None,
    b"[" * 100_000,
]


@pytest.mark.parametrize("value", BAD)
def test_what_cannot_be_read_is_parked_and_nothing_else_delayed(value):
    box = STAMPED.new(2)
    emits = STAMPED.apply(box, [Record(0, clock(0)), Record(1, value), Record(2, clock(2))])
    assert (box.applied, box.parked, box.position) == (2, 1, 3)
    [emit] = emits
    message = decode(emit.value)
    assert isinstance(message, Parked)
    assert (message.source, message.size) == ("t-mid/2/1", len(value or b""))
    assert message.reason
    assert base64.b64decode(message.value) == (value or b"")[:PARKED_BYTES]


def test_a_step_that_refuses_leaves_time_and_state():
    box = STAMPED.new(0)
    emits = STAMPED.apply(box, [Record(0, encode(Clock(now_ms=99, position=-5)))])
    assert [emit.topic for emit in emits] == ["parked"]
    assert (box.now_ms, box.state.count) == (0, 0)


def test_a_parked_record_moves_the_watermark_and_the_chain_goes_on():
    box = STAMPED.new(0)
    STAMPED.apply(box, [stamped(0, "0.0", None), stamped(1, "1.0", "0.0", value=b"junk"), stamped(2, "2.0", "1.0")])
    assert (box.applied, box.parked, box.holes) == (2, 1, {})


def test_parked_is_cut_and_the_same_each_time():
    value = bytes(range(256)) * 40_000
    out = parked("market-data", 3, 17, value, "why" * 1000, 5)
    assert out == parked("market-data", 3, 17, value, "why" * 1000, 5)
    assert len(base64.b64decode(out.value.value)) == PARKED_BYTES
    assert (out.value.size, out.value.sha256) == (len(value), hashlib.sha256(value).hexdigest())
    assert len(out.value.reason) == 1000
    assert (out.topic, out.key, out.partition) == ("parked", "market-data/3/17", BY_KEY)


NEWER = b'{"type":"clock","v":2,"now_ms":5,"colour":"red"}'


def test_a_newer_schema_ends_the_reader_of_our_own_topics():
    box = STAMPED.new(0)
    with pytest.raises(NewerSchema):
        STAMPED.apply(box, [Record(0, clock(0)), Record(1, NEWER)])
    assert (box.position, box.parked) == (1, 0)


def test_a_newer_schema_is_parked_at_the_edge():
    core = InboxCore(Toy("first", "t-in", "t-mid"), TOPICS)  # without step_batch
    box = core.new(0)
    emits = core.apply(box, [Record(0, NEWER), Record(1, clock(1))])
    assert [emit.topic for emit in emits] == ["parked"]
    assert (box.applied, box.position) == (1, 2)


# -- outputs
def test_outputs_are_numbered_and_chained_per_partition():
    box = STAMPED.new(1)
    emits = STAMPED.apply(box, [Record(n, clock(n)) for n in range(100)])
    last: dict[int, bytes] = {}
    for emit in emits:
        headers = dict(emit.headers)
        assert headers["src"] == b"second@t-mid/1"
        assert headers.get("pv") == last.get(emit.partition)
        assert headers["st"].startswith(b"%d." % emit.offset)
        last[emit.partition] = headers["st"]
    fiftieth = [emit for emit in emits if emit.offset == 49]
    assert [emit.partition for emit in fiftieth][1:] == [0, 1, 2]  # broadcast, one stamp for all
    assert [dict(emit.headers)["st"] for emit in fiftieth] == [b"49.0"] + [b"49.1"] * 3
    assert all(partition_of(emit.key, 3) == emit.partition for emit in emits if emit.key != b"*")


def test_a_partition_that_is_not_there_is_a_bug():
    class Wrong(Toy):
        def step(self, state, event, meta):
            return [Out("t-out", "k", event, 3)]

    core = InboxCore(Wrong("wrong", "t-mid", "t-out"), TOPICS)
    with pytest.raises(ValueError, match="t-out/3, which has 3 partitions"):
        core.apply(core.new(0), [Record(0, clock(0))])


def test_after_an_accepted_gap_chains_begin_anew():
    box = EDGE.new(0)
    EDGE.apply(box, [Record(n, clock(n)) for n in range(10)])
    assert box.sent
    emits = EDGE.skip_gap(box, 500, "gone")
    assert [(alert.kind, alert.numbers) for alert in told(emits)] == [
        ("input_gap", {"position": "10", "beginning": "500"})
    ]
    after = EDGE.apply(box, [Record(n, clock(n)) for n in range(500, 520)])
    assert "pv" not in dict(after[0].headers)
    reader = STAMPED.new(0)
    STAMPED.apply(reader, [Record(0, clock(0), (("src", b"first@t-in/0"), ("st", b"490.0")))])
    emits = STAMPED.apply(reader, [Record(1, after[0].value, after[0].headers)])
    assert [alert.kind for alert in told(emits)] == ["stream_restarted"]


def test_chains_under_another_name_wait_for_its_return():
    def core(name):
        return InboxCore(BatchToy(name, "t-in", "t-mid"), TOPICS)

    box = core("one").new(0)
    core("one").apply(box, [Record(n, clock(n)) for n in range(10)])
    sent = dict(box.sent)
    box = core("two").decode(core("one").encode(box))
    assert (box.sent, box.sent_as) == ({}, {"one": sent})
    core("two").apply(box, [Record(n, clock(n)) for n in range(10, 20)])
    box = core("one").decode(core("two").encode(box))
    assert box.sent == sent
    assert set(box.sent_as) == {"two"}


def test_an_older_state_is_migrated_by_the_processor():
    class Newer(Toy):
        state_schema = 2

        def migrate(self, data, schema):
            assert schema == 1
            state = self.decode(data)
            state.count += 1000
            return state

    box = STAMPED.new(0)
    STAMPED.apply(box, [Record(0, clock(0))])
    assert InboxCore(Newer("second", "t-mid", "t-out"), TOPICS).decode(STAMPED.encode(box), 1).state.count == 1001


# -- determinism: straight, in any batches, restarted through bytes, every record twice
RECORDS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 2), st.sampled_from(["ok", "bad", "newer"])), max_size=120
)


def log_of(plan, edge):
    """A legal log of three sources; each record once in a while repeated behind later ones."""
    records, sent, offset = [], {}, 0
    for number, (repeat, source, kind) in enumerate(plan):
        value = clock(number) if kind == "ok" else (NEWER if kind == "newer" and edge else b"{bad")
        if edge:
            records.append(Record(offset, value))
        else:
            chain = sent.setdefault(source, [])
            for position in range(max(0, len(chain) - repeat), len(chain)):
                records.append(chain[position]._replace(offset=offset))
                offset += 1
            headers = [("src", b"w%d@x/0" % source), ("st", b"%d.0" % number)]
            headers += [("pv", dict(chain[-1].headers)["st"])] if chain else []
            records.append(Record(offset, value, headers))
            chain.append(records[-1])
        offset += 1
    return records


@settings(max_examples=150, deadline=None)
@given(RECORDS, st.lists(st.integers(1, 7), min_size=1), st.booleans())
def test_batches_restarts_and_repeats_change_nothing(plan, cuts, edge):
    core = EDGE if edge else STAMPED
    records = log_of(plan, edge)
    straight = core.new(0)
    expected = core.apply(straight, records)
    box, got, at, turn = core.new(0), [], 0, 0
    while at < len(records):
        size = cuts[turn % len(cuts)]
        got += core.apply(box, records[at : at + size])
        assert core.apply(box, records[max(0, at - 3) : at + size]) == []  # every record twice
        box = core.decode(core.encode(box))
        at, turn = at + size, turn + 1
    assert got == expected
    assert core.encode(box) == core.encode(straight)


@settings(max_examples=50, deadline=None)
@given(RECORDS)
def test_the_batch_path_equals_steps_one_by_one(plan):
    one_by_one = InboxCore(Toy("first", "t-in", "t-mid"), TOPICS)
    records = log_of(plan, True)
    slow, fast = one_by_one.new(0), EDGE.new(0)
    assert EDGE.apply(fast, records) == one_by_one.apply(slow, records)
    assert EDGE.encode(fast) == one_by_one.encode(slow)


def test_equal_inboxes_give_equal_bytes_in_whatever_order_they_grew():
    left, right = STAMPED.new(0), STAMPED.new(0)
    for box, names in ((left, "ab"), (right, "ba")):
        for name in names:
            box.watermarks[name] = (1, 2)
            box.sent["t-out", ord(name)] = (3, 4)
            box.holes[name] = (5, 6)
    assert STAMPED.encode(left) == STAMPED.encode(right)


def test_bytes_of_something_else_are_not_read():
    with pytest.raises(msgspec.DecodeError):
        STAMPED.decode(b"junk")


def test_unknown_inbox_is_an_error():
    with pytest.raises(KeyError):
        InboxCore(Toy("x", "nowhere", "t-out"), {"t-in": ToyTopic(("clock",), 1, True)})
