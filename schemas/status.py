"""What happened to orders: the venue's reports (inbox of the account) and the public `order-status`, `outcomes`."""

from decimal import Decimal
from typing import Literal

import msgspec

from schemas.base import Message
from schemas.reasons import Leg, OrderState, OutcomeState, RefusalReason, ReportKind, Side


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


class Outcome(Message, frozen=True, kw_only=True, tag="outcome"):
    """What a leader event became for a subscription (design law 12).

    Exactly one terminal outcome per (event_id, subscription); `pending` may come before it.
    `outcome_id` = derive_id("outcome", event_id, subscription, "pending" | "terminal").
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
