"""What earlier runs left: followers and open trade errors, asked of the running sink.

Entry points: `left_before(data_dir)`; `followers_of`, `errors_of` (rows of an answer to messages).

1. Followers are told on the log only when they change, so a run that goes on from an earlier one would not know them.
2. Any trouble of the read side costs rows in a view, nothing more.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from schemas.status import FollowerState, TradeError
from sinks.clickhouse.query import run_query
from streams import runtime

_MOST_ROWS = 10_000
FOLLOWERS = f"SELECT * FROM followers_now LIMIT {_MOST_ROWS}"
ERRORS = f"SELECT * FROM halts LIMIT {_MOST_ROWS}"


async def left_before(data_dir: Path) -> tuple[list[FollowerState], list[TradeError]]:
    """Return the followers as last told and the open trade errors; nothing where the sink does not answer."""
    sink = next((process for process in runtime.processes(data_dir) if "sink" in process.roles), None)
    if sink is None or not sink.http_port:
        return [], []
    url = f"http://127.0.0.1:{sink.http_port}"
    try:
        followers = await asyncio.to_thread(_rows, url, FOLLOWERS)
        return followers_of(followers), errors_of(await asyncio.to_thread(_rows, url, ERRORS))
    except Exception:  # see 2
        return [], []


def followers_of(rows: Sequence[Mapping[str, Any]]) -> list[FollowerState]:
    """Return the messages that rows of `followers_now` came from."""
    texts = ("subscription", "account", "leader", "status", "group", "existing")
    return [
        FollowerState(
            now_ms=_milliseconds(row["log_time"]),
            halted=bool(row["halted"]),
            settings=json.loads(row["settings"]),
            origins=dict(row["origins"]),
            **{name: row[name] for name in texts},
        )
        for row in rows
    ]


def errors_of(rows: Sequence[Mapping[str, Any]]) -> list[TradeError]:
    """Return the messages that rows of `halts` came from."""
    texts = ("error_id", "state", "kind", "message", "account", "subscription", "leader", "instrument", "order_id")
    return [
        TradeError(
            now_ms=_milliseconds(row["log_time"]),
            event_id=row["event_id"],
            cause=row["cause"],
            open_errors=int(row["open_errors"]),
            numbers=dict(row["numbers"]),
            **{name: row[name] for name in texts},
        )
        for row in rows
    ]


def _rows(url: str, sql: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run_query(url, sql, "json", timeout_s=10.0))["data"]
    return found


def _milliseconds(moment: str) -> int:
    return round(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp() * 1000)
