"""All benches, each in a process of its own, into docs/benchmarks.md: `python -m bench.run [--quick] [--only A,B]`.

A bench that fails does not stop the others: the page says what failed, and the program ends with 1. A run with
`--quick` or `--only` writes only where `--out` says, so that a small run never replaces the page; `--only A --update`
puts the sections of A into the page that is there. `--results FILE` takes results (`--json` of an earlier run) instead
of measuring.
"""

import argparse
import datetime
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from bench import child, machine
from bench.render import page, updated

PAGE: Final = child.ROOT / "docs" / "benchmarks.md"
ORDER: Final = ("indicators", "clickhouse", "hot_path", "latency", "scale", "fan_out")
TIMEOUT_S: Final = 1_200.0


def commands(quick: bool, rounds: int) -> dict[str, tuple[str, list[str]]]:
    """Return (module, arguments) of each bench."""
    few = min(rounds, 1) if quick else rounds
    own = [f"--rounds={few}"]
    return {
        "indicators": (
            "bench.adapted",
            ["indicators", f"--count={16_000 if quick else 80_000}", f"--rounds={1 if quick else 7}"],
        ),
        "clickhouse": (
            "bench.adapted",
            ["clickhouse", f"--count={10_000 if quick else 50_000}", f"--rounds={1 if quick else 5}"],
        ),
        "hot_path": ("bench.hot_path", [*own, *(["--ticks=60000", "--slow-ticks=10000"] if quick else [])]),
        "latency": ("bench.latency", [f"--seconds={3 if quick else 15}"]),
        "scale": ("bench.scale", ["--ticks=20000", "--rounds=2"] if quick else []),
        "fan_out": ("bench.fan_out", ["--sizes=1000", "--runs=5", "--large=2000", "--patience=1"] if quick else []),
    }


def main() -> int:
    """Run what was chosen, write the page, say where it is."""
    parser = argparse.ArgumentParser(description="Run the benchmarks and write docs/benchmarks.md.")
    parser.add_argument("--quick", action="store_true", help="small sizes, one round")
    parser.add_argument("--only", default="", help=f"of: {', '.join(ORDER)}")
    parser.add_argument("--rounds", type=int, default=3, help="of the hot path")
    parser.add_argument("--out", type=Path, help="where to write (default: docs/benchmarks.md for a whole run)")
    parser.add_argument("--update", action="store_true", help="put the sections of --only into the page")
    parser.add_argument("--results", type=Path, help="JSON of {bench: result} to write about instead of measuring")
    parser.add_argument("--json", action="store_true", help="print all results as one JSON object")
    given = parser.parse_args()
    chosen = [name for name in given.only.split(",") if name] or list(ORDER)
    if given.update and (given.quick or not (given.only or given.results)):
        parser.error("--update takes whole runs of the benches that --only or --results names")
    if wrong := sorted(set(chosen) - set(ORDER)):
        parser.error(f"no bench {', '.join(wrong)}; benches are {', '.join(ORDER)}")
    told, now = machine.describe(), datetime.datetime.now(datetime.UTC)
    if given.results is None:
        results = _measured(chosen, given.quick, given.rounds)
    else:
        results = json.loads(given.results.read_text())
        now = datetime.datetime.fromtimestamp(given.results.stat().st_mtime, datetime.UTC)
    command, date = " ".join(["python -m bench.run", *sys.argv[1:]]), now.strftime("%Y-%m-%d %H:%M UTC")
    whole = not given.quick and list(results) == list(ORDER)
    out = given.out or (PAGE if whole or given.update else None)
    if given.update:
        note = f"This section: `{command}`, {date}, load {told['load']} when it began."
        text = updated(out.read_text(), results, note if given.results is None else f"This section: {date}.")
    else:
        text = page(results, told, date, command)
    if out is not None:
        out.write_text(text)
        print(f"written: {out}", file=sys.stderr)
    print(json.dumps(results) if given.json else text if out is None else "")
    return 1 if any("error" in result for result in results.values()) else 0


def _measured(chosen: Sequence[str], quick: bool, rounds: int) -> dict[str, Any]:
    results: dict[str, Any] = {}
    for name in chosen:
        module, arguments = commands(quick, rounds)[name]
        began = time.monotonic()
        try:
            results[name] = child.run_json(module, [*arguments, "--json"], TIMEOUT_S)
        except child.ChildFailed as error:
            results[name] = {"error": str(error)}
        state = "failed" if "error" in results[name] else "done"
        print(f"{name}: {state} in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return results


if __name__ == "__main__":
    sys.exit(main())
