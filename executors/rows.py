"""An order (or leg) as the engine holds it: its row in the store and what is only needed while it runs."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from executors import lifecycle
from executors.protocols import Attempt, client_order_id
from schemas.ids import derive_id
from schemas.orders import Order
from schemas.reasons import Leg, ReportKind, Side
from schemas.status import VenueReport

_encode = msgspec.json.Encoder().encode
_decode_order = msgspec.json.Decoder(Order).decode
ZERO = Decimal(0)


def fingerprint(order: Order) -> str:
    """Return a hash of every logical field of an order (log time left out: a repeat may be written later)."""
    protection = order.protection
    if protection is not None:
        protection = msgspec.structs.replace(protection, now_ms=0)
    return derive_id("order-fields", _encode(msgspec.structs.replace(order, now_ms=0, protection=protection)).decode())


class Triggers(NamedTuple):
    """New trigger prices that a bracket is to get; None leaves that leg as it is."""

    stop_loss: Decimal | None
    take_profit: Decimal | None

    def after(self, earlier: "Triggers | None") -> "Triggers":
        """Return both changes as one."""
        if earlier is None:
            return self
        return Triggers(
            earlier.stop_loss if self.stop_loss is None else self.stop_loss,
            earlier.take_profit if self.take_profit is None else self.take_profit,
        )


@dataclass(slots=True)
class OrderRow:
    """One row of execution_orders. A leg carries its entry's `order`, whose protection is the one in force.

    `closed`: of an entry's fills, what is closed. `change`: what an entry's protection is to become (a row of
    execution_protection), until the venue has it.
    """

    order_id: str
    partition: int
    sequence: int
    order: Order
    leg: Leg
    size: Decimal
    state: str
    entry_order_id: str
    fingerprint: str = ""
    filled: Decimal = ZERO
    closed: Decimal = ZERO
    attempts: int = 0
    venue_order_id: str = ""
    cancel_requested: bool = False
    live: bool = True
    change: Triggers | None = None
    # Only in memory.
    moved: bool = False  # its trigger prices are no longer those of the order as it came
    body: bytes = b""
    body_of: Order | None = None
    trade_ids: set[str] = field(default_factory=set)
    attempt: Attempt | None = None
    asks: int = 0
    ask_at: float = 0.0
    asked_since: float | None = None
    told_unknown: bool = False
    told_unresolved: bool = False
    cancel_at: float = 0.0
    change_at: float = 0.0
    waits_since: float | None = None

    @property
    def account(self) -> str:
        """The account whose order this is."""
        return self.order.account

    @property
    def side(self) -> Side:
        """The side of this order; legs are opposite to their entry."""
        return self.order.side.opposite if self.is_leg else self.order.side

    @property
    def is_leg(self) -> bool:
        """Whether this is a stop-loss or take-profit derived from its entry's protection."""
        return self.leg in (Leg.STOP_LOSS, Leg.TAKE_PROFIT)

    @property
    def trigger_price(self) -> Decimal | None:
        """Trigger price of a leg."""
        protection = self.order.protection
        if protection is None or not self.is_leg:
            return None
        return protection.stop_loss if self.leg is Leg.STOP_LOSS else protection.take_profit

    def protect(self, triggers: Triggers) -> None:
        """Let the order carry these trigger prices."""
        protection = self.order.protection
        if protection is not None:
            self.moved = True
            prices = {name: price for name, price in triggers._asdict().items() if price is not None}
            self.order = msgspec.structs.replace(self.order, protection=msgspec.structs.replace(protection, **prices))

    def client_id(self) -> str:
        """Client order id of the latest attempt (of a leg: its entry's latest attempt)."""
        return client_order_id(self.order_id, max(self.attempts, 1))

    def values(self) -> dict[str, Any]:
        """Return the columns as they are now."""
        return {
            "order_id": self.order_id,
            "partition": self.partition,
            "sequence": self.sequence,
            "account": self.account,
            "venue": self.order.venue,
            "leg": self.leg.value,
            "entry_order_id": self.entry_order_id,
            "state": self.state,
            "size": str(self.size),
            "filled": str(self.filled),
            "closed": str(self.closed),
            "attempts": self.attempts,
            "venue_order_id": self.venue_order_id,
            "cancel_requested": self.cancel_requested,
            "fingerprint": self.fingerprint,
            "live": self.live,
            "body": self._encoded(),
        }

    def _encoded(self) -> bytes:
        if self.body_of is not self.order:  # orders are never changed in place
            self.body_of, self.body = self.order, _encode(self.order)
        return self.body

    @classmethod
    def of(cls, row: Any, trade_ids: set[str]) -> "OrderRow":
        """Make one of a database row."""
        return cls(
            order_id=row.order_id,
            partition=row.partition,
            sequence=row.sequence,
            order=_decode_order(row.body),
            leg=Leg(row.leg),
            size=Decimal(row.size),
            state=row.state,
            entry_order_id=row.entry_order_id,
            fingerprint=row.fingerprint,
            filled=Decimal(row.filled),
            closed=Decimal(row.closed),
            attempts=row.attempts,
            venue_order_id=row.venue_order_id,
            cancel_requested=bool(row.cancel_requested),
            live=bool(row.live),
            trade_ids=trade_ids,
        )

    def report(self, kind: ReportKind, now_ms: int, **fields: Any) -> VenueReport:
        """Return a report on this order; `fields` override or add to the usual ones."""
        values: dict[str, Any] = {
            "venue_ms": now_ms,
            "size": self.size,
            "venue_order_id": self.venue_order_id,
            "trigger_price": self.trigger_price,
        }
        return VenueReport(
            now_ms=now_ms,
            account=self.account,
            venue=self.order.venue,
            subscription=self.order.subscription,
            instrument=self.order.instrument,
            order_id=self.order_id,
            entry_order_id=self.entry_order_id,
            leg=self.leg,
            side=self.side,
            kind=kind,
            **(values | fields),
        )


def rows_of(order: Order, partition: int, sequence: int, state: str) -> list[OrderRow]:
    """Return the row of an order and those of its protective legs."""
    entry_order_id = order.order_id if order.leg is Leg.ENTRY else (order.closes or "")
    main = OrderRow(
        order.order_id, partition, sequence, order, order.leg, order.size, state, entry_order_id, fingerprint(order)
    )
    if order.leg is not Leg.ENTRY or order.protection is None:
        return [main]
    legs = (
        (order.protection.stop_loss_order_id, Leg.STOP_LOSS),
        (order.protection.take_profit_order_id, Leg.TAKE_PROFIT),
    )
    waiting = lifecycle.WAITING
    return [main] + [
        OrderRow(order_id, partition, sequence, order, leg, order.size, waiting, order.order_id, main.fingerprint)
        for order_id, leg in legs
    ]
