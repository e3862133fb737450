"""Follows a leader that tells its position: its trades, or the position itself.

Entry points: `copy`, `bring`, `go_on`.

1. Modes that follow the change make one trade of each of the leader's; modes that follow the position bring ours to a
   target after each of them. What there is counts with its entries in flight.
2. A reduction is sized by the mode or by the leader's share, rounded down to the lot, and never more than there is. An
   exit closes all there is, whatever the mode.
3. While a position is being closed or reduced, later events wait, oldest first; a newer target supersedes a waiting
   one (a reduction only other reductions, since it never enters), and so does an exit where too many wait. Each keeps
   its pending outcome until its turn.
4. Nothing here decides whether an entry may go: that is the gate's.
"""

from decimal import Decimal

from processors.account import telling
from processors.account.gate import Want, change_protection, refused_exit, size_request, touch
from processors.account.halts import tried
from processors.account.ledger import exposure_of, value
from processors.account.money import ZERO, floor_to, shown
from processors.account.protection import leader_levels
from processors.account.sizing import least_size
from processors.account.state import Account, Holding, State, Subscription, Tracked, keep
from processors.account.trades import close, enter
from processors.copying.modes import SizeMode
from processors.copying.params import SubscriptionParams
from processors.copying.sizing import missing, mode_of
from processors.protocols import Out
from schemas.leaders import LeaderEvent
from schemas.reasons import LeaderAction, Leg, OutcomeState, RefusalReason, Side

MOST_WAITING = 64
"""Events that may wait for one holding; more are skipped."""


def copy(
    state: State,
    account: Account,
    subscription: Subscription,
    holding: Holding,
    event: LeaderEvent,
    now_ms: int,
    told: bool = False,
) -> list[Out]:
    """Copy one event; `told`: it waited, and its pending outcome was told."""
    params = state.params_of(subscription, holding.instrument)
    mode = mode_of(params.size)
    follows = mode.follows(params.size)
    if holding.closing is not None and event.action is not LeaderAction.PROTECTION:
        return _wait(account, subscription, holding, event, follows == "position", now_ms)
    if event.action is LeaderAction.PROTECTION:
        return _protect(state, account, subscription, holding, event, params, now_ms)
    if event.action is LeaderAction.EXIT:
        holding.kept_back = ZERO
        return _close(state, account, subscription, holding, event, ZERO, now_ms, told)
    if follows == "position":
        return _to_target(state, account, subscription, holding, event, params, mode, now_ms, told)
    if event.action is LeaderAction.REDUCE:
        return _reduce(state, account, subscription, holding, event, params, mode, now_ms, told)
    side = event.side.opposite if mode.opposite else event.side
    have = exposure_of(account, holding)
    if have != ZERO and (have > ZERO) != (side is Side.BUY):  # it missed the leader's exit: close, then enter
        holding.expected = holding.kept_back = ZERO
        return close(state, account, holding, event.cause, event, True, now_ms, told=told)
    want = Want(side, holding.instrument)
    return enter(state, account, subscription, holding, event, want, now_ms)


def bring(
    state: State,
    account: Account,
    subscription: Subscription,
    holding: Holding,
    event: LeaderEvent,
    target: Decimal,
    now_ms: int,
    told: bool = False,
) -> list[Out]:
    """Bring the position to `target` (signed, own units, exact) for an event."""
    target = _rounded_up(state, subscription, holding.instrument, target)
    have = exposure_of(account, holding)
    turns = have != ZERO and target != ZERO and (have > ZERO) != (target > ZERO)
    rules, missing_size = state.ledger.instruments.get(holding.instrument), abs(target) - abs(have)
    if rules is not None and have != ZERO and not turns and target != ZERO and abs(missing_size) < rules.lot:
        numbers = {"position": str(have), "target": shown(target), "lot": str(rules.lot)}
        return telling.skipped(
            subscription, event, RefusalReason.IN_LINE, numbers, now_ms, Leg.ENTRY, holding.instrument
        )
    if target == ZERO or (not turns and abs(target) < abs(have)):
        return _close(state, account, subscription, holding, event, abs(target), now_ms, told)
    if turns:
        return close(state, account, holding, event.cause, event, True, now_ms, after=target, told=told)
    want = Want(Side.BUY if target > ZERO else Side.SELL, holding.instrument, missing_size)
    return enter(state, account, subscription, holding, event, want, now_ms)


def _rounded_up(state: State, subscription: Subscription, instrument: str, target: Decimal) -> Decimal:
    """Return the target, at least the instrument's minimum where the settings round up to it."""
    rules, mark = state.ledger.instruments.get(instrument), state.ledger.marks.get(instrument)
    if state.params_of(subscription, instrument).below_minimum != "round_up" or target == ZERO:
        return target
    if rules is None or mark is None:
        return target
    price = touch(mark, Side.BUY if target > ZERO else Side.SELL)
    size = max(abs(target), least_size(rules, price * rules.contract_size))
    return size if target > ZERO else -size


def go_on(state: State, account: Account, holding: Holding, now_ms: int) -> list[Out]:
    """Take the events that waited, as far as the holding is free."""
    outs: list[Out] = []
    while holding.waiting and holding.closing is None:
        event = holding.waiting.pop(0)
        subscription = state.ledger.subscriptions[holding.subscription]
        if subscription.status not in ("active", "paused"):
            numbers = {"status": subscription.status}
            outs += telling.skipped(
                subscription, event, RefusalReason.STOPPED, numbers, now_ms, Leg.ENTRY, holding.instrument
            )
            continue
        made = copy(state, account, subscription, holding, event, now_ms, told=True)
        outs += made + tried(event, made, now_ms)
    return outs


def _wait(
    account: Account,
    subscription: Subscription,
    holding: Holding,
    event: LeaderEvent,
    supersedes: bool,
    now_ms: int,
) -> list[Out]:
    outs: list[Out] = []
    instrument = holding.instrument
    full = len(holding.waiting) >= MOST_WAITING
    if supersedes or (full and event.action is LeaderAction.EXIT):  # after an exit nothing before it matters
        while holding.waiting:
            older, numbers = holding.waiting.pop(), {"by_sequence": str(event.sequence)}
            outs += telling.skipped(
                subscription, older, RefusalReason.SUPERSEDED, numbers, now_ms, Leg.ENTRY, instrument
            )
    if len(holding.waiting) >= MOST_WAITING:
        numbers = {"waiting": str(len(holding.waiting))}
        return telling.skipped(
            subscription, event, RefusalReason.ORDER_IN_FLIGHT, numbers, now_ms, Leg.ENTRY, instrument
        )
    holding.waiting.append(event)
    keep(account, holding)
    return outs + telling.outcome(
        event,
        account.account,
        subscription.subscription,
        OutcomeState.PENDING,
        now_ms,
        message="waits until the position has been closed or reduced for an earlier event",
        instrument=instrument,
    )


def _to_target(
    state: State,
    account: Account,
    subscription: Subscription,
    holding: Holding,
    event: LeaderEvent,
    params: SubscriptionParams,
    mode: SizeMode,
    now_ms: int,
    told: bool,
) -> list[Out]:
    wish = _wish(state, account, event, params, holding.instrument)
    if isinstance(wish, RefusalReason):
        numbers = {"mode": mode.name}
        return telling.skipped(subscription, event, wish, numbers, now_ms, Leg.ENTRY, holding.instrument)
    holding.expected = wish
    if _never_entered(params, holding.instrument, wish):
        have = exposure_of(account, holding)
        same = have != ZERO and (have > ZERO) == (wish > ZERO)
        holding.expected = ZERO if not same else have if abs(have) < abs(wish) else wish
    if holding.expected != ZERO:
        keep(account, holding)
    return bring(state, account, subscription, holding, event, wish, now_ms, told)


def _never_entered(params: SubscriptionParams, instrument: str, target: Decimal) -> bool:
    """Return whether the settings keep from ever entering towards this target: that is no drift."""
    unlisted = params.whitelist is not None and instrument not in params.whitelist
    side = "long" if target > ZERO else "short"
    wrong_side = params.condition.sides not in ("both", side)
    return params.notify_only or unlisted or instrument in params.blacklist or wrong_side


def _reduce(
    state: State,
    account: Account,
    subscription: Subscription,
    holding: Holding,
    event: LeaderEvent,
    params: SubscriptionParams,
    mode: SizeMode,
    now_ms: int,
    told: bool,
) -> list[Out]:
    have = exposure_of(account, holding)
    side = event.side.opposite if mode.opposite else event.side
    instrument, share = holding.instrument, _share(event)
    if mode.share:
        amount, expected = abs(have) * share, abs(holding.expected) * share
    else:
        wish = _wish(state, account, event, params, instrument)
        if isinstance(wish, RefusalReason):
            numbers = {"mode": mode.name}
            return telling.skipped(subscription, event, wish, numbers, now_ms, Leg.EXIT, instrument)
        amount = expected = wish
    amount = _from_kept_back(holding, amount, share if mode.share else None)
    expected = min(expected, abs(holding.expected))
    holding.expected -= expected if holding.expected > ZERO else -expected
    if have == ZERO or (have > ZERO) == (side is Side.BUY):
        numbers = {"position": str(have)}
        return telling.skipped(
            subscription, event, RefusalReason.NOTHING_TO_CLOSE, numbers, now_ms, Leg.EXIT, instrument
        )
    leave = max(abs(have) - amount, ZERO)
    if params.drift.policy == "next_event":  # what is missing is made good by what is not reduced
        target = holding.expected if have > ZERO else -holding.expected
        if abs(leave - target) > params.drift.tolerance * abs(target):
            leave = max(target, ZERO)
        if leave >= abs(have):
            numbers = {"position": str(have), "expected": shown(holding.expected)}
            return telling.skipped(subscription, event, RefusalReason.IN_LINE, numbers, now_ms, Leg.EXIT, instrument)
    return _close(state, account, subscription, holding, event, leave, now_ms, told)


def _from_kept_back(holding: Holding, amount: Decimal, share: Decimal | None) -> Decimal:
    """Take from what was kept back for the next event first; return what is to be closed of the position."""
    if share is not None:
        holding.kept_back -= holding.kept_back * share
        return amount
    taken = min(holding.kept_back, amount)
    holding.kept_back -= taken
    return amount - taken


def _close(
    state: State,
    account: Account,
    subscription: Subscription,
    holding: Holding,
    event: LeaderEvent,
    leave: Decimal,
    now_ms: int,
    told: bool,
) -> list[Out]:
    """Close the position down to `leave` (exact), if the guards of exits allow it and it is at least a lot."""
    have, instrument = exposure_of(account, holding), holding.instrument
    rules = state.ledger.instruments.get(instrument)
    if leave == ZERO:
        holding.expected = ZERO
    if have == ZERO:
        numbers = {"position": str(have)}
        return telling.skipped(
            subscription, event, RefusalReason.NOTHING_TO_CLOSE, numbers, now_ms, Leg.EXIT, instrument
        )
    if leave != ZERO and rules is not None:
        amount = floor_to(abs(have) - leave, rules.lot)
        below = state.params_of(subscription, instrument).below_minimum
        if amount == ZERO and below == "round_up":
            amount = min(rules.lot, abs(have))
        if amount == ZERO:
            numbers = {"position": str(have), "leave": shown(leave), "lot": str(rules.lot)}
            return telling.skipped(
                subscription, event, RefusalReason.BELOW_MINIMUM, numbers, now_ms, Leg.EXIT, instrument
            )
        leave = abs(have) - amount
    finding = refused_exit(state, account, subscription, holding, event, now_ms)
    if finding is not None:
        return telling.skipped(subscription, event, *finding, now_ms, Leg.EXIT, instrument)
    return close(state, account, holding, event.cause, event, False, now_ms, leave=leave, told=told)


def _share(event: LeaderEvent) -> Decimal:
    """Return which part of its position the leader closed."""
    if event.size is None or event.position is None:
        return Decimal(1)
    return event.size / (abs(event.position) + event.size)


def _wish(
    state: State, account: Account, event: LeaderEvent, params: SubscriptionParams, instrument: str
) -> Decimal | RefusalReason:
    """Return what the mode wishes for an event that needs no protection (a reduction or a target)."""
    rules, mark = state.ledger.instruments.get(instrument), state.ledger.marks.get(instrument)
    if rules is None:
        return RefusalReason.UNKNOWN_INSTRUMENT
    price = event.price if mark is None else touch(mark, event.side)
    equity = value(state, account).equity if params.capital is None else params.capital
    request = size_request(event, params, rules, price, equity)
    absent = missing(params.size, request)
    return mode_of(params.size).wish(params.size, request) if absent is None else absent


def _protect(
    state: State,
    account: Account,
    subscription: Subscription,
    holding: Holding,
    event: LeaderEvent,
    params: SubscriptionParams,
    now_ms: int,
) -> list[Out]:
    """Move the legs of every open bracket to the leader's new levels, where the settings follow them."""
    name, instrument = subscription.subscription, holding.instrument
    rules, mark = state.ledger.instruments.get(instrument), state.ledger.marks.get(instrument)
    brackets = [account.orders[item] for item in holding.entries]
    numbers = {"brackets": str(len(brackets)), "stop_loss": str(event.stop_loss), "take_profit": str(event.take_profit)}
    outs: list[Out] = []
    if rules is not None and mark is not None and params.follow_protection:
        for entry in brackets:
            stop_loss, take_profit = leader_levels(entry.side, event, params, rules, mark)
            stop_loss = None if stop_loss == entry.stop_loss else stop_loss
            take_profit = None if take_profit == entry.take_profit else take_profit
            if stop_loss is None and take_profit is None:
                continue
            request = change_protection(account, entry, stop_loss, take_profit, event.event_id, now_ms)
            _move_levels(entry, stop_loss, take_profit)
            outs.append(Out("orders", account.account, request))
    if not outs:
        reason = RefusalReason.NO_PROTECTION_CHANGE
        return telling.skipped(subscription, event, reason, numbers, now_ms, Leg.STOP_LOSS, instrument)
    state.report_later(account)
    numbers["changed"] = str(len(outs))
    return outs + telling.outcome(
        event, account.account, name, OutcomeState.COPIED, now_ms, numbers=numbers, instrument=instrument
    )


def _move_levels(entry: Tracked, stop_loss: Decimal | None, take_profit: Decimal | None) -> None:
    entry.stop_loss = entry.stop_loss if stop_loss is None else stop_loss
    entry.take_profit = entry.take_profit if take_profit is None else take_profit
