"""`wakeline up` as a process of its own on a real broker, its workers played by tests/cli/fake_worker.py."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.exit_codes import ExitCode
from streams import runtime

ROOT = Path(__file__).parents[2]
LIMIT_S = 120


def start(data_dir: Path, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.cli.fake_up", "up", "--data", str(data_dir), *arguments]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wakeline(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "cli.main", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False)


def until(condition: object, what: str) -> None:
    limit_s = time.monotonic() + LIMIT_S
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < limit_s, f"waited in vain: {what}"
        time.sleep(0.05)


def until_running(data_dir: Path) -> runtime.ProcessFile:
    def running() -> bool:
        told = runtime.read_process(data_dir, "up")
        return told is not None and told.state == "running" and told.alive()

    until(running, "the run is up")
    told = runtime.read_process(data_dir, "up")
    assert told is not None
    return told


def until_seen(process: "subprocess.Popen[str]", pattern: str) -> str:
    assert process.stderr is not None
    seen = ""
    for line in process.stderr:
        seen += line
        if re.search(pattern, line):
            return seen
    raise AssertionError(f"{pattern!r} was never printed:\n{seen}")


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for name in ("up", "trading", "sink"):
        told = runtime.read_process(tmp_path, name)
        if told is not None and told.alive():
            os.kill(told.pid, signal.SIGKILL)


def nothing_lives(data_dir: Path) -> bool:
    broker = wakeline("broker", "status", "--data", str(data_dir))
    return not list(runtime.processes(data_dir)) and broker.returncode == ExitCode.NOT_RUNNING


def test_a_run_ends_by_itself_and_sums_up(data_dir: Path) -> None:
    process = start(data_dir, "--for", "2s", "--summary", "json")
    out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == ExitCode.OK, err
    assert out.count("\n") == 1, "stdout carries the summary and nothing else"
    summary = json.loads(out)
    assert list(summary) == [
        "seconds", "topics", "signals", "orders", "fills", "refused", "outcomes", "ledger", "halts",
        "parked", "realized_pnl", "clickhouse",
        "latency_ms",
    ]  # fmt: skip
    assert 2 <= summary["seconds"] < 10
    assert summary["topics"]["signals"] == 1
    assert summary["topics"]["order-status"] == 6
    assert summary["topics"]["market-data"] > 5
    assert summary["signals"] == {"buy": 1, "sell": 0}
    assert summary["orders"] == 1
    # The stop-loss was published after SIGTERM had come.
    assert summary["fills"] == {"entry": 1, "stop_loss": 1, "take_profit": 1, "exit": 0}
    assert summary["refused"] == {"cool_down": 1}
    assert summary["parked"] == 0
    assert summary["realized_pnl"] == "0.97"
    assert summary["clickhouse"] == {"bars": 5, "fills": 2, "refusals": 1}
    assert set(summary["latency_ms"]) == {"signal", "order", "fill"}
    assert all(4 <= of["p50"] <= of["p99"] for of in summary["latency_ms"].values())
    assert nothing_lives(data_dir)
    assert not (data_dir / "run" / "up.json").exists()


def test_counts_are_of_this_run_only(data_dir: Path) -> None:
    for _ in range(2):
        process = start(data_dir, "--for", "1s", "--summary", "json")
        out, err = process.communicate(timeout=LIMIT_S)
        assert process.returncode == ExitCode.OK, err
        summary = json.loads(out)
        assert summary["signals"] == {"buy": 1, "sell": 0}
        assert summary["topics"]["signals"] == 1


def test_a_second_run_on_the_folder_is_refused_and_down_ends_the_first(data_dir: Path) -> None:
    process = start(data_dir)
    first = until_running(data_dir)
    second = wakeline("up", "--data", str(data_dir))
    assert second.returncode == ExitCode.BUSY
    assert f"in use by process {first.pid}" in second.stderr
    assert "wakeline down" in second.stderr
    assert len(second.stderr.strip().splitlines()) == 1
    busy = wakeline("broker", "stop", "--data", str(data_dir))
    assert busy.returncode == ExitCode.BUSY
    ended = wakeline("down", "--data", str(data_dir))
    assert ended.returncode == ExitCode.OK, ended.stderr
    out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == ExitCode.OK, err
    assert "parked       0" in out, "without --summary json the summary is text on stdout"
    assert nothing_lives(data_dir)
    assert wakeline("down", "--data", str(data_dir)).returncode == ExitCode.NOT_RUNNING


def test_a_killed_run_leaves_nothing_running_and_the_next_one_starts(data_dir: Path) -> None:
    process = start(data_dir)
    told = until_running(data_dir)
    os.kill(told.pid, signal.SIGKILL)
    process.communicate(timeout=LIMIT_S)
    assert runtime.read_process(data_dir, "up") == told, "the pid file is stale now"
    until(lambda: not list(runtime.processes(data_dir)), "workers end with their parent")
    stale = wakeline("down", "--data", str(data_dir))
    assert stale.returncode == ExitCode.NOT_RUNNING
    assert f"process {told.pid} of its pid file is gone" in stale.stderr
    again = start(data_dir, "--for", "1s", "--summary", "json")
    out, err = again.communicate(timeout=LIMIT_S)
    assert again.returncode == ExitCode.OK, err
    assert json.loads(out)["orders"] == 1


def test_a_worker_that_ends_is_started_again_and_it_is_told(data_dir: Path) -> None:
    process = start(data_dir, "--for", "1s", FAKE_CRASHES="1")
    _, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == ExitCode.OK, err
    assert "worker trading ended with exit code 1: RuntimeError: the fake was told to crash; starting it again" in err


def test_a_worker_that_keeps_ending_ends_the_run(data_dir: Path) -> None:
    process = start(data_dir, FAKE_CRASHES="1000")
    _, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == ExitCode.WORKER
    assert "the 5th time within a minute: RuntimeError: the fake was told to crash" in err
    assert nothing_lives(data_dir)


def test_what_starting_again_cannot_mend_is_not_tried_again(data_dir: Path) -> None:
    process = start(data_dir, FAKE_EXIT=str(int(ExitCode.TOPICS)))
    _, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == ExitCode.TOPICS
    assert "starting it again" not in err
    assert "topics differ, says the fake" in err


def test_a_second_interrupt_ends_what_does_not_end(data_dir: Path) -> None:
    process = start(data_dir, FAKE_DEAF="1")
    until_running(data_dir)
    process.send_signal(signal.SIGINT)
    until(lambda: getattr(runtime.read_process(data_dir, "up"), "state", "") == "stopping", "the first one is heard")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=LIMIT_S)
    assert process.returncode == ExitCode.FORCED
    until(lambda: not list(runtime.processes(data_dir)), "the deaf worker is gone")
    assert nothing_lives(data_dir)


def test_an_interrupt_while_it_starts_ends_it(data_dir: Path) -> None:
    process = start(data_dir)
    until(lambda: runtime.read_process(data_dir, "up") is not None, "it has begun")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == ExitCode.OK, err
    assert out == "", "nothing ran, so there is nothing to sum up"
    assert nothing_lives(data_dir)


def test_the_live_view_is_drawn_in_a_terminal_and_given_back(data_dir: Path) -> None:
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.cli.fake_up", "up", "--data", str(data_dir), "--for", "3s"],
        cwd=ROOT,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"},
        stdin=child, stdout=child, stderr=child, start_new_session=True,
    )  # fmt: skip
    os.close(child)
    seen = b""
    limit_s = time.monotonic() + LIMIT_S
    while time.monotonic() < limit_s:
        if select.select([parent], [], [], 0.2)[0]:
            try:
                seen += os.read(parent, 65536)
            except OSError:
                break
        elif process.poll() is not None:
            break
    assert process.wait(timeout=LIMIT_S) == ExitCode.OK
    text = seen.decode("utf-8", "replace")
    assert "\x1b[?1049h" in text, "the view has a screen of its own"
    for part in ("StrongBuy", "stop-loss", "take-profit", "57156.1", "cool_down 1", "unrealised", "latency ms"):
        assert part in text, part
    after = text.rpartition("\x1b[?1049l")[2]
    assert "parked       0" in after, "the summary stands in the user's own screen"


def test_ctrl_c_of_a_terminal_reaches_the_parent_alone(data_dir: Path) -> None:
    """A terminal interrupts its whole foreground group; workers and broker must get their end from us, in order."""
    process = start(data_dir, "--summary", "json")
    until_running(data_dir)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == ExitCode.OK, err
    assert "starting it again" not in err
    assert json.loads(out)["fills"]["stop_loss"] == 1, "the worker could publish its last record"


def test_the_broker_is_started_again_when_it_ends(data_dir: Path) -> None:
    process = start(data_dir)
    until_running(data_dir)
    (node,) = json.loads((data_dir / "broker" / "cluster.json").read_text())["ports"]
    pid = json.loads((data_dir / "broker" / "node-1" / "pid.json").read_text())["pid"]
    os.kill(pid, signal.SIGKILL)
    until_seen(process, "the broker ended .*starting it again")
    until_seen(process, "the broker answers again")
    again = json.loads((data_dir / "broker" / "cluster.json").read_text())["ports"]
    assert again == [node], "the same port, or its clients would never find it"
    assert wakeline("down", "--data", str(data_dir)).returncode == ExitCode.OK
    process.communicate(timeout=LIMIT_S)
    assert process.returncode == ExitCode.OK
    assert nothing_lives(data_dir)


def test_a_broker_started_before_is_used_and_left_running(data_dir: Path) -> None:
    started = wakeline("broker", "start", "--data", str(data_dir))
    assert started.returncode == ExitCode.OK, started.stderr
    try:
        process = start(data_dir, "--for", "1s", "--summary", "json")
        out, err = process.communicate(timeout=LIMIT_S)
        assert process.returncode == ExitCode.OK, err
        assert f"answers at {started.stdout.strip()}, which was running already" in err
        assert json.loads(out)["orders"] == 1
        assert wakeline("broker", "status", "--data", str(data_dir)).returncode == ExitCode.OK
        # The same broker by its address, as one of yours elsewhere would be.
        other = data_dir / "other"
        process = start(
            other,
            "--broker",
            started.stdout.strip(),
            "--set",
            "broker.replication=1",
            "--for",
            "1s",
            "--summary",
            "json",
        )
        out, err = process.communicate(timeout=LIMIT_S)
        assert process.returncode == ExitCode.OK, err
        assert json.loads(out)["orders"] == 1
        assert not (other / "broker").exists()
    finally:
        assert wakeline("broker", "stop", "--data", str(data_dir)).returncode == ExitCode.OK
    assert nothing_lives(data_dir)
