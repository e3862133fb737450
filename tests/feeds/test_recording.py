"""Recordings: shifted times and ids, loops, positions, what is done with bad input."""

import gzip
import hashlib
import json
from itertools import islice, pairwise

import pytest

from schemas.codec import decode, encode
from streams.feeds.base import ALERT, PARKED, FeedError, log_origin
from streams.feeds.lines import MAX_LINE
from streams.feeds.params import BUILTIN_RECORDING, FeedParams
from streams.feeds.publisher import open_feed
from streams.feeds.recording import RecordingFeed
from tests.feeds.samples import recorded_lines, trade_line, write

START = 1_723_161_255_000


def feed_of(path, **more):
    return RecordingFeed(FeedParams(path=path, **more))


def test_first_loop_is_the_recording_shifted_and_nothing_else():
    raw = [json.loads(line) for line in recorded_lines(2_000)]
    feed = RecordingFeed(FeedParams())
    origin = log_origin(feed, 1_800_000_000_123)
    assert 0 <= 1_800_000_000_123 - origin < 1_000
    shift = origin - raw[0]["received_ns"] // 1_000_000
    assert shift % 1_000 == 0, "one-second bars keep their borders"
    for line, record in zip(raw, feed.records(origin), strict=False):
        message, data = decode(record.value), line["message"]["data"]
        assert record.now_ms == message.now_ms == line["received_ns"] // 1_000_000 + shift
        assert message.ts == data["T"] + shift, "the venue's clock error stays"
        assert record.ident == message.id == data.get("t", data.get("u"))
        price = str(message.price) if data["e"] == "trade" else str(message.bid)
        assert price == data.get("p", data.get("b"))
        assert record.value == encode(message)


def test_the_whole_recording_maps_and_loops_strictly_upwards():
    feed = RecordingFeed(FeedParams())
    count = 155_470
    first, second, last_trade, ends = [], [], {}, {}
    now = 0
    for number, record in enumerate(islice(feed.records(log_origin(feed, 1_800_000_000_000)), 2 * count)):
        assert record.now_ms >= now
        now = record.now_ms
        key = (record.kind, record.key)
        assert record.ident > last_trade.get(key, -1)
        if record.kind == 0 and key in last_trade:
            assert record.ident == last_trade[key] + 1, "trade ids stay contiguous, over the loop's end too"
        last_trade[key] = record.ident
        if number % 5_000 == 0:
            (first if number < count else second).append(record)
        if number in (count - 1, count):
            ends[number] = decode(record.value)
    assert ends[count].ts > ends[count - 1].ts
    assert 0 < ends[count].now_ms - ends[count - 1].now_ms < 2_000
    assert feed.ignored == dict.fromkeys(feed.ignored, 0)


def test_loops_repeat_prices_with_constant_shifts(tmp_path):
    path = write(tmp_path / "r.jsonl", [trade_line(100 + n, START + 130 * n) for n in range(10)])
    feed = feed_of(path)
    messages = [decode(record.value) for record in islice(feed.records(feed.origin_ms), 30)]
    for loop in (1, 2):
        for before, after in zip(messages[:10], messages[10 * loop :], strict=False):
            assert (after.price, after.size, after.side) == (before.price, before.size, before.side)
            assert after.id - before.id == 10 * loop
            assert after.now_ms - before.now_ms == after.ts - before.ts == 2_000 * loop, "1,171 ms span, rounded up"


@pytest.mark.parametrize("after", [-1, 0, 3, 8, 9, 10, 11, 21, 35, 1_000])
def test_going_on_behind_any_position_gives_the_same_records(tmp_path, after):
    lines = [trade_line(100 + n, START + 130 * n) for n in range(10)]
    lines[4:4] = ["{bad", trade_line(1, START + 90)]  # a line to park, and one whose time runs backwards
    feed = feed_of(write(tmp_path / "r.jsonl.gz", lines))
    whole = list(islice(feed.records(START), 1_020))
    assert list(islice(feed.records(START, after), 15)) == whole[after + 1 : after + 16]


def test_a_file_is_read_once_unless_told(tmp_path):
    path = write(tmp_path / "r.jsonl", [trade_line(n, START + n) for n in range(1, 6)])
    assert len(list(feed_of(path, loop=False).records(START))) == 5
    assert len(list(open_feed(FeedParams(kind="file", path=path)).records(START))) == 5
    assert len(list(islice(feed_of(path).records(START), 12))) == 12


@pytest.mark.parametrize(("limit", "after", "left"), [(3, -1, 3), (3, 1, 1), (3, 2, 0), (3, 7, 0), (99, -1, 5)])
def test_limit_counts_from_the_beginning(tmp_path, limit, after, left):
    path = write(tmp_path / "r.jsonl", [trade_line(n, START + n) for n in range(1, 6)])
    assert len(list(feed_of(path, loop=False, limit=limit).records(START, after))) == left


def test_bad_lines_are_parked_with_their_place_and_the_feed_goes_on(tmp_path):
    huge = b'{"received_ns":1,"x":"' + b"y" * 10_000_000 + b'"}'
    unknown = trade_line(9, START + 4, "XRPUSDT")
    nan = trade_line(10, START + 5).replace('"60010.10"', '"NaN"')
    far = trade_line(11, START + 40 * 86_400_000)
    lines = [trade_line(1, START), "{not json", huge, b"\xff\xfe", unknown, nan, far, "", trade_line(2, START + 9)]
    path = write(tmp_path / "r.jsonl.gz", lines)
    feed = feed_of(path)
    records = list(islice(feed.records(START), 12))
    parked = [decode(record.value) for record in records if record.kind == PARKED]
    assert [p.source for p in parked] == [f"r.jsonl.gz:{n}" for n in (2, 3, 4, 5, 6, 7)]
    for message, words in zip(
        parked, ("not a recorded", "longer than", "not a recorded", "XRPUSDT", "$.data.p", "40 days"), strict=True
    ):
        assert words in message.reason
    assert parked[1].size == len(huge) > MAX_LINE
    assert parked[1].sha256 == hashlib.sha256(huge).hexdigest()
    assert len(parked[1].value) < 100_000
    assert parked[3].sha256 == hashlib.sha256(unknown.encode()).hexdigest()
    trades = [record for record in records if record.kind != PARKED]
    assert [record.ident for record in trades] == [1, 2, 3, 4, 5, 6]
    assert records[12 - 4 :] == trades[2:], "later loops do not park the same lines again"


def test_time_running_backwards_is_told_once_and_stands_still(tmp_path):
    times = [0, 500, 300, 400, 600, 100, 700]
    path = write(tmp_path / "r.jsonl", [trade_line(n, START + ms) for n, ms in enumerate(times)])
    feed = feed_of(path, loop=False)
    records = list(feed.records(START))
    assert [r.now_ms - START for r in records if r.kind != ALERT] == [0, 500, 500, 500, 600, 600, 700]
    (alert,) = [decode(r.value) for r in records if r.kind == ALERT]
    assert (alert.kind, alert.source) == ("feed_time_backwards", "r.jsonl:3")
    assert "200 ms" in alert.text
    assert feed.backwards == 3


def test_duplicated_and_disordered_trades_are_passed_on_as_recorded(tmp_path):
    ids = [5, 6, 6, 4, 7]
    path = write(tmp_path / "r.jsonl", [trade_line(n, START + at) for at, n in enumerate(ids)])
    records = list(islice(feed_of(path).records(START), 10))
    assert [r.ident for r in records] == [*ids, *(n + 4 for n in ids)]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("missing.jsonl", None, "No such file"),
        ("empty.jsonl", b"", "is empty"),
        ("text.jsonl", b"hello\nworld\n", "text.jsonl:1: not a recorded message"),
        ("none.jsonl", b'{"received_ns":1723161255088165267,"message":{"result":null,"id":1}}\n', "no line gives"),
        ("not.jsonl.gz", b"hello\n", "Not a gzipped file"),
        ("seconds.jsonl", b'{"received_ns":1723161255,"message":{}}\n', "received_ns"),
    ],
)
def test_a_wrong_file_never_starts(tmp_path, name, content, words):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FeedError, match=words) as caught:
        open_feed(FeedParams(kind="file", path=path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_and_an_unknown_venue_are_refused(tmp_path):
    with pytest.raises(FeedError, match="is a folder"):
        open_feed(FeedParams(path=tmp_path))
    with pytest.raises(FeedError, match=r"known: .*binanceusdm"):
        open_feed(FeedParams(venue="nowhere"))


def test_a_cut_off_file_gives_what_it_holds_and_then_the_line(tmp_path):
    whole = gzip.compress("\n".join(trade_line(n, START + n) for n in range(5_000)).encode())
    path = tmp_path / "r.jsonl.gz"
    path.write_bytes(whole[: len(whole) // 2])
    records = feed_of(path).records(START)
    got = []
    with pytest.raises(FeedError, match=r"cut off after line \d+") as caught:
        got.extend(records)
    assert len(got) > 100
    assert str(path) in str(caught.value)


def test_the_name_changes_with_what_changes_the_records(tmp_path):
    path = write(tmp_path / "r.jsonl", [trade_line(1, START)])
    names = {feed_of(path).name, feed_of(path, times="kept").name, feed_of(path, symbols={"A": "binanceusdm:A"}).name}
    assert feed_of(path, speed="max", clock_interval_ms=50, loop=False).name in names, "pace changes no record"
    write(path, [trade_line(2, START)])
    assert feed_of(path).name not in names
    assert len(names) == 3


def test_kept_times_start_where_the_recording_did(tmp_path):
    path = write(tmp_path / "r.jsonl", [trade_line(1, START)])
    assert log_origin(feed_of(path, times="kept"), 1_800_000_000_000) == START


def test_the_built_in_recording_is_shipped():
    assert BUILTIN_RECORDING.is_file()
    name = BUILTIN_RECORDING.name
    assert name in (BUILTIN_RECORDING.parent / "README.md").read_text()
    rules = RecordingFeed(FeedParams()).instruments(3)
    assert {rule.instrument: (str(rule.tick), str(rule.lot), str(rule.min_notional)) for rule in rules} == {
        "binanceusdm:BTC/USDT:USDT": ("0.10", "0.001", "100"),
        "binanceusdm:ETH/USDT:USDT": ("0.01", "0.001", "20"),
    }


def test_times_and_ids_hold_at_many_loops(tmp_path):
    path = write(tmp_path / "r.jsonl", [trade_line(7, START), trade_line(9, START + 1_999)])
    records = list(islice(feed_of(path).records(START, after=1_999), 4))
    assert [r.ident for r in records] == [7 + 3_000, 9 + 3_000, 7 + 3_003, 9 + 3_003]
    assert all(later.now_ms > earlier.now_ms for earlier, later in pairwise(records))
