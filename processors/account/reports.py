"""What a venue's reports do to orders, positions and money.

Entry point: `apply_report`.

1. A fill is booked once per order and trade id, whatever state its order is in (lifecycle.py, 3); of orders that
   were forgotten since, the last trade ids are known too.
2. A report that contradicts its order (another instrument, side, leg, subscription) is parked and changes nothing.
3. A fill of an order that this account does not know is booked and alarmed: the venue's money has moved.
4. Fees in the account's currency are taken from the balance; where a venue tells no fee the estimate is booked; a fee
   in another currency cannot be converted here and is alarmed.
"""

from decimal import Decimal

from processors.account import telling
from processors.account.copying import go_on
from processors.account.leading import tell_trade
from processors.account.ledger import book
from processors.account.lifecycle import ENDED, ORDER, OrderEvent, PositionEvent, move
from processors.account.money import FINEST, ZERO, tidy, usable, usable_or_zero
from processors.account.state import (
    DAY_MS,
    Account,
    Holding,
    State,
    Tracked,
    holding_key,
    holding_of,
    keep,
    trade_key,
    use_of,
)
from processors.account.trades import count_use, end_order, forget_bracket, move_position
from processors.protocols import Out
from schemas.codec import BadRecord
from schemas.ids import derive_id
from schemas.reasons import Leg, OrderState, ReportKind, Side
from schemas.status import Fill, VenueReport

NOT_RESTING = "not_resting"
"""Code of a report that new trigger prices found no leg to change (executors/partition.py)."""
_LARGEST_FILL = Decimal("1e12")
_LEGS = (Leg.STOP_LOSS, Leg.TAKE_PROFIT)
_EVENT = {
    ReportKind.SUBMITTED: OrderEvent.SUBMITTED,
    ReportKind.ACCEPTED: OrderEvent.ACCEPTED,
    ReportKind.CANCELLED: OrderEvent.CANCELLED,
    ReportKind.REJECTED: OrderEvent.REJECTED,
    ReportKind.EXPIRED: OrderEvent.EXPIRED,
    ReportKind.UNKNOWN: OrderEvent.UNKNOWN,
}


def apply_report(state: State, report: VenueReport, now_ms: int) -> list[Out]:
    """Apply one report.

    Raises:
        BadRecord: numbers that cannot be, or a contradiction to the order it names; nothing was changed.
    """
    _refuse_bad(report)
    account = state.ledger.accounts.get(report.account)
    if account is None:
        text = f"Report on order {report.order_id} of account {report.account}, which this partition does not have."
        return [telling.alert("", "report_of_unknown_account", "critical", text, now_ms)]
    outs: list[Out] = []
    if report.kind is ReportKind.REJECTED and report.leg in _LEGS and report.code == NOT_RESTING:
        return outs  # new trigger prices came after the leg had ended, which its own reports tell
    order = _order_of(state, account, report)
    if order is None and trade_key(report.instrument, report.trade_id) in account.past_trades:
        return outs
    if order is None:
        text = f"Report '{report.kind}' on order {report.order_id} ({report.leg} of {report.subscription}), not known"
        is_fill = report.kind is ReportKind.FILL
        text += "; booked: look who traded on this account" if is_fill else "; ignored"
        outs.append(
            telling.alert(
                account.account, "report_of_unknown_order", "critical" if is_fill else "warning", text, now_ms
            )
        )
        if not is_fill:
            return outs
        order = _adopt(state, account, report)
    if report.kind is ReportKind.FILL:
        if report.trade_id in order.trades:
            return outs
        outs += _fill(state, account, order, report, now_ms)
    else:
        outs += _move(state, account, order, report, now_ms)
    if order.state in ENDED and not order.over:
        outs += end_order(state, account, order, now_ms)
    holding = account.holdings.get(holding_key(order.subscription, order.instrument))
    if holding is not None and holding.waiting:
        outs += go_on(state, account, holding, now_ms)
    return outs


def _refuse_bad(report: VenueReport) -> None:
    where = f"report on order {report.order_id}"
    if report.kind is not ReportKind.FILL:
        if not report.size.is_finite() or report.size < ZERO:
            raise BadRecord(f"{where}: size must be a finite number of zero or more, not {report.size}")
        return
    if not report.trade_id:
        raise BadRecord(f"{where}: a fill needs the venue's trade_id")
    if report.price is None or not usable(report.price) or not usable(report.size):
        raise BadRecord(f"{where}: a fill needs price and size above zero, not {report.price} and {report.size}")
    if report.price * report.size > _LARGEST_FILL:
        raise BadRecord(f"{where}: a fill of {report.size} at {report.price} cannot be")
    fee = report.fee
    if fee is not None and not (fee.is_finite() and usable_or_zero(abs(fee))):
        raise BadRecord(f"{where}: fee {fee} is no amount")


def _order_of(state: State, account: Account, report: VenueReport) -> Tracked | None:
    """Return the order a report is on; a leg is made from its entry when it is first heard of."""
    order = account.orders.get(report.order_id)
    if order is None:
        entry = account.orders.get(report.entry_order_id)
        if entry is None or report.order_id not in (entry.stop_loss_order_id, entry.take_profit_order_id):
            return None
        order = Tracked(
            order_id=report.order_id,
            subscription=entry.subscription,
            leader=entry.leader,
            instrument=entry.instrument,
            leg=Leg.STOP_LOSS if report.order_id == entry.stop_loss_order_id else Leg.TAKE_PROFIT,
            side=entry.side.opposite,
            size=ZERO,
            cause=entry.cause,
            event_id=entry.event_id,
            sequence=entry.sequence,
            event_ms=entry.event_ms,
            leader_price=entry.leader_price,
            chain=entry.chain,
            entry_order_id=entry.order_id,
            limit_price=entry.stop_loss if report.order_id == entry.stop_loss_order_id else entry.take_profit,
        )
    same = (order.subscription, order.instrument, order.side, order.leg)
    said = (report.subscription, report.instrument, report.side, report.leg)
    if same != said:
        raise BadRecord(f"report on order {report.order_id} says {' '.join(said)}, but the order is {' '.join(same)}")
    account.orders[order.order_id] = order
    return order


def _adopt(state: State, account: Account, report: VenueReport) -> Tracked:
    """Make the order that a fill of an unknown order must have come from."""
    assert report.price is not None
    known = state.ledger.subscriptions.get(report.subscription)
    leader = "" if known is None else known.leader
    keep(account, holding_of(state, account, report.subscription, leader, report.instrument))
    order = Tracked(
        order_id=report.order_id,
        subscription=report.subscription,
        leader=leader,
        instrument=report.instrument,
        leg=report.leg,
        side=report.side,
        size=report.size,
        cause=report.order_id,
        event_id="",
        sequence=0,
        event_ms=report.venue_ms,
        leader_price=report.price,
        entry_order_id=report.entry_order_id,
        reference_price=report.price,
    )
    account.orders[order.order_id] = order
    return order


def _move(state: State, account: Account, order: Tracked, report: VenueReport, now_ms: int) -> list[Out]:
    after = move(ORDER, order.state, _EVENT[report.kind])
    if after is None:
        return [_illegal(account, order, _EVENT[report.kind], now_ms)]
    if report.venue_order_id:
        order.venue_order_id = report.venue_order_id
    if report.kind is ReportKind.SUBMITTED and not order.submitted_ms:
        order.submitted_ms = report.venue_ms
    if report.kind is ReportKind.ACCEPTED and not order.accepted_ms:
        order.accepted_ms = report.venue_ms
    if order.leg in _LEGS and report.size > ZERO:
        order.size = report.size
    moved = order.leg in _LEGS and report.trigger_price not in (None, order.limit_price)
    if moved:
        order.limit_price = report.trigger_price
        entry = account.orders.get(order.entry_order_id)
        if entry is not None and order.leg is Leg.STOP_LOSS:
            entry.stop_loss = report.trigger_price
        elif entry is not None:
            entry.take_profit = report.trigger_price
    words = " ".join(part for part in (report.code, report.message) if part)
    order.words = words or order.words
    if after == order.state and not moved:
        return []
    order.state = after
    return [telling.order_status(account, order, _tick(state, order), now_ms, words)]


def _fill(state: State, account: Account, order: Tracked, report: VenueReport, now_ms: int) -> list[Out]:
    assert report.price is not None
    price, size = report.price, report.size
    entry = account.orders.get(order.entry_order_id)
    event = OrderEvent.LAST_FILL if _completes(order, entry, size) else OrderEvent.PARTIAL_FILL
    after = move(ORDER, order.state, event)
    late = order.over
    if order.leg in _LEGS and order.state == OrderState.FILLED:
        after, late = order.state, False  # its entry went on filling, and the leg with it
    outs: list[Out] = []
    if after is None:
        outs.append(_illegal(account, order, event, now_ms))
    else:
        order.state = after
    if report.venue_order_id:
        order.venue_order_id = report.venue_order_id
    if late and order.leg is Leg.ENTRY and order.event_id and order.filled == ZERO:
        count_use(state, order, now_ms, 1)
    order.trades.append(report.trade_id)
    order.filled += size
    order.cost += price * size
    order.filled_ms = max(order.filled_ms, report.venue_ms)
    if order.leg in _LEGS:
        order.size = max(order.size, order.filled)
    holding = account.holdings[holding_key(order.subscription, order.instrument)]
    before = holding.size
    realized = book(holding, order.side, price, size)
    fee, fee_currency, complaint = _fee(account, state, holding, report, now_ms)
    outs += complaint
    account.balance += realized
    account.realized += realized
    subscription = state.ledger.subscriptions.get(order.subscription)
    if subscription is not None:
        use_of(subscription, now_ms // DAY_MS).profit += realized - (fee if fee_currency == account.currency else ZERO)
    order.fees += fee
    if order.leg in _LEGS:
        _expect_less(holding, order, before, size)
    if order.leg is Leg.ENTRY:
        order.open_size += size
        if order.order_id not in holding.entries:  # filled after its end was told
            holding.entries.append(order.order_id)
    elif entry is not None:
        entry.open_size -= size
        forget_bracket(holding, entry)
    outs += _fill_told(account, order, report, fee, fee_currency, realized, now_ms)
    outs.append(telling.order_status(account, order, _tick(state, order), now_ms))
    outs += _move_holding(account, holding, order, before, now_ms)
    outs.append(telling.position_changed(state, account, holding, now_ms))
    outs += tell_trade(state, account, holding, order, report, now_ms)
    if late and after is not None:
        text = f"Order {order.order_id} ({order.leg} of {order.subscription}) filled {size} after its end was told"
        outs.append(telling.alert(account.account, "late_fill", "warning", text, now_ms))
    state.report_later(account)
    return outs


def _expect_less(holding: Holding, leg: Tracked, before: Decimal, size: Decimal) -> None:
    """What one's own stop-loss or take-profit closed is not expected any more; of a capped position, the same share."""
    expected, held = abs(holding.expected), abs(before)
    if holding.expected == ZERO or (holding.expected > ZERO) != (leg.side is Side.SELL):
        return
    left = expected - size
    if held < expected:
        left = (expected * (held - size) / held).quantize(FINEST) if held > size else ZERO
    left = max(left, ZERO)
    holding.expected = left if holding.expected > ZERO else -left


def _completes(order: Tracked, entry: Tracked | None, size: Decimal) -> bool:
    if order.leg in _LEGS and entry is not None:
        return size >= entry.open_size
    return order.filled + size >= order.size


def _move_holding(account: Account, holding: Holding, order: Tracked, before: Decimal, now_ms: int) -> list[Out]:
    """Move the position's life cycle after a fill, and keep the list of open holdings."""
    key, size = holding_key(holding.subscription, holding.instrument), holding.size
    if size != ZERO and key not in account.open:
        account.open.append(key)
    if size == ZERO:
        if key in account.open:
            account.open.remove(key)
        holding.closed_ms = now_ms
        outs = move_position(account, holding, PositionEvent.CLOSED, now_ms)
        if any(not account.orders[item].over for item in holding.entries):
            outs += move_position(account, holding, PositionEvent.ENTRY_SENT, now_ms)
        return outs
    if before != ZERO and (before > ZERO) == (size > ZERO) and abs(size) < abs(before):
        return move_position(account, holding, PositionEvent.REDUCED, now_ms)
    if order.leg is Leg.ENTRY and (before == ZERO or (before > ZERO) == (size > ZERO)):
        return move_position(account, holding, PositionEvent.ENTRY_FILLED, now_ms)
    text = (
        f"{holding.subscription} {holding.instrument}: a {order.leg} took the position from {before} to {size}; more "
        "was closed than was open: close what is left by hand"
    )
    outs = [telling.alert(account.account, "position_flipped", "critical", text, now_ms)]
    return outs + move_position(account, holding, PositionEvent.FLIPPED, now_ms)


def _fee(
    account: Account, state: State, holding: Holding, report: VenueReport, now_ms: int
) -> tuple[Decimal, str, list[Out]]:
    """Book the fee; return it, its currency, and a complaint if it cannot be counted."""
    assert report.price is not None
    fee, currency = report.fee, report.fee_currency or account.currency
    if fee is None:
        params = state.params_of_account(account)
        rate = params.maker_fee_rate if report.liquidity == "maker" else params.taker_fee_rate
        fee, currency = report.price * report.size * holding.contract_size * rate, account.currency
    if currency != account.currency:
        text = f"Fee of {fee} {currency} on trade {report.trade_id} is not in {account.currency} and was not counted."
        return fee, currency, [telling.alert(account.account, "fee_not_counted", "warning", text, now_ms)]
    account.balance -= fee
    account.fees += fee
    holding.fees += fee
    return fee, currency, []


def _fill_told(
    account: Account,
    order: Tracked,
    report: VenueReport,
    fee: Decimal,
    fee_currency: str,
    realized: Decimal,
    now_ms: int,
) -> list[Out]:
    assert report.price is not None
    fill = Fill(
        now_ms=now_ms,
        fill_id=derive_id("fill", report.venue, report.account, report.instrument, report.trade_id),
        account=account.account,
        order_id=order.order_id,
        entry_order_id=order.entry_order_id,
        subscription=order.subscription,
        leader=order.leader,
        instrument=order.instrument,
        leg=order.leg,
        side=order.side,
        price=report.price,
        size=report.size,
        fee=fee,
        fee_currency=fee_currency,
        realized_pnl=tidy(realized, telling.ROUGH),
        trade_id=report.trade_id,
        liquidity="" if report.liquidity is None else report.liquidity,
        leader_price=order.leader_price,
        event_ms=order.event_ms,
        venue_ms=report.venue_ms,
    )
    outs = [Out("order-status", account.account, fill)]
    if order.leader:
        outs.append(Out("copy-results", order.leader, fill))
    return outs


def _illegal(account: Account, order: Tracked, event: OrderEvent, now_ms: int) -> Out:
    text = f"Order {order.order_id} ({order.leg} of {order.subscription}): '{event}' cannot happen to one that is "
    text += f"{order.state}" + (
        "; the fill was booked" if event in (OrderEvent.PARTIAL_FILL, OrderEvent.LAST_FILL) else "; ignored"
    )
    return telling.alert(account.account, "illegal_order_move", "critical", text, now_ms)


def _tick(state: State, order: Tracked) -> Decimal:
    rules = state.ledger.instruments.get(order.instrument)
    return telling.ROUGH if rules is None else rules.tick
