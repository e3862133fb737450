"""Results of the benches that print tables, as one JSON object: `python -m bench.adapted indicators|clickhouse --json`.

Calls what bench/indicators.py and bench/clickhouse.py offer and measures nothing itself.
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any


def indicators(count: int, rounds: int) -> dict[str, Any]:
    """Return nanoseconds per tick by contender, ours first."""
    from bench import indicators as bench

    prices, contenders, missing = bench.prices(count), [], []
    for make in (
        bench.our_kernel,
        bench.our_batch,
        bench.our_files,
        bench.peer_ta,
        bench.peer_talipp,
        bench.peer_talib_stream,
        bench.peer_talib_array,
    ):
        try:
            contenders.append(make(prices))
        except ImportError as error:
            missing.append(str(error.name))
    return {"bench": "indicators", "rows": bench.measure(contenders, rounds), "not_installed": missing}


def clickhouse(rows: int, rounds: int) -> dict[str, Any]:
    """Return rows per CPU and wall second by table and contender."""
    from bench import clickhouse as bench

    found: dict[str, Any] = {}
    for topic in ("bars", "signals"):
        folder = Path(tempfile.mkdtemp(prefix="wakeline-bench-"))
        try:
            runs = bench.measure(topic, rows, rounds, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        found[topic] = {
            name: {
                "per_cpu_s": rows / statistics.median(cpu for cpu, _ in times),
                "per_wall_s": rows / statistics.median(wall for _, wall in times),
            }
            for name, times in runs.items()
        }
    return {"bench": "clickhouse", "rows": rows, "tables": found}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Results of table-printing benches as JSON.")
    parser.add_argument("which", choices=("indicators", "clickhouse"))
    parser.add_argument("--count", type=int, required=True, help="ticks, or rows a flush")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="always so; taken for the sake of uniformity")
    given = parser.parse_args()
    print(json.dumps({"indicators": indicators, "clickhouse": clickhouse}[given.which](given.count, given.rounds)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
