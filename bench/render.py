"""Results -> docs/benchmarks.md. Pure text: `page(results, machine, date)`, `updated(page, results, note)`.

A goal that is missed stands in the table as missed; a bench that failed or was not run says so in its place.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from bench import fan_out, hot_path

Goal = tuple[str, str, str, bool]  # what, goal, measured, met

HOT_RATE: Final = 200_000
HOT_RATIOS: Final = (("faust_stock", 20.0), ("quix_rocksdb", 3.0), ("bytewax_plain", 1.0))
KERNEL_NS: Final = 1_000.0
BATCH_NS: Final = 100.0
SINK_ROWS: Final = 300_000
SINK_RATIO: Final = 0.7
MEMORY_MB: Final = 200.0
SCALE_RATIO: Final = 1.3

CAVEATS: Final = """\
## How to read this
- Ratios use CPU time of the whole process, its threads included; they hold better than rates. On two cores the broker
  (with whatever sends and reads) has one and the contender the other, so rates are of one core.
- The load above is the machine's when the run began: with other work on it rates and, above all, latencies are worse
  than what the program can do. Compare rows of one run, never rows of two runs.
- Every peer decodes with our leanest decoder and runs our kernel and our signal code: the runtime is compared, not the
  arithmetic. Ours does more in its row: ids and prices checked, stamps and chains, marks, leader events, snapshots and
  commits, and metrics. Of the peers only quixstreams with RocksDB saves anything.
- quixstreams with RocksDB writes a kernel's state on every tick and never reads it back (kernels stay in memory), which
  favours it. Ours writes each traded signal twice: to `signals` and to `leader-events`.
- A random walk that moves on every tick changes class often, so that many ticks make a signal (their share is told); a
  signal of about 1 kB costs far more than a tick. A calmer market gives higher rates, to every contender.
- Latency runs from handing a tick to the sender's client to a reader holding the signal: both ways through the broker
  are in it.
"""


def goals_of(results: Mapping[str, Any]) -> list[Goal]:
    """Return every goal with what was measured, from the results there are."""
    found: list[Goal] = []
    for name, judge in (
        ("hot_path", _hot_path_goals),
        ("indicators", _indicator_goals),
        ("latency", _latency_goals),
        ("clickhouse", _sink_goals),
        ("scale", _scale_goals),
        ("fan_out", _fan_out_goals),
    ):
        result = results.get(name)
        if result is not None and "error" not in result:
            found += judge(result)
    return found


def _hot_path_goals(result: Mapping[str, Any]) -> list[Goal]:
    rows = result["contenders"]
    if hot_path.OURS not in rows:
        return []
    ours = rows[hot_path.OURS]
    cpu, wall = ours["per_cpu_s"], ours["per_wall_s"]
    goals = [("hot path, ticks per second on one core", f">= {HOT_RATE:,}", f"{wall:,.0f} ({cpu:,.0f} per CPU-second)",
              wall >= HOT_RATE)]  # fmt: skip
    for name, wanted in HOT_RATIOS:
        if name in rows:
            ratio = cpu / rows[name]["per_cpu_s"]
            goals.append(
                (f"hot path beside {rows[name]['title']}", f">= {wanted:g}x", f"{ratio:.2f}x", ratio >= wanted)
            )
    return goals


def _indicator_goals(result: Mapping[str, Any]) -> list[Goal]:
    live, batch = result["rows"][0][1], result["rows"][1][1]
    return [
        ("seven indicators and score, live", f"<= {KERNEL_NS:,.0f} ns", f"{live:,.0f} ns", live <= KERNEL_NS),
        ("the same in batches", f"<= {BATCH_NS:,.0f} ns", f"{batch:,.0f} ns", batch <= BATCH_NS),
    ]


def _latency_goals(result: Mapping[str, Any]) -> list[Goal]:
    ours = result["ours"]
    return [
        (
            f"tick to signal at {ours['rate']:,}/s, {name}",
            f"<= {limit:g} ms",
            f"{ours[name]:.1f} ms",
            ours[name] <= limit,
        )
        for name, limit in result["goal_ms"].items()
    ]


def _sink_goals(result: Mapping[str, Any]) -> list[Goal]:
    goals: list[Goal] = []
    for table, rows in result["tables"].items():
        sink, bare = rows["sink_bytes"], rows["bare_columns"]
        rate, ratio = sink["per_wall_s"], sink["per_cpu_s"] / bare["per_cpu_s"]
        goals.append((f"sink, {table} per second", f">= {SINK_ROWS:,}", f"{rate:,.0f}", rate >= SINK_ROWS))
        goals.append((f"sink, {table}, of a bare insert", f">= {SINK_RATIO}", f"{ratio:.2f}", ratio >= SINK_RATIO))
    return goals


def _scale_goals(result: Mapping[str, Any]) -> list[Goal]:
    used, ratio = result["memory"]["full_mb"], result["ratio"]
    count = result["memory"]["instruments"]
    return [
        (f"strategy worker, {count:,} instruments", f"<= {MEMORY_MB:g} MB", f"{used:.0f} MB", used <= MEMORY_MB),
        ("cost per tick, 10,000 against 10 instruments", f"<= {SCALE_RATIO}x", f"{ratio:.2f}x", ratio <= SCALE_RATIO),
    ]


def _fan_out_goals(result: Mapping[str, Any]) -> list[Goal]:
    goals: list[Goal] = []
    for row in result["sizes"]:
        limit = fan_out.GOAL_MS.get(row["followers"])
        if limit is not None:
            title = f"leader event to the last of {row['followers']:,} orders"
            goals += [
                (f"{title}, {name}", f"<= {limit:g} ms", f"{row[name]:.0f} ms", row[name] <= limit)
                for name in ("p50", "p99")
            ]
    return goals


def page(results: Mapping[str, Any], machine: Mapping[str, str], date: str, command: str) -> str:
    """Return the page in Markdown."""
    parts = [
        "# Benchmarks",
        f"Written by `{command}` on {date}; do not edit by hand.",
        _table(("machine", ""), [(name, value) for name, value in machine.items()]),
        _goals(goals_of(results)),
        *(_section(name, results[name]) for name in SECTIONS if name in results),
    ]
    return "\n\n".join([*parts, CAVEATS])


def updated(text: str, results: Mapping[str, Any], note: str) -> str:
    """Return a page with the sections and goals of `results` put in place of, or after, those it has.

    `note` says under each of these sections when, how and under what load it was measured.
    """
    head, *sections = text.split("\n\n## ")
    kept = {section.partition("\n")[0]: f"## {section}" for section in sections}
    goals = {goal[0]: goal for goal in _goals_on(kept.pop("Goals"))}
    caveats = kept.pop(CAVEATS.partition("\n")[0].removeprefix("## "))
    for name, result in results.items():
        kept[_title(name)] = f"{_section(name, result)}\n\n{note}"
    goals |= {goal[0]: goal for goal in goals_of(results)}
    return "\n\n".join([head, _goals(list(goals.values())), *kept.values(), caveats])


def _goals(goals: Sequence[Goal]) -> str:
    missed = [goal for goal in goals if not goal[3]]
    short = "; ".join(f"{what} ({measured}, wanted {goal})" for what, goal, measured, _ in missed)
    rows = [(*goal[:3], "met" if goal[3] else "**missed**") for goal in goals]
    return (
        f"## Goals\n\n{len(goals) - len(missed)} of {len(goals)} met."
        + (f" Short of: {short}." if missed else "")
        + "\n\n"
        + _table(("goal", "wanted", "measured", ""), rows)
    )


def _goals_on(section: str) -> list[Goal]:
    """Return the goals that stand in a section made by `_goals`."""
    rows = [line[2:-2].split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return [(what, wanted, measured, verdict == "met") for what, wanted, measured, verdict in rows[1:]]


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _section(name: str, result: Mapping[str, Any]) -> str:
    return f"## {_title(name)}\n\n" + (f"Failed: {result['error']}" if "error" in result else SECTIONS[name](result))


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def _hot_path(result: Mapping[str, Any]) -> str:
    rows = result["contenders"]
    ours = rows.get(hot_path.OURS)
    table = [
        (
            row["title"],
            f"{row['ticks']:,}",
            f"{row['per_cpu_s']:,.0f}",
            f"{row['per_wall_s']:,.0f}",
            "" if ours is None else f"{ours['per_cpu_s'] / row['per_cpu_s']:.2f}",
            "same" if row["same_signals"] else "**other**",
        )
        for row in rows.values()
    ]
    share = result["signals"] / result["ticks"]
    return (
        f"{result['ticks']:,} JSON ticks of {result['bytes_per_tick']:.0f} bytes, 64 instruments, 4 partitions, "
        f"uncompressed, one node of Apache Kafka; the seven indicators and the score on every tick; {share:.1%} of the "
        f"ticks make a signal. Median of {result['rounds']}. Contenders with {result['slow_ticks']:,} ticks are slow "
        "ones that got the beginning of the same stream. Signals were compared by their logical fields.\n\n"
        + _table(
            ("contender", "ticks", "ticks per CPU-second", "ticks per second", "ours is x times", "signals"), table
        )
        + _missing(result)
    )


def _indicators(result: Mapping[str, Any]) -> str:
    first = result["rows"][0][1]
    rows = [(name, f"{value:,.0f}", f"{value / first:,.2f}") for name, value in result["rows"]]
    return _table(("on every tick", "ns per tick", "times the first"), rows) + _missing(result)


def _latency(result: Mapping[str, Any]) -> str:
    names = {
        "ours": "wakeline strategy role",
        "ours_at_faust_rate": "wakeline strategy role",
        "faust_stock": "stock faust-streaming agent",
    }
    rows = [
        (title, f"{row['rate']:,}", f"{row['sent_rate']:,.0f}", f"{row['signals']:,}",
         f"{row['p50']:.1f}", f"{row['p99']:.1f}", f"{row['max']:.1f}")
        for name, title in names.items() if (row := result.get(name)) is not None
    ]  # fmt: skip
    return _table(("contender", "ticks/s wanted", "sent", "signals", "p50 ms", "p99 ms", "max ms"), rows)


def _clickhouse(result: Mapping[str, Any]) -> str:
    rows = [
        (table, name.replace("_", " "), f"{row['per_cpu_s']:,.0f}", f"{row['per_wall_s']:,.0f}",
         f"{row['per_cpu_s'] / found['bare_columns']['per_cpu_s']:.2f}")
        for table, found in result["tables"].items() for name, row in found.items()
    ]  # fmt: skip
    heads = ("table", "contender", "rows per CPU-second", "rows/s", "of bare columns")
    return f"Embedded ClickHouse, {result['rows']:,} rows a flush.\n\n" + _table(heads, rows)


def _scale(result: Mapping[str, Any]) -> str:
    used = result["memory"]
    rows = [(f"{int(size):,}", f"{value:,.0f}") for size, value in result["ns_per_tick"].items()]
    return (
        f"Resident memory of a strategy worker: {used['empty_mb']:.0f} MB before its first tick, "
        f"{used['full_mb']:.0f} MB with {used['instruments']:,} warm instruments.\n\n"
        + _table(("instruments", "step_batch, ns of CPU per tick, signals included"), rows)
    )


def _fan_out(result: Mapping[str, Any]) -> str:
    rows = [
        (f"{row['followers']:,}", str(row["runs"]), f"{row['first_p50']:.0f}", f"{row['min']:.0f}", f"{row['p50']:.0f}",
         f"{row['p99']:.0f}", f"{row['max']:.0f}", f"{row['us_per_follower']:.0f}", f"{row['cpu_us_per_follower']:.0f}",
         str(row["busy"]), f"{row['load']:.1f}")
        for row in result["sizes"] + ([result["large"]["fan_out"]] if "large" in result else [])
    ]  # fmt: skip
    heads = ("followers", "runs", "first order p50 ms", "last order min ms", "p50 ms", "p99 ms", "max ms",
             "us per follower", "worker's CPU us per follower", "runs begun on a busy machine", "load")  # fmt: skip
    text = (
        "One account worker on one core; broker, leader, venue and reader on the other. Entries and exits in turn, "
        "every order filled between two runs; all settings of followers differ; stop-loss by percent or ATR; guards "
        "on. From just before the leader event is sent (once to each of four partitions) to the last order in the "
        "reader's hands. No run is left out: `max` has the worst snapshot in it.\n\n" + _table(heads, rows)
    )
    for row in result["sizes"]:
        text += (
            f"\n\n{row['followers']:,} followers: {row['snapshots']} snapshots of a partition were made meanwhile; the "
            f"longest standstill for one was {row['pause_max_ms']:.0f} ms. Resident memory {row['resident_mb']:.0f} MB."
        )
    return text + (_large(result["large"]) if "large" in result else "")


def _large(large: Mapping[str, Any]) -> str:
    rows = [
        ("resident memory, empty worker", f"{large['empty_mb']:.0f} MB"),
        ("resident memory, subscriptions made", f"{large['full_mb']:.0f} MB"),
        ("resident memory, after the fan-outs", f"{large['peak_mb']:.0f} MB"),
        ("resident memory, after a restart", f"{large['restarted_mb']:.0f} MB"),
        ("state of all partitions", f"{large['state_bytes'] / 1e6:.1f} MB"),
        ("snapshots of all partitions, compressed", f"{large['snapshot_bytes'] / 1e6:.1f} MB"),
        ("snapshot interval", f"{large['snapshot_interval_s']:g} s"),
        ("longest standstill for the snapshot of a partition", f"{large['pause_max_ms']:.0f} ms"),
        ("longest writing of one, in the background", f"{large['save_max_s']:.1f} s"),
        ("accounts and subscriptions taken in", f"{large['fill_s']:.0f} s"),
        ("start of an empty worker", f"{large['empty_start_s']:.1f} s"),
        ("start after a clean stop, until it goes on", f"{large['restart_s']:.1f} s"),
        (f"start after kill -9, until {large['killed_behind']:,} records behind the snapshot are applied",
         f"{large['killed_s']:.1f} s"),
    ]  # fmt: skip
    return f"\n\n{large['subscriptions']:,} subscriptions of ten leaders in one worker:\n\n" + _table(
        ("what", "measured"), rows
    )


def _missing(result: Mapping[str, Any]) -> str:
    missing = result.get("not_installed", [])
    return f"\n\nNot installed, left out: {', '.join(missing)}." if missing else ""


SECTIONS: Final = {
    "hot_path": _hot_path,
    "indicators": _indicators,
    "latency": _latency,
    "clickhouse": _clickhouse,
    "scale": _scale,
    "fan_out": _fan_out,
}
