"""What happened to orders: the venue's reports (inbox of the account) and the public `order-status`, `outcomes`."""

from decimal import Decimal
from typing import Any, Literal

import msgspec

from schemas.base import Message
from schemas.reasons import LeaderAction, Leg, OrderState, OutcomeState, RefusalReason, ReportKind, Side


class VenueReport(Message, frozen=True, kw_only=True, tag="venue_report"):
    """An executor's word on one order or leg; reaches the account through the execution role's outbox.

    For fills `trade_id` is the venue's, unique per venue, account and instrument; price and size are that fill's.
    `entry_order_id` names the entry whose bracket the leg belongs to (itself for an entry; `closes` for an exit).
    `message` are the venue's words. `venue_ms` is the venue's time of the event.
    """

    account: str
    venue: str
    subscription: str
    instrument: str
    order_id: str
    entry_order_id: str
    leg: Leg
    side: Side
    kind: ReportKind
    venue_ms: int
    size: Decimal
    venue_order_id: str = ""
    trade_id: str = ""
    price: Decimal | None = None
    fee: Decimal | None = None
    fee_currency: str = ""
    liquidity: Literal["maker", "taker"] | None = None
    trigger_price: Decimal | None = None
    code: str = ""
    message: str = ""


class VenuePosition(Message, frozen=True, kw_only=True, tag="venue_position"):
    """The netted position of an account at a venue, by the venue's own books; `size` is signed (above zero long).

    Comes through the execution role's outbox behind every fill that is in it and before any other: at this record it
    equals the sum of the subscriptions' positions, or one of the two books is wrong.
    """

    account: str
    venue: str
    instrument: str
    size: Decimal


class OrderStatus(Message, frozen=True, kw_only=True, tag="order_status"):
    """Public state of an order or leg after a move of its life cycle.

    A refusal has state `refused`, the reason and the numbers that caused it (name -> number as text).
    """

    account: str
    order_id: str
    subscription: str
    leader: str
    instrument: str
    leg: Leg
    side: Side
    state: OrderState
    size: Decimal
    filled: Decimal
    cause: str
    price: Decimal | None = None
    average_price: Decimal | None = None
    stop_loss: Decimal | None = None
    take_profit: Decimal | None = None
    venue_order_id: str = ""
    reason: RefusalReason | None = None
    numbers: dict[str, str] = msgspec.field(default_factory=dict)
    message: str = ""


class Fill(Message, frozen=True, kw_only=True, tag="fill"):
    """A fill as booked by the account. `fill_id` = derive_id("fill", venue, account, instrument, trade_id).

    `realized_pnl` excludes the fee, in the account's currency. `leader_price` and `event_ms` are the cause's.
    """

    fill_id: str
    account: str
    order_id: str
    entry_order_id: str
    subscription: str
    leader: str
    instrument: str
    leg: Leg
    side: Side
    price: Decimal
    size: Decimal
    fee: Decimal
    fee_currency: str
    realized_pnl: Decimal
    trade_id: str
    liquidity: str
    leader_price: Decimal
    event_ms: int
    venue_ms: int


class PositionChanged(Message, frozen=True, kw_only=True, tag="position"):
    """The position of one subscription in one instrument after a change (or a periodic mark).

    `size` is signed (above zero long). `realized_pnl` and `fees` are sums since the subscription began.
    """

    account: str
    subscription: str
    leader: str
    instrument: str
    size: Decimal
    entry_price: Decimal
    mark_price: Decimal
    unrealized_pnl: Decimal
    realized_pnl: Decimal
    fees: Decimal
    stop_loss: Decimal | None = None
    take_profit: Decimal | None = None


class AccountState(Message, frozen=True, kw_only=True, tag="account_state"):
    """Balance, equity and what is at risk of one account, told on change at most every `report_interval_ms`."""

    account: str
    balance: Decimal
    equity: Decimal
    unrealized_pnl: Decimal
    realized_pnl: Decimal
    fees: Decimal
    margin_used: Decimal
    exposure: Decimal
    drawdown: Decimal
    open_positions: int
    open_orders: int


class CopyCost(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """When and at what price each stage of a copied trade was; log time in ms, prices in quote currency.

    event: at the leader's source; detected: we learned of it; decided: sized and approved, the touch then; submitted:
    handed to the venue; accepted: acknowledged; filled: last fill, average price. A stage not told is None.
    *_bps: cost against the leader's price by stage, above zero is worse for the follower: drift until the decision,
    slippage from the decision to the fill, their sum, and fees over the filled notional.
    """

    leader_price: Decimal
    event_ms: int
    detected_ms: int
    decided_ms: int
    decided_price: Decimal
    submitted_ms: int | None = None
    accepted_ms: int | None = None
    filled_ms: int | None = None
    fill_price: Decimal | None = None
    size: Decimal | None = None
    drift_bps: Decimal | None = None
    slippage_bps: Decimal | None = None
    total_bps: Decimal | None = None
    fee_bps: Decimal | None = None


class Outcome(Message, frozen=True, kw_only=True, tag="outcome"):
    """What a leader event became for a subscription (design law 12).

    Exactly one terminal outcome per (event_id, subscription). Pending is an order that names the event (`event_id`) and
    is not over; a `pending` outcome is told only while there is no order yet.
    `outcome_id` = derive_id("outcome", event_id, subscription, "pending" | "terminal").
    reduced: numbers say wanted, size, limit and limit_value. skipped: reason and the numbers that decided.
    failed: `message` are the venue's words, `error_id` the trade error if it halted the subscription.
    `cost` stands on copied and reduced outcomes that traded.
    """

    outcome_id: str
    event_id: str
    leader: str
    sequence: int
    account: str
    subscription: str
    instrument: str
    state: OutcomeState
    order_id: str = ""
    reason: RefusalReason | None = None
    numbers: dict[str, str] = msgspec.field(default_factory=dict)
    message: str = ""
    error_id: str = ""
    cost: CopyCost | None = None


class FanOut(Message, frozen=True, kw_only=True, tag="fan_out"):
    """One leader event as one partition of the account role took it: `active` subscriptions owe one outcome each.

    `event_id` may also be a catch-up of one subscription (existing positions, repair), made by the account role.
    """

    event_id: str
    leader: str
    sequence: int
    action: LeaderAction
    cause: str
    event_ms: int
    partition: int
    active: int
    detected_ms: int = 0
    instrument: str = ""
    side: Side | None = None
    price: Decimal | None = None
    size: Decimal | None = None
    position: Decimal | None = None
    blocked: RefusalReason | None = None


class TradeError(Message, frozen=True, kw_only=True, tag="trade_error"):
    """A follower's order failed, and copying for its subscription halted; told again when it is resolved.

    `error_id` = derive_id("error", order_id, kind). `kind` is one of processors.copying.params.ErrorKind.
    `open_errors`: how many the subscription has left; it is halted while there is one.
    """

    error_id: str
    state: Literal["open", "resolved"]
    kind: str
    message: str
    account: str
    subscription: str
    leader: str
    instrument: str
    order_id: str
    event_id: str
    cause: str
    open_errors: int
    numbers: dict[str, str] = msgspec.field(default_factory=dict)


class FollowerState(Message, frozen=True, kw_only=True, tag="follower_state"):
    """A subscription as the account role has it, told when it changes (not on every mark).

    `settings`: what is not the product's own, as JSON; `origins`: field -> leader | group | subscription.
    halted: it has open trade errors. `existing`: what is done about positions the leader held before.
    """

    subscription: str
    account: str
    leader: str
    status: str
    halted: bool
    settings: dict[str, Any]
    origins: dict[str, str]
    group: str = ""
    existing: str = ""


class Drift(Message, frozen=True, kw_only=True, tag="drift"):
    """Expected position of a subscription (leader's position x rule) beside the actual one, in own units, signed."""

    account: str
    subscription: str
    leader: str
    instrument: str
    expected: Decimal
    actual: Decimal
    drift: Decimal
    policy: str
