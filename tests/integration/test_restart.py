"""Ends and starts on one data folder: what goes on, what is refused, and what the user is told.

The clean end, kill -9 of the parent, of each worker and of the broker; then the same folder again, and other
configurations and feeds on it.
"""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from cli.exit_codes import ExitCode
from processors.inbox import read_stamp
from schemas.codec import decode
from streams.settings import DEMO_FILE
from streams.timebase import TimeBase
from tests.integration.runs import Run, query, until, wakeline, written

pytestmark = pytest.mark.integration

FEED = ("--feed", "simulated", "--symbols", "4", "--rate", "40", "--seed", "7", "--speed", "20")


def configuration(folder: Path, **strategy: Any) -> str:
    """Write the demonstration for the simulated feed's currency; return its path."""
    tree = yaml.safe_load(DEMO_FILE.read_text())
    tree["strategies"][0] |= strategy
    for account in tree["accounts"]:
        account["currency"] = "USD"
    path = folder / "wakeline.yaml"
    path.write_text(yaml.safe_dump(tree))
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder that every run of this module goes on in; the tests stand in the order of its life."""
    folder = tmp_path_factory.mktemp("restart")
    configuration(folder)
    return folder


def start(folder: Path, *arguments: str) -> Run:
    return Run(folder, *FEED, "--config", str(folder / "wakeline.yaml"), *arguments)


def messages(run: Run, topic: str, kind: str = "") -> list[Any]:
    found = [decode(record.value) for record in written(run.bootstrap, topic)]
    return [message for message in found if not kind or type(message).__name__ == kind]


class Seen(NamedTuple):
    """What stands on the log."""

    signals: set[str]
    fills: int
    pnl: Decimal


def look(run: Run) -> Seen:
    """Return what stands on the log, after checking what must hold there over all runs of a folder."""
    trades: dict[str, list[int]] = {}
    for record in written(run.bootstrap, "market-data"):
        message = decode(record.value)
        if type(message).__name__ == "Trade":
            trades.setdefault(message.instrument, []).append(message.id)
    for instrument, ids in trades.items():
        assert ids == list(range(1, len(ids) + 1)), f"{instrument}: a trade is missing, or stands there twice"
    values: dict[str, bytes] = {}
    latest_ms: dict[str, int] = {}
    for record in written(run.bootstrap, "signals"):
        message = decode(record.value)
        name = message.signal_id
        if name not in values:
            assert message.now_ms >= latest_ms.get(message.instrument, 0), "log time went back"
            latest_ms[message.instrument] = message.now_ms
        assert values.setdefault(name, record.value) == record.value, f"signal {name} was said in two ways"
    return Seen(set(values), *money(run))


def money(run: Run) -> tuple[int, Decimal]:
    """Return fills and realised profit, after checking that every account's balance is the sum of its fills."""
    balance = {
        one["account"]: Decimal(one["initial_balance"]) for one in yaml.safe_load(DEMO_FILE.read_text())["accounts"]
    }
    fills: set[str] = set()
    pnl = Decimal(0)
    latest: dict[tuple[int, str], tuple[int, int]] = {}
    for record in written(run.bootstrap, "order-status"):
        stamped = read_stamp(record.headers)
        assert stamped is not None
        if stamped.stamp <= latest.get((record.partition, stamped.source), (-1, -1)):
            continue  # a killed worker repeats
        latest[record.partition, stamped.source] = stamped.stamp
        message = decode(record.value)
        if type(message).__name__ == "Fill":
            assert message.fill_id not in fills, "a fill was booked twice"
            fills.add(message.fill_id)
            pnl += message.realized_pnl
            balance[message.account] += message.realized_pnl - message.fee
        elif type(message).__name__ == "AccountState":
            assert message.balance == balance[message.account], f"offset {record.offset}"
    return len(fills), pnl


def traded(run: Run, fills: int) -> bool:
    return len(messages(run, "order-status", "Fill")) >= fills


def test_a_second_start_goes_on_from_the_tail(folder: Path) -> None:
    with start(folder) as run:
        run.wait_running()
        until(lambda: traded(run, 6), "fills")
        first = look(run)
        run.end()
    origin = TimeBase.load(folder).feed_origin_ms
    with start(folder) as run:
        run.wait_running()
        until(lambda: traded(run, first.fills + 6), "more fills")
        second = look(run)
        summary = run.end()
    assert TimeBase.load(folder).feed_origin_ms == origin
    assert first.signals < second.signals
    assert summary["parked"] == 0
    rows = query(
        folder, "SELECT toString(sum(realized_pnl)) AS pnl, count() AS n, uniqExact(fill_id) AS one FROM fills"
    )
    views = query(folder, "SELECT toString(sum(realized)) AS pnl FROM pnl_by_day")
    assert rows[0]["n"] == rows[0]["one"] and int(rows[0]["n"]) >= second.fills
    assert Decimal(views[0]["pnl"]) == Decimal(rows[0]["pnl"])


def test_killed_workers_and_a_killed_broker_are_started_again(folder: Path) -> None:
    with start(folder) as run:
        run.wait_running()
        before = look(run)
        pids = run.pids()
        for victim in ("sink", "trading"):
            os.kill(pids[victim], signal.SIGKILL)
        for victim in ("sink", "trading"):
            old = (None, pids[victim])
            until(lambda name=victim, old=old: run.running(name) and run.pids().get(name) not in old, f"{victim} again")
            assert f"worker {victim} was ended by SIGKILL" in run.said
        os.kill(json.loads((folder / "broker" / "node-1" / "pid.json").read_text())["pid"], signal.SIGKILL)
        until(lambda: "the broker answers again" in run.said, "the broker is back")
        until(lambda: traded(run, before.fills + 2), "it trades on")
        until(lambda: before.signals < look(run).signals, "it signals on")
        assert run.process.poll() is None
        run.kill()


def test_another_configuration_after_a_crash_is_refused_by_name(folder: Path) -> None:
    configuration(folder, rsi_low=41)
    with start(folder) as run:
        code, line = run.refused()
    assert code == ExitCode.VERSION, line
    assert re.search(r"differs in .*configuration \(was", line) and "wakeline up --reset" in line


def test_the_old_configuration_mends_it_and_a_clean_stop_allows_the_new(folder: Path) -> None:
    configuration(folder)
    with start(folder) as run:
        run.wait_running()
        fills = look(run).fills
        until(lambda: traded(run, fills + 2), "it trades on")
        known = look(run)
        assert run.end()["parked"] == 0
    configuration(folder, rsi_low=41)
    with start(folder) as run:
        run.wait_running()
        until(lambda: known.signals < look(run).signals, "the new configuration signals")
        assert run.end()["parked"] == 0


def test_another_feed_is_refused_and_reset_mends_it(folder: Path) -> None:
    arguments = ("--feed", "recording", "--speed", "10")
    with Run(folder, *arguments, "--config", str(folder / "wakeline.yaml")) as run:
        code, line = run.refused()
    assert code == ExitCode.CONFIGURATION, line
    assert "one data folder has one time" in line and "--reset" in line
    with Run(folder, *arguments, "--config", str(folder / "wakeline.yaml"), "--reset", "--yes", "--for", "2s") as run:
        assert run.summary()["parked"] == 0


def test_what_cannot_start_says_so_in_one_line(folder: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("feed: {kind: recording, spedd: 3}\nstrategies: [{name: a, interval: 7s}]\n")
    told = wakeline("up", "--config", str(wrong), "--data", str(tmp_path / "data"))
    assert told.returncode == ExitCode.CONFIGURATION
    assert "feed.spedd: unknown key; did you mean 'speed'" in told.stderr and "interval" in told.stderr
    assert not (tmp_path / "data").exists()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        told = wakeline("up", "--data", str(tmp_path / "data"), "--set", f"worker.http_port={port}")
        assert told.returncode == ExitCode.BUSY and f"port {port}" in told.stderr
        taken.close()
        told = wakeline("up", "--data", str(tmp_path / "data"), "--broker", f"127.0.0.1:{port}")
    assert told.returncode == ExitCode.BROKER and f"127.0.0.1:{port}" in told.stderr
    assert len(told.stderr.strip().splitlines()) <= 3, told.stderr


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system: 300 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300m", "tmpfs", folder]).returncode:
        pytest.skip("a small file system of its own needs root and the right to mount")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_disk_that_fills_up_ends_it_in_one_line(disk: Path, tmp_path: Path) -> None:
    filler = disk / "filler"
    with Run(disk / "data", *FEED, said=tmp_path / "said.txt") as run:
        run.wait_running()
        with filler.open("wb") as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 65536)
        code, line = run.refused()
    assert code in (ExitCode.DISK_FULL, ExitCode.BROKER), run.said
    assert "space" in line or "disk" in line.lower() or "free" in line, line
    with Run(disk / "data", *FEED, said=tmp_path / "said.txt") as run:
        code, line = run.refused()
    assert code == ExitCode.DISK_FULL, line
    filler.unlink()
    with Run(disk / "data", *FEED, "--for", "2s", said=tmp_path / "said.txt") as run:
        assert run.summary()["parked"] == 0
