"""`wakeline up` as a newcomer runs it: the whole program, from recorded ticks to rows in ClickHouse."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from cli.exit_codes import ExitCode
from streams import runtime
from tests.cli.test_session import nothing_lives, until_running, wakeline

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.integration

TABLES_WITH_ROWS = (
    "bars", "signals", "orders", "order_status", "fills", "positions", "accounts", "outcomes", "refusals",
    "pipeline_latency",
)  # fmt: skip


def up(data_dir: Path, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "cli.main", "up", "--data", str(data_dir), *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


def summary_of(process: "subprocess.Popen[str]") -> dict[str, Any]:
    out, err = process.communicate(timeout=150)
    assert process.returncode == ExitCode.OK, err
    assert "starting it again" not in err, err
    summary: dict[str, Any] = json.loads(out.splitlines()[-1])
    return summary


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("up")
    yield folder
    for name in ("up", "trading", "sink"):
        told = runtime.read_process(folder, name)
        if told is not None and told.alive():
            os.kill(told.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def first(data_dir: Path) -> dict[str, Any]:
    """A first run. At speed max the feed waits for the accounts, so a slow machine sees fewer ticks, not stale ones."""
    return summary_of(up(data_dir, "--for", "30s", "--speed", "max", "--summary", "json"))


def test_signals_orders_and_fills_on_both_sides_of_the_bracket(first: dict[str, Any]) -> None:
    assert first["signals"]["buy"] > 0
    assert first["signals"]["sell"] > 0
    assert first["orders"] > 0
    fills = first["fills"]
    assert fills["entry"] > 0
    assert fills["stop_loss"] > 0
    assert fills["take_profit"] > 0
    assert sum(first["refused"].values()) > 0
    assert first["parked"] == 0
    assert 30 <= first["seconds"] < 45


def test_every_stage_has_a_latency(first: dict[str, Any]) -> None:
    assert set(first["latency_ms"]) == {"signal", "order", "fill"}
    assert all(0 < of["p50"] <= of["p99"] for of in first["latency_ms"].values())


def test_every_table_has_rows(first: dict[str, Any]) -> None:
    assert [name for name in TABLES_WITH_ROWS if first["clickhouse"][name] == 0] == []
    assert first["clickhouse"]["parked"] == 0


def test_every_record_of_the_log_is_a_row_once_it_has_ended(data_dir: Path, first: dict[str, Any]) -> None:
    names = (
        "bars", "signals", "orders", "cancels", "order_status", "fills", "positions", "accounts", "outcomes",
        "leader_events", "followers", "drift", "trade_errors", "refusals",
    )  # fmt: skip
    sql = "SELECT " + ", ".join(f"(SELECT count() FROM {name}) AS {name}" for name in names)
    asked = wakeline("query", sql, "--format", "json", "--data", str(data_dir))
    assert asked.returncode == ExitCode.OK, asked.stderr
    rows = {name: int(count) for name, count in json.loads(asked.stdout)["data"][0].items()}
    topics = first["topics"]
    assert rows["bars"] == topics["bars"] > 0
    assert rows["signals"] == topics["signals"] == sum(first["signals"].values())
    assert rows["orders"] + rows["cancels"] == topics["orders"]
    assert rows["orders"] == first["orders"]
    assert rows["fills"] == sum(first["fills"].values())
    assert rows["refusals"] == sum(first["refused"].values())
    assert rows["order_status"] + rows["fills"] + rows["positions"] + rows["accounts"] == topics["order-status"]
    copying = ("outcomes", "leader_events", "followers", "drift", "trade_errors")
    assert sum(rows[name] for name in copying) == topics["outcomes"]
    assert first["ledger"]["missing"] == 0 < first["ledger"]["owed"] == first["ledger"]["told"]
    # What the summary said while the sink still wrote is no more than that.
    assert all(first["clickhouse"][name] <= count for name, count in rows.items())


def test_realised_profit_is_the_sum_of_the_stored_fills(data_dir: Path, first: dict[str, Any]) -> None:
    sql = "SELECT toString(sum(realized_pnl)) FROM fills"
    asked = wakeline("query", sql, "--format", "csv", "--data", str(data_dir))
    assert asked.returncode == ExitCode.OK, asked.stderr
    assert Decimal(asked.stdout.splitlines()[-1].strip('"')) == Decimal(first["realized_pnl"])


def test_a_second_start_goes_on_and_can_be_watched(data_dir: Path, first: dict[str, Any]) -> None:
    data = ("--data", str(data_dir))
    process = up(data_dir, "--summary", "json")
    told = until_running(data_dir)
    second = wakeline("up", *data)
    assert second.returncode == ExitCode.BUSY
    assert f"process {told.pid}" in second.stderr
    tailed = wakeline("tail", "order-status", "--from", "start", "--count", "3", *data)
    assert tailed.returncode == ExitCode.OK, tailed.stderr
    assert all(re.match(r"\d@\d+\tpaper-\w+\t\{", line) for line in tailed.stdout.splitlines())
    asked = wakeline("query", "SELECT count() AS n FROM bars", "--format", "json", *data)
    assert asked.returncode == ExitCode.OK, asked.stderr
    assert int(json.loads(asked.stdout)["data"][0]["n"]) >= first["topics"]["bars"]
    doctor = wakeline("doctor", *data)
    for about in ("running", "broker", "topics", "clickhouse"):
        assert re.search(rf"^ok +{about} ", doctor.stdout, re.M), doctor.stdout
    assert wakeline("down", *data).returncode == ExitCode.OK
    summary = summary_of(process)
    assert summary["parked"] == 0
    assert summary["topics"]["market-data"] > 0
    assert nothing_lives(data_dir)


def test_a_killed_run_is_followed_by_a_good_one(data_dir: Path, first: dict[str, Any]) -> None:
    process = up(data_dir)
    told = until_running(data_dir)
    os.kill(told.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    assert runtime.read_process(data_dir, "up") == told, "the pid file is stale now"
    summary = summary_of(up(data_dir, "--for", "5s", "--summary", "json"))
    assert summary["parked"] == 0
    assert summary["topics"]["market-data"] > 0
