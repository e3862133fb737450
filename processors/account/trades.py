"""Opens and closes positions: what follows from a decision, and from the end of an order.

Entry points: `enter`, `close`, `end_order`, `ask_cancel`, `move_position`, `count_use`.

1. An entry of a leader's event has one terminal outcome, given when the order ends; an event that closes has one,
   given when the last of its exits ends; an event that reverses has the one of its entry.
2. A position is closed bracket by bracket, with sizes from this ledger alone, and only once no entry is in flight:
   what fills later would stay open without anybody wanting it.
3. A position that could not be closed, or lost its stop-loss, is alarmed.
"""

from bisect import insort
from decimal import Decimal

from processors.account import telling
from processors.account.gate import Approved, Refused, Want, cancel_order, exit_order, order_id_of, propose_entry
from processors.account.halts import fail
from processors.account.lifecycle import POSITION, PositionEvent, PositionState, move
from processors.account.money import ZERO
from processors.account.state import (
    DAY_MS,
    Account,
    Closing,
    Holding,
    State,
    Subscription,
    Tracked,
    holding_key,
    keep,
    trade_key,
    use_of,
)
from processors.copying.sizing import mode_of
from processors.protocols import Out
from schemas.leaders import LeaderEvent
from schemas.orders import Order
from schemas.reasons import Leg, OrderState, OutcomeState, RefusalReason, Side

KEPT_ORDERS = 24
"""Ended orders kept per account for late reports: eight brackets."""
KEPT_TRADES = 64
"""Trade ids kept of orders forgotten since, so that a fill told again much later is not booked again."""
_STOPPED = {"kill": RefusalReason.KILL_SWITCH, "paused": RefusalReason.PAUSED}
_LACK_OF_BALANCE = (RefusalReason.INSUFFICIENT_MARGIN, RefusalReason.NO_EQUITY)


def enter(
    state: State,
    account: Account,
    subscription: Subscription,
    holding: Holding,
    event: LeaderEvent,
    want: Want,
    now_ms: int,
    after_exit: bool = False,
) -> list[Out]:
    """Send an entry through the gate; the order that names the event is its pending outcome.

    after_exit: the position was closed for this event, now it is reversed.
    """
    result = propose_entry(state, account, subscription, holding, event, want, now_ms)
    if isinstance(result, Approved) and result.order.order_id in account.orders:
        result = Refused(RefusalReason.DUPLICATE, {"order_id": result.order.order_id})
    if isinstance(result, Refused):
        return _refused_entry(state, subscription, event, want, result, now_ms, after_exit)
    order = result.order
    tracked = _track(order, event.sequence, result.numbers, event.detected_ms, event.chain)
    if holding.size == ZERO and not holding.entries:
        holding.contract_size = state.ledger.instruments[want.instrument].contract_size
        holding.leader = event.leader
    keep(account, holding)
    account.orders[order.order_id] = tracked
    account.working.append(order.order_id)
    holding.entries.append(order.order_id)
    use = use_of(subscription, now_ms // DAY_MS)
    use.orders += 1
    use.notional += result.notional
    outs = [Out("orders", account.account, order)]
    outs += move_position(account, holding, PositionEvent.ENTRY_SENT, now_ms)
    if order.kind == "limit":
        insort(state.ledger.resting, (order.not_after_ms, account.account, order.order_id))
    state.report_later(account)
    return outs


def _refused_entry(
    state: State,
    subscription: Subscription,
    event: LeaderEvent,
    want: Want,
    refused: Refused,
    now_ms: int,
    after_exit: bool,
) -> list[Out]:
    account, name = subscription.account, subscription.subscription
    order_id = order_id_of(event.cause, account, name, want.instrument, Leg.ENTRY)
    status = telling.refused_status(
        event,
        subscription,
        order_id,
        Leg.ENTRY,
        want.side,
        refused.reason,
        refused.numbers,
        now_ms,
        refused.size,
        refused.price,
        want.instrument,
    )
    error_id, outs = "", [status]
    if refused.reason in _LACK_OF_BALANCE and event.position is not None:
        words = "; ".join(f"{key} {number}" for key, number in refused.numbers.items())
        error_id, told = fail(
            state,
            name,
            "insufficient_margin",
            f"not enough free margin: {words}",
            now_ms,
            instrument=want.instrument,
            order_id=order_id,
            event_id=event.event_id,
            cause=event.cause,
            numbers=refused.numbers,
        )
        outs += told
    ended = OutcomeState.REDUCED if after_exit else OutcomeState.SKIPPED
    message = "the position was closed, the entry that should have reversed it was refused" if after_exit else ""
    return outs + telling.outcome(
        event,
        account,
        name,
        ended,
        now_ms,
        order_id,
        refused.reason,
        refused.numbers,
        message,
        want.instrument,
        error_id,
    )


def close(
    state: State,
    account: Account,
    holding: Holding,
    cause: str,
    event: LeaderEvent | None,
    reverse: bool,
    now_ms: int,
    *,
    leave: Decimal = ZERO,
    after: Decimal | None = None,
    told: bool = False,
) -> list[Out]:
    """Begin to close a holding that has no closing yet, or to reduce it to `leave` (own units, above zero).

    Entries in flight are waited for first; a close also cancels them, a reduction only those that rest (limit orders).
    after: signed size of the entry that follows a reversal, None: by the sizing mode.
    """
    holding.closing = Closing(cause, event, reverse, [], leave, after)
    keep(account, holding)
    outs = move_position(account, holding, PositionEvent.EXIT_SENT, now_ms)
    waited = _working_entries(account, holding)
    if waited and event is not None and not told:  # else its exits say that it is pending
        first = order_id_of(cause, account.account, holding.subscription, holding.instrument, Leg.EXIT)
        outs += telling.outcome(
            event,
            account.account,
            holding.subscription,
            OutcomeState.PENDING,
            now_ms,
            first,
            message="waits for the end of entries in flight",
            instrument=holding.instrument,
        )
    for order in waited:
        if leave == ZERO or order.limit_price is not None:
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
        if order.filled == ZERO:
            count_use(state, order, now_ms, -1)
        if order.event_id:
            outs += _entry_outcome(state, account, order, holding, now_ms)
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


def count_use(state: State, order: Tracked, now_ms: int, sign: int) -> None:
    """An entry that ended without a fill does not count for the day (-1), unless it fills after all (+1)."""
    subscription = state.ledger.subscriptions.get(order.subscription)
    if subscription is None or order.decided_ms // DAY_MS != now_ms // DAY_MS:
        return
    use, rules = use_of(subscription, now_ms // DAY_MS), state.ledger.instruments[order.instrument]
    price = order.reference_price if order.limit_price is None else order.limit_price
    use.orders = max(use.orders + sign, 0)
    use.notional = max(use.notional + sign * order.size * price * rules.contract_size, ZERO)


def _track(
    order: Order, sequence: int, numbers: dict[str, str], detected_ms: int = 0, chain: tuple[str, ...] = ()
) -> Tracked:
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
        detected_ms=detected_ms,
        decided_ms=order.now_ms,
        chain=(*chain, order.leader),
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
    long, rest = holding.size > ZERO, max(abs(holding.size) - closing.leave, ZERO)
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
    ordinal = _free_ordinal(account, holding, closing.cause)
    for place, (bracket, size) in enumerate(parts, ordinal):
        order = exit_order(state, account, holding, bracket, size, closing.cause, closing.event, place, now_ms)
        sequence, detected_ms = 0, 0
        chain: tuple[str, ...] = ()
        if closing.event is not None:
            sequence, detected_ms, chain = closing.event.sequence, closing.event.detected_ms, closing.event.chain
        account.orders[order.order_id] = _track(order, sequence, {}, detected_ms, chain)
        account.working.append(order.order_id)
        closing.exits.append(order.order_id)
        outs.append(Out("orders", account.account, order))
    state.report_later(account)
    return outs


def _free_ordinal(account: Account, holding: Holding, cause: str) -> int:
    """Return the first ordinal without an exit: the two events of a leader's turn have one cause, both may close."""
    ordinal, fields = 0, (cause, account.account, holding.subscription, holding.instrument)
    while order_id_of(*fields, Leg.EXIT, ordinal) in account.orders:
        ordinal += 1
    return ordinal


def _finish_closing(state: State, account: Account, holding: Holding, now_ms: int) -> list[Out]:
    closing = holding.closing
    assert closing is not None
    holding.closing = None
    flat = holding.size == ZERO
    done = PositionEvent.CLOSED if flat and holding.state == PositionState.CLOSING else PositionEvent.EXIT_ENDED
    outs = move_position(account, holding, done, now_ms)
    exits = [account.orders[item] for item in closing.exits]
    words = "; ".join(order.words for order in exits if order.words)
    subscription = state.ledger.subscriptions[holding.subscription]
    error_id = ""
    if abs(holding.size) > closing.leave and exits:
        error_id, told = _not_closed(state, account, holding, closing, exits[0], words, now_ms)
        outs += told
    if closing.event is not None:
        if flat and closing.reverse:
            want = _reversal(state, subscription, holding, closing)
            outs += enter(state, account, subscription, holding, closing.event, want, now_ms, after_exit=True)
        else:
            outs += _closing_outcome(subscription, holding, closing, exits, words, error_id, now_ms)
    if closing.then and holding.size != ZERO:
        outs += close(state, account, holding, closing.then, None, False, now_ms)
    return outs


def _reversal(state: State, subscription: Subscription, holding: Holding, closing: Closing) -> Want:
    """Return the entry that follows a closed position."""
    assert closing.event is not None
    if closing.after is not None:
        side = Side.BUY if closing.after > ZERO else Side.SELL
        return Want(side, holding.instrument, abs(closing.after))
    opposite = mode_of(state.params_of(subscription, holding.instrument).size).opposite
    return Want(closing.event.side.opposite if opposite else closing.event.side, holding.instrument)


def _failed(
    state: State, order: Tracked, kind: str, words: str, now_ms: int, numbers: dict[str, str] | None = None
) -> tuple[str, list[Out]]:
    """Note that an order failed, see halts.fail."""
    return fail(
        state,
        order.subscription,
        kind,
        words,
        now_ms,
        instrument=order.instrument,
        order_id=order.order_id,
        event_id=order.event_id,
        cause=order.cause,
        numbers=numbers,
    )


def _not_closed(
    state: State, account: Account, holding: Holding, closing: Closing, first: Tracked, words: str, now_ms: int
) -> tuple[str, list[Out]]:
    """Tell that exits ended and more is open than should be."""
    text = (
        f"{holding.subscription} still holds {holding.size} {holding.instrument} after its exit ended"
        f"{': ' + words if words else ''}; its protective legs may be gone: close it by hand or send an exit"
    )
    outs = [telling.alert(account.account, "position_not_closed", "critical", text, now_ms)]
    numbers = {"left": str(holding.size), "wanted": str(closing.leave)}
    error_id, told = _failed(state, first, "not_closed", words or text, now_ms, numbers)
    return error_id, outs + told


def _closing_outcome(
    subscription: Subscription,
    holding: Holding,
    closing: Closing,
    exits: list[Tracked],
    words: str,
    error_id: str,
    now_ms: int,
) -> list[Out]:
    event = closing.event
    assert event is not None
    wanted = sum((order.size for order in exits), ZERO)
    filled = sum((order.filled for order in exits), ZERO)
    account, name, instrument = subscription.account, subscription.subscription, holding.instrument
    order_id = order_id_of(event.cause, account, name, instrument, Leg.EXIT)
    numbers = {"wanted": str(wanted), "filled": str(filled), "left": str(holding.size)}
    reached = abs(holding.size) <= closing.leave
    if reached and filled == ZERO:
        reason = RefusalReason.NOTHING_TO_CLOSE
        outs = []
        if not exits:
            outs.append(
                telling.refused_status(
                    event, subscription, order_id, Leg.EXIT, event.side, reason, numbers, now_ms, instrument=instrument
                )
            )
        ended = OutcomeState.SKIPPED
        return outs + telling.outcome(event, account, name, ended, now_ms, order_id, reason, numbers, words, instrument)
    cost = telling.copy_cost(exits, holding.contract_size)
    if reached and filled >= wanted:
        ended = OutcomeState.COPIED
        return telling.outcome(event, account, name, ended, now_ms, order_id, instrument=instrument, cost=cost)
    ended = OutcomeState.FAILED if filled == ZERO else OutcomeState.REDUCED
    return telling.outcome(
        event, account, name, ended, now_ms, order_id, None, numbers, words, instrument, error_id, cost
    )


def _entry_outcome(state: State, account: Account, order: Tracked, holding: Holding, now_ms: int) -> list[Out]:
    reason, numbers, words, error_id = None, order.numbers, order.words, ""
    outs: list[Out] = []
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
    kind = "rejected" if order.state == OrderState.REJECTED else "expired" if reason is RefusalReason.EXPIRED else ""
    if kind and order.filled == ZERO:
        asked = {"size": str(order.size), "price": str(order.reference_price)}
        error_id, outs = _failed(state, order, kind, words or kind, now_ms, asked)
    cost = telling.copy_cost([order], holding.contract_size)
    return outs + telling.outcome(
        order,
        account.account,
        order.subscription,
        ended,
        now_ms,
        order.order_id,
        reason,
        numbers,
        words,
        order.instrument,
        error_id,
        cost,
    )


def _lost_stop(state: State, account: Account, holding: Holding, leg: Tracked, now_ms: int) -> list[Out]:
    """A stop-loss ended unfilled: a position must not stay open without one.

    Closed only if the venue refused it. Cancelled or expired it may have been by the other leg's fill, whose report is
    still on its way, and closing twice could open the other side: that is told, and a person looks.
    """
    entry = account.orders.get(leg.entry_order_id)
    reducing = holding.closing is not None and holding.closing.leave > ZERO and leg.state == OrderState.REJECTED
    if entry is None or entry.open_size <= ZERO or (holding.closing is not None and not reducing):
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
    outs += _failed(state, leg, "protection_lost", leg.words or "the venue refused the stop-loss", now_ms)[1]
    if closes and holding.closing is not None:  # being reduced: what that leaves is closed then
        holding.closing.then = holding.closing.then or leg.order_id
        return outs
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
