"""Approved orders. Only processors/account/ makes an `Order`, after risk (design law 8)."""

from decimal import Decimal
from typing import Literal

from schemas.base import Message, require_positive
from schemas.reasons import Leg, Side


class Protection(Message, frozen=True, kw_only=True, tag="protection"):
    """Trigger prices of the reduce-only legs that the executor rests at the venue once the entry fills.

    Leg order ids are given by the account, so that reports name them:
    derive_id("order", cause, account, subscription, instrument, leg, ordinal).
    """

    stop_loss: Decimal
    take_profit: Decimal
    stop_loss_order_id: str
    take_profit_order_id: str
    trigger: Literal["trade", "quote"] = "trade"


class Order(Message, frozen=True, kw_only=True, tag="order"):
    """An approved order.

    `order_id` = derive_id("order", cause, account, subscription, instrument, leg, ordinal).
    `closes` names the entry order whose position an exit closes: the executor cancels that entry's unsent rest and
    its resting legs first. `not_after_ms`: past this log time an entry is not sent any more (reported expired).
    `reference_price` is the mark at decision, `leader_price` the leader's, `event_ms` the time of the cause.
    """

    order_id: str
    account: str
    venue: str
    subscription: str
    leader: str
    instrument: str
    leg: Leg
    side: Side
    kind: Literal["market", "limit"]
    size: Decimal
    reference_price: Decimal
    leader_price: Decimal
    cause: str
    event_id: str
    event_ms: int
    not_after_ms: int
    leverage: int = 1
    margin_mode: Literal["cross", "isolated"] | None = None
    reduce_only: bool = False
    limit_price: Decimal | None = None
    protection: Protection | None = None
    closes: str | None = None

    def __post_init__(self) -> None:
        require_positive("size", self.size)
        require_positive("reference_price", self.reference_price)
        if (self.kind == "limit") != (self.limit_price is not None):
            raise ValueError("limit_price goes with kind limit, and only with it")


class ChangeProtection(Message, frozen=True, kw_only=True, tag="change_protection"):
    """New trigger prices for the legs of an entry's bracket; None leaves that leg as it is."""

    account: str
    venue: str
    instrument: str
    order_id: str
    cause: str
    stop_loss: Decimal | None = None
    take_profit: Decimal | None = None


class CancelOrder(Message, frozen=True, kw_only=True, tag="cancel_order"):
    """Cancel what rests of an order or leg."""

    account: str
    venue: str
    instrument: str
    order_id: str
    cause: str
