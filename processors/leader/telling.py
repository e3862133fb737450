"""What the leader role says: where each message goes, and in what words.

Entry points: `event`, `state_changed`, `control`, `alert`, `next_sequence`.

1. What a leader does, and what becomes of a leader, is broadcast to the accounts and told once to the statistics.
2. A control state stands on `control` (executors drop unsent entries) and, broadcast, in the accounts' inbox.
"""

from typing import Any, Literal, cast

from processors.leader.state import Leader, defaults_of
from processors.protocols import ALL, Out
from schemas.ids import derive_id
from schemas.leaders import LeaderEvent, LeaderKind, LeaderStateChanged
from schemas.reasons import LeaderAction
from schemas.system import Alert, ControlState

SOURCE = "leader"


def event_id_of(leader: str, cause: str, index: int = 0) -> str:
    """Return the id of the event that a cause made of a leader; `index` counts the events of one cause."""
    if index == 0:
        return derive_id("leader-event", leader, cause)
    return derive_id("leader-event", leader, cause, index)


def next_sequence(leader: Leader) -> int:
    """Return the next number of the leader's events and states, which have no holes."""
    leader.sequence += 1
    return leader.sequence


def event(message: LeaderEvent) -> list[Out]:
    """Return where a leader's event goes."""
    return [
        Out("account-events", message.leader, message, ALL),
        Out("copy-results", message.leader, message),
    ]


def state_changed(
    name: str, leader: Leader, action: LeaderAction, cause: str, event_ms: int, reason: str, now_ms: int
) -> list[Out]:
    """Return the next state of a leader, as it stands now."""
    sequence = next_sequence(leader)
    message = LeaderStateChanged(
        now_ms=now_ms,
        event_id=derive_id("leader-state", name, sequence),
        leader=name,
        sequence=sequence,
        action=action,
        cause=cause,
        event_ms=event_ms,
        kind=cast(LeaderKind, leader.kind or "strategy"),
        status=cast(Literal["active", "paused", "closed"], leader.effective_status),
        reason=reason,
        source=leader.source,
        defaults=defaults_of(leader),
    )
    return [Out("account-events", name, message, ALL), Out("copy-results", name, message)]


def control(scope: str, paused: bool, reason: str, now_ms: int) -> list[Out]:
    """Return the state of a scope for executors and accounts."""
    message = ControlState(now_ms=now_ms, scope=scope, paused=paused, reason=reason)
    return [Out("control", scope, message), Out("account-events", scope, message, ALL)]


def alert(
    kind: str, severity: Literal["info", "warning", "critical"], text: str, numbers: dict[str, str], now_ms: int
) -> Out:
    """Return an alert to the operator."""
    message: Any = Alert(now_ms=now_ms, kind=kind, severity=severity, source=SOURCE, text=text, numbers=numbers)
    return Out("alerts", SOURCE, message)
