"""What many instruments cost: `python -m bench.scale [--instruments N] [--json]`.

1. Memory: the real strategy worker on a real broker, after every instrument's indicators are warm.
2. Cost per tick of `step_batch` (decode, checks, indicators, score, signals) at 10, 1,000 and 10,000 instruments: warm
   kernels, each instrument in turn, so that the next one is never the one just used. CPU time; interleaved; medians.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any, Final

from bench import child, machine
from bench.broker import Topics, broker, load
from bench.work import PARAMS, ticks
from processors.strategy.processor import StrategyProcessor

WARM: Final = 70
"""Ticks until every window is full."""
BATCH: Final = 2_000
SIZES: Final = (10, 1_000, 10_000)
WAIT_S: Final = 90.0


class Running:
    """One size: a processor in steady state and the ticks still to come."""

    def __init__(self, instruments: int, count: int) -> None:
        warm = WARM * instruments
        self.values = [value for _, value in ticks(warm + count, instruments)]
        self.processor = StrategyProcessor((PARAMS,))
        self.state, self.now_ms, self.place = self.processor.initial(0), 0, 0
        self.take(warm)

    def take(self, count: int) -> float:
        """Step through the next `count` ticks; return CPU seconds."""
        end, began = self.place + count, time.process_time()
        while self.place < end:
            start, self.place = self.place, min(self.place + BATCH, end)
            values = self.values[start : self.place]
            self.now_ms, _ = self.processor.step_batch(self.state, values, range(start, self.place), 0, self.now_ms)
        return time.process_time() - began


def cost(count: int, rounds: int) -> dict[str, float]:
    """Return nanoseconds of CPU per tick by number of instruments."""
    running = {size: Running(size, count * rounds) for size in SIZES}
    spent: dict[int, list[float]] = {size: [] for size in SIZES}
    for _ in range(rounds):
        for size in SIZES:
            spent[size].append(running[size].take(count) / count * 1e9)
    return {str(size): statistics.median(found) for size, found in spent.items()}


def memory(instruments: int) -> dict[str, float]:
    """Return resident MB of a strategy worker before its first tick and with `instruments` warm ones."""
    count = instruments * WARM * 2
    with broker() as (bootstrap, folder):
        Topics(bootstrap).declared()
        with tempfile.TemporaryDirectory(dir=folder) as state:
            settings = Path(state) / "wakeline.yaml"
            tree = {"data_dir": state, "broker": {"bootstrap": bootstrap}, "strategies": [PARAMS.model_dump()]}
            settings.write_text(json.dumps(tree))
            worker = child.start(
                "cli.main", ["worker", "--roles", "strategy", "--config", str(settings), "--http-port", "0"]
            )
            try:
                port = _http_port(Path(state), worker)
                empty = machine.resident_mb(worker.pid)
                load(bootstrap, "market-data", ticks(count, instruments))
                _until_applied(port, count)
                return {"instruments": instruments, "empty_mb": empty, "full_mb": machine.resident_mb(worker.pid)}
            finally:
                child.stop(worker)


def _http_port(state: Path, worker: Any) -> int:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline and worker.poll() is None:
        for file in state.glob("run/worker-*.json"):
            told = json.loads(file.read_text())
            if told["state"] == "running":
                return int(told["http_port"])
        time.sleep(0.1)
    raise child.ChildFailed(f"the strategy worker did not start: {worker.stderr.read() if worker.poll() else ''}")


def _until_applied(port: int, count: int) -> None:
    deadline = time.monotonic() + WAIT_S
    seen = 0.0
    while time.monotonic() < deadline:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        seen = sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("wakeline_records_total"))
        if seen >= count:
            return
        time.sleep(0.2)
    raise child.ChildFailed(f"the strategy worker applied {seen:.0f} of {count} ticks in {WAIT_S:.0f} s")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Memory and cost per tick with many instruments.")
    parser.add_argument("--instruments", type=int, default=500, help="of the worker whose memory is read")
    parser.add_argument("--ticks", type=int, default=100_000, help="per size and round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    used = memory(given.instruments)
    machine.pin(machine.cores()[1])
    found = cost(given.ticks, given.rounds)
    result = {
        "bench": "scale",
        "memory": used,
        "ns_per_tick": found,
        "ratio": found[str(SIZES[-1])] / found[str(SIZES[0])],
    }
    print(json.dumps(result) if given.json else json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
