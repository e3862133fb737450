"""What ClickHouse holds of copying, for commands: rows as dictionaries, and as the messages they came from.

Entry points: `Ledger.rows`, `outcome_of`, `event_of`, `quoted`. Asked of the running sink, else of the data folder.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from cli.exit_codes import ExitCode, Failure
from cli.options import Chosen

if TYPE_CHECKING:
    from schemas.status import FanOut, Outcome


class Ledger:
    """The read side of a data folder."""

    def __init__(self, chosen: Chosen) -> None:
        from cli.commands.query import sink_url

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
        times = ("submitted", "accepted", "filled")
        money = ("fill_price", "size", "drift_bps", "slippage_bps", "total_bps", "fee_bps")
        cost = CopyCost(
            leader_price=Decimal(str(row["cost_leader_price"])),
            decided_price=Decimal(str(row["cost_decided_price"])),
            event_ms=milliseconds(row["cost_event_at"]) or 0,
            detected_ms=milliseconds(row["cost_detected_at"]) or 0,
            decided_ms=milliseconds(row["cost_decided_at"]) or 0,
            **{f"{name}_ms": milliseconds(row.get(f"cost_{name}_at")) for name in times},
            **{name: _decimal(row.get(f"cost_{name}")) for name in money},
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
