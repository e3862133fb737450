"""What ClickHouse holds of copying, for commands: rows as dictionaries, and as the messages they came from.

Entry points: `sink_url`, `Ledger.rows`, `outcome_of`, `event_of`, `quoted`. Asked of the running sink, else
of the data folder.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.exit_codes import ExitCode, Failure
from cli.options import Chosen

if TYPE_CHECKING:
    from schemas.status import FanOut, Outcome


class Ledger:
    """The read side of a data folder."""

    def __init__(self, chosen: Chosen) -> None:
        settings = chosen.load()
        self._params, self._data_dir = settings.clickhouse, settings.data_dir.absolute()
        self._url = sink_url(self._data_dir)

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """Return the rows of a SELECT.

        Raises:
            Failure: nothing answers, or it refused.
        """
        from sinks.clickhouse.query import ask
        from sinks.clickhouse.reader import QueryRefused

        try:
            answer = ask(self._params, self._data_dir, self._url, sql, "json")
        except QueryRefused as error:
            silent = isinstance(error.__cause__, OSError)
            raise Failure(ExitCode.NOT_RUNNING if silent else ExitCode.FAILURE, str(error).rstrip(".")) from error
        found: list[dict[str, Any]] = json.loads(answer)["data"]
        return found


def sink_url(data_dir: Path) -> str | None:
    """Return the address of the sink that runs on the data folder; None when none does.

    Raises:
        Failure: one is starting and does not answer yet.
    """
    from streams import runtime

    sinks = [process for process in runtime.processes(data_dir) if "sink" in process.roles]
    for process in sinks:
        if process.http_port:
            return f"http://127.0.0.1:{process.http_port}"
    if sinks or runtime.FolderLock.held(data_dir):
        raise Failure(ExitCode.NOT_RUNNING, f"the sink of {data_dir} does not answer yet", "Try again in a few seconds")
    return None


def quoted(text: str) -> str:
    """Return a text as an SQL literal."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def outcome_of(row: Mapping[str, Any]) -> "Outcome":
    """Return the outcome that a row of `outcomes` came from."""
    from schemas.reasons import OutcomeState, RefusalReason
    from schemas.status import CopyCost, Outcome

    cost = None
    if row.get("cost_leader_price") is not None:
        cost = CopyCost(
            leader_price=Decimal(str(row["cost_leader_price"])),
            decided_price=Decimal(str(row["cost_decided_price"])),
            event_ms=milliseconds(row["cost_event_at"]) or 0,
            detected_ms=milliseconds(row["cost_detected_at"]) or 0,
            decided_ms=milliseconds(row["cost_decided_at"]) or 0,
            submitted_ms=milliseconds(row.get("cost_submitted_at")),
            accepted_ms=milliseconds(row.get("cost_accepted_at")),
            filled_ms=milliseconds(row.get("cost_filled_at")),
            fill_price=_decimal(row.get("cost_fill_price")),
            size=_decimal(row.get("cost_size")),
            drift_bps=_decimal(row.get("cost_drift_bps")),
            slippage_bps=_decimal(row.get("cost_slippage_bps")),
            total_bps=_decimal(row.get("cost_total_bps")),
            fee_bps=_decimal(row.get("cost_fee_bps")),
        )
    texts = ("outcome_id", "event_id", "leader", "account", "subscription", "instrument")
    return Outcome(
        now_ms=milliseconds(row["log_time"]) or 0,
        sequence=int(row["sequence"]),
        state=OutcomeState(row["state"]),
        reason=RefusalReason(row["reason"]) if row["reason"] else None,
        numbers=dict(row["numbers"]),
        order_id=row["order_id"],
        message=row["message"],
        error_id=row.get("error_id", ""),
        cost=cost,
        **{name: row[name] for name in texts},
    )


def event_of(row: Mapping[str, Any]) -> "FanOut":
    """Return the leader event that a row of `leader_events` came from."""
    from schemas.reasons import LeaderAction, Side
    from schemas.status import FanOut

    return FanOut(
        now_ms=milliseconds(row["log_time"]) or 0,
        event_id=row["event_id"],
        leader=row["leader"],
        sequence=int(row["sequence"]),
        action=LeaderAction(row["action"]),
        cause=row["cause"],
        event_ms=milliseconds(row["event_at"]) or 0,
        partition=int(row["partition"]),
        active=int(row["active"]),
        instrument=row["instrument"],
        side=Side(row["side"]) if row["side"] else None,
        price=_decimal(row["price"]),
        size=_decimal(row["size"]),
        position=_decimal(row["position"]),
    )


def milliseconds(text: str | None) -> int | None:
    """Return the milliseconds since the epoch of a DateTime64(3, 'UTC')."""
    if text is None:
        return None
    moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


def _decimal(text: Any) -> Decimal | None:
    return None if text is None else Decimal(str(text))
