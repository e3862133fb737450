"""Whether followers may copy an entry: pauses, suspicion, rate limit and breaker, in that order.

Entry points: `judge`, `watch`, `Judgement`.

1. Nothing here drops an event: it is stamped `blocked`, told, and ends as a skipped outcome with its numbers. What
   makes a position smaller, or protects it, is never judged.
2. The first guard that blocks is the reason. An event that is blocked takes nothing of the rate limit and is no probe
   of the breaker, so a pause does not use up either.
3. Pauses of `*`, of accounts and of subscriptions are enforced by the account role.
"""

from typing import NamedTuple

from processors.leader import telling
from processors.leader.breaker import BreakerEvent, admit
from processors.leader.params import LeaderParams
from processors.leader.rate import note, over_limit
from processors.leader.state import Leader, params_of
from processors.leader.suspicion import Doing, notice
from processors.protocols import Out
from schemas.reasons import LeaderAction, RefusalReason

JUDGED = frozenset({LeaderAction.ENTRY, LeaderAction.INCREASE})
"""What can be blocked."""


class Judgement(NamedTuple):
    """Why an event is blocked (None: it is not), by which numbers, and what has to be told before it."""

    blocked: RefusalReason | None = None
    numbers: dict[str, str] = {}  # noqa: RUF012 (never changed)
    outs: tuple[Out, ...] = ()


def watch(name: str, leader: Leader, doing: Doing, cause: str, now_ms: int) -> list[Out]:
    """Note what the leader did; tell suspicious patterns, and pause the leader where its settings say so."""
    params = params_of(leader).suspicion
    if params is None:
        return []
    outs: list[Out] = []
    for finding in notice(leader.watch, params, doing, now_ms):
        pause = params.action == "pause" and leader.effective_status == "active"
        mend = f"It is paused until `wakeline pause leader:{name} --resume`." if pause else "Look at its trades."
        text = f"Leader {name} {finding.text} ({doing.instrument}). {mend}"
        outs.append(telling.alert("leader_suspicious", "warning", text, finding.numbers, now_ms))
        if pause:
            leader.suspended, leader.suspended_ms = finding.text, now_ms
            reason = f"suspicious: {finding.text}"
            outs += telling.state_changed(
                name, leader, LeaderAction.PAUSED, f"suspicion:{cause}", now_ms, reason, now_ms
            )
    return outs


def judge(name: str, leader: Leader, event_id: str, now_ms: int) -> Judgement:
    """Decide on an entry or increase; moves the breaker and counts for the rate limit."""
    if leader.status == "closed":
        return Judgement(RefusalReason.LEADER_CLOSED, {"status": leader.status})
    if leader.status == "paused":
        return Judgement(RefusalReason.LEADER_PAUSED, {"status": leader.status})
    if leader.pauses.requested_by:
        return Judgement(
            RefusalReason.LEADER_PAUSED, {"command": leader.pauses.requested_by, "reason": leader.pauses.reason}
        )
    if leader.suspended:
        return Judgement(RefusalReason.SUSPICIOUS, {"since_ms": str(leader.suspended_ms), "pattern": leader.suspended})
    return _by_numbers(name, leader, params_of(leader), event_id, now_ms)


def _by_numbers(name: str, leader: Leader, params: LeaderParams, event_id: str, now_ms: int) -> Judgement:
    limit = params.rate_limit
    if limit is not None and over_limit(leader.passed, limit, now_ms):
        return Judgement(RefusalReason.RATE_LIMITED, {"events": str(limit.events), "per_ms": str(limit.per_ms)})
    outs: list[Out] = []
    if params.breaker is not None:
        breaker = leader.pauses.breaker
        verdict = admit(breaker, params.breaker, event_id, now_ms)
        for moved in verdict.moved:
            outs += _told(name, moved, now_ms)
        if not verdict.passes:
            numbers = {"breaker": breaker.state.value, "since_ms": str(breaker.since_ms), **breaker.numbers}
            return Judgement(RefusalReason.BREAKER_OPEN, numbers, tuple(outs))
    if limit is not None:
        note(leader.passed, limit, now_ms)
    return Judgement(outs=tuple(outs))


def _told(name: str, moved: BreakerEvent, now_ms: int) -> list[Out]:
    if moved is BreakerEvent.WAITED:
        reason = "breaker half open: the next entries are tried"
        return telling.control(f"leader:{name}", False, reason, now_ms)
    text = f"Copies of leader {name} go well again; its breaker is closed."
    return [telling.alert("breaker_closed", "info", text, {}, now_ms)]
