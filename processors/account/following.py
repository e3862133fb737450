"""What a leader's event becomes for each of its followers.

Entry points: `follow`, `follow_state`, `follow_one`, `close_all`, `fan_out`.

1. Every subscription of the leader that is active or paused gets one terminal outcome per event: at once (skipped, with
   an order status `refused`), or later through its orders. Stopped and closed subscriptions get none. How many owe one
   is told first (`FanOut`), so that a missing outcome is seen.
2. The walk starts at another follower with each event, so that nobody is always first to the touch or to the margin.
3. An event with the leader's position is followed by copying.py; one without is a signal and followed here.
4. An exit of the leader closes also for a paused subscription: pausing keeps from entering, not from leaving.
"""

import msgspec

from processors.account import telling
from processors.account.copying import copy
from processors.account.gate import Want, refused_exit
from processors.account.halts import tried
from processors.account.money import ZERO
from processors.account.settings import leader_changed
from processors.account.state import Account, Holding, State, Subscription, holding_of
from processors.account.trades import close, enter
from processors.copying.sizing import mode_of
from processors.protocols import Out
from schemas.leaders import LeaderEvent, LeaderStateChanged
from schemas.reasons import LeaderAction, Leg, OutcomeState, RefusalReason, Side
from schemas.status import FanOut

OWING = frozenset({"active", "paused"})
"""States of a subscription in which it owes an outcome for each event of its leader."""


def follow(state: State, event: LeaderEvent, partition: int, now_ms: int) -> list[Out]:
    """Apply one leader's event to all of its followers in this partition."""
    outs, last = _in_order(state, event, now_ms), state.leader(event.leader).sequence
    if event.sequence <= last:
        return outs
    state.remember(event)
    names = _walk(state, event.leader, event.sequence)
    outs.append(fan_out(event, partition, len(names), now_ms))
    for name in names:
        outs += follow_one(state, state.ledger.subscriptions[name], event, now_ms)
    return outs + tried(event, outs, now_ms)


def follow_state(state: State, event: LeaderStateChanged, partition: int, now_ms: int) -> list[Out]:
    """Apply a change of a leader itself: what its followers inherit, whether it leads on."""
    outs, last = _in_order(state, event, now_ms), state.leader(event.leader).sequence
    if event.sequence <= last:
        return outs
    names = _walk(state, event.leader, event.sequence)
    outs.append(fan_out(event, partition, len(names), now_ms))
    failed = leader_changed(state, event, now_ms)
    for name in names:
        subscription = state.ledger.subscriptions[name]
        if event.status == "closed" and state.params_of(subscription).on_leader_closed == "close":
            outs += close_all(state, subscription, event.event_id, now_ms)
        words, reason = _STATE_WORDS[event.action], None
        if name in failed:
            words, reason = failed[name], RefusalReason.BAD_SETTINGS
        ended = OutcomeState.COPIED if reason is None else OutcomeState.SKIPPED
        outs += telling.outcome(event, subscription.account, name, ended, now_ms, reason=reason, message=words)
        outs += telling.follower_state(state, subscription, now_ms)
    return outs


_STATE_WORDS = {
    LeaderAction.PAUSED: "the leader is paused: its entries are not copied until it resumes",
    LeaderAction.RESUMED: "the leader leads again",
    LeaderAction.CLOSED: "the leader is closed: nothing more will be copied",
    LeaderAction.SETTINGS: "the leader's settings apply where this subscription has none of its own",
}


def close_all(state: State, subscription: Subscription, cause: str, now_ms: int) -> list[Out]:
    """Close every position of a subscription; what waits for one is skipped."""
    account = state.ledger.accounts.get(subscription.account)
    if account is None:
        return []
    outs: list[Out] = []
    for key in sorted(account.holdings):
        holding = account.holdings[key]
        if holding.subscription != subscription.subscription:
            continue
        waiting, holding.waiting = holding.waiting, []
        for event in waiting:
            outs += telling.skipped(
                subscription, event, RefusalReason.STOPPED, {"cause": cause}, now_ms, Leg.ENTRY, holding.instrument
            )
        holding.expected = holding.kept_back = ZERO
        if holding.closing is not None:  # what it leaves is closed when it ends
            holding.closing.then = f"{cause}-{holding.instrument}"
        elif _direction(account, holding) is not None:
            outs += close(state, account, holding, f"{cause}-{holding.instrument}", None, False, now_ms)
    return outs


def follow_one(state: State, subscription: Subscription, event: LeaderEvent, now_ms: int) -> list[Out]:
    """Apply one event to one subscription."""
    account = state.ledger.accounts.get(subscription.account)
    params = state.params_of(subscription)
    instrument = params.symbol_map.get(event.instrument, event.instrument)
    if account is None:
        reason, numbers = RefusalReason.UNKNOWN_ACCOUNT, {"account": subscription.account}
        return telling.skipped(subscription, event, reason, numbers, now_ms, Leg.ENTRY, instrument)
    holding = holding_of(state, account, subscription.subscription, event.leader, instrument)
    if event.position is not None:
        return copy(state, account, subscription, holding, event, now_ms)
    return _signal(state, account, subscription, holding, event, now_ms)


def _signal(
    state: State, account: Account, subscription: Subscription, holding: Holding, event: LeaderEvent, now_ms: int
) -> list[Out]:
    if subscription.status == "paused" and event.action is LeaderAction.ENTRY:
        return telling.skipped(
            subscription,
            event,
            RefusalReason.PAUSED,
            {"status": subscription.status},
            now_ms,
            Leg.ENTRY,
            holding.instrument,
        )
    params = state.params_of(subscription, holding.instrument)
    wanted = event.side.opposite if mode_of(params.size).opposite else event.side
    if event.action is LeaderAction.EXIT:
        return _leave(state, account, subscription, holding, event, wanted, False, now_ms)
    side = _direction(account, holding)
    reason, numbers = RefusalReason.ORDER_IN_FLIGHT, {"position": str(holding.size)}
    if holding.closing is not None:
        numbers["exits"] = str(len(holding.closing.exits))
    elif side is None or (side is wanted and params.allow_second_entry):
        return enter(state, account, subscription, holding, event, Want(wanted, holding.instrument), now_ms)
    elif side is not wanted and params.opposite == "ignore":
        reason = RefusalReason.OPPOSITE_IGNORED
    elif side is not wanted:
        return _leave(state, account, subscription, holding, event, wanted, params.opposite == "reverse", now_ms)
    else:
        numbers["entries"] = str(len(holding.entries))
        reason = RefusalReason.ORDER_IN_FLIGHT if holding.size == ZERO else RefusalReason.POSITION_OPEN
    return telling.skipped(subscription, event, reason, numbers, now_ms, Leg.ENTRY, holding.instrument)


def _leave(
    state: State,
    account: Account,
    subscription: Subscription,
    holding: Holding,
    event: LeaderEvent,
    wanted: Side,
    reverse: bool,
    now_ms: int,
) -> list[Out]:
    """Close what the subscription holds against `wanted`, if it may and there is anything."""
    side = _direction(account, holding)
    numbers = {"position": str(holding.size)}
    instrument = holding.instrument
    if side is None or side is wanted:
        return telling.skipped(
            subscription, event, RefusalReason.NOTHING_TO_CLOSE, numbers, now_ms, Leg.EXIT, instrument
        )
    if holding.closing is not None:
        numbers["exits"] = str(len(holding.closing.exits))
        return telling.skipped(
            subscription, event, RefusalReason.ORDER_IN_FLIGHT, numbers, now_ms, Leg.EXIT, instrument
        )
    finding = refused_exit(state, account, subscription, holding, event, now_ms)
    if finding is not None:
        return telling.skipped(subscription, event, *finding, now_ms, Leg.EXIT, instrument)
    return close(state, account, holding, event.cause, event, reverse, now_ms)


def _walk(state: State, leader: str, sequence: int) -> list[str]:
    """Return the followers that owe an outcome, begun at another one with each event."""
    followers = state.followers.get(leader, [])
    subscriptions = state.ledger.subscriptions
    names = [name for name in followers if subscriptions[name].status in OWING]
    start = sequence % len(names) if names else 0
    return [*names[start:], *names[:start]]


def _in_order(state: State, event: LeaderEvent | LeaderStateChanged, now_ms: int) -> list[Out]:
    """Return an alert if the event is not the next one of its leader."""
    last = state.leader(event.leader).sequence
    if event.sequence <= last:
        text = (
            f"Event {event.event_id} of leader {event.leader} came with sequence {event.sequence} after {last} and was "
            "not followed. If the leader role was reset, reset the account role too; else look for a second leader "
            "worker."
        )
        return [telling.alert("", "leader_event_out_of_order", "critical", text, now_ms)]
    if last and event.sequence > last + 1:
        text = f"Leader {event.leader}: events {last + 1} to {event.sequence - 1} never came to this partition."
        return [telling.alert("", "leader_events_missing", "critical", text, now_ms)]
    return []


def fan_out(event: LeaderEvent | LeaderStateChanged, partition: int, active: int, now_ms: int) -> Out:
    """Return how many outcomes an event is owed in this partition."""
    told = FanOut(
        now_ms=now_ms,
        event_id=event.event_id,
        leader=event.leader,
        sequence=event.sequence,
        action=event.action,
        cause=event.cause,
        event_ms=event.event_ms,
        partition=partition,
        active=active,
    )
    if isinstance(event, LeaderEvent):
        told = msgspec.structs.replace(
            told,
            detected_ms=event.detected_ms,
            instrument=event.instrument,
            side=event.side,
            price=event.price,
            size=event.size,
            position=event.position,
            blocked=event.blocked,
        )
    return Out("outcomes", event.leader, told)


def _direction(account: Account, holding: Holding) -> Side | None:
    """Return the side of the position, or of the entries in flight; None if there is neither."""
    if holding.size != ZERO:
        return Side.BUY if holding.size > ZERO else Side.SELL
    for order_id in holding.entries:
        order = account.orders[order_id]
        if not order.over:
            return order.side
    return None
