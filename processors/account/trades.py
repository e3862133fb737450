"""Opens and closes positions: what follows from a decision, and from the end of an order.

Entry points: `enter`, `close`, `end_order`, `ask_cancel`, `move_position`.

1. An entry of a leader's event has one terminal outcome, given when the order ends; an event that closes has one,
   given when the last of its exits ends; an event that reverses has the one of its entry.
2. A position is closed bracket by bracket, with sizes from this ledger alone, and only once no entry is in flight:
   what fills later would stay open without anybody wanting it.
3. A position that could not be closed, or lost its stop-loss, is alarmed.
"""

from bisect import insort
from decimal import Decimal

from processors.account import telling
from processors.account.gate import Refused, cancel_order, exit_order, order_id_of, propose_entry
from processors.account.lifecycle import POSITION, PositionEvent, PositionState, move
from processors.account.money import ZERO
from processors.account.state import (
    Account,
    Closing,
    Holding,
    State,
    Subscription,
    Tracked,
    holding_key,
    keep,
    trade_key,
)
from processors.protocols import Out
from schemas.leaders import LeaderEvent
from schemas.orders import Order
from schemas.reasons import Leg, OrderState, OutcomeState, RefusalReason

KEPT_ORDERS = 24
"""Ended orders kept per account for late reports: eight brackets."""
KEPT_TRADES = 64
"""Trade ids kept of orders forgotten since, so that a fill told again much later is not booked again."""
_STOPPED = {"kill": RefusalReason.KILL_SWITCH, "paused": RefusalReason.PAUSED}


def enter(
    state: State,
    account: Account,
    subscription: Subscription,
    holding: Holding,
    event: LeaderEvent,
    now_ms: int,
    after_exit: bool = False,
) -> list[Out]:
    """Send an entry through the gate. `after_exit`: the position was closed for this event, now it is reversed."""
    result = propose_entry(state, account, subscription, holding, event, now_ms)
    if isinstance(result, Refused):
        return _refused_entry(subscription, event, result, now_ms, after_exit)
    order = result.order
    if order.order_id in account.orders:
        return _refused_entry(subscription, event, Refused(RefusalReason.DUPLICATE, {}), now_ms, after_exit)
    tracked = _track(order, event.sequence, result.numbers)
    if holding.size == ZERO and not holding.entries:
        holding.contract_size = state.ledger.instruments[event.instrument].contract_size
        holding.leader = event.leader
    keep(account, holding)
    account.orders[order.order_id] = tracked
    account.working.append(order.order_id)
    holding.entries.append(order.order_id)
    outs = [Out("orders", account.account, order)]
    outs += move_position(account, holding, PositionEvent.ENTRY_SENT, now_ms)
    if order.kind == "limit":
        insort(state.ledger.resting, (order.not_after_ms, account.account, order.order_id))
    state.report_later(account)
    if not after_exit:
        outs.append(
            telling.outcome(
                event, account.account, subscription.subscription, OutcomeState.PENDING, now_ms, order.order_id
            )
        )
    return outs


def _refused_entry(
    subscription: Subscription, event: LeaderEvent, refused: Refused, now_ms: int, after_exit: bool
) -> list[Out]:
    account, name = subscription.account, subscription.subscription
    order_id = order_id_of(event.cause, account, name, event.instrument, Leg.ENTRY)
    status = telling.refused_status(
        event,
        subscription,
        order_id,
        Leg.ENTRY,
        event.side,
        refused.reason,
        refused.numbers,
        now_ms,
        refused.size,
        refused.price,
    )
    ended = OutcomeState.REDUCED if after_exit else OutcomeState.SKIPPED
    message = "the position was closed, the entry that should have reversed it was refused" if after_exit else ""
    outcome = telling.outcome(event, account, name, ended, now_ms, order_id, refused.reason, refused.numbers, message)
    return [status, outcome]


def close(
    state: State,
    account: Account,
    holding: Holding,
    cause: str,
    event: LeaderEvent | None,
    reverse: bool,
    now_ms: int,
) -> list[Out]:
    """Begin to close a holding that has no closing yet; entries in flight are cancelled and waited for first."""
    holding.closing = Closing(cause, event, reverse)
    outs: list[Out] = []
    if event is not None:
        first = order_id_of(cause, account.account, holding.subscription, holding.instrument, Leg.EXIT)
        outs.append(telling.outcome(event, account.account, holding.subscription, OutcomeState.PENDING, now_ms, first))
    outs += move_position(account, holding, PositionEvent.EXIT_SENT, now_ms)
    waited = _working_entries(account, holding)
    for order in waited:
        outs += ask_cancel(account, order, "opposite", cause, now_ms)
    if not waited:
        outs += _send_exits(state, account, holding, now_ms)
    return outs


def ask_cancel(account: Account, order: Tracked, why: str, cause: str, now_ms: int) -> list[Out]:
    """Ask the executor once to cancel what rests of an order."""
    if order.cancel_cause:
        return []
    order.cancel_cause = why
    return [Out("orders", account.account, cancel_order(account, order, cause, now_ms))]


def end_order(state: State, account: Account, order: Tracked, now_ms: int) -> list[Out]:
    """Do what follows from an order that reached an ended state; call once per order."""
    order.over = True
    if order.order_id in account.working:
        account.working.remove(order.order_id)
    account.over.append(order.order_id)
    state.report_later(account)
    holding = account.holdings[holding_key(order.subscription, order.instrument)]
    outs: list[Out] = []
    closing = holding.closing
    if order.leg is Leg.ENTRY:
        if order.event_id:
            outs.append(_entry_outcome(account, order, now_ms))
        forget_bracket(holding, order)
        if not _working_entries(account, holding):
            outs += move_position(account, holding, PositionEvent.ENTRY_ENDED, now_ms)
            if closing is not None and not closing.exits:
                outs += _send_exits(state, account, holding, now_ms)
    elif order.leg is Leg.EXIT:
        if closing is not None and closing.exits and all(account.orders[item].over for item in closing.exits):
            outs += _finish_closing(state, account, holding, now_ms)
    elif order.leg is Leg.STOP_LOSS and order.state != OrderState.FILLED:
        outs += _lost_stop(state, account, holding, order, now_ms)
    _prune(account)
    return outs


def forget_bracket(holding: Holding, entry: Tracked) -> None:
    """Take an entry that is over and has nothing open any more out of its holding."""
    if entry.over and entry.open_size <= ZERO and entry.order_id in holding.entries:
        holding.entries.remove(entry.order_id)


def move_position(account: Account, holding: Holding, event: PositionEvent, now_ms: int) -> list[Out]:
    """Move a holding's life cycle; an illegal move changes nothing and is alarmed."""
    after = move(POSITION, holding.state, event)
    if after is None:
        text = f"{holding.subscription} {holding.instrument}: {event} cannot happen to a {holding.state} position"
        return [telling.alert(account.account, "illegal_position_move", "critical", text, now_ms)]
    holding.state = after
    return []


def _working_entries(account: Account, holding: Holding) -> list[Tracked]:
    return [account.orders[item] for item in holding.entries if not account.orders[item].over]


def _track(order: Order, sequence: int, numbers: dict[str, str]) -> Tracked:
    tracked = Tracked(
        order_id=order.order_id,
        subscription=order.subscription,
        leader=order.leader,
        instrument=order.instrument,
        leg=order.leg,
        side=order.side,
        size=order.size,
        cause=order.cause,
        event_id=order.event_id,
        sequence=sequence,
        event_ms=order.event_ms,
        leader_price=order.leader_price,
        entry_order_id=order.order_id if order.leg is Leg.ENTRY else (order.closes or ""),
        reference_price=order.reference_price,
        limit_price=order.limit_price,
        numbers=dict(sorted(numbers.items())),  # as decode gives them back: their order is seen on the log
        not_after_ms=order.not_after_ms,
    )
    protection = order.protection
    if protection is not None:
        tracked.stop_loss, tracked.take_profit = protection.stop_loss, protection.take_profit
        tracked.stop_loss_order_id = protection.stop_loss_order_id
        tracked.take_profit_order_id = protection.take_profit_order_id
    return tracked


def _send_exits(state: State, account: Account, holding: Holding, now_ms: int) -> list[Out]:
    closing = holding.closing
    assert closing is not None
    long, rest = holding.size > ZERO, abs(holding.size)
    parts: list[tuple[Tracked | None, Decimal]] = []
    for order_id in holding.entries:
        entry = account.orders[order_id]
        part = min(entry.open_size, rest)
        if part > ZERO and (entry.side == "buy") == long:
            parts.append((entry, part))
            rest -= part
    if rest > ZERO:  # open without a bracket of ours: closed by itself
        parts.append((None, rest))
    if not parts:
        return _finish_closing(state, account, holding, now_ms)
    outs = []
    for ordinal, (bracket, size) in enumerate(parts):
        order = exit_order(state, account, holding, bracket, size, closing.cause, closing.event, ordinal, now_ms)
        sequence = 0 if closing.event is None else closing.event.sequence
        account.orders[order.order_id] = _track(order, sequence, {})
        account.working.append(order.order_id)
        closing.exits.append(order.order_id)
        outs.append(Out("orders", account.account, order))
    state.report_later(account)
    return outs


def _finish_closing(state: State, account: Account, holding: Holding, now_ms: int) -> list[Out]:
    closing = holding.closing
    assert closing is not None
    holding.closing = None
    flat = holding.size == ZERO
    done = PositionEvent.CLOSED if flat and holding.state == PositionState.CLOSING else PositionEvent.EXIT_ENDED
    outs = move_position(account, holding, done, now_ms)
    exits = [account.orders[item] for item in closing.exits]
    words = "; ".join(order.words for order in exits if order.words)
    if not flat:
        text = (
            f"{holding.subscription} still holds {holding.size} {holding.instrument} after its exit ended"
            f"{': ' + words if words else ''}; its protective legs may be gone: close it by hand or send an exit"
        )
        outs.append(telling.alert(account.account, "position_not_closed", "critical", text, now_ms))
    if closing.event is None:
        return outs
    subscription = state.ledger.subscriptions[holding.subscription]
    if flat and closing.reverse:
        if subscription.status == "active":
            return outs + enter(state, account, subscription, holding, closing.event, now_ms, after_exit=True)
        paused = Refused(RefusalReason.PAUSED, {"status": subscription.status})
        return outs + _refused_entry(subscription, closing.event, paused, now_ms, after_exit=True)
    return outs + _closing_outcome(subscription, holding, closing.event, exits, words, now_ms)


def _closing_outcome(
    subscription: Subscription, holding: Holding, event: LeaderEvent, exits: list[Tracked], words: str, now_ms: int
) -> list[Out]:
    wanted = sum((order.size for order in exits), ZERO)
    filled = sum((order.filled for order in exits), ZERO)
    account, name, instrument = subscription.account, subscription.subscription, holding.instrument
    order_id = order_id_of(event.cause, account, name, instrument, Leg.EXIT)
    numbers = {"wanted": str(wanted), "filled": str(filled), "left": str(holding.size)}
    if holding.size == ZERO and filled == ZERO:
        reason = RefusalReason.NOTHING_TO_CLOSE
        outs = []
        if not exits:
            outs.append(
                telling.refused_status(event, subscription, order_id, Leg.EXIT, event.side, reason, numbers, now_ms)
            )
        ended = OutcomeState.SKIPPED
        return [*outs, telling.outcome(event, account, name, ended, now_ms, order_id, reason, numbers, words)]
    if holding.size == ZERO and filled >= wanted:
        return [telling.outcome(event, account, name, OutcomeState.COPIED, now_ms, order_id)]
    ended = OutcomeState.FAILED if filled == ZERO else OutcomeState.REDUCED
    return [telling.outcome(event, account, name, ended, now_ms, order_id, None, numbers, words)]


def _entry_outcome(account: Account, order: Tracked, now_ms: int) -> Out:
    reason, numbers, words = None, order.numbers, order.words
    if order.state == OrderState.FILLED:
        ended, words = (OutcomeState.REDUCED if numbers else OutcomeState.COPIED), ""
    elif order.filled > ZERO:
        ended = OutcomeState.REDUCED
        numbers = {"wanted": str(order.size), **numbers, "size": str(order.size), "filled": str(order.filled)}
    elif order.state == OrderState.EXPIRED or order.cancel_cause == "ttl":
        ended, reason = OutcomeState.SKIPPED, RefusalReason.EXPIRED
        numbers = {"not_after_ms": str(order.not_after_ms), "now_ms": str(now_ms)}
    elif order.state == OrderState.CANCELLED and order.cancel_cause in _STOPPED:
        ended, reason, numbers = OutcomeState.SKIPPED, _STOPPED[order.cancel_cause], {"filled": "0"}
    else:
        ended, numbers = OutcomeState.FAILED, {}
        if order.cancel_cause == "opposite":
            words = "cancelled unfilled: the leader turned before it was filled"
    return telling.outcome(
        order, account.account, order.subscription, ended, now_ms, order.order_id, reason, numbers, words
    )


def _lost_stop(state: State, account: Account, holding: Holding, leg: Tracked, now_ms: int) -> list[Out]:
    """A stop-loss ended unfilled: a position must not stay open without one.

    Closed only if the venue refused it. Cancelled or expired it may have been by the other leg's fill, whose report is
    still on its way, and closing twice could open the other side: that is told, and a person looks.
    """
    entry = account.orders.get(leg.entry_order_id)
    if entry is None or entry.open_size <= ZERO or holding.closing is not None:
        return []
    if leg.state != OrderState.REJECTED:
        text = f"{holding.subscription}: the stop-loss of {holding.size} {holding.instrument} is {leg.state}"
        text += "; if no fill of the other leg follows, set a stop by hand"
        return [telling.alert(account.account, "stop_loss_gone", "warning", text, now_ms)]
    params = state.params_of(state.ledger.subscriptions[holding.subscription])
    closes = params.on_lost_stop == "close"
    text = (
        f"{holding.subscription}: the venue refused the stop-loss of {holding.size} {holding.instrument}"
        f"{': ' + leg.words if leg.words else ''}; "
        + ("it is being closed" if closes else "it is unprotected: close it or set a stop by hand")
    )
    outs = [telling.alert(account.account, "stop_loss_lost", "critical", text, now_ms)]
    return outs + close(state, account, holding, leg.order_id, None, False, now_ms) if closes else outs


def _prune(account: Account) -> None:
    """Forget the oldest ended orders beyond `KEPT_ORDERS`, but none of an open bracket or a running close."""
    if len(account.over) <= KEPT_ORDERS:
        return
    spare = len(account.over) - KEPT_ORDERS
    kept: list[str] = []
    for order_id in account.over:
        order = account.orders[order_id]
        holding = account.holdings[holding_key(order.subscription, order.instrument)]
        needed = order.entry_order_id in holding.entries or order_id in holding.entries
        if holding.closing is not None and order_id in holding.closing.exits:
            needed = True
        if spare > 0 and not needed:
            account.past_trades += [trade_key(order.instrument, trade) for trade in order.trades]
            del account.orders[order_id]
            spare -= 1
        else:
            kept.append(order_id)
    account.over = kept
    del account.past_trades[:-KEPT_TRADES]
