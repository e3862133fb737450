"""Kafka -> decode -> seven indicators and the score on every tick -> signals: ours beside its peers.

`python -m bench.hot_path [--ticks N] [--slow-ticks N] [--rounds N] [--only NAME,...] [--json] [--profile]`

One node of Apache Kafka on one core, the contender on the other, one contender at a time, interleaved over the rounds;
medians. Every contender reads all ticks of a topic from its beginning and must give the same signals (bench/work.py,
`digest`), or its row says so and the program fails. What a slow contender can do is seen on fewer ticks: the first
`--slow-ticks` of the same stream, on a topic of their own.
"""

import argparse
import itertools
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench import child, machine
from bench.broker import Topics, broker, load, read_values
from bench.work import digest, expected, ticks

TICKS: Final = 500_000
SLOW_TICKS: Final = 60_000
CHILD_TIMEOUT_S: Final = 240.0


class Contender(NamedTuple):
    """One row: module under bench/contenders/, what it is, whether it takes the shorter stream, what it needs."""

    module: str
    title: str
    slow: bool = False
    needs: str = ""


CONTENDERS: Final = (
    Contender("ours", "wakeline strategy role (snapshots, commits, stamps)"),
    Contender("faust_stock", "stock faust-streaming agent, plain dict", slow=True, needs="faust-streaming"),
    Contender("quix_rocksdb", "quixstreams, RocksDB state and changelog", needs="quixstreams", slow=True),
    Contender("quix_dict", "quixstreams, plain dict", needs="quixstreams"),
    Contender("bytewax_plain", "bytewax, no recovery", needs="bytewax"),
    Contender("aiokafka_bare", "bare aiokafka getmany loop, nothing saved", needs="aiokafka"),
)
OURS: Final = "ours"
OUR_TOPICS: Final = ("signals", "leader-events", "account-events", "snapshots-strategy", "alerts", "parked")


class Stream(NamedTuple):
    """Ticks on a topic, and the signals that they must give."""

    topic: str
    ticks: int
    bytes_per_tick: float
    wanted: tuple[int, str]


def measure(
    tick_count: int, slow_count: int, rounds: int, only: tuple[str, ...] = (), say: Callable[[str], None] = print
) -> dict[str, Any]:
    """Run all contenders `rounds` times, interleaved; return the result as in the module's header."""
    chosen = [one for one in CONTENDERS if not only or one.module in only]
    missing = [one.title for one in chosen if one.needs and machine.version(one.needs) == "not installed"]
    chosen = [one for one in chosen if one.title not in missing]
    runs: dict[str, list[dict[str, Any]]] = {one.module: [] for one in chosen}
    with broker() as (bootstrap, folder):
        topics = Topics(bootstrap)
        topics.declared()
        topics.make("ticks-short")
        whole = _fill(bootstrap, "market-data", tick_count)
        short = _fill(bootstrap, "ticks-short", min(slow_count, tick_count))
        for turn, one in itertools.product(range(rounds), chosen):
            stream = short if one.slow else whole
            run = _run_once(one, stream, topics, folder, f"out-{one.module}-{turn}")
            runs[one.module].append(run)
            say(f"{one.module} {turn + 1}/{rounds}: {run['ticks'] / run['cpu_s']:,.0f} ticks per CPU-second")
    return {
        "bench": "hot_path",
        "rounds": rounds,
        "ticks": whole.ticks,
        "slow_ticks": short.ticks,
        "bytes_per_tick": whole.bytes_per_tick,
        "signals": whole.wanted[0],
        "not_installed": missing,
        "contenders": {one.module: _summary(one, runs[one.module]) for one in chosen},
    }


def _fill(bootstrap: str, topic: str, count: int) -> Stream:
    records, size = load(bootstrap, topic, ticks(count))
    wanted = digest(expected(value for _, value in ticks(count)))
    return Stream(topic, records, size / records, wanted)


def _run_once(one: Contender, stream: Stream, topics: Topics, folder: Path, out: str) -> dict[str, Any]:
    ours = one.module == OURS
    if ours:
        out = "signals"  # the product's own topics, as new
    else:
        topics.make(out)
    try:
        with tempfile.TemporaryDirectory(dir=folder) as state:
            run = child.run_json(
                f"bench.contenders.{one.module}",
                _arguments(topics.bootstrap, stream, out, state),
                CHILD_TIMEOUT_S,
            )
        found = digest(read_values(topics.bootstrap, out))
    finally:
        topics.remove(*(OUR_TOPICS if ours else (out,)))
        if ours:
            topics.declared()
    run["same"] = found == stream.wanted
    run["found"], run["wanted"] = found, stream.wanted
    return run


def _arguments(bootstrap: str, stream: Stream, out: str, state: str) -> list[str]:
    core = machine.cores()[1]
    return [
        f"--bootstrap={bootstrap}",
        f"--topic={stream.topic}",
        f"--out={out}",
        f"--ticks={stream.ticks}",
        f"--folder={state}",
        f"--core={core}",
    ]


def _summary(one: Contender, runs: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "title": one.title,
        "ticks": runs[0]["ticks"],
        "signals": runs[0]["found"][0],
        "same_signals": all(run["same"] for run in runs),
        "per_cpu_s": statistics.median(run["ticks"] / run["cpu_s"] for run in runs),
        "per_wall_s": statistics.median(run["ticks"] / run["wall_s"] for run in runs),
        "runs": [[run["cpu_s"], run["wall_s"]] for run in runs],
    }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ticks", type=int, default=TICKS)
    parser.add_argument("--slow-ticks", type=int, default=SLOW_TICKS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help=f"of: {', '.join(one.module for one in CONTENDERS)}")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    given = parser.parse_args()
    only = tuple(name for name in given.only.split(",") if name)
    result = measure(
        given.ticks, given.slow_ticks, given.rounds, only, lambda line: print(line, file=sys.stderr, flush=True)
    )
    if given.json:
        print(json.dumps(result))
    else:
        for name, row in result["contenders"].items():
            same = "same signals" if row["same_signals"] else "OTHER SIGNALS"
            print(f"{name:14} {row['per_cpu_s']:>10,.0f}/CPU-s {row['per_wall_s']:>10,.0f}/s  {row['signals']} {same}")
    return 0 if all(row["same_signals"] for row in result["contenders"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
