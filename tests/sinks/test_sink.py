"""The sink on a real engine (chDB): every row once in what is queried, whatever is repeated."""

import json
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from schemas.codec import NewerSchema, encode
from schemas.reasons import OutcomeState, Side
from sinks.clickhouse.params import ClickHouseParams
from sinks.clickhouse.rows import SCHEMAS
from sinks.clickhouse.sink import ClickHouseSink, SinkBroken
from sinks.clickhouse.tables import TABLES, TOPICS, VIEWS
from tests.sinks import samples
from tests.sinks.samples import RECORDED_MS, record

OpenSink = Callable[..., ClickHouseSink]
DAY_MS = 86_400_000


def ask(sink: ClickHouseSink, sql: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(sink.query(sql))["data"]
    return rows


def test_the_ddl_has_the_columns_that_are_written(sink: ClickHouseSink) -> None:
    for table, schema in SCHEMAS.items():
        described = {row["name"] for row in ask(sink, f"DESCRIBE TABLE {table}")}
        assert described == set(schema.names), table


def test_one_of_everything_lands_in_its_table(sink: ClickHouseSink) -> None:
    offset = dict.fromkeys(TOPICS, 0)
    for topic, tags in TOPICS.items():
        for tag in tags:
            started_us = (RECORDED_MS - 3) * 1000
            one = record(offset[topic], samples.MAKERS[tag](1), stamp=f"{offset[topic]}.0", started_us=started_us)
            assert sink.append(topic, 0, [one]) == []
            offset[topic] += 1
    sink.flush()
    counts = sink.counts()
    assert list(counts) == list(VIEWS)
    assert {name: counts[name] for name in counts if name != "pipeline_latency"} == dict.fromkeys(
        [*(table.name for table in TABLES.values()), "refusals"], 1
    )
    assert counts["pipeline_latency"] == sum(offset[topic] for topic in sink.params.latency_topics)
    assert {topic: sink.position(topic, 0) for topic in TOPICS} == offset


def test_values_come_back_as_they_were_sent(sink: ClickHouseSink) -> None:
    sink.append("order-status", 0, [record(0, samples.fill(1, price=Decimal("0.000000000000000001")))])
    sink.append("signals", 0, [record(0, samples.signal(0))])
    sink.append("orders", 0, [record(0, samples.order(0)), record(1, samples.order(1, protection=None))])
    sink.flush()
    (fill,) = ask(sink, "SELECT price, realized_pnl, venue_at FROM fills")
    assert fill == {"price": "0.000000000000000001", "realized_pnl": "12.25", "venue_at": "2024-08-08 00:00:00.001"}
    (signal,) = ask(sink, "SELECT indicators, reasons, atr, strength FROM signals")
    expected = {"rsi": 27.5, "macd": -1.25}, ["rsi_low", "macd_above"], None, 0.8
    assert tuple(signal[name] for name in ("indicators", "reasons", "atr", "strength")) == expected
    stops = ask(sink, "SELECT stop_loss, trigger FROM orders ORDER BY order_id")
    assert stops == [{"stop_loss": "53350.6", "trigger": "trade"}, {"stop_loss": None, "trigger": ""}]


def everything(first_offset: int, **place: Any) -> dict[str, list[Any]]:
    """The same logical records, at other offsets for another `first_offset`."""
    made: dict[str, list[Any]] = {}
    for topic, tags in TOPICS.items():
        for number in range(6):
            for tag in tags:
                offset = first_offset + len(made.setdefault(topic, []))
                stamp = f"{number}.{tags.index(tag)}"
                made[topic].append(record(offset, samples.MAKERS[tag](number), stamp=stamp, started_us=1, **place))
    return made


def test_what_a_restarted_writer_repeats_counts_once(sink: ClickHouseSink) -> None:
    first = everything(0)
    for topic, records in first.items():
        sink.append(topic, 1, records)
    sink.flush()
    before, pnl = sink.counts(), ask(sink, "SELECT * FROM pnl_by_day")
    assert before["fills"] == 6
    for topic, records in everything(1_000).items():
        sink.append(topic, 1, records)
    sink.flush()
    assert sink.counts() == before
    assert ask(sink, "SELECT * FROM pnl_by_day") == pnl
    # Repeated across the turn of a month, where storage never merges the two: counted once all the same.
    for topic, records in everything(2_000, recorded_ms=RECORDED_MS + 40 * DAY_MS).items():
        sink.append(topic, 1, records)
    sink.flush()
    assert sink.counts() == before
    assert ask(sink, "SELECT * FROM pnl_by_day") == pnl
    assert ask(sink, "SELECT count() AS n FROM fills_rows") != [{"n": 6}], "the repeats were really written"


@pytest.mark.parametrize(
    ("topic", "view", "make"),
    [
        ("order-status", "fills", samples.fill),
        ("signals", "signals", samples.signal),
        ("orders", "orders", samples.order),
        ("outcomes", "outcomes", samples.outcome),
        ("outcomes", "leader_events", samples.fan_out),
        ("bars", "bars", samples.bar),
    ],
)
def test_a_logical_id_counts_once_even_with_another_time_and_stamp(
    sink: ClickHouseSink, topic: str, view: str, make: Callable[..., Any]
) -> None:
    for offset, changes in enumerate(({}, {"now_ms": 1})):
        sink.append(topic, 0, [record(offset, make(3, **changes), stamp=f"{offset}.9")])
        sink.flush()  # apart: an insert alone would fold equal keys
    assert sink.counts()[view] == 1


def test_bars_of_ticks_in_one_millisecond_are_all_kept(sink: ClickHouseSink) -> None:
    ticks = [record(n, samples.bar(0, interval="tick"), stamp=f"{n}.0") for n in range(5)]
    again = [record(5 + n, samples.bar(0, interval="tick"), stamp=f"{n}.0") for n in range(5)]
    for records in (ticks, again):
        sink.append("bars", 0, records)
        sink.flush()
    assert sink.counts()["bars"] == 5


def test_states_without_an_id_are_kept_each_and_repeats_are_not(sink: ClickHouseSink) -> None:
    same = samples.order_status(1)
    records = [record(0, same, stamp="1.0"), record(1, same, stamp="2.0"), record(2, same, stamp="2.0")]
    sink.append("order-status", 0, records)
    sink.append("order-status", 1, [record(0, same), record(1, same)])  # by other writers, without stamps
    sink.flush()
    assert sink.counts()["order_status"] == 4


def test_latency_of_a_repeat_is_that_of_the_first(sink: ClickHouseSink) -> None:
    us = RECORDED_MS * 1000
    sink.append("signals", 0, [record(0, samples.signal(0), stamp="1.0", started_us=us - 4_000)])
    sink.flush()
    late = record(1, samples.signal(0), stamp="1.0", started_us=us - 4_000, recorded_ms=RECORDED_MS + 60_000)
    sink.append("signals", 0, [late])
    sink.flush()
    (stage,) = ask(sink, "SELECT stage, record_count, p50_ms, longest_ms FROM latency_by_stage")
    assert stage == {"stage": "signals", "record_count": 1, "p50_ms": 4, "longest_ms": 4}


def test_views_count_what_people_ask(sink: ClickHouseSink) -> None:
    fills = [samples.fill(n, now_ms=samples.START_MS + n // 4 * DAY_MS) for n in range(8)]
    skipped = [samples.outcome(n, state=OutcomeState.SKIPPED if n else OutcomeState.COPIED) for n in range(3)]
    sink.append("order-status", 0, [record(n, fill) for n, fill in enumerate(fills)])
    sink.append("order-status", 1, [record(n, samples.order_status(n)) for n in range(2)])
    sink.append("signals", 0, [record(n, samples.signal(n)) for n in range(3)])
    sink.append("outcomes", 0, [record(n, outcome) for n, outcome in enumerate(skipped)])
    sink.flush()
    days = ask(sink, "SELECT day, realized, fees, net, fill_count FROM pnl_by_day")
    assert days == [
        {"day": day, "realized": "24.5", "fees": "1.584", "net": "22.916", "fill_count": 4}
        for day in ("2024-08-08", "2024-08-09")
    ]
    (strategy,) = ask(sink, "SELECT strategy, realized, winning_fills, losing_fills FROM pnl_by_strategy")
    assert strategy == {"strategy": "scored", "realized": "49", "winning_fills": 4, "losing_fills": 0}
    legs = ask(sink, "SELECT leg, fill_count, notional FROM fills_by_leg")
    assert legs == [
        {"leg": "entry", "fill_count": 4, "notional": "3960.0504"},
        {"leg": "take_profit", "fill_count": 4, "notional": "3960.0504"},
    ]
    refused = ask(sink, "SELECT reason, refusal_count FROM refusals_by_reason")
    assert refused == [{"reason": "max_position", "refusal_count": 2}]
    sides = ask(sink, "SELECT side, signal_class, signal_count FROM signals_by_side")
    assert [(row["side"], row["signal_count"]) for row in sides] == [("buy", 2), ("sell", 1)]
    copies = ask(sink, "SELECT state, reason, outcome_count FROM skipped_by_reason")
    assert copies == [{"state": "skipped", "reason": "position_open", "outcome_count": 2}]


def test_the_position_of_now_is_the_latest_even_amid_repeats(sink: ClickHouseSink) -> None:
    older, newer = samples.position(1, size=Decimal(1)), samples.position(2, size=Decimal(2))
    records = [record(0, older, stamp="1.0"), record(1, newer, stamp="2.0"), record(2, older, stamp="1.0")]
    sink.append("order-status", 0, records)
    sink.append("order-status", 0, [record(3, samples.account_state(n), stamp=f"{n}.5") for n in (3,)])
    sink.flush()
    assert ask(sink, "SELECT size FROM positions_now") == [{"size": "2"}]
    assert ask(sink, "SELECT open_orders FROM accounts_now") == [{"open_orders": 2}]


def test_positions_survive_and_what_is_read_again_is_left_out(open_sink: OpenSink) -> None:
    sink = open_sink()
    assert sink.position("bars", 2) == 0
    sink.append("bars", 2, [record(n, samples.bar(n)) for n in range(10)])
    assert sink.position("bars", 2) == 0, "not written yet"
    sink.flush()
    assert sink.position("bars", 2) == 10
    sink.append("bars", 2, [record(n, samples.bar(n)) for n in range(10, 15)])  # never flushed
    sink = open_sink()
    assert sink.position("bars", 2) == 10
    assert sink.position("bars", 1) == 0
    sink.append("bars", 2, [record(n, samples.bar(n)) for n in range(10, 20)])
    assert sink.append("bars", 2, [record(15, b"{"), record(19, b"{")]) == [], "appended before, so left out"
    sink.flush()
    assert sink.position("bars", 2) == 20
    assert sink.counts()["bars"] == 20
    assert ask(sink, "SELECT count() AS n FROM bars_rows") == [{"n": 20}]


def test_a_bad_record_moves_the_position_too(sink: ClickHouseSink) -> None:
    (bad,) = sink.append("alerts", 0, [record(0, b"nonsense")])
    assert bad.offset == 0
    sink.flush()
    assert sink.position("alerts", 0) == 1


def test_a_newer_record_leaves_nothing_half_done(sink: ClickHouseSink) -> None:
    newer = encode(samples.alert(1)).replace(b'"now_ms"', b'"v":7,"now_ms"')
    with pytest.raises(NewerSchema):
        sink.append("alerts", 0, [record(0, samples.alert(0)), record(1, newer)])
    sink.flush()
    assert sink.counts()["alerts"] == 0
    assert sink.position("alerts", 0) == 0


def test_it_is_due_when_full_or_when_old(open_sink: OpenSink) -> None:
    sink = open_sink(flush_rows=3, flush_interval_ms=60_000)
    assert not sink.due()
    sink.append("bars", 0, [record(0, samples.bar(0)), record(1, samples.bar(1))])
    assert not sink.due()
    sink.append("bars", 0, [record(2, samples.bar(2))])
    assert sink.due()
    sink.flush()
    assert not sink.due()
    sink = open_sink(flush_bytes=1_024, flush_interval_ms=60_000)
    sink.append(
        "parked", 0, [record(0, samples.parked(0).__class__(**{**as_fields(samples.parked()), "value": "x" * 2_000}))]
    )
    assert sink.due()


def as_fields(message: Any) -> dict[str, Any]:
    return {name: getattr(message, name) for name in message.__struct_fields__}


def test_a_folder_in_use_is_told(sink: ClickHouseSink, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from sinks.clickhouse.params import ClickHouseParams\n"
        "from sinks.clickhouse.sink import ClickHouseSink, SinkBroken\n"
        "try: ClickHouseSink(ClickHouseParams(), Path(sys.argv[1])).open()\n"
        "except SinkBroken as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert "One process at a time may hold the folder" in done.stdout, done.stderr


def test_side_is_stored_by_its_name(sink: ClickHouseSink) -> None:
    sink.append("signals", 0, [record(0, samples.signal(0, side=Side.SELL))])
    sink.flush()
    assert ask(sink, "SELECT side FROM signals") == [{"side": "sell"}]


@pytest.mark.parametrize(
    ("dsn", "words"),
    [
        ("chdb://memory", "three slashes"),
        ("postgres://host/db", "must start with"),
        ("http://", "names no host"),
    ],
)
def test_a_wrong_dsn_never_starts(dsn: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ClickHouseParams(dsn=dsn)


def test_a_password_is_not_shown() -> None:
    params = ClickHouseParams(dsn="https://sink:canary@ch.example:8443")
    assert "canary" not in repr(params) + params.model_dump_json()
    assert not params.embedded


def test_a_server_that_is_not_there_is_told_without_its_password(tmp_path: Path) -> None:
    from sinks.clickhouse.sink import SinkUnavailable

    sink = ClickHouseSink(ClickHouseParams(dsn="http://sink:canary@127.0.0.1:9"), tmp_path)
    with pytest.raises(SinkUnavailable, match=r"127\.0\.0\.1:9") as caught:
        sink.open()
    assert "canary" not in str(caught.value)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "clickhouse").write_text("a file")
    with pytest.raises(SinkBroken, match="clickhouse"):
        ClickHouseSink(ClickHouseParams(), tmp_path).open()
