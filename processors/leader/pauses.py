"""Pauses by people, and the breakers fed by followers' reports.

Entry points: `on_pause`, `on_report`.

1. A scope is paused while a person's request or an open breaker holds. A resume lifts both, and the pause of a
   suspicious pattern too; it does not lift the status `paused` of a leader, which people set elsewhere.
2. The same command never counts twice.
3. The breaker over all leaders (`*`) stops every entry, so nothing would be reported that could close it again, and its
   partition gets no events to try: only a person resumes it. The alert says how.
4. `account:` and `subscription:` scopes have no breaker: their state is what the last request says.
"""

from processors.leader import telling
from processors.leader.breaker import BreakerEvent, report, reset
from processors.leader.memory import remember
from processors.leader.params import GLOBAL_BREAKER
from processors.leader.state import REMEMBERED, Leader, LeaderState, Pauses, params_of
from processors.protocols import Out
from schemas.codec import BadRecord
from schemas.leaders import FollowerReport, PauseRequest
from schemas.reasons import LeaderAction

ALL_LEADERS = "*"
_KEYED_BY_ALL = ("account", "subscription")
_MOST_COPIES = 10_000_000


def on_pause(state: LeaderState, told: PauseRequest, now_ms: int) -> list[Out]:
    """Return the new state of the scope; nothing for a command that was done.

    Raises:
        BadRecord: no such scope, or under another key, or a command id that was another command.
    """
    kind, name = _scope(told)
    fingerprint = f"{told.scope} {'pause' if told.paused else 'resume'}"
    known = state.commands.known.get(told.command_id)
    if known == fingerprint:
        return []
    if known is not None:
        raise BadRecord(f"command_id: {told.command_id} was already '{known}', so it cannot be '{fingerprint}'")
    remember(state.commands, told.command_id, fingerprint, REMEMBERED)
    if kind == "leader":
        leader = state.leaders.get(name)
        if leader is None:
            leader = state.leaders[name] = Leader()
        _set(leader.pauses, told, now_ms)
        outs = telling.control(told.scope, told.paused, told.reason, now_ms)
        return [*outs, *([] if told.paused else _lift_suspicion(name, leader, told, now_ms))]
    if kind == ALL_LEADERS:
        _set(state.everything, told, now_ms)
    return telling.control(told.scope, told.paused, told.reason, now_ms)


def _scope(told: PauseRequest) -> tuple[str, str]:
    kind, _, name = told.scope.partition(":")
    known = told.scope == ALL_LEADERS or (name != "" and kind in ("leader", *_KEYED_BY_ALL))
    if not known:
        raise BadRecord(f"scope: {told.scope!r} is none of *, leader:NAME, account:NAME, subscription:NAME")
    key = name if kind == "leader" else ALL_LEADERS
    if told.leader != key:
        raise BadRecord(f"leader: a request for scope {told.scope} has the key {key!r}, not {told.leader!r}")
    if not told.command_id:
        raise BadRecord("command_id: a request needs one")
    return kind, name


def _set(pauses: Pauses, told: PauseRequest, now_ms: int) -> None:
    if told.paused:
        pauses.requested_by, pauses.reason = told.command_id, told.reason
    else:
        pauses.requested_by = pauses.reason = ""
        reset(pauses.breaker, now_ms)


def _lift_suspicion(name: str, leader: Leader, told: PauseRequest, now_ms: int) -> list[Out]:
    shown = leader.effective_status
    leader.suspended, leader.suspended_ms = "", 0
    if leader.effective_status == shown:
        return []
    return telling.state_changed(name, leader, LeaderAction.RESUMED, told.command_id, told.now_ms, told.reason, now_ms)


def on_report(state: LeaderState, told: FollowerReport, now_ms: int) -> list[Out]:
    """Feed a breaker; return what is told if it opens.

    Raises:
        BadRecord: counts that cannot be, or a report under another leader's key.
    """
    if not (0 <= told.attempted <= _MOST_COPIES and 0 <= told.failed <= _MOST_COPIES):
        raise BadRecord(
            f"report on {told.event_id}: attempted {told.attempted} or failed {told.failed} is out of range"
        )
    if told.leader == ALL_LEADERS:
        moved = report(state.everything.breaker, GLOBAL_BREAKER, told, now_ms)
        return [] if moved is None else _opened(ALL_LEADERS, state.everything, moved, told, now_ms)
    if told.leader != told.of:
        raise BadRecord(f"report on {told.event_id}: leader {told.of} is told under the key {told.leader}")
    leader = state.leaders.get(told.leader)
    if leader is None:  # forgotten: the role's state was reset since
        return []
    params = params_of(leader).breaker
    moved = None if params is None else report(leader.pauses.breaker, params, told, now_ms)
    return [] if moved is None else _opened(f"leader:{told.leader}", leader.pauses, moved, told, now_ms)


def _opened(scope: str, pauses: Pauses, moved: BreakerEvent, told: FollowerReport, now_ms: int) -> list[Out]:
    numbers = pauses.breaker.numbers
    last = f" The last one said: {told.error}." if told.error else ""
    if scope == ALL_LEADERS:
        whose, then = "all leaders", "Nothing is entered until a person says so: `wakeline pause all --resume`."
    else:
        whose, then = f"leader {told.of}", "It tries again by itself; exits go on."
    what = "a copy that was tried failed again" if moved is BreakerEvent.PROBE_FAILED else "too many copies fail"
    text = f"Breaker of {whose} opened: {what} ({numbers['failed']} of {numbers['attempted']}).{last} {then}"
    reason = f"breaker: {numbers['failed']} of {numbers['attempted']} copies failed"
    return [
        *telling.control(scope, True, reason, now_ms),
        telling.alert("breaker_opened", "critical", text, {**numbers, "scope": scope}, now_ms),
    ]
