"""Tables and views of copying on a real engine: each row once, and a ledger that tells what is missing or doubled."""

import json
import random
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from schemas.base import Message
from schemas.reasons import OutcomeState
from sinks.clickhouse.sink import ClickHouseSink, SinkBroken
from sinks.clickhouse.tables import POSITIONS, TABLES, TOPICS
from tests.sinks import samples
from tests.sinks.samples import MAKERS, RECORDED_MS, record

OpenSink = Callable[..., ClickHouseSink]
COPYING = ("change_protection", "outcome", "fan_out", "trade_error", "follower_state", "drift", "statistics")
MONTH_MS = 40 * 86_400_000
TOTAL = "SELECT owed, told, pending, missing, unowed, doubled FROM outcome_ledger_total"


def ask(sink: ClickHouseSink, sql: str) -> list[dict[str, Any]]:
    """Return the rows of an answer; 64-bit integers are text in JSON and come back as integers."""
    answer = json.loads(sink.query(sql))
    integers = {column["name"] for column in answer["meta"] if column["type"] in ("Int64", "UInt64")}
    return [{name: int(value) if name in integers else value for name, value in row.items()} for row in answer["data"]]


def tell(sink: ClickHouseSink, messages: Sequence[Message], topic: str = "outcomes", first: int = 0) -> None:
    """Store messages, each with its offset as its stamp."""
    records = [record(first + number, message, stamp=f"{first + number}.0") for number, message in enumerate(messages)]
    assert sink.append(topic, 0, records) == []
    sink.flush()


def total(sink: ClickHouseSink) -> tuple[int, ...]:
    """Return owed, told, pending, missing, unowed, doubled."""
    (row,) = ask(sink, TOTAL)
    return tuple(row.values())


def crash_before_positions(sink: ClickHouseSink, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flush, and fail where the rows are written and the positions are not."""
    client: Any = sink._client
    insert = client.insert_arrow

    def crashing(table: str, rows: Any) -> None:
        if table == POSITIONS:
            raise DatabaseError("crash", code=53)
        insert(table, rows)

    with monkeypatch.context() as patched:
        patched.setattr(client, "insert_arrow", crashing)
        with pytest.raises(SinkBroken, match="crash"):
            sink.flush()


def test_a_crash_between_rows_and_positions_repeats_nothing_that_is_queried(
    open_sink: OpenSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three runs store the log from its start: as it was, in other batches, and repeated in another month."""
    said = [(number, tag) for number in range(8) for tag in MAKERS]
    log = {
        topic: [
            record(offset, MAKERS[tag](number), stamp=f"{number}.{tags.index(tag)}")
            for offset, (number, tag) in enumerate(one for one in said if one[1] in tags)
        ]
        for topic, tags in TOPICS.items()
    }
    views = [TABLES[tag].name for tag in COPYING]
    expected = dict.fromkeys(views, 8)
    told = []
    for turn in range(3):
        sink = open_sink()
        for topic, records in log.items():
            assert sink.position(topic, 0) == 0, "every run so far crashed before its positions"
            later = [(*one[:4], RECORDED_MS + MONTH_MS) for one in records] if turn == 2 else records
            for part in (later[: 5 * turn], later[5 * turn :]):
                sink.append(topic, 0, part)
        crash_before_positions(sink, monkeypatch)
        counts = sink.counts()
        assert {name: counts[name] for name in views} == expected
        halts = ask(sink, "SELECT * EXCEPT (kafka_offset, recorded_at) FROM halts")
        told.append([ask(sink, "SELECT * FROM outcome_ledger"), halts, ask(sink, "SELECT * FROM leader_board")])
    for view in views:
        (stored,) = ask(sink, f"SELECT count() AS n FROM {view}_rows")
        assert stored["n"] >= 16, f"the repeats of {view} were really written"  # no merge passes a month's end
    assert told[0] == told[1] == told[2]
    assert [len(rows) for rows in told[0]] == [8, 8, 1]


def test_the_ledger_of_one_event_is_balanced(sink: ClickHouseSink) -> None:
    messages = [
        samples.fan_out(1, partition=0, active=2),
        samples.fan_out(1, partition=1, active=1),
        samples.fan_out(1, partition=2, active=0),
        samples.outcome(1, outcome_id="a-p", subscription="a", state=OutcomeState.PENDING, reason=None),
        samples.copied(1, outcome_id="a-t", subscription="a"),
        samples.outcome(1, outcome_id="b-p", subscription="b", state=OutcomeState.PENDING, reason=None),
        samples.outcome(1, outcome_id="c-t", subscription="c"),
    ]
    tell(sink, messages)
    (row,) = ask(sink, "SELECT * FROM outcome_ledger")
    assert row == {
        "leader": "scored",
        "event_id": "event-1",
        "sequence": 1,
        "action": "entry",
        "instrument": "binanceusdm:BTC/USDT:USDT",
        "event_at": "2024-08-07 23:59:59.989",
        "owed": 3,
        "told": 3,
        "terminal": 2,
        "pending": 1,
        "copied": 1,
        "reduced": 0,
        "skipped": 1,
        "failed": 0,
        "missing": 0,
        "doubled": 0,
    }
    tell(sink, messages, first=100)  # a writer that repeats
    assert ask(sink, "SELECT * FROM outcome_ledger") == [row]
    assert total(sink) == (3, 3, 1, 0, 0, 0)


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([], (0, 0, 0, 0, 0, 0)),
        ([samples.fan_out(1, active=0)], (0, 0, 0, 0, 0, 0)),
        ([samples.fan_out(1, active=2), samples.outcome(1)], (2, 1, 0, 1, 0, 0)),
        ([samples.fan_out(1), samples.outcome(1), samples.outcome(1, outcome_id="other")], (1, 1, 0, 0, 0, 1)),
        ([samples.fan_out(1), samples.outcome(1), samples.outcome(1, account="other")], (1, 1, 0, 0, 0, 1)),
        ([samples.fan_out(1), samples.outcome(1), samples.outcome(2)], (1, 2, 0, 0, 1, 0)),
        ([samples.fan_out(2), samples.outcome(1), samples.outcome(2)], (1, 1, 0, 0, 0, 0)),
        (
            [samples.fan_out(1, active=0), samples.outcome(1), samples.fan_out(2)],
            (1, 1, 0, 1, 1, 0),
        ),
        ([samples.fan_out(5, leader="other", active=0), samples.outcome(7)], (0, 0, 0, 0, 0, 0)),
        # A catch-up has no place in its leader's sequence, and is an event like any other.
        (
            [samples.fan_out(0, event_id="catch-up"), samples.outcome(0, event_id="catch-up"), samples.fan_out(3)],
            (2, 1, 0, 1, 0, 0),
        ),
    ],
    ids=[
        "nothing",
        "nobody follows",
        "one missing",
        "one doubled",
        "one doubled by another account",
        "one that nobody owed",
        "one from before the ledger",
        "one unowed makes up for no other",
        "a leader without a ledger",
        "a catch-up",
    ],
)
def test_the_ledger_tells_what_is_wrong(sink: ClickHouseSink, messages: list[Message], expected: Any) -> None:
    tell(sink, messages)
    assert total(sink) == expected


def test_the_ledger_counts_as_a_plain_count_does(sink: ClickHouseSink) -> None:
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")  # shown when it fails
    chance = random.Random(seed)
    messages: list[Message] = []
    expected: dict[str, dict[str, int]] = {}
    for event in range(1, 60):
        row = dict.fromkeys(("owed", "told", "terminal", "pending", "missing", "doubled"), 0)
        place: dict[str, Any] = {"event_id": f"{event}", "leader": f"leader-{event % 3}", "sequence": event}
        for partition in range(3):
            active = chance.randrange(4)
            messages.append(samples.fan_out(**place, partition=partition, active=active))
            row["owed"] += active
            for number in range(active):
                who = {"subscription": f"{partition}-{number}", "account": f"account-{partition}"}
                ident = f"{event}-{partition}-{number}"
                pending, lost, terminals = chance.random() < 0.3, chance.random() < 0.1, chance.choice((0, 1, 1, 1, 2))
                if lost:
                    row["missing"] += 1
                    continue
                if not terminals:
                    pending = True
                if pending:
                    waiting = {"state": OutcomeState.PENDING, "reason": None, "outcome_id": f"{ident}-p"}
                    messages.append(samples.outcome(**place, **who, **waiting))
                messages += [samples.outcome(**place, **who, outcome_id=f"{ident}-{n}") for n in range(terminals)]
                row["told"] += 1
                row["terminal"] += min(terminals, 1)
                row["pending"] += terminals == 0
                row["doubled"] += max(terminals - 1, 0)
        expected[f"{event}"] = row
    repeated = [message for message in messages if chance.random() < 0.3]
    for number, part in enumerate((messages, repeated)):
        chance.shuffle(part)
        tell(sink, part, first=number * 10_000)
    names = "event_id, owed, told, terminal, pending, missing, doubled"
    found = {row.pop("event_id"): row for row in ask(sink, f"SELECT {names} FROM outcome_ledger")}
    assert found == expected
    sums = {name: sum(row[name] for row in expected.values()) for name in ("owed", "told", "pending", "missing")}
    assert total(sink)[:4] == tuple(sums.values())
    assert total(sink)[4:] == (0, sum(row["doubled"] for row in expected.values()))
    one = ask(sink, "SELECT count() AS n FROM outcome_ledger WHERE leader = 'leader-1' AND missing > 0")
    wrong = [event for event, row in expected.items() if int(event) % 3 == 1 and row["missing"]]
    assert one == [{"n": len(wrong)}]


def test_copy_cost_by_stage(sink: ClickHouseSink) -> None:
    ended = samples.START_MS
    late = {"accepted_ms": None, "filled_ms": samples.START_MS + 250, "total_bps": Decimal(5), "slippage_bps": None}
    tell(
        sink,
        [
            samples.copied(1, now_ms=ended + 150),
            samples.copied(2, now_ms=ended + 250, state=OutcomeState.REDUCED, cost=samples.cost(**late)),
            samples.copied(3, now_ms=ended + 3_600_000, cost=samples.cost(submitted_ms=None, accepted_ms=None)),
            samples.copied(4, now_ms=ended, cost=None),
            samples.copied(5, now_ms=ended, state=OutcomeState.FAILED),
            samples.outcome(6, now_ms=ended),
        ],
    )
    rows = ask(sink, "SELECT leader, instrument, hour, stage, copy_count, p50_ms, p99_ms, mean_bps FROM copy_cost")
    assert {(row["leader"], row["instrument"]) for row in rows} == {("scored", "binanceusdm:BTC/USDT:USDT")}
    table = [tuple(row.values())[2:] for row in rows]
    first, second = "2024-08-08 00:00:00", "2024-08-08 01:00:00"
    assert [row[:4] for row in table if row[0] == first] == [
        (first, "detected", 2, 10),
        (first, "decided", 2, 20),
        (first, "submitted", 2, 30),
        (first, "accepted", 1, 40),
        (first, "filled", 2, pytest.approx((50 + 190) / 2)),
        (first, "fee", 2, None),
        (first, "total", 2, pytest.approx((150 + 250) / 2)),
    ]
    assert [row[5] for row in table if row[0] == first] == [None, 2, None, None, 1, 4.5, 4]
    assert [(row[1], row[3]) for row in table if row[0] == second] == [
        ("detected", 10),
        ("decided", 20),
        ("filled", 120),
        ("fee", None),
        ("total", 150),
    ]
    assert len(table) == 12


def test_a_resolved_error_halts_nothing(sink: ClickHouseSink) -> None:
    def resolved(number: int) -> Message:
        return samples.trade_error(number, now_ms=samples.START_MS + 100, state="resolved", open_errors=0)

    tell(sink, [samples.trade_error(2), samples.trade_error(1), samples.trade_error(3), resolved(1)])
    assert [row["error_id"] for row in ask(sink, "SELECT error_id FROM halts")] == ["error-2", "error-3"]
    late = [record(100, samples.trade_error(1), stamp="1.0"), record(101, resolved(3), stamp="9.0")]
    sink.append("outcomes", 0, late)  # the opening of the first, repeated behind its end
    sink.flush()
    assert [row["error_id"] for row in ask(sink, "SELECT error_id FROM halts")] == ["error-2"]
    assert ask(sink, "SELECT error_id FROM halts WHERE subscription = 'other'") == []
    assert sink.counts()["trade_errors"] == 5
    again = samples.trade_error(1, now_ms=samples.START_MS + 200)
    sink.append("outcomes", 0, [record(102, again, stamp="10.0")])  # opened once more
    sink.flush()
    assert [row["error_id"] for row in ask(sink, "SELECT error_id FROM halts")] == ["error-2", "error-1"]


def test_the_latest_drift_and_settings_amid_repeats(sink: ClickHouseSink) -> None:
    older, newer = samples.drift(1), samples.drift(2, actual=Decimal("0.1"), drift=Decimal(0))
    other = samples.drift(1, instrument="binanceusdm:ETH/USDT:USDT")
    before, after = samples.follower_state(1), samples.follower_state(2, halted=True, settings={"ratio": "0.2"})
    stamped = [(older, "1.0"), (before, "1.1"), (newer, "2.0"), (after, "2.1"), (other, "1.2")]
    repeats = [(older, "1.0"), (before, "1.1")]
    sink.append("outcomes", 0, [record(n, m, stamp=s) for n, (m, s) in enumerate([*stamped, *repeats])])
    sink.flush()
    drifts = ask(sink, "SELECT instrument, expected, actual, drift FROM drift_now ORDER BY instrument")
    assert [tuple(row.values())[1:] for row in drifts] == [("0.1", "0.1", "0"), ("0.1", "0.08", "-0.02")]
    (follower,) = ask(sink, "SELECT halted, JSONExtractString(settings, 'ratio') AS ratio, origins FROM followers_now")
    assert follower == {"halted": True, "ratio": "0.2", "origins": {"ratio": "subscription", "stop_loss": "leader"}}
    assert (sink.counts()["drift"], sink.counts()["followers"]) == (3, 2)


def test_the_board_ranks_leaders_by_their_latest_return(sink: ClickHouseSink) -> None:
    def told(leader: str, total_return: float | None, at: int, kind: str = "leader") -> Message:
        subject = f"{kind}:{leader}"
        return samples.statistics(at, subject=subject, kind=kind, leader=leader, total_return=total_return, rank=None)

    history = [
        told("fallen", 9.0, 1),
        told("new", None, 1),
        told("good", 0.5, 2),
        told("even", 0.5, 2),
        told("loser", -0.1, 2),
        told("fallen", 0.1, 3),
        told("follower", 99.0, 3, kind="subscription"),
    ]
    tell(sink, history, topic="statistics")
    board = ask(sink, "SELECT place, leader, total_return FROM leader_board")
    assert [tuple(row.values()) for row in board] == [
        (1, "even", 0.5),
        (1, "good", 0.5),
        (3, "fallen", 0.1),
        (4, "loser", -0.1),
        (5, "new", None),
    ]
    assert sink.counts()["statistics"] == 7
