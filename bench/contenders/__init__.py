"""One file per contender of the hot path, each a program of its own: `python -m bench.contenders.NAME ...`.

Each pins itself to the core given, reads every tick of the topic from its beginning, does the work of bench/work.py
and prints {"ticks", "signals", "cpu_s", "wall_s"} as its last line. The clock starts when partitions are assigned, so
that starting Python is left out and every fetch is counted, and stops when every output is acknowledged (and, where
the contender keeps state, when it is saved). CPU seconds are those of the whole process, its threads included.
"""

import argparse
import json
import sys
from typing import Any

from bench import machine


def arguments() -> argparse.Namespace:
    """Read the command line that all contenders share, and go to the contender's core."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--topic", required=True, help="where the ticks are")
    parser.add_argument("--out", required=True, help="where the signals go")
    parser.add_argument("--ticks", type=int, required=True, help="how many there are; 0: go on until SIGTERM")
    parser.add_argument("--folder", required=True, help="for state on disk; empty")
    parser.add_argument("--core", type=int, required=True)
    parser.add_argument("--profile", action="store_true", help="ours only: sample where the time goes")
    found = parser.parse_args()
    machine.pin(found.core)
    return found


def report(ticks: int, signals: int, used: tuple[float, float], **more: Any) -> None:
    """Print the result."""
    cpu_s, wall_s = used
    print(json.dumps({"ticks": ticks, "signals": signals, "cpu_s": cpu_s, "wall_s": wall_s, **more}))
    sys.stdout.flush()
