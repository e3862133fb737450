"""What the account role says: builders of its outputs.

Entry points: `outcome`, `skipped`, `refused_status`, `order_status`, `position_changed`, `alert`.
"""

from decimal import Decimal
from typing import Literal

from processors.account.ledger import mark_price, unrealized
from processors.account.money import ZERO, tidy
from processors.account.state import Account, Holding, State, Subscription, Tracked
from processors.protocols import Out
from schemas.ids import derive_id
from schemas.leaders import LeaderEvent
from schemas.reasons import Leg, OrderState, OutcomeState, RefusalReason, Side
from schemas.status import OrderStatus, Outcome, PositionChanged
from schemas.system import Alert

ROUGH = Decimal("0.01")
"""Step that amounts are shown with where that is exact, see `tidy`."""


def outcome(
    event: LeaderEvent | Tracked,
    account: str,
    subscription: str,
    state: OutcomeState,
    now_ms: int,
    order_id: str = "",
    reason: RefusalReason | None = None,
    numbers: dict[str, str] | None = None,
    message: str = "",
) -> Out:
    """Return the outcome of a leader's event (or of the event that an entry was made for)."""
    stage = "pending" if state is OutcomeState.PENDING else "terminal"
    told = Outcome(
        now_ms=now_ms,
        outcome_id=derive_id("outcome", event.event_id, subscription, stage),
        event_id=event.event_id,
        leader=event.leader,
        sequence=event.sequence,
        account=account,
        subscription=subscription,
        instrument=event.instrument,
        state=state,
        order_id=order_id,
        reason=reason,
        numbers={} if numbers is None else numbers,
        message=message,
    )
    return Out("outcomes", account, told)


def refused_status(
    event: LeaderEvent,
    subscription: Subscription,
    order_id: str,
    leg: Leg,
    side: Side,
    reason: RefusalReason,
    numbers: dict[str, str],
    now_ms: int,
    size: Decimal = ZERO,
    price: Decimal | None = None,
) -> Out:
    """Return the order status of an order that was refused by us and never made."""
    status = OrderStatus(
        now_ms=now_ms,
        account=subscription.account,
        order_id=order_id,
        subscription=subscription.subscription,
        leader=event.leader,
        instrument=event.instrument,
        leg=leg,
        side=side,
        state=OrderState.REFUSED,
        size=size,
        filled=ZERO,
        cause=event.cause,
        price=price,
        reason=reason,
        numbers=numbers,
    )
    return Out("order-status", subscription.account, status)


def order_status(account: Account, order: Tracked, tick: Decimal, now_ms: int, message: str = "") -> Out:
    """Return the public state of an order or leg."""
    price = order.limit_price
    status = OrderStatus(
        now_ms=now_ms,
        account=account.account,
        order_id=order.order_id,
        subscription=order.subscription,
        leader=order.leader,
        instrument=order.instrument,
        leg=order.leg,
        side=order.side,
        state=OrderState(order.state),
        size=order.size,
        filled=order.filled,
        cause=order.cause,
        price=price,
        average_price=None if order.filled == ZERO else tidy(order.cost / order.filled, tick),
        stop_loss=order.stop_loss,
        take_profit=order.take_profit,
        venue_order_id=order.venue_order_id,
        message=message,
    )
    return Out("order-status", account.account, status)


def position_changed(state: State, account: Account, holding: Holding, now_ms: int) -> Out:
    """Return the position as it stands, valued at the mark; notes the mark as told."""
    rules = state.ledger.instruments.get(holding.instrument)
    tick = ROUGH if rules is None else rules.tick
    mark = mark_price(state, holding)
    entry = ZERO if holding.size == ZERO else tidy(holding.cost / holding.size, tick)
    bracket = account.orders.get(holding.entries[-1]) if holding.entries and holding.size != ZERO else None
    holding.told_mark = mark
    told = PositionChanged(
        now_ms=now_ms,
        account=account.account,
        subscription=holding.subscription,
        leader=holding.leader,
        instrument=holding.instrument,
        size=holding.size,
        entry_price=entry,
        mark_price=entry if mark is None else mark,
        unrealized_pnl=tidy(unrealized(state, holding), ROUGH),
        realized_pnl=tidy(holding.realized, ROUGH),
        fees=tidy(holding.fees, ROUGH),
        stop_loss=None if bracket is None else bracket.stop_loss,
        take_profit=None if bracket is None else bracket.take_profit,
    )
    return Out("order-status", account.account, told)


def alert(
    account: str,
    kind: str,
    severity: Literal["info", "warning", "critical"],
    text: str,
    now_ms: int,
    numbers: dict[str, str] | None = None,
) -> Out:
    """Return an alert of the account role about `account` ("" for none in particular)."""
    source = f"account:{account}" if account else "account"
    told = Alert(
        now_ms=now_ms,
        kind=kind,
        severity=severity,
        source=source,
        text=text,
        numbers={} if numbers is None else numbers,
    )
    return Out("alerts", source, told)
