"""Records to columns: nothing lost, nothing changed, nothing bad let in, without ClickHouse."""

from decimal import ROUND_HALF_EVEN, Context, Decimal
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import MESSAGES, NewerSchema, encode
from schemas.topics import parse_topics
from sinks.clickhouse.rows import Bad, RowReader, _money, is_time_interval, lean, stamp_of
from sinks.clickhouse.tables import LATENCY, TABLES, TOPICS
from tests.sinks import samples
from tests.sinks.samples import record

LIMIT = Decimal(10) ** 20


def read_one(tag: str, message: Any) -> dict[str, Any]:
    topic = next(topic for topic, tags in TOPICS.items() if tag in tags)
    rows = RowReader(topic, latency=False).read(3, [record(17, message, stamp="5.1")])
    assert rows.bad == []
    ((table, batch),) = rows.batches
    assert table == TABLES[tag].storage
    (row,) = batch.to_pylist()
    return row


def columns_of(tag: str) -> dict[str, str]:
    """Column by field, for the fields of a message."""
    found = {}
    table = TABLES[tag]
    for kind in table._fields:
        entries = getattr(table, kind)
        if isinstance(entries, tuple):
            for entry in entries:
                column, field = entry if isinstance(entry, tuple) else (entry.rpartition(".")[2], entry)
                found[field] = column
    return found


@pytest.mark.parametrize("tag", TABLES)
def test_every_field_of_every_message_has_a_column(tag: str) -> None:
    fields = {field.name for field in msgspec.structs.fields(MESSAGES[tag])} - {"v"}
    assert {field.partition(".")[0] for field in columns_of(tag)} == fields


def test_topics_are_those_of_the_catalogue() -> None:
    catalogue = parse_topics((Path(__file__).parents[2] / "topics.yaml").read_text())
    consumed = {name: topic.messages for name, topic in catalogue.topics.items() if "sink" in topic.consumers}
    assert {name: set(tags) for name, tags in TOPICS.items()} == {name: set(tags) for name, tags in consumed.items()}


MESSAGES_OF = [(tag, samples.MAKERS[tag](4)) for tag in TABLES] + [
    ("outcome", samples.copied(4, error_id="error-1")),
    ("outcome", samples.copied(4, cost=samples.cost(submitted_ms=None, accepted_ms=None, filled_ms=None, size=None))),
    ("fan_out", samples.fan_out(4, instrument="", side=None, price=None, size=None, blocked=None, detected_ms=0)),
    ("statistics", samples.statistics(4, total_return=None, aum=None, rank=None)),
]
MESSAGE_IDS = [f"{tag}{number if number >= len(TABLES) else ''}" for number, (tag, _) in enumerate(MESSAGES_OF)]


@pytest.mark.parametrize(("tag", "message"), MESSAGES_OF, ids=MESSAGE_IDS)
def test_a_row_holds_what_the_message_says(tag: str, message: Any) -> None:
    row = read_one(tag, message)
    table = TABLES[tag]
    text_fields = {entry[1] if isinstance(entry, tuple) else entry for entry in (*table.names, *table.texts)}
    for field, column in columns_of(tag).items():
        expected: Any = message
        for name in field.split("."):
            expected = None if expected is None else getattr(expected, name)
        got = row[column]
        if column in dict(table.times) and got is not None:
            got = int(got.timestamp() * 1000 + 0.5)
        elif field in table.json:
            got = msgspec.json.decode(got)
        elif isinstance(expected, dict):
            got = dict(got)
        elif isinstance(expected, tuple):
            got = tuple(got)
        elif expected is None and field in text_fields:
            expected = ""  # text and names have no null
        assert got == expected, field
    assert (row["kafka_partition"], row["kafka_offset"]) == (3, 17)
    if TABLES[tag].stamped and tag != "bar":
        assert (row["writer"], row["stamp"], row["stamp_index"]) == ("account@account-events/0", 5, 1)


@pytest.mark.parametrize(("tag", "message"), MESSAGES_OF, ids=MESSAGE_IDS)
def test_lean_structs_read_what_the_real_ones_write(tag: str, message: Any) -> None:
    read = msgspec.json.decode(encode(message), type=lean(MESSAGES[tag]))
    assert msgspec.json.decode(encode(read), type=MESSAGES[tag]) == message


def test_an_order_without_protection_has_none() -> None:
    row = read_one("order", samples.order(protection=None))
    assert (row["stop_loss"], row["take_profit"], row["trigger"]) == (None, None, "")


def test_settings_are_one_text_whatever_their_order_was() -> None:
    first = read_one("follower_state", samples.follower_state(settings={"b": {"y": 1, "x": "2"}, "a": None}))
    second = read_one("follower_state", samples.follower_state(settings={"a": None, "b": {"x": "2", "y": 1}}))
    assert first["settings"] == second["settings"] == '{"a":null,"b":{"x":"2","y":1}}'


def test_a_cost_with_a_field_of_its_own_is_refused() -> None:
    value = encode(samples.copied(1))
    wrong = [
        value.replace(b'"decided_price"', b'"decision_price"'),
        value.replace(b'"55011"', b'"much"'),
        value.replace(b'"cost":{', b'"cost":{"type":"outcome",'),
    ]
    assert value not in wrong
    records = [record(0, value), *(record(1 + number, other) for number, other in enumerate(wrong))]
    rows = RowReader("outcomes", latency=False).read(0, records)
    assert [bad.offset for bad in rows.bad] == [1, 2, 3]


GOOD = encode(samples.bar(1))
BAD_VALUES = {
    "tombstone": None,
    "empty": b"",
    "not JSON": b"{",
    "two values": GOOD + GOOD,
    "not UTF-8": GOOD.replace(b"binance", b"bin\xffnce"),
    "another type": encode(samples.signal(1)),
    "unknown type": GOOD.replace(b'"bar"', b'"barometer"'),
    "unknown field": GOOD.replace(b'"trades"', b'"deals"'),
    "missing field": GOOD.replace(b'"volume":"12.345",', b""),
    "text for a number": GOOD.replace(b'"trades":7', b'"trades":"seven"'),
    "not a number": GOOD.replace(b"12.345", b"NaN"),
    "infinite": GOOD.replace(b"12.345", b"Infinity"),
    "no number": GOOD.replace(b"12.345", b"much"),
    "too large": GOOD.replace(b"12.345", b"1e30"),
    "too large, in digits": GOOD.replace(b"12.345", b"1" + b"0" * 30),
    "far too large": GOOD.replace(b"12.345", b"1e999999"),
    "integer past 64 bits": GOOD.replace(b'"trades":7', b'"trades":99999999999999999999'),
    "version that never was": GOOD.replace(b'"now_ms"', b'"v":0,"now_ms"'),
    "nested too deep": b"[" * 100_000,
}


@pytest.mark.parametrize("value", BAD_VALUES.values(), ids=BAD_VALUES.keys())
@pytest.mark.parametrize("place", [0, 1, 6])
def test_a_bad_value_is_told_and_stops_nothing_else(value: bytes | None, place: int) -> None:
    records = [record(100 + number, samples.bar(number)) for number in range(7)]
    records[place] = record(100 + place, value)
    rows = RowReader("bars", latency=False).read(0, records)
    assert [bad.offset for bad in rows.bad] == [100 + place]
    assert rows.bad[0].reason
    offsets = [row["kafka_offset"] for _, batch in rows.batches for row in batch.to_pylist()]
    assert sorted(offsets) == [100 + number for number in range(7) if number != place]


def test_a_newer_schema_ends_the_reader() -> None:
    newer = GOOD.replace(b'"now_ms"', b'"v":2,"now_ms"')
    with pytest.raises(NewerSchema, match="version 2"):
        RowReader("bars", latency=False).read(0, [record(0, samples.bar(0)), record(1, newer)])


def test_money_written_as_a_number_is_taken_as_the_strict_decoder_takes_it() -> None:
    rows = RowReader("bars", latency=False).read(0, [record(0, GOOD.replace(b'"12.345"', b"12.345"))])
    assert rows.bad == []
    assert rows.batches[0][1].to_pylist()[0]["volume"] == Decimal("12.345")


def money_oracle(text: str) -> Decimal | None:
    """Slow and plain: 18 places, half to even, below 10**20."""
    try:
        number = Decimal(text)
        if not number.is_finite() or abs(number) >= LIMIT * 10:
            return None
        number = number.quantize(Decimal("1e-18"), context=Context(prec=100, rounding=ROUND_HALF_EVEN))
    except ArithmeticError:
        return None
    return number if abs(number) < LIMIT else None


MONEY_TEXTS = st.one_of(
    st.decimals(allow_nan=True, allow_infinity=True).map(str),
    st.decimals(min_value=-LIMIT * 2, max_value=LIMIT * 2, places=18).map(str),
    st.from_regex(r"\A-?[0-9]{1,24}(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?\Z"),
    st.text(max_size=6),
    st.sampled_from(["99999999999999999999.9999999999999999994", "99999999999999999999.9999999999999999995", "-0"]),
)


@given(st.lists(st.one_of(st.none(), MONEY_TEXTS), min_size=1, max_size=6))
def test_money_is_exact_to_18_places_or_refused(texts: list[str | None]) -> None:
    expected = [None if text is None else money_oracle(text) for text in texts]
    refused = any(text is not None and number is None for text, number in zip(texts, expected, strict=True))
    try:
        got = _money(texts).to_pylist()
    except (pa.ArrowException, ValueError):
        assert refused
    else:
        assert not refused
        assert got == expected


@pytest.mark.parametrize(
    ("interval", "told_apart"),
    [("1s", True), ("5m", True), ("1d", True), ("100ms", True), ("tick", False), ("10t", False)],
)
def test_bars_of_ticks_are_told_apart_by_their_stamp(interval: str, told_apart: bool) -> None:
    assert is_time_interval(interval) is told_apart
    rows = RowReader("bars", latency=False).read(0, [record(9, samples.bar(interval=interval), stamp="5.1")])
    row = rows.batches[0][1].to_pylist()[0]
    assert row["writer"] == ("" if told_apart else "account@account-events/0")
    assert row["stamp"] == (0 if told_apart else 5)


def test_a_poll_of_several_types_keeps_their_stamps_apart() -> None:
    records = [
        record(0, samples.order_status(0), stamp="10.0"),
        record(1, samples.fill(0), stamp="10.1"),
        record(2, samples.position(0), stamp="10.2"),
        record(3, samples.order_status(1), stamp="11.0"),
    ]
    rows = RowReader("order-status", latency=False).read(0, records)
    found = {table: batch.to_pylist() for table, batch in rows.batches}
    assert [(row["order_id"], row["stamp"], row["stamp_index"]) for row in found["order_status_rows"]] == [
        ("order-0", 10, 0),
        ("order-1", 11, 0),
    ]
    assert [(row["stamp"], row["stamp_index"]) for row in found["positions_rows"]] == [(10, 2)]


@pytest.mark.parametrize("stamp", ["", "x.1", "5", "-1.0", "99999999999999999999.0", "1.2.3"])
def test_without_a_readable_stamp_a_record_is_known_by_its_place(stamp: str) -> None:
    assert stamp_of([("src", b"w"), ("st", stamp.encode())], "alerts", 2, 77)[:3] == ("alerts/2", 77, 0)


def test_latency_is_from_the_cause_to_the_broker_and_never_below_zero() -> None:
    us = samples.RECORDED_MS * 1000
    records = [
        record(0, samples.signal(0), stamp="1.0", started_us=us - 2_500),
        record(1, samples.signal(1), stamp="2.0", started_us=us + 400),  # Kafka cuts to milliseconds
        record(2, samples.signal(2), stamp="3.0"),
    ]
    found = dict(RowReader("signals", latency=True).read(0, records).batches)
    assert found["signals_rows"].num_rows == 3
    assert [(row["stamp"], row["latency_ms"]) for row in found[LATENCY].to_pylist()] == [(1, 2.5), (2, 0.0)]
    assert LATENCY not in dict(RowReader("signals", latency=False).read(0, records).batches)


def test_bad_is_a_pair() -> None:
    assert Bad(1, "why") == (1, "why")
