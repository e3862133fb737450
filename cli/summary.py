"""The summary of a run as text, and the rows per ClickHouse table.

Entry points: `as_text`, `count_rows`.
"""

import json

from cli.live import text
from cli.live.model import RunModel, Summary


def as_text(summary: Summary, model: RunModel) -> str:
    """Return the summary for people."""
    lines = [
        f"ran {text.elapsed(summary.seconds)}, log time {text.log_time(model.log_ms, date=True)} UTC",
        f"records      {_pairs(_written(summary.topics))}",
        f"signals      {_pairs(summary.signals)}",
        f"orders       {summary.orders}",
        f"fills        {_pairs(summary.fills)}",
        f"refused      {_pairs(summary.refused)}",
        f"outcomes     {_pairs(summary.outcomes)}",
        f"ledger       {_pairs(summary.ledger)}",
        f"halts        {_halts(summary.halts, model)}",
        f"realised     {text.money(summary.realized_pnl, signed=True)} before fees of {text.money(model.fees)}",
        f"unrealised   {text.money(model.unrealized_pnl(), signed=True)} in {len(model.positions)} open positions",
        f"ClickHouse   {_pairs(summary.clickhouse)}",
        f"latency ms   {_latency(summary.latency_ms)}",
        f"parked       {summary.parked}",
    ]
    if model.unreadable:
        lines.append(f"unreadable   {model.unreadable} records are newer than this build or not ours")
    if model.alerts:
        lines.append(f"last alert   {model.alerts[-1].severity} {model.alerts[-1].source}: {model.alerts[-1].text}")
    return "\n".join(lines)


def as_json_line(summary: Summary) -> str:
    """Return the summary as one JSON object on one line."""
    return json.dumps(summary.as_json(), separators=(",", ":"))


def _written(topics: dict[str, int]) -> dict[str, int]:
    return {name: number for name, number in topics.items() if number > 0 and not name.startswith("snapshots-")}


def _pairs(numbers: dict[str, int]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {number:,}" for name, number in numbers.items()) or "none"


def _halts(number: int, model: RunModel) -> str:
    """Return how many trade errors are open, and whom they halt."""
    if number == 0:
        return "none"
    whom = sorted({error.subscription for error in model.copies.errors.values()})
    names = ", ".join(whom[:3]) + (f" and {len(whom) - 3} more" if len(whom) > 3 else "")
    return f"{number:,} open, see `wakeline halts list`: {names}"


def _latency(stages: dict[str, dict[str, float]]) -> str:
    return (
        ", ".join(f"{stage} p50 {of['p50']:g} p99 {of['p99']:g}" for stage, of in stages.items()) or "none was measured"
    )
