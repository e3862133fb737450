"""kill -9 in mid-flush, again and again: what is queried holds each row once, and the sums are exact."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from sinks.clickhouse.sink import ClickHouseSink
from tests.sinks.crash_child import FILLS, PARTITIONS, log_of, pnl_of

ROOT = Path(__file__).parents[2]


def run_until_killed(folder: Path, seed: int, chance: random.Random, *, to_the_end: bool = False) -> bool:
    """Run the child and kill it some milliseconds into one of its flushes; return whether it ended by itself."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.sinks.crash_child", str(folder), str(seed)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert child.stdout is not None
    flushes = chance.randrange(1, 3)
    for line in child.stdout:
        if line == "done\n":
            break
        flushes -= 1
        if flushes == 0 and not to_the_end:
            time.sleep(chance.random() * 0.06)
            child.send_signal(signal.SIGKILL)
            break
    child.stdout.close()
    return child.wait(timeout=60) == 0


@pytest.mark.parametrize("kills", [6, pytest.param(60, marks=pytest.mark.soak)])
def test_every_row_once_whatever_is_killed(
    open_sink: Callable[..., ClickHouseSink], tmp_path: Path, kills: int
) -> None:
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")  # shown when it fails
    chance = random.Random(seed)
    ended = False
    for turn in range(kills):
        ended = run_until_killed(tmp_path, seed + turn, chance) or ended
    assert run_until_killed(tmp_path, seed + kills, chance, to_the_end=True)

    sink = open_sink()
    counts = sink.counts()
    expected = FILLS * PARTITIONS
    names = ("fills", "order_status", "bars", "outcomes", "leader_events", "pipeline_latency")
    assert {name: counts[name] for name in names} == {
        "fills": expected,
        "outcomes": expected,
        "leader_events": expected,
        "order_status": expected,
        "bars": expected,
        "pipeline_latency": expected * 2,
    }
    total = sum((pnl_of(number) for number in range(FILLS)), Decimal(0)) * PARTITIONS
    text = sink.query("SELECT sum(realized) FROM pnl_by_strategy", "TSV").decode().strip()
    assert Decimal(text) == total
    ledger = sink.query("SELECT owed, told, missing, unowed, doubled FROM outcome_ledger_total", "TSV").decode()
    assert ledger.split() == [str(expected), str(expected), "0", "0", "0"]
    for partition in range(PARTITIONS):
        for topic, records in log_of(partition).items():
            assert sink.position(topic, partition) == len(records)
