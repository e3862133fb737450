"""What a leader's event becomes for each of its followers.

Entry point: `follow`.

1. Every active or paused subscription of the leader gets one terminal outcome per event: at once (skipped, with an
   order status `refused`), or later through its order. Closed subscriptions get none.
2. The walk starts at another follower with each event, so that nobody is always first to the touch or to the margin.
3. An exit of the leader closes also for a paused subscription: pausing keeps from entering, not from leaving.
"""

from processors.account import telling
from processors.account.gate import order_id_of, refused_exit
from processors.account.money import ZERO
from processors.account.state import Account, Holding, State, Subscription, holding_of
from processors.account.trades import close, enter
from processors.protocols import Out
from schemas.leaders import LeaderEvent
from schemas.reasons import Leg, OutcomeState, RefusalReason, Side


def follow(state: State, event: LeaderEvent, now_ms: int) -> list[Out]:
    """Apply one leader's event to all of its followers in this partition."""
    outs: list[Out] = []
    leader = state.ledger.leaders.get(event.leader)
    if leader is not None and event.sequence <= leader.sequence:
        return [_out_of_order(event, leader.sequence, now_ms)]
    if leader is not None and event.sequence > leader.sequence + 1:
        outs.append(_hole(event, leader.sequence, now_ms))
    state.remember(event)
    followers = state.followers.get(event.leader, [])
    if not followers:
        return outs
    start = event.sequence % len(followers)
    for name in [*followers[start:], *followers[:start]]:
        subscription = state.ledger.subscriptions[name]
        if subscription.status != "closed":
            outs += _one(state, subscription, event, now_ms)
    return outs


def _one(state: State, subscription: Subscription, event: LeaderEvent, now_ms: int) -> list[Out]:
    account = state.ledger.accounts.get(subscription.account)
    if account is None:
        return skip(subscription, event, RefusalReason.UNKNOWN_ACCOUNT, {"account": subscription.account}, now_ms)
    if subscription.status == "paused" and event.action == "entry":
        return skip(subscription, event, RefusalReason.PAUSED, {"status": subscription.status}, now_ms)
    holding = holding_of(state, account, subscription.subscription, event.leader, event.instrument)
    if event.action == "exit":
        return _leave(state, account, subscription, holding, event, False, now_ms)
    side = _direction(account, holding)
    if holding.closing is not None:
        numbers = {"position": str(holding.size), "exits": str(len(holding.closing.exits))}
        return skip(subscription, event, RefusalReason.ORDER_IN_FLIGHT, numbers, now_ms)
    if side is None:
        return enter(state, account, subscription, holding, event, now_ms)
    params = state.params_of(subscription)
    if side is not event.side:
        if params.opposite == "ignore":
            numbers = {"position": str(holding.size)}
            return skip(subscription, event, RefusalReason.OPPOSITE_IGNORED, numbers, now_ms)
        return _leave(state, account, subscription, holding, event, params.opposite == "reverse", now_ms)
    if params.allow_second_entry:
        return enter(state, account, subscription, holding, event, now_ms)
    numbers = {"position": str(holding.size), "entries": str(len(holding.entries))}
    reason = RefusalReason.ORDER_IN_FLIGHT if holding.size == ZERO else RefusalReason.POSITION_OPEN
    return skip(subscription, event, reason, numbers, now_ms)


def _leave(
    state: State,
    account: Account,
    subscription: Subscription,
    holding: Holding,
    event: LeaderEvent,
    reverse: bool,
    now_ms: int,
) -> list[Out]:
    """Close what the subscription holds against `event.side`, if it may and there is anything."""
    side = _direction(account, holding)
    if side is None or side is event.side:
        numbers = {"position": str(holding.size)}
        return skip(subscription, event, RefusalReason.NOTHING_TO_CLOSE, numbers, now_ms, Leg.EXIT)
    if holding.closing is not None:
        numbers = {"position": str(holding.size), "exits": str(len(holding.closing.exits))}
        return skip(subscription, event, RefusalReason.ORDER_IN_FLIGHT, numbers, now_ms, Leg.EXIT)
    finding = refused_exit(state, account, subscription, holding, event, now_ms)
    if finding is not None:
        return skip(subscription, event, *finding, now_ms, Leg.EXIT)
    return close(state, account, holding, event.cause, event, reverse, now_ms)


def skip(
    subscription: Subscription,
    event: LeaderEvent,
    reason: RefusalReason,
    numbers: dict[str, str],
    now_ms: int,
    leg: Leg = Leg.ENTRY,
) -> list[Out]:
    """Return the refusal of an event: the order status of the order it would have been, and the outcome."""
    account, name = subscription.account, subscription.subscription
    order_id = order_id_of(event.cause, account, name, event.instrument, leg)
    return [
        telling.refused_status(event, subscription, order_id, leg, event.side, reason, numbers, now_ms),
        telling.outcome(event, account, name, OutcomeState.SKIPPED, now_ms, order_id, reason, numbers),
    ]


def _direction(account: Account, holding: Holding) -> Side | None:
    """Return the side of the position, or of the entries in flight; None if there is neither."""
    if holding.size != ZERO:
        return Side.BUY if holding.size > ZERO else Side.SELL
    for order_id in holding.entries:
        order = account.orders[order_id]
        if not order.over:
            return order.side
    return None


def _out_of_order(event: LeaderEvent, last: int, now_ms: int) -> Out:
    text = (
        f"Event {event.event_id} of leader {event.leader} came with sequence {event.sequence} after {last} and was not "
        "followed. If the leader role was reset, reset the account role too; else look for a second leader worker."
    )
    return telling.alert("", "leader_event_out_of_order", "critical", text, now_ms)


def _hole(event: LeaderEvent, last: int, now_ms: int) -> Out:
    text = f"Leader {event.leader}: events {last + 1} to {event.sequence - 1} never came to this partition."
    return telling.alert("", "leader_events_missing", "critical", text, now_ms)
