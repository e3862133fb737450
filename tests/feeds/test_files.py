"""CSV and Parquet files of bars and trades."""

import datetime
import gzip
from decimal import Decimal
from itertools import islice

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import decode
from schemas.market import Bar, Quote, Trade
from streams.feeds.base import PARKED, FeedError, log_origin
from streams.feeds.files import TableFeed, instrument_from_name
from streams.feeds.params import RECORDINGS, FeedParams
from streams.feeds.publisher import open_feed

SAMPLE = RECORDINGS / "btcusd-5m-2025-10-2026-04.csv.gz"
START = 1_761_327_300_000
MINUTE = 60_000
HEADER = "timestamp_ms,open,high,low,close,volume\n"


def feed_of(path, **more):
    return TableFeed(FeedParams(kind="file", path=path, **more))


def messages_of(feed, origin=None):
    return [decode(record.value) for record in feed.records(feed.origin_ms if origin is None else origin)]


def test_half_a_year_of_real_bars_is_replayed_whole():
    feed = feed_of(SAMPLE)
    assert (feed.instrument, feed.interval, feed.origin_ms) == ("file:BTC/USD", "5m", START)
    (rules,) = feed.instruments(1)
    assert (rules.tick, rules.lot) == (1, Decimal("0.00000001"))
    with gzip.open(SAMPLE, "rt") as file:
        rows = [line.rstrip("\n").split(",") for line in file][1:]
    origin = log_origin(feed, 1_800_000_000_000)
    assert (origin - START) % 300_000 == 0
    assert 0 <= 1_800_000_000_000 - origin < 300_000
    shift, now, last_id, bars = origin - START, 0, 0, []
    for record in feed.records(origin):
        assert record.now_ms >= now
        now = record.now_ms
        if record.kind == 2:
            bars.append(decode(record.value))
        elif record.kind == 0:
            assert record.ident > last_id
            last_id = record.ident
    assert len(bars) == len(rows) == 50_003
    for bar, row in zip(bars, rows, strict=True):
        assert [bar.start_ms - shift, bar.open, bar.high, bar.low, bar.close, bar.volume] == [
            int(row[0]),
            *(Decimal(text) for text in row[1:]),
        ]
        assert bar.now_ms == bar.end_ms == bar.start_ms + 300_000
    assert str(bars[0].volume) == "0.88020104"


prices = st.integers(5, 10_000)


@given(
    st.lists(st.tuples(prices, prices, prices, prices, st.integers(0, 10**9), st.booleans()), min_size=2, max_size=20)
)
def test_the_path_of_a_bar_builds_the_bar(tmp_path_factory, rows):
    lines, at = [HEADER], START
    for number, (one, two, three, four, volume, hole) in enumerate(rows):
        at += MINUTE * (2 if hole and number > 1 else 1)
        low, *middle, high = sorted((one, two, three, four))
        opened, close = middle if number % 2 else middle[::-1]
        lines.append(f"{at},{opened},{high},{low},{close},{Decimal(volume).scaleb(-8):f}\n")
    path = tmp_path_factory.mktemp("bars") / "abc.csv"
    path.write_text("".join(lines))
    feed = feed_of(path, interval="1m", tick=Decimal("0.5"))
    built, quote, ids = None, None, []
    for message in messages_of(feed):
        if isinstance(message, Quote):
            assert message.ask - message.bid == Decimal("0.5")
            assert message.bid_size == message.ask_size > 0
            quote = message
        elif isinstance(message, Trade):
            assert message.price == (quote.ask if message.side == "buy" else quote.bid), "the trade stands at a touch"
            assert message.now_ms == message.ts == quote.now_ms
            ids.append(message.id)
            built = [*(built or []), message]
        else:
            assert isinstance(message, Bar)
            if message.volume == 0:
                assert built is None
                continue
            assert all(message.start_ms <= trade.ts < message.end_ms for trade in built)
            found = [trade.price for trade in built]
            assert (found[0], max(found), min(found), found[-1]) == (
                message.open,
                message.high,
                message.low,
                message.close,
            )
            assert sum(trade.size for trade in built) == message.volume, "exact"
            assert message.trades == len(built) == 4
            rose = message.close >= message.open
            assert found[1:3] == ([message.low, message.high] if rose else [message.high, message.low])
            built = None
    assert ids == sorted(set(ids))


def test_bars_loop_with_their_borders_kept(tmp_path):
    path = tmp_path / "abc.csv"
    path.write_text(HEADER + "".join(f"{START + n * MINUTE},10,12,9,11,4\n" for n in (0, 1, 3)))
    feed = feed_of(path, loop=True)
    records = list(islice(feed.records(START), 3 * 27))
    bars = [decode(record.value) for record in records if record.kind == 2]
    assert [(bar.start_ms - START) // MINUTE for bar in bars] == [0, 1, 3, 4, 5, 7, 8, 9, 11]
    trades = [record.ident for record in records if record.kind == 0]
    assert trades == sorted(set(trades))


def test_trades_keep_their_text_times_and_ids(tmp_path):
    path = tmp_path / "ethusdt.csv"
    path.write_text(
        "\ufeffTime, Price ,qty,taker,tradeId\r\n1761327300,2500.10,0.50,BUY,7\r\n1761327301,2500.00,1,sell,9\r\n"
    )
    names = {"timestamp_ms": "time", "price": "price", "size": "qty", "side": "Taker", "id": "tradeid"}
    feed = feed_of(path, columns=names, time_unit="s")
    first, second = messages_of(feed)
    assert (str(first.price), str(first.size), first.side, first.id, first.ts) == ("2500.10", "0.50", "buy", 7, START)
    assert (second.side, second.id, second.now_ms) == ("sell", 9, START + 1_000)
    assert first.instrument == "file:ETH/USDT"
    (rules,) = feed.instruments(1)
    assert (str(rules.tick), str(rules.lot)) == ("0.01", "0.01")


def test_trades_without_ids_are_numbered_and_looped(tmp_path):
    path = tmp_path / "gold.csv"
    path.write_text("timestamp_ms,price,size,side\n" + "".join(f"{START + n},{n + 1},1,buy\n" for n in range(3)))
    feed = feed_of(path, instrument="otc:XAU", loop=True)
    assert [record.ident for record in islice(feed.records(START), 7)] == [1, 2, 3, 4, 5, 6, 7]
    assert {record.key for record in islice(feed.records(START), 7)} == {"otc:XAU"}


@pytest.mark.parametrize("kind", ["float", "decimal", "text", "timestamp"])
def test_parquet_gives_what_csv_gives(tmp_path, kind):
    numbers = {"price": ["2500.5", "0.00000012"], "size": ["1", "123456.25"]}
    make = {
        "float": lambda texts: pyarrow.array([float(t) for t in texts]),
        "decimal": lambda texts: pyarrow.array([Decimal(t) for t in texts], pyarrow.decimal128(30, 8)),
        "text": pyarrow.array,
        "timestamp": pyarrow.array,
    }[kind]
    at = [START, START + 1_500]
    if kind == "timestamp":
        epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
        times = pyarrow.array([epoch + datetime.timedelta(milliseconds=t) for t in at], pyarrow.timestamp("us", "UTC"))
    else:
        times = pyarrow.array(at, pyarrow.int64())
    table = pyarrow.table(
        {"other": [1, 2], "timestamp_ms": times, "side": ["buy", "sell"], **{k: make(v) for k, v in numbers.items()}}
    )
    path = tmp_path / "abcusd.parquet"
    pyarrow.parquet.write_table(table, path)
    found = messages_of(feed_of(path))
    assert [(m.price, m.size, m.side, m.ts) for m in found] == [
        (Decimal("2500.5"), 1, "buy", START),
        (Decimal("0.00000012"), Decimal("123456.25"), "sell", START + 1_500),
    ]


def test_bad_rows_are_parked_with_their_line_and_the_feed_goes_on(tmp_path):
    bad = [
        ("1,2,3", "3 fields instead of 6"),
        (f"{START + MINUTE},10,9,12,11,1", "low <= open"),
        (f"{START + MINUTE},NaN,12,9,11,1", "open must be a plain number"),
        (f"{START + MINUTE},-10,12,9,11,1", "open must be"),
        (f"{START + MINUTE},1e5,12,9,11,1", "open must be"),
        (f"{START + MINUTE},0,12,0,11,1", "open must be a finite number above zero"),
        (f"{START + MINUTE},10,12,9,11,", "volume must be"),
        (f"{START + MINUTE + 5},10,12,9,11,1", "not the start of a 1m bar"),
        ("17613273,10,12,9,11,1", "time_unit"),
        ("yesterday,10,12,9,11,1", "timestamp_ms must be a whole number"),
        ('"x,10,12,9,11,1', "CSV"),
        ("9" * 3_000_000, "longer than"),
    ]
    good = [f"{START + n * MINUTE},10,12,9,11,4" for n in range(4)]
    path = tmp_path / "abc.csv"
    path.write_text(HEADER + "\n".join([good[0], good[1], *(line for line, _ in bad), good[2], good[3]]) + "\n")
    records = list(feed_of(path).records(START))
    parked = [decode(record.value) for record in records if record.kind == PARKED]
    assert [p.source for p in parked] == [f"abc.csv:{4 + n}" for n in range(len(bad))]
    for message, (_, words) in zip(parked, bad, strict=True):
        assert words in message.reason
    assert sum(record.kind == 2 for record in records) == 4


@pytest.mark.parametrize(
    ("name", "content", "more", "words"),
    [
        ("a.csv", "time,open\n1,2\n", {}, "a.csv:1: columns are time, open; wanted are timestamp_ms"),
        ("a.csv", HEADER, {}, "no two rows have rising times"),
        ("a.csv", HEADER + "x,1,1,1,1,1\n", {"interval": "1m"}, "a.csv:2: timestamp_ms must be"),
        ("a.csv", HEADER + f"{START},1,1,1,1,1\n{START + 7},1,1,1,1,1\n", {}, "7 ms apart"),
        ("a.csv", HEADER, {"columns": {"opne": "x"}}, "unknown column opne"),
        ("a.csv.gz", HEADER, {}, "Not a gzipped file"),
        ("a.xlsx", "PK", {}, "cannot tell its format"),
        ("a.parquet", "PAR1 not", {}, "not a Parquet file"),
        ("b.csv", "timestamp_ms,price,size,side\n1761327300000,1,1,long\n", {}, "b.csv:2: side must be buy or sell"),
    ],
)
def test_a_wrong_file_never_starts(tmp_path, name, content, more, words):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(FeedError, match=words):
        open_feed(FeedParams(kind="file", path=path, **more))


@pytest.mark.parametrize(
    ("name", "instrument"),
    [
        ("btcusd-5m-2025-10-2026-04.csv.gz", "file:BTC/USD"),
        ("ETHUSDT_trades.parquet", "file:ETH/USDT"),
        ("gold.csv", "file:GOLD"),
        ("usd.csv", "file:USD"),
        (".csv", "file:UNNAMED"),
    ],
)
def test_instrument_from_name(name, instrument):
    assert instrument_from_name(name) == instrument


@pytest.mark.parametrize("after", [-1, 0, 7, 26, 27, 40, 500])
def test_going_on_behind_any_position_gives_the_same_records(tmp_path, after):
    path = tmp_path / "abc.csv"
    path.write_text(HEADER + "".join(f"{START + n * MINUTE},10,12,9,11,4\n" for n in (0, 1, 2)))
    feed = feed_of(path, loop=True)
    whole = list(islice(feed.records(START), 540))
    assert list(islice(feed.records(START, after), 30)) == whole[after + 1 : after + 31]
