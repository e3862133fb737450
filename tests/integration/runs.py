"""`wakeline up` as a user runs it, and what an outsider needs to look at it: the helpers of the tests beside this file.

Entry points: `Run` (one start on a data folder), `Workers` (single workers on a broker), `wakeline` (one command),
`written` (a topic read whole), `until`.
"""

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from streams import runtime
from streams.topics_admin import load_catalogue

ROOT = Path(__file__).parents[2]
LIMIT_S = 240.0  # a wait that ends as soon as it may; long, since machines are busy
WORKERS = ("trading", "sink")
COMMAND = [sys.executable, "-m", "cli.main"]


def until(condition: Callable[[], Any], what: str, limit_s: float = LIMIT_S) -> Any:
    """Return what `condition` gives as soon as it is true."""
    deadline = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.1)
    return found


def wakeline(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run one command to its end."""
    return subprocess.run(
        [*COMMAND, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip


def query(data_dir: Path, sql: str) -> list[dict[str, Any]]:
    """Return rows of ClickHouse."""
    asked = wakeline("query", sql, "--format", "json", "--data", str(data_dir))
    assert asked.returncode == 0, asked.stderr
    rows: list[dict[str, Any]] = json.loads(asked.stdout)["data"]
    return rows


class Run:
    """One `wakeline up`; use as a context manager, so that nothing outlives the test."""

    def __init__(self, data_dir: Path, *arguments: str, said: Path | None = None) -> None:
        self.data_dir = data_dir
        line = [*COMMAND, "up", "--data", str(data_dir), "--summary", "json", "--no-view", *arguments]
        data_dir.mkdir(parents=True, exist_ok=True)
        self._said = said or data_dir / "said.txt"
        with self._said.open("w") as said:
            self.process = subprocess.Popen(
                line, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said, text=True,
                start_new_session=True,
            )  # fmt: skip

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *error: object) -> None:
        children = [self.told(name) for name in WORKERS]
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate(timeout=30)
        for told in children:
            if told is not None and told.alive():
                os.kill(told.pid, signal.SIGKILL)

    @property
    def said(self) -> str:
        """What it printed to stderr so far."""
        return self._said.read_text()

    def told(self, name: str) -> runtime.ProcessFile | None:
        """Return what the process `up`, `trading` or `sink` tells of itself."""
        return runtime.read_process(self.data_dir, name)

    def wait_running(self) -> "Run":
        """Return once everything runs."""

        def running() -> bool:
            assert self.process.poll() is None, self.said
            told = self.told("up")
            return told is not None and told.pid == self.process.pid and told.state == "running"

        until(running, "the run is up")
        return self

    @property
    def bootstrap(self) -> str:
        """Address of its broker."""
        told = self.told("up")
        assert told is not None
        return told.note

    def running(self, name: str) -> bool:
        """Return whether this worker runs and says that it is ready."""
        told = self.told(name)
        return told is not None and told.alive() and told.state == "running"

    def pids(self) -> dict[str, int]:
        """Return the process ids of the workers."""
        return {name: told.pid for name in WORKERS if (told := self.told(name)) is not None and told.alive()}

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric of the trading worker over the samples that have these labels."""
        told = self.told("trading")
        assert told is not None
        with urllib.request.urlopen(f"http://127.0.0.1:{told.http_port}/metrics", timeout=10) as page:
            lines = page.read().decode().splitlines()
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        found = [line for line in lines if re.match(rf"{name}[ {{]", line) and all(part in line for part in wanted)]
        return sum(float(line.rsplit(" ", 1)[1]) for line in found)

    def log(self, name: str = "trading") -> str:
        """Return a worker's log."""
        path = runtime.log_folder(self.data_dir) / f"{name}.log"
        return path.read_text() if path.exists() else ""

    def end(self) -> dict[str, Any]:
        """End it by SIGTERM and return its summary."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.summary()

    def summary(self) -> dict[str, Any]:
        """Wait for its own end and return its summary."""
        out, _ = self.process.communicate(timeout=LIMIT_S)
        assert self.process.returncode == 0, self.said
        summary: dict[str, Any] = json.loads(out.splitlines()[-1])
        return summary

    def refused(self) -> tuple[int, str]:
        """Wait for its own end; return the exit code and the last line it printed."""
        self.process.communicate(timeout=LIMIT_S)
        return self.process.returncode, self.said.strip().splitlines()[-1]

    def kill(self) -> None:
        """Kill the parent, and only it."""
        self.process.kill()
        self.process.communicate(timeout=30)


class Workers:
    """`wakeline worker` processes on one data folder, as a machine would run them."""

    def __init__(self, folder: Path, bootstrap: str, config: Path) -> None:
        self.folder, self._bootstrap, self._config = folder, bootstrap, config
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, roles: str) -> None:
        command = [*COMMAND, "worker", "--roles", roles, "--name", name, "--broker", self._bootstrap]
        command += ["--config", str(self._config), "--data", str(self.folder)]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def kill(self, name: str) -> None:
        process = self.running.pop(name)
        process.kill()
        process.wait(10)

    def stop(self, name: str) -> int:
        process = self.running.pop(name)
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            return -9

    def wait_running(self, *names: str, timeout_s: float = 90) -> None:
        deadline = time.monotonic() + timeout_s
        while True:
            states = {process.name: process.state for process in runtime.processes(self.folder)}
            if all(states.get(name) == "running" for name in names):
                return
            for name, process in self.running.items():
                assert process.poll() is None, f"{name} ended: {self.log(name)}"
            assert time.monotonic() < deadline, f"{names} not running: {states}"
            time.sleep(0.1)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()[-3_000:]


async def _written(bootstrap: str, topic: str) -> list[Any]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, enable_auto_commit=False, max_partition_fetch_bytes=8 * 1024 * 1024
    )
    await consumer.start()
    records: list[Any] = []
    try:
        tps = [TopicPartition(topic, partition) for partition in range(load_catalogue()[topic].partitions)]
        consumer.assign(tps)
        await consumer.seek_to_beginning(*tps)
        ends = await consumer.end_offsets(tps)
        while any([await consumer.position(tp) < ends[tp] for tp in tps]):
            for found in (await consumer.getmany(timeout_ms=300)).values():
                records += found
    finally:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(consumer.stop(), 5)
    return records


def written(bootstrap: str, topic: str) -> list[Any]:
    """Return every record of a topic, as the broker gives them."""
    return asyncio.run(_written(bootstrap, topic))
