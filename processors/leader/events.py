"""From what a leader did to its event: recognised if told before, numbered, guarded, told.

Entry points: `Draft`, `known_before`, `publish`.

1. The same id (of a signal or trade) never makes a second event: the last `REMEMBERED` of each leader are known. A
   repeat with other fields is told by an Alert and makes none either.
2. An event carries the leader's record before it.
"""

from decimal import Decimal
from typing import Any, NamedTuple

from processors.leader import telling
from processors.leader.guards import JUDGED, Judgement, judge, watch
from processors.leader.memory import remember
from processors.leader.state import REMEMBERED, Leader
from processors.leader.suspicion import Doing
from processors.protocols import Out
from schemas.leaders import LeaderEvent
from schemas.reasons import LeaderAction, Side


class Draft(NamedTuple):
    """What is the same in all events of one cause; `fields` are further fields of LeaderEvent."""

    leader: str
    cause: str
    event_ms: int
    detected_ms: int
    instrument: str
    price: Decimal
    fields: dict[str, Any]


def known_before(name: str, leader: Leader, cause: str, fingerprint: str, now_ms: int) -> list[Out] | None:
    """Return what a repeat makes (nothing, or an alert if it changed); None for a new cause, which is then known."""
    known = leader.recent.known.get(cause)
    if known is None:
        remember(leader.recent, cause, fingerprint, REMEMBERED)
        return None
    return repeated(name, cause, known, fingerprint, now_ms)


def repeated(name: str, cause: str, known: str, fingerprint: str, now_ms: int) -> list[Out]:
    """Return what a repeat makes: nothing, or an alert if it changed."""
    if known == fingerprint:
        return []
    text = (
        f"{cause} of leader {name} came again as '{fingerprint}' after '{known}'; the first one stands. Look for two "
        "sources (or two strategies of one name and parameters) that tell different things under one id."
    )
    numbers = {"first": known, "again": fingerprint}
    return [telling.alert("leader_event_repeated_with_other_fields", "critical", text, numbers, now_ms)]


def publish(
    leader: Leader,
    draft: Draft,
    action: LeaderAction,
    side: Side,
    now_ms: int,
    *,
    size: Decimal | None = None,
    position: Decimal | None = None,
    index: int = 0,
) -> list[Out]:
    """Return a leader's event, with what its guards say, and what has to be told before it."""
    name = draft.leader
    outs = watch(name, leader, Doing(action, draft.instrument, side, draft.price, size), draft.cause, now_ms)
    event_id = telling.event_id_of(name, draft.cause, index)
    judgement = judge(name, leader, event_id, now_ms) if action in JUDGED else Judgement()
    message = LeaderEvent(
        now_ms=now_ms,
        event_id=event_id,
        leader=name,
        sequence=telling.next_sequence(leader),
        action=action,
        instrument=draft.instrument,
        side=side,
        price=draft.price,
        cause=draft.cause,
        event_ms=draft.event_ms,
        detected_ms=draft.detected_ms,
        size=size,
        position=position,
        blocked=judgement.blocked,
        blocked_by=judgement.numbers,
        realized_pnl=leader.record.realized_pnl,
        trades=leader.record.trades,
        wins=leader.record.wins,
        **draft.fields,
    )
    return [*outs, *judgement.outs, *telling.event(message)]
