"""What people decided about a leader: made, changed, paused, closed.

Entry point: `on_changed`.

1. The first word makes the leader known and tells its settings; a strategy needs none.
2. A change of status is told before a change of settings; what is as it was is not told.
3. Kind and source never change, and closed is final: other than that a leader is another leader.
4. A newer word lifts the pause of a suspicious pattern.
"""

from processors.copying.params import ParamsError
from processors.leader import telling
from processors.leader.breaker import reset
from processors.leader.params import LeaderParams, parse_leader_params
from processors.leader.state import Leader, LeaderState, params_of, text_of
from processors.protocols import Out
from schemas.codec import BadRecord
from schemas.ids import derive_id
from schemas.leaders import LeaderChanged
from schemas.reasons import LeaderAction

_ACTIONS = {"active": LeaderAction.RESUMED, "paused": LeaderAction.PAUSED, "closed": LeaderAction.CLOSED}


def on_changed(state: LeaderState, told: LeaderChanged, now_ms: int) -> list[Out]:
    """Return what followers have to know of it.

    Raises:
        BadRecord: wrong settings (each field with its path), or a change that cannot be.
    """
    params = _checked(told)
    leader = state.leaders.get(told.leader)
    settings = text_of(params)
    if leader is not None:
        _refuse_other(leader, told, settings)
    else:
        leader = state.leaders[told.leader] = Leader()
    first = not leader.declared
    before, shown = text_of(params_of(leader)), leader.effective_status
    leader.kind, leader.source, leader.status, leader.declared = told.kind, told.source, told.status, True
    leader.settings = settings
    if leader.suspended and told.now_ms > leader.suspended_ms:
        leader.suspended, leader.suspended_ms = "", 0
    outs = _breaker_off(told.leader, leader, params, now_ms)
    cause = derive_id("leader-changed", told.leader, told.status, settings, told.now_ms)
    actions = []
    if leader.effective_status != shown:
        actions.append(_ACTIONS[leader.effective_status])
    if first or before != settings:
        actions.append(LeaderAction.SETTINGS)
    for action in actions:
        outs += telling.state_changed(told.leader, leader, action, cause, told.now_ms, "", now_ms)
    return outs


def _checked(told: LeaderChanged) -> LeaderParams:
    if not told.leader or told.leader == "*":
        raise BadRecord(f"leader: {told.leader!r} is no name for a leader")
    if told.kind == "account" and not told.source:
        raise BadRecord(f"leader {told.leader}: source: kind account needs the account that leads")
    if told.kind != "account" and told.source:
        raise BadRecord(f"leader {told.leader}: source: only kind account has one, kind {told.kind} has not")
    try:
        return parse_leader_params(told.settings, f"leader {told.leader}: settings")
    except ParamsError as error:
        raise BadRecord(str(error)) from error


def _refuse_other(leader: Leader, told: LeaderChanged, settings: str) -> None:
    if leader.kind not in ("", told.kind):
        raise BadRecord(
            f"leader {told.leader}: kind is {leader.kind} and cannot become {told.kind}: make another leader"
        )
    if leader.declared and leader.source != told.source:
        raise BadRecord(
            f"leader {told.leader}: source is {leader.source} and cannot become {told.source}: make another leader"
        )
    if leader.status == "closed" and (told.status != "closed" or settings != leader.settings):
        raise BadRecord(f"leader {told.leader} is closed, which is final: make another leader")


def _breaker_off(name: str, leader: Leader, params: LeaderParams, now_ms: int) -> list[Out]:
    if params.breaker is not None:
        return []
    was_paused = leader.pauses.paused
    reset(leader.pauses.breaker, now_ms)
    if leader.pauses.paused == was_paused:
        return []
    return telling.control(f"leader:{name}", False, "breaker switched off", now_ms)
