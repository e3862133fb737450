"""The gate: risk checks, size, protection, and the only place where an `Order` is made (design law 8).

Entry points: `CHECKS`, `propose_entry`, `exit_order`, `cancel_order`, `order_id_of`.

1. Cheap checks run first, then protection and size are worked out, then the checks that need the size.
2. Order ids are hashes of cause, account, subscription, instrument, leg and ordinal: the same decision made again is
   the same order.
3. Entries expire (`not_after_ms`); exits carry the same field but executors send them however late they are.
4. What was wished of a sized leader is noted in the holding (`expected`) as soon as the checks before sizing passed:
   caps and failures make the actual position smaller, not the expected one.
"""

from collections.abc import Callable, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import NamedTuple

from processors.account import risk
from processors.account.ledger import Valuation, exposure_of, value
from processors.account.money import BPS, ONE, ZERO, shown
from processors.account.params import AccountParams
from processors.account.protection import Levels, levels
from processors.account.risk import Finding, Proposal, RiskCheck
from processors.account.sizing import Sized, leverage_of, margin_rate, size_entry
from processors.account.state import DAY_MS, Account, Holding, State, Subscription, Tracked, keep, use_of
from processors.copying.caps import CapRequest
from processors.copying.modes import SizeRequest
from processors.copying.params import LimitEntry, SubscriptionParams
from processors.copying.sizing import missing, mode_of
from processors.registry import discover
from schemas.accounts import InstrumentChanged
from schemas.ids import derive_id, id_of, id_part
from schemas.leaders import LeaderEvent
from schemas.market import Mark
from schemas.orders import CancelOrder, ChangeProtection, Order, Protection
from schemas.reasons import Leg, RefusalReason, Side
from schemas.system import scopes_of


def _ranked(checks: Sequence[RiskCheck]) -> tuple[RiskCheck, ...]:
    ranked = tuple(sorted(checks, key=lambda check: check.rank))
    ranks = [check.rank for check in ranked]
    if len(set(ranks)) != len(ranks):
        raise TypeError(f"risk checks need different ranks: {[(check.name, check.rank) for check in ranked]}")
    return ranked


CHECKS: tuple[RiskCheck, ...] = _ranked(list(discover(risk, "CHECK").values()))
_BEFORE_SIZING = tuple(check.check for check in CHECKS if not check.after_sizing)
_AFTER_SIZING = tuple(check.check for check in CHECKS if check.after_sizing)
_ON_EXITS = tuple(check.check for check in CHECKS if check.on_exits)


class Want(NamedTuple):
    """An entry that is wanted: own side, own instrument, size in own units (None: by the sizing mode)."""

    side: Side
    instrument: str
    size: Decimal | None = None


class Approved(NamedTuple):
    """An order that passed, why it is smaller than wanted (empty if it is not), and its notional."""

    order: Order
    numbers: dict[str, str]
    notional: Decimal


class Refused(NamedTuple):
    """An entry that did not pass. `size` is zero if it was not sized; `price` None if there is no market."""

    reason: RefusalReason
    numbers: dict[str, str]
    size: Decimal = ZERO
    price: Decimal | None = None


def order_id_of(cause: str, account: str, subscription: str, instrument: str, leg: Leg, ordinal: int = 0) -> str:
    """Return the id of the order that `cause` makes for this subscription, instrument and leg."""
    return derive_id("order", cause, account, subscription, instrument, leg, ordinal)


_BRACKET = tuple(id_part(leg, 0) for leg in (Leg.ENTRY, Leg.STOP_LOSS, Leg.TAKE_PROFIT))


def _bracket_ids(cause: str, account: str, subscription: str, instrument: str) -> tuple[str, str, str]:
    """Return `order_id_of` for an entry, its stop-loss and its take-profit."""
    shared = id_part("order", cause, account, subscription, instrument)
    entry, stop_loss, take_profit = _BRACKET
    return id_of(shared + entry), id_of(shared + stop_loss), id_of(shared + take_profit)


def touch(mark: Mark, side: Side) -> Decimal:
    """Return what a market order on `side` pays at best."""
    return mark.ask if side is Side.BUY else mark.bid


def propose_entry(
    state: State,
    account: Account,
    subscription: Subscription,
    holding: Holding,
    event: LeaderEvent,
    want: Want,
    now_ms: int,
) -> Approved | Refused:
    """Check, size and protect an entry for a leader's event; raises the account's peak equity if it is higher."""
    rules = state.ledger.instruments.get(want.instrument)
    if rules is None:
        return Refused(RefusalReason.UNKNOWN_INSTRUMENT, {"instrument": want.instrument})
    mark = state.ledger.marks.get(want.instrument)
    if mark is None:
        return Refused(RefusalReason.NO_MARKET, {"instrument": want.instrument})
    params, account_params = state.params_of(subscription, want.instrument), state.params_of_account(account)
    worth = value(state, account)
    account.peak_equity = max(account.peak_equity, worth.equity)
    price = touch(mark, want.side)
    proposal = _proposal(state, account, subscription, holding, event, want, now_ms, params, account_params, worth)
    proposal.price, proposal.tick = price, rules.tick
    finding = _first(_BEFORE_SIZING, proposal)
    if finding is not None:
        return Refused(*finding, price=price)
    limit_price = _limit_price(params, want.side, price, rules)
    entry_price = price if limit_price is None else limit_price
    if entry_price <= ZERO:
        return Refused(RefusalReason.NOT_TRADABLE, {"limit_price": str(entry_price)}, price=price)
    protection = levels(want.side, entry_price, event, params, rules, mark)
    if not isinstance(protection, Levels):
        return Refused(*protection, price=price)
    wish = _wish(worth, params, rules, event, want, entry_price, protection)
    if isinstance(wish, Refused):
        return wish
    kept_back = ZERO  # a size that is given is all that is missing, what was kept back with it
    if want.size is None:
        kept_back = holding.kept_back
        if event.position is not None:
            _expect(account, holding, params, event, want, wish)
            missing_size = _missing(account, holding, params, want, wish + kept_back)
            if missing_size is not None and missing_size <= ZERO:
                numbers = {"position": str(exposure_of(account, holding)), "expected": shown(holding.expected)}
                return Refused(RefusalReason.IN_LINE, numbers, price=price)
            wish, kept_back = (wish, kept_back) if missing_size is None else (missing_size, ZERO)
    leverage = leverage_of(account_params, rules, params.leverage, event)
    caps = _caps(subscription, params, account_params, worth, want.instrument, leverage, proposal.day_notional)
    sized = size_entry(wish, kept_back, entry_price, rules, caps)
    if not isinstance(sized, Sized):
        if sized[0] is RefusalReason.ACCUMULATED:
            holding.kept_back = kept_back + wish
            keep(account, holding)
        return Refused(*sized, price=price)
    proposal.size, proposal.notional = sized.size, sized.notional
    finding = _first(_AFTER_SIZING, proposal)
    if finding is not None:
        return Refused(*finding, size=sized.size, price=price)
    holding.kept_back = sized.kept_back
    order = _entry(
        account, subscription, event, want, now_ms, params, leverage, price, limit_price, protection, sized.size
    )
    return Approved(order, sized.numbers, sized.notional)


def _wish(
    worth: Valuation,
    params: SubscriptionParams,
    rules: InstrumentChanged,
    event: LeaderEvent,
    want: Want,
    price: Decimal,
    protection: Levels,
) -> Decimal | Refused:
    """Return the wished size, exact and in own units."""
    if want.size is not None:
        return want.size
    mode = mode_of(params.size)
    if mode.follows(params.size) == "nothing":
        return Refused(RefusalReason.SIGNAL_ONLY, {"mode": mode.name}, price=price)
    equity = worth.equity if params.capital is None else params.capital
    if equity <= ZERO:
        return Refused(RefusalReason.NO_EQUITY, {"equity": shown(equity)}, price=price)
    loss = abs(price - protection.stop_loss) * rules.contract_size
    request = size_request(event, params, rules, price, equity, loss)
    absent = missing(params.size, request)
    if absent is not None:
        return Refused(absent, {"mode": mode.name}, price=price)
    return mode.wish(params.size, request)


def size_request(
    event: LeaderEvent,
    params: SubscriptionParams,
    rules: InstrumentChanged,
    price: Decimal,
    equity: Decimal,
    loss_per_unit: Decimal = ZERO,
) -> SizeRequest:
    """Return what a sizing mode may know of a leader's event."""
    return SizeRequest(
        leader_size=event.size,
        leader_position=event.position,
        leader_price=event.price,
        leader_equity=event.equity,
        price=price,
        contract_size=rules.contract_size,
        equity=equity,
        risk_per_trade=params.risk_per_trade,
        loss_per_unit=loss_per_unit,
        ratio=params.ratio,
    )


def _expect(
    account: Account, holding: Holding, params: SubscriptionParams, event: LeaderEvent, want: Want, wish: Decimal
) -> None:
    """Note what the leader's trade and the rule make of the position, before any cap."""
    if mode_of(params.size).follows(params.size) == "change":
        holding.expected += wish if want.side is Side.BUY else -wish
        keep(account, holding)


def _missing(
    account: Account, holding: Holding, params: SubscriptionParams, want: Want, exact: Decimal
) -> Decimal | None:
    """Return what brings a drifted position in line with this entry; None: it is in line, or the policy is another."""
    if params.drift.policy != "next_event" or mode_of(params.size).follows(params.size) != "change":
        return None
    away = holding.expected - exposure_of(account, holding)
    away = away if want.side is Side.BUY else -away
    return away if abs(away - exact) > params.drift.tolerance * abs(holding.expected) else None


def _caps(
    subscription: Subscription,
    params: SubscriptionParams,
    account_params: AccountParams,
    worth: Valuation,
    instrument: str,
    leverage: int,
    day_notional: Decimal,
) -> CapRequest:
    name = subscription.subscription
    held = leader_held = ZERO
    for (owner, where), amount in worth.by_holding.items():
        if owner == name:
            leader_held += amount
            if where == instrument:
                held = amount
    return CapRequest(
        params=params,
        held=held,
        leader_held=leader_held,
        instrument_held=worth.by_instrument.get(instrument, ZERO),
        account_held=worth.exposure,
        day_notional=day_notional,
        margin_free=max(worth.equity - worth.margin, ZERO),
        margin_rate=margin_rate(leverage, account_params.taker_fee_rate),
    )


def refused_exit(
    state: State, account: Account, subscription: Subscription, holding: Holding, event: LeaderEvent, now_ms: int
) -> Finding | None:
    """Ask the checks that apply to exits; None: the exit may go."""
    worth = value(state, account)
    params, account_params = state.params_of(subscription, holding.instrument), state.params_of_account(account)
    want = Want(Side.SELL if holding.size > ZERO else Side.BUY, holding.instrument)
    proposal = _proposal(state, account, subscription, holding, event, want, now_ms, params, account_params, worth)
    mark, rules = state.ledger.marks.get(holding.instrument), state.ledger.instruments.get(holding.instrument)
    proposal.leg = Leg.EXIT
    proposal.price = event.price if mark is None else touch(mark, want.side)
    proposal.tick = ZERO if rules is None else rules.tick
    return _first(_ON_EXITS, proposal)


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


def change_protection(
    account: Account,
    entry: Tracked,
    stop_loss: Decimal | None,
    take_profit: Decimal | None,
    cause: str,
    now_ms: int,
) -> ChangeProtection:
    """Return the request to move the legs of an entry; None leaves a leg as it is."""
    return ChangeProtection(
        now_ms=now_ms,
        account=account.account,
        venue=account.venue,
        instrument=entry.instrument,
        order_id=entry.order_id,
        cause=cause,
        stop_loss=stop_loss,
        take_profit=take_profit,
    )


def kill_reason(state: State, account: Account) -> str | None:
    """Return why entries of the account are stopped, None if they are not."""
    if state.ledger.killed is not None:
        return f"command for all accounts: {state.ledger.killed}"
    if account.killed is not None:
        return f"command: {account.killed}"
    return "settings" if state.params_of_account(account).kill_switch else None


def _first(checks: Sequence[Callable[[Proposal], Finding | None]], proposal: Proposal) -> Finding | None:
    for check in checks:
        finding = check(proposal)
        if finding is not None:
            return finding
    return None


def pause_reason(state: State, subscription: Subscription, leader: str) -> str:
    """Return the scope and reason of a pause (or end) that applies to entries, "" if none.

    A leader's own is asked here too: what blocks its entries is not on its reductions, nor on catch-ups.
    """
    if subscription.status != "active":
        return f"subscription:{subscription.subscription}: {subscription.status}"
    known = state.ledger.leaders.get(leader)
    if known is not None and known.status != "active":
        return f"leader:{leader}: {known.status}"
    paused = state.ledger.paused
    if not paused:
        return ""
    scopes = scopes_of(leader, subscription.account, subscription.subscription)
    return next((f"{scope}: {paused[scope]}" for scope in scopes if scope in paused), "")


def _proposal(
    state: State,
    account: Account,
    subscription: Subscription,
    holding: Holding,
    event: LeaderEvent,
    want: Want,
    now_ms: int,
    params: SubscriptionParams,
    account_params: AccountParams,
    worth: Valuation,
) -> Proposal:
    use = use_of(subscription, now_ms // DAY_MS)
    return Proposal(
        now_ms=now_ms,
        event=event,
        account=account_params,
        subscription=params,
        price=event.price,
        equity=worth.equity,
        day_equity=account.day_equity,
        peak_equity=account.peak_equity,
        exposure=worth.exposure,
        instrument_exposure=worth.by_instrument.get(want.instrument, ZERO),
        open_orders=len(account.working),
        kill=kill_reason(state, account),
        closed_ms=holding.closed_ms,
        told_before=state.told_before(event),
        size=ZERO,
        notional=ZERO,
        side=want.side,
        instrument=want.instrument,
        paused=pause_reason(state, subscription, event.leader),
        halted=len(subscription.errors),
        leads=tuple(state.leads.get(account.account, ())),
        held=exposure_of(account, holding),
        day_orders=use.orders,
        day_notional=use.notional,
        day_loss=-use.profit,
        open_trades=_open_trades(worth, subscription.subscription),
    )


def _open_trades(worth: Valuation, name: str) -> int:
    return sum(1 for owner, _ in worth.by_holding if owner == name) if worth.by_holding else 0


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
    want: Want,
    now_ms: int,
    params: SubscriptionParams,
    leverage: int,
    price: Decimal,
    limit_price: Decimal | None,
    protection: Levels,
    size: Decimal,
) -> Order:
    order_id, stop_loss_id, take_profit_id = _bracket_ids(
        event.cause, account.account, subscription.subscription, want.instrument
    )
    return Order(
        now_ms=now_ms,
        order_id=order_id,
        account=account.account,
        venue=account.venue,
        subscription=subscription.subscription,
        leader=event.leader,
        instrument=want.instrument,
        leg=Leg.ENTRY,
        side=want.side,
        kind="market" if limit_price is None else "limit",
        size=size,
        reference_price=price,
        leader_price=event.price,
        cause=event.cause,
        event_id=event.event_id,
        event_ms=event.event_ms,
        not_after_ms=now_ms + params.order_ttl_ms,
        leverage=leverage,
        margin_mode=event.margin_mode if params.margin_mode == "leader" else params.margin_mode,
        limit_price=limit_price,
        protection=Protection(
            now_ms=now_ms,
            stop_loss=protection.stop_loss,
            take_profit=protection.take_profit,
            stop_loss_order_id=stop_loss_id,
            take_profit_order_id=take_profit_id,
            trigger=params.trigger,
        ),
    )


def _leverage(state: State, account: Account, instrument: str) -> int:
    rules = state.ledger.instruments.get(instrument)
    params = state.params_of_account(account)
    return params.leverage if rules is None else min(params.leverage, rules.max_leverage)


def _ttl(state: State, subscription: str) -> int:
    return state.params_of(state.ledger.subscriptions[subscription]).order_ttl_ms
