"""The gate: risk checks, size, protection, and the only place where an `Order` is made (design law 8).

Entry points: `CHECKS`, `propose_entry`, `exit_order`, `cancel_order`, `order_id_of`.

1. Cheap checks run first, then protection and size are worked out, then the checks that need the size.
2. Order ids are hashes of cause, account, subscription, instrument, leg and ordinal: the same decision made again is
   the same order.
3. Entries expire (`not_after_ms`); exits carry the same field but executors send them however late they are.
"""

from collections.abc import Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Literal, NamedTuple

from processors.account import risk
from processors.account.ledger import Valuation, value
from processors.account.money import BPS, ONE, ZERO
from processors.account.params import AccountParams
from processors.account.protection import Levels, levels
from processors.account.risk import Finding, Proposal, RiskCheck
from processors.account.sizing import Sized, leverage_of, size_entry
from processors.account.state import Account, Holding, State, Subscription, Tracked
from processors.copying.params import LimitEntry, SubscriptionParams
from processors.registry import discover
from schemas.accounts import InstrumentChanged
from schemas.ids import derive_id
from schemas.leaders import LeaderEvent
from schemas.market import Mark
from schemas.orders import CancelOrder, Order, Protection
from schemas.reasons import Leg, RefusalReason, Side


def _ranked(checks: Sequence[RiskCheck]) -> tuple[RiskCheck, ...]:
    ranked = tuple(sorted(checks, key=lambda check: check.rank))
    ranks = [check.rank for check in ranked]
    if len(set(ranks)) != len(ranks):
        raise TypeError(f"risk checks need different ranks: {[(check.name, check.rank) for check in ranked]}")
    return ranked


CHECKS: tuple[RiskCheck, ...] = _ranked(list(discover(risk, "CHECK").values()))
_BEFORE_SIZING = tuple(check for check in CHECKS if not check.after_sizing)
_AFTER_SIZING = tuple(check for check in CHECKS if check.after_sizing)
_ON_EXITS = tuple(check for check in CHECKS if check.on_exits)


class Approved(NamedTuple):
    """An order that passed, and why it is smaller than wanted (empty if it is not)."""

    order: Order
    numbers: dict[str, str]


class Refused(NamedTuple):
    """An entry that did not pass. `size` is zero if it was not sized; `price` None if there is no market."""

    reason: RefusalReason
    numbers: dict[str, str]
    size: Decimal = ZERO
    price: Decimal | None = None


def order_id_of(cause: str, account: str, subscription: str, instrument: str, leg: Leg, ordinal: int = 0) -> str:
    """Return the id of the order that `cause` makes for this subscription, instrument and leg."""
    return derive_id("order", cause, account, subscription, instrument, leg, ordinal)


def touch(mark: Mark, side: Side) -> Decimal:
    """Return what a market order on `side` pays at best."""
    return mark.ask if side is Side.BUY else mark.bid


def propose_entry(
    state: State, account: Account, subscription: Subscription, holding: Holding, event: LeaderEvent, now_ms: int
) -> Approved | Refused:
    """Check, size and protect an entry for a leader's event; raises the account's peak equity if it is higher."""
    rules = state.ledger.instruments.get(event.instrument)
    if rules is None:
        return Refused(RefusalReason.UNKNOWN_INSTRUMENT, {"instrument": event.instrument})
    mark = state.ledger.marks.get(event.instrument)
    if mark is None:
        return Refused(RefusalReason.NO_MARKET, {"instrument": event.instrument})
    params, account_params = state.params_of(subscription), state.params_of_account(account)
    worth = value(state, account)
    account.peak_equity = max(account.peak_equity, worth.equity)
    price = touch(mark, event.side)
    proposal = _proposal(state, account, holding, event, now_ms, params, account_params, worth, price)
    finding = _first(_BEFORE_SIZING, proposal)
    if finding is not None:
        return Refused(*finding, price=price)
    limit_price = _limit_price(params, event.side, price, rules)
    entry_price = price if limit_price is None else limit_price
    if entry_price <= ZERO:
        return Refused(RefusalReason.NOT_TRADABLE, {"limit_price": str(entry_price)}, price=price)
    protection = levels(event.side, entry_price, event.atr, params, rules, mark)
    if not isinstance(protection, Levels):
        return Refused(*protection, price=price)
    held = worth.by_holding.get((subscription.subscription, event.instrument), ZERO)
    sized = size_entry(
        worth, held, entry_price, protection.stop_loss, subscription.ratio, account_params, params, rules
    )
    if not isinstance(sized, Sized):
        return Refused(*sized, price=price)
    proposal.size, proposal.notional = sized.size, sized.notional
    finding = _first(_AFTER_SIZING, proposal)
    if finding is not None:
        return Refused(*finding, size=sized.size, price=price)
    order = _entry(
        account, subscription, event, now_ms, params, account_params, rules, price, limit_price, protection, sized.size
    )
    return Approved(order, sized.numbers)


def refused_exit(
    state: State, account: Account, subscription: Subscription, holding: Holding, event: LeaderEvent, now_ms: int
) -> Finding | None:
    """Ask the checks that apply to exits; None: the exit may go."""
    worth = value(state, account)
    params, account_params = state.params_of(subscription), state.params_of_account(account)
    return _first(
        _ON_EXITS, _proposal(state, account, holding, event, now_ms, params, account_params, worth, event.price)
    )


def exit_order(
    state: State,
    account: Account,
    holding: Holding,
    entry: Tracked | None,
    size: Decimal,
    cause: str,
    event: LeaderEvent | None,
    ordinal: int,
    now_ms: int,
) -> Order:
    """Return the reduce-only market order that closes `size` of a holding, of the bracket of `entry` if known.

    Without a leader's `event` the entry's own leader price and time go with it.
    """
    side = Side.SELL if holding.size > ZERO else Side.BUY
    mark = state.ledger.marks.get(holding.instrument)
    average = holding.cost / holding.size
    price = average if mark is None else touch(mark, side)
    leader_price, event_ms, event_id = price, now_ms, ""
    if event is not None:
        leader_price, event_ms, event_id = event.price, event.event_ms, event.event_id
    elif entry is not None:
        leader_price, event_ms = entry.leader_price, entry.event_ms
    return Order(
        now_ms=now_ms,
        order_id=order_id_of(cause, account.account, holding.subscription, holding.instrument, Leg.EXIT, ordinal),
        account=account.account,
        venue=account.venue,
        subscription=holding.subscription,
        leader=holding.leader if event is None else event.leader,
        instrument=holding.instrument,
        leg=Leg.EXIT,
        side=side,
        kind="market",
        size=size,
        reference_price=price,
        leader_price=leader_price,
        cause=cause,
        event_id=event_id,
        event_ms=event_ms,
        not_after_ms=now_ms + _ttl(state, holding.subscription),
        leverage=_leverage(state, account, holding.instrument),
        reduce_only=True,
        closes=None if entry is None else entry.order_id,
    )


def cancel_order(account: Account, order: Tracked, cause: str, now_ms: int) -> CancelOrder:
    """Return the request to cancel what rests of an order."""
    return CancelOrder(
        now_ms=now_ms,
        account=account.account,
        venue=account.venue,
        instrument=order.instrument,
        order_id=order.order_id,
        cause=cause,
    )


def kill_reason(state: State, account: Account) -> str | None:
    """Return why entries of the account are stopped, None if they are not."""
    if state.ledger.killed is not None:
        return f"command for all accounts: {state.ledger.killed}"
    if account.killed is not None:
        return f"command: {account.killed}"
    return "settings" if state.params_of_account(account).kill_switch else None


def _first(checks: Sequence[RiskCheck], proposal: Proposal) -> Finding | None:
    for check in checks:
        finding = check.check(proposal)
        if finding is not None:
            return finding
    return None


def _proposal(
    state: State,
    account: Account,
    holding: Holding,
    event: LeaderEvent,
    now_ms: int,
    params: SubscriptionParams,
    account_params: AccountParams,
    worth: Valuation,
    price: Decimal,
) -> Proposal:
    return Proposal(
        now_ms=now_ms,
        event=event,
        account=account_params,
        subscription=params,
        price=price,
        equity=worth.equity,
        day_equity=account.day_equity,
        peak_equity=account.peak_equity,
        exposure=worth.exposure,
        instrument_exposure=worth.by_instrument.get(event.instrument, ZERO),
        open_orders=len(account.working),
        kill=kill_reason(state, account),
        closed_ms=holding.closed_ms,
        told_before=state.told_before(event),
        size=ZERO,
        notional=ZERO,
    )


def _limit_price(params: SubscriptionParams, side: Side, price: Decimal, rules: InstrumentChanged) -> Decimal | None:
    """Return the limit price, rounded so that it is never worse than asked for; None for a market order."""
    if not isinstance(params.order, LimitEntry):
        return None
    offset = params.order.offset_bps / BPS
    exact = price * (ONE + offset if side is Side.BUY else ONE - offset)
    rounding = ROUND_FLOOR if side is Side.BUY else ROUND_CEILING
    return (exact / rules.tick).quantize(ONE, rounding=rounding) * rules.tick


def _entry(
    account: Account,
    subscription: Subscription,
    event: LeaderEvent,
    now_ms: int,
    params: SubscriptionParams,
    account_params: AccountParams,
    rules: InstrumentChanged,
    price: Decimal,
    limit_price: Decimal | None,
    protection: Levels,
    size: Decimal,
) -> Order:
    fields = (event.cause, account.account, subscription.subscription, event.instrument)
    kind: Literal["market", "limit"] = "market" if limit_price is None else "limit"
    return Order(
        now_ms=now_ms,
        order_id=order_id_of(*fields, Leg.ENTRY),
        account=account.account,
        venue=account.venue,
        subscription=subscription.subscription,
        leader=event.leader,
        instrument=event.instrument,
        leg=Leg.ENTRY,
        side=event.side,
        kind=kind,
        size=size,
        reference_price=price,
        leader_price=event.price,
        cause=event.cause,
        event_id=event.event_id,
        event_ms=event.event_ms,
        not_after_ms=now_ms + params.order_ttl_ms,
        leverage=leverage_of(account_params, rules),
        limit_price=limit_price,
        protection=Protection(
            now_ms=now_ms,
            stop_loss=protection.stop_loss,
            take_profit=protection.take_profit,
            stop_loss_order_id=order_id_of(*fields, Leg.STOP_LOSS),
            take_profit_order_id=order_id_of(*fields, Leg.TAKE_PROFIT),
            trigger=params.trigger,
        ),
    )


def _leverage(state: State, account: Account, instrument: str) -> int:
    rules = state.ledger.instruments.get(instrument)
    params = state.params_of_account(account)
    return params.leverage if rules is None else leverage_of(params, rules)


def _ttl(state: State, subscription: str) -> int:
    return state.params_of(state.ledger.subscriptions[subscription]).order_ttl_ms
