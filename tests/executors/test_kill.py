"""kill -9 at every point of the protocol, restart, duplicate delivery: filled at the venue == intended, once.

The outbox loses nothing and doubles nothing: stamps name each record once, and the chain has no hole.
"""

import json
import sqlite3
import subprocess
import sys
from collections import defaultdict
from decimal import Decimal
from pathlib import Path

import pytest

from executors.protocols import client_order_id
from schemas import codec
from schemas.reasons import ReportKind
from schemas.status import VenueReport
from tests.executors.worker import ENTRIES, log

ROOT = Path(__file__).parents[2]


def run(folder: Path, crash: str, kind: str) -> int:
    done = subprocess.run(
        [sys.executable, "-m", "tests.executors.worker", str(folder), crash, kind],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode in (0, -9), done.stderr
    if done.returncode == 0:
        assert done.stdout == "done\n"
    return done.returncode


def reports(folder: Path) -> list[VenueReport]:
    """What was published, each stamp once; the chain is checked."""
    by_stamp: dict[tuple[int, int], list[object]] = {}
    for line in (folder / "published.jsonl").read_text().splitlines():
        generation, number, *rest = json.loads(line)
        assert by_stamp.setdefault((generation, number), rest) == rest, "one stamp, two records"
    last: dict[str, list[int]] = {}
    found = []
    for stamp in sorted(by_stamp):
        topic, previous, value = by_stamp[stamp]
        assert previous == last.get(str(topic)), f"a hole before {stamp}"
        last[str(topic)] = list(stamp)
        message = codec.decode(str(value).encode())
        if isinstance(message, VenueReport):
            found.append(message)
    return found


FAKE_POINTS = (
    "accepted",
    "persisted",
    "before_send",
    "in_flight",
    "executed",
    "sent",
    "settled",
    "booked",
    "published",
)


@pytest.mark.parametrize("crash", [*FAKE_POINTS, "executed:3", "settled:4"])
def test_killed_at_a_point_executes_once(tmp_path: Path, crash: str) -> None:
    assert run(tmp_path, crash, "fake") == -9
    assert run(tmp_path, "-", "fake") == 0
    with sqlite3.connect(tmp_path / "venue.db") as connection:
        executed: dict[str, Decimal] = defaultdict(Decimal)
        for order_id, size in connection.execute("SELECT order_id, size FROM fills"):
            executed[order_id] += Decimal(size)
    wanted = {order.order_id: order.size for order in log("fake")}
    dropped = {r.order_id for r in reports(tmp_path) if r.kind is ReportKind.CANCELLED and r.code == "exit"}
    assert dict(executed) == {order_id: size for order_id, size in wanted.items() if order_id not in dropped}
    told: dict[str, Decimal] = defaultdict(Decimal)
    for report in reports(tmp_path):
        if report.kind is ReportKind.FILL:
            told[report.order_id] += report.size
    assert told == executed


@pytest.mark.parametrize(
    "crash",
    ["persisted", "sent:2", "booked:3", "market:12", "market:30", "market:52", "published:20", "changed", "changed:2"],
)
def test_the_paper_venue_survives_a_kill(tmp_path: Path, crash: str) -> None:
    assert run(tmp_path, crash, "paper") == -9
    before = journal(tmp_path)
    assert run(tmp_path, "-", "paper") == 0
    after = journal(tmp_path)
    assert before.items() <= after.items()  # what was filled stays filled, under the same trade ids
    filled: dict[str, Decimal] = defaultdict(Decimal)
    for client_id, _, size, _ in after.values():
        filled[client_id] += Decimal(size)
    told: dict[str, Decimal] = defaultdict(Decimal)
    ended: dict[str, list[str]] = defaultdict(list)
    for report in reports(tmp_path):
        if report.kind is ReportKind.FILL:
            told[report.trade_id] += report.size
        elif report.kind in (ReportKind.CANCELLED, ReportKind.EXPIRED, ReportKind.REJECTED):
            ended[report.order_id].append(report.code)
    assert told == {trade: Decimal(row[2]) for trade, row in after.items()}
    for entry in ENTRIES:
        bought = sum(filled[client_order_id(entry.order_id, number)] for number in (1, 2, 3))
        assert bought == entry.size or ended[entry.order_id], entry.cause
        assert bought <= entry.size
    with sqlite3.connect(tmp_path / "execution.db") as connection:
        assert connection.execute("SELECT * FROM paper_positions").fetchall() == []  # every position was closed
        assert connection.execute("SELECT count(*) FROM execution_orders WHERE live").fetchone() == (0,)
        assert connection.execute("SELECT * FROM execution_protection").fetchall() == []
    closed = sum(Decimal(size) if side == "sell" else -Decimal(size) for _, side, size, _ in after.values())
    assert closed == 0


def journal(folder: Path) -> dict[str, tuple[str, str, str, str]]:
    with sqlite3.connect(folder / "execution.db") as connection:
        rows = connection.execute("SELECT trade_id, client_order_id, side, size, price FROM paper_fills").fetchall()
    return {row[0]: row[1:] for row in rows}
