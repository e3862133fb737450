"""Decisions about who follows whom, and with what settings, as they reach the account role.

Entry points: `leader_changed`, `group_changed`, `subscription_changed`.

1. A subscription keeps the texts its settings are inherited from (`levels`). A change of a leader or group that cannot
   be used together with the rest leaves the subscription on what it had, and is alarmed with what contradicts what.
2. A subscription's own change that cannot be used is parked; nothing of it applies.
"""

from collections.abc import Iterable

import msgspec

from processors.account import telling
from processors.account.ledger import profit_of
from processors.account.money import usable
from processors.account.state import State, Subscription
from processors.copying.params import ParamsError
from processors.protocols import Out
from schemas.accounts import GroupChanged, SubscriptionChanged
from schemas.codec import BadRecord
from schemas.leaders import LeaderStateChanged

_encoder = msgspec.json.Encoder(order="deterministic")


def text_of(settings: dict[str, object]) -> str:
    """Return a part of settings as text; equal parts give equal texts."""
    return _encoder.encode(settings).decode()


def leader_changed(state: State, event: LeaderStateChanged, now_ms: int) -> dict[str, str]:
    """Take over a leader's state; return why by subscription where its settings cannot be inherited."""
    leader = state.leader(event.leader)
    leader.sequence, leader.kind, leader.status = event.sequence, event.kind, event.status
    if leader.source != event.source:
        if leader.source:
            state.leads[leader.source].remove(event.leader)
        leader.source = event.source
        if event.source:
            state.leads[event.source] = sorted([*state.leads.get(event.source, ()), event.leader])
    defaults = text_of(event.defaults)
    if defaults == leader.defaults:
        return {}
    leader.defaults = defaults
    return _inherit(state, state.followers.get(event.leader, ()))


def group_changed(state: State, event: GroupChanged, now_ms: int) -> list[Out]:
    """Take over the settings of a group."""
    state.ledger.groups[event.group] = text_of(event.settings)
    members = [name for name in sorted(state.ledger.subscriptions) if _in_group(state, name, event.group)]
    failed = _inherit(state, members)
    outs: list[Out] = []
    for name in members:
        subscription = state.ledger.subscriptions[name]
        if name in failed:
            text = f"Subscription {name} keeps its settings, group {event.group} contradicts them: {failed[name]}"
            outs.append(telling.alert(subscription.account, "settings_not_inherited", "warning", text, now_ms))
        else:
            outs += telling.follower_state(state, subscription, now_ms)
    return outs


def subscription_changed(state: State, event: SubscriptionChanged, now_ms: int) -> tuple[Subscription, bool]:
    """Take over a subscription; return it, and whether it follows anew (was not there, stopped or closed).

    Raises:
        BadRecord: settings that cannot be used; nothing was changed.
    """
    known = state.ledger.subscriptions.get(event.subscription)
    if known is not None and known.account != event.account:
        raise BadRecord(
            f"subscription {event.subscription} belongs to account {known.account}, not {event.account}: make another"
        )
    if known is not None and known.leader != event.leader:
        raise BadRecord(f"subscription {event.subscription} follows {known.leader}, not {event.leader}: make another")
    settings = dict(event.settings)
    if event.ratio is not None:
        if not usable(event.ratio):
            raise BadRecord(f"subscription {event.subscription}: ratio {event.ratio} is out of range")
        settings["ratio"] = str(event.ratio)
    leader = state.ledger.leaders.get(event.leader)
    own = text_of(settings)
    levels = (
        "{}" if leader is None else leader.defaults,
        state.ledger.groups.get(event.group, "{}") if event.group else "{}",
        own,
    )
    try:
        state.resolve(levels, f"subscription {event.subscription}: settings")
    except ParamsError as error:
        raise BadRecord(str(error)) from error
    anew = known is None or known.status in ("stopped", "closed")
    if known is None:
        known = Subscription(event.subscription, event.account, event.leader, event.status, levels, own, event.group)
        state.put_subscription(known)
    else:
        known.status, known.levels, known.own, known.group = event.status, levels, own, event.group
    if anew:
        known.existing = ""
        known.base = profit_of(state, known)
    return known, anew and event.status == "active"


def _in_group(state: State, name: str, group: str) -> bool:
    return state.ledger.subscriptions[name].group == group


def _inherit(state: State, names: Iterable[str]) -> dict[str, str]:
    """Give subscriptions the present settings of their leader and group; return why by name where that cannot be."""
    failed: dict[str, str] = {}
    for name in names:
        subscription = state.ledger.subscriptions[name]
        leader = state.ledger.leaders.get(subscription.leader)
        levels = (
            "{}" if leader is None else leader.defaults,
            state.ledger.groups.get(subscription.group, "{}") if subscription.group else "{}",
            subscription.own,
        )
        try:
            state.resolve(levels, name)
        except ParamsError as error:
            failed[name] = str(error)
        else:
            subscription.levels = levels
    return failed
