"""Every kind of feed through the whole pipeline, as a user starts it; and inputs that are damaged or wrong."""

import csv
import gzip
import os
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from cli.exit_codes import ExitCode
from schemas.codec import decode
from streams.feeds.params import BUILTIN_RECORDING, RECORDINGS
from tests.integration.runs import ROOT, Run, until, wakeline, written

pytestmark = pytest.mark.integration

HALF_YEAR = RECORDINGS / "btcusd-5m-2025-10-2026-04.csv.gz"
START_MS = 1_760_000_000_000 // 60_000 * 60_000


def fills(run: Run) -> dict[str, int]:
    found: dict[str, int] = {}
    for record in written(run.bootstrap, "order-status"):
        message = decode(record.value)
        if type(message).__name__ == "Fill":
            found[message.leg.value] = found.get(message.leg.value, 0) + 1
    return found


def count(run: Run, topic: str) -> int:
    return len(written(run.bootstrap, topic))


def test_the_half_year_reaches_both_sides_of_the_bracket(tmp_path: Path) -> None:
    with Run(tmp_path, "--config", str(ROOT / "examples" / "half-year.yaml")) as run:
        run.wait_running()
        both = {"stop_loss", "take_profit"}
        until(lambda: both <= fills(run).keys(), "a stop-loss and a take-profit were filled")
        summary = run.end()
    assert summary["parked"] == 0 and summary["signals"]["buy"] > 0 and summary["signals"]["sell"] > 0
    assert summary["refused"].get("stale_signal", 0) == 0
    assert summary["clickhouse"]["fills"] >= 3


def test_a_simulated_market_of_fifty_instruments(tmp_path: Path) -> None:
    feed = ("--feed", "simulated", "--symbols", "50", "--rate", "2000", "--seed", "7", "--speed", "1")
    with Run(tmp_path, *feed) as run:
        run.wait_running()
        until(lambda: len({record.key for record in written(run.bootstrap, "bars")}) == 50, "bars of all of them")
        summary = run.end()
    assert summary["parked"] == 0


def trades_csv(path: Path) -> Path:
    """Three minutes of trades; one row in the middle is no trade."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["timestamp_ms", "price", "size", "side"])
        for number in range(1_800):
            price = 100 + (number * 7919 % 997) / 5_000 + (number % 360 > 180)
            rows.writerow([START_MS + number * 100, f"{price:.4f}", "0.5", "buy" if number % 2 else "sell"])
            if number == 900:
                rows.writerow([START_MS + number * 100, "-1", "0.5", "buy"])
    return path


def bars_parquet(path: Path) -> Path:
    """The first days of the half year as Parquet."""
    with gzip.open(HALF_YEAR, "rt") as file:
        rows = [row for row, _ in zip(csv.DictReader(file), range(600), strict=False)]
    columns: dict[str, Any] = {name: [float(row[name]) for row in rows] for name in rows[0] if name != "timestamp_ms"}
    columns["timestamp_ms"] = [int(row["timestamp_ms"]) for row in rows]
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def damaged_recording(path: Path) -> Path:
    """The recording's beginning with lines that mean nothing, and one of 10 MB, in its middle."""
    with gzip.open(BUILTIN_RECORDING, "rb") as file:
        lines = [next(file) for _ in range(6_000)]
    bad = [
        b"\x00\xff not json\n",
        b'{"received_ns": 1}\n',
        b'{"x": "' + b"y" * 10_000_000 + b'"}\n',
        b"[" * 50_000 + b"\n",
    ]
    path.write_bytes(gzip.compress(b"".join(lines[:3_000] + bad + lines[3_000:]), 1))
    return path


@pytest.mark.parametrize(
    ("name", "write", "parked", "options"),
    [
        ("btcusd-trades.csv", trades_csv, 1, ()),
        ("btcusd.parquet", bars_parquet, 0, ("--config", str(ROOT / "examples" / "half-year.yaml"))),
        ("damaged.jsonl.gz", damaged_recording, 4, ("--set", "feed.loop=false")),
    ],
)
def test_a_file_runs_to_its_end(tmp_path: Path, name: str, write: Any, parked: int, options: tuple[str, ...]) -> None:
    path = write(tmp_path / name)
    with Run(tmp_path / "data", *options, "--feed", str(path), "--speed", "max") as run:
        run.wait_running()
        until(lambda: "ended" in run.log() and "records sent" in run.log(), "the feed ended")
        until(lambda: count(run, "bars") > 10, "bars")
        told = [decode(record.value) for record in written(run.bootstrap, "parked")]
        assert run.pids().keys() == {"trading", "sink"}
        summary = run.end()
    assert len(told) == summary["parked"] == summary["clickhouse"]["parked"] == parked
    assert all(message.source.startswith(f"{name}:") and message.reason for message in told)
    assert [message.size for message in told if message.size > 1_000_000] == ([10_000_009] if parked == 4 else [])
    assert "Traceback" not in run.log() and "starting it again" not in run.said


@pytest.mark.parametrize(
    ("name", "content", "code", "words"),
    [
        ("missing.csv", None, ExitCode.USAGE, "neither"),
        ("columns.csv", b"time,p,q\n1,2,3\n", ExitCode.CONFIGURATION, "feed.columns"),
        ("empty.csv", b"", ExitCode.CONFIGURATION, "is empty"),
        ("nothing.jsonl", b"{}\n{}\n", ExitCode.CONFIGURATION, "no usable record"),
        ("not.jsonl.gz", b"plain", ExitCode.CONFIGURATION, "gzip"),
        ("not.parquet", b"plain", ExitCode.CONFIGURATION, "Parquet"),
        ("prose.txt", b"once upon a time", ExitCode.CONFIGURATION, "format"),
    ],
)
def test_a_wrong_input_never_starts(tmp_path: Path, name: str, content: bytes | None, code: int, words: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    told = wakeline("up", "--feed", str(path), "--data", str(tmp_path / "data"))
    assert told.returncode == code and words in told.stderr, told.stderr
    assert os.fspath(path) in told.stderr.replace("\n", "")
    assert not (tmp_path / "data").exists(), "nothing was begun"
