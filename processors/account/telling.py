"""What the account role says: builders of its outputs.

Entry points: `outcome`, `copy_cost`, `skipped`, `refused_status`, `order_status`, `position_changed`,
`follower_state`, `drift`, `alert`.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Literal

from processors.account.gate import order_id_of
from processors.account.ledger import mark_price, unrealized
from processors.account.money import BPS, ONE, ZERO, tidy
from processors.account.state import Account, Holding, State, Subscription, Tracked
from processors.copying.settings import PRODUCT
from processors.protocols import Out
from schemas.ids import derive_id
from schemas.leaders import LeaderEvent, LeaderStateChanged
from schemas.reasons import Leg, OrderState, OutcomeState, RefusalReason, Side
from schemas.status import CopyCost, Drift, FollowerState, OrderStatus, Outcome, PositionChanged
from schemas.system import Alert

_BPS_STEP = Decimal("0.0001")
ROUGH = Decimal("0.01")
"""Step that amounts are shown with where that is exact, see `tidy`."""


def outcome(
    event: LeaderEvent | LeaderStateChanged | Tracked,
    account: str,
    subscription: str,
    state: OutcomeState,
    now_ms: int,
    order_id: str = "",
    reason: RefusalReason | None = None,
    numbers: dict[str, str] | None = None,
    message: str = "",
    instrument: str = "",
    error_id: str = "",
    cost: CopyCost | None = None,
) -> list[Out]:
    """Return the outcome of a leader's event (or of the event that an entry was made for); ended ones are counted
    too."""
    pending = state is OutcomeState.PENDING
    told = Outcome(
        now_ms=now_ms,
        outcome_id=derive_id("outcome", event.event_id, subscription, "pending" if pending else "terminal"),
        event_id=event.event_id,
        leader=event.leader,
        sequence=event.sequence,
        account=account,
        subscription=subscription,
        instrument=instrument,
        state=state,
        order_id=order_id,
        reason=reason,
        numbers={} if numbers is None else numbers,
        message=message,
        error_id=error_id,
        cost=cost,
    )
    if pending:
        return [Out("outcomes", account, told)]
    return [Out("outcomes", account, told), Out("copy-results", event.leader, told)]


def copy_cost(orders: Sequence[Tracked], contract_size: Decimal) -> CopyCost | None:
    """Return when and at what price the stages of a copied trade were, over all of its orders; None if nothing
    filled."""
    filled = [order for order in orders if order.filled > ZERO]
    if not filled or filled[0].leader_price <= ZERO:
        return None
    first = filled[0]
    size = sum((order.filled for order in filled), ZERO)
    price = sum((order.cost for order in filled), ZERO) / size
    sign = ONE if first.side is Side.BUY else -ONE
    scale = sign * BPS / first.leader_price
    drift, slippage = (first.reference_price - first.leader_price) * scale, (price - first.reference_price) * scale
    fees = sum((order.fees for order in filled), ZERO)
    return CopyCost(
        leader_price=first.leader_price,
        event_ms=first.event_ms,
        detected_ms=first.detected_ms or first.event_ms,
        decided_ms=first.decided_ms,
        decided_price=first.reference_price,
        submitted_ms=first.submitted_ms or None,
        accepted_ms=first.accepted_ms or None,
        filled_ms=max(order.filled_ms for order in filled),
        fill_price=tidy(price, ROUGH),
        size=size,
        drift_bps=drift.quantize(_BPS_STEP),
        slippage_bps=slippage.quantize(_BPS_STEP),
        total_bps=(drift + slippage).quantize(_BPS_STEP),
        fee_bps=(fees * BPS / (price * size * contract_size)).quantize(_BPS_STEP),
    )


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
    instrument: str = "",
) -> Out:
    """Return the order status of an order that was refused by us and never made."""
    status = OrderStatus(
        now_ms=now_ms,
        account=subscription.account,
        order_id=order_id,
        subscription=subscription.subscription,
        leader=event.leader,
        instrument=instrument or event.instrument,
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


def skipped(
    subscription: Subscription,
    event: LeaderEvent,
    reason: RefusalReason,
    numbers: dict[str, str],
    now_ms: int,
    leg: Leg,
    instrument: str,
) -> list[Out]:
    """Return the refusal of an event: the order status of the order it would have been, and the outcome."""
    account, name = subscription.account, subscription.subscription
    order_id = order_id_of(event.cause, account, name, instrument, leg)
    return [
        refused_status(event, subscription, order_id, leg, event.side, reason, numbers, now_ms, instrument=instrument),
        *outcome(event, account, name, OutcomeState.SKIPPED, now_ms, order_id, reason, numbers, instrument=instrument),
    ]


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


def follower_state(state: State, subscription: Subscription, now_ms: int) -> list[Out]:
    """Return a subscription as it stands, with the origin of each setting."""
    resolved = state.resolve(subscription.levels, subscription.subscription)
    said = {field: origin for field, origin in resolved.origins.items() if origin != PRODUCT}
    told = FollowerState(
        now_ms=now_ms,
        subscription=subscription.subscription,
        account=subscription.account,
        leader=subscription.leader,
        status=subscription.status,
        halted=bool(subscription.errors),
        settings=resolved.params.model_dump(mode="json", include=set(said)),
        origins=said,
        group=subscription.group,
        existing=subscription.existing,
    )
    return [Out("outcomes", subscription.account, told), Out("copy-results", subscription.leader, told)]


def drift(subscription: Subscription, holding: Holding, policy: str, now_ms: int) -> Out:
    """Return the expected position beside the actual one."""
    told = Drift(
        now_ms=now_ms,
        account=subscription.account,
        subscription=subscription.subscription,
        leader=subscription.leader,
        instrument=holding.instrument,
        expected=holding.expected,
        actual=holding.size,
        drift=holding.size - holding.expected,
        policy=policy,
    )
    return Out("outcomes", subscription.account, told)


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
