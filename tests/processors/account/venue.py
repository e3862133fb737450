"""A careless venue for random tests: it fills in parts, rejects, cancels, forgets, triggers legs, tells late and twice.

It never closes more of a bracket than it filled, as the executor and the venue's reduce-only flag see to.
"""

import random
from decimal import Decimal
from typing import Any

from schemas.accounts import Transfer
from schemas.orders import CancelOrder, ChangeProtection, Order
from schemas.reasons import Leg, ReportKind
from schemas.status import VenueReport
from tests.processors.account.world import fill, leg_report, report

K = ReportKind
REORDERED = 12
"""Reports that may overtake one another."""
LOT = Decimal("0.001")


class Venue:
    """Takes orders, keeps reports to be told in `pending` (any order), and what it truly filled."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.pending: list[VenueReport] = []
        self.open: dict[str, Decimal] = {}  # entry order id -> filled and not closed
        self.entries: dict[str, Order] = {}
        self.resting: dict[str, Decimal] = {}  # entry order id -> not filled yet
        self.trades = 0
        self.filled: list[VenueReport] = []
        self.price = Decimal(60000)
        self.prices: dict[str, Decimal] = {}  # of other instruments than the first
        self.lots: dict[str, Decimal] = {}

    def take(self, order: Order | CancelOrder | ChangeProtection | Transfer, now_ms: int) -> None:
        """Act on what came over the `orders` topic."""
        if isinstance(order, Transfer):
            return
        if isinstance(order, CancelOrder):
            self._cancel(order.order_id, now_ms)
        elif isinstance(order, ChangeProtection):
            self._protect(order, now_ms)
        elif order.leg is Leg.ENTRY:
            self._entry(order, now_ms)
        else:
            self._exit(order, now_ms)

    def _protect(self, change: ChangeProtection, now_ms: int) -> None:
        if self.open.get(change.order_id, Decimal(0)) > 0 and change.stop_loss is not None:
            entry = self.entries[change.order_id]
            told = leg_report(entry, Leg.STOP_LOSS, K.ACCEPTED, now_ms, trigger_price=change.stop_loss)
            self.pending.append(told)

    def _parts(self, size: Decimal, lot: Decimal) -> list[Decimal]:
        lots, parts = int(size / lot), []
        while lots > 0 and len(parts) < 2:
            part = self.chance.randint(1, lots)
            parts.append(part * lot)
            lots -= part
        return [*parts, lots * lot] if lots else parts

    def _lot(self, order: Order) -> Decimal:
        return self.lots.get(order.instrument, LOT)

    def _fill(self, order: Order, size: Decimal, now_ms: int, leg: Leg | None = None) -> None:
        self.trades += 1
        price = self.prices.get(order.instrument, self.price)
        price += price * self.chance.randint(-500, 500) / 60_000
        price = price.quantize(Decimal("0.01"))
        values: dict[str, Any] = (
            {"fee": price * size * Decimal("0.0005")} if self.chance.random() < 0.8 else {"fee": None}
        )
        if leg is None:
            told = fill(order, str(price), str(size), f"t{self.trades}", now_ms, **values)
        else:
            told = leg_report(
                order,
                leg,
                K.FILL,
                now_ms,
                price=price,
                size=size,
                trade_id=f"t{self.trades}",
                fee_currency="USDT",
                **values,
            )
        self.pending.append(told)
        self.filled.append(told)

    def _entry(self, order: Order, now_ms: int) -> None:
        self.entries[order.order_id] = order
        self.pending += [
            report(order, kind, now_ms) for kind in (K.SUBMITTED, K.ACCEPTED) if self.chance.random() < 0.7
        ]
        fate = self.chance.choice(["fill", "fill", "fill", "part", "rest", "reject", "expire", "unknown"])
        if fate == "reject":
            self.pending.append(report(order, K.REJECTED, now_ms, code="-1", message="no"))
            return
        if fate == "expire":
            self.pending.append(report(order, K.EXPIRED, now_ms))
            return
        if fate == "unknown":
            self.pending.append(report(order, K.UNKNOWN, now_ms))
        self.resting[order.order_id] = order.size
        parts = self._parts(order.size, self._lot(order))
        for part in parts if fate in ("fill", "unknown") else parts[:-1] if fate == "part" else []:
            self._fill_entry(order, part, now_ms)

    def _fill_entry(self, order: Order, size: Decimal, now_ms: int) -> None:
        self._fill(order, size, now_ms)
        self.open[order.order_id] = self.open.get(order.order_id, Decimal(0)) + size
        self.resting[order.order_id] -= size

    def _cancel(self, order_id: str, now_ms: int) -> None:
        if self.resting.get(order_id, Decimal(0)) > 0:
            self.resting[order_id] = Decimal(0)
            self.pending.append(report(self.entries[order_id], K.CANCELLED, now_ms))

    def _exit(self, order: Order, now_ms: int) -> None:
        available = self.open.get(order.closes or "", Decimal(0))
        size = min(order.size, available)
        if order.closes is None or size == 0 or self.chance.random() < 0.1:
            self.pending.append(report(order, K.REJECTED, now_ms, message="no position"))
            return
        self.open[order.closes] -= size
        for part in self._parts(size, self._lot(order)):
            self._fill(order, part, now_ms)
        if size < order.size:
            self.pending.append(report(order, K.CANCELLED, now_ms))

    def trigger(self, now_ms: int) -> None:
        """Fire a leg of a random open bracket, or refuse its stop-loss."""
        brackets = [order_id for order_id, size in self.open.items() if size > 0]
        if not brackets:
            return
        entry = self.entries[self.chance.choice(brackets)]
        if self.chance.random() < 0.15:
            self.pending.append(leg_report(entry, Leg.STOP_LOSS, K.REJECTED, now_ms))
            return
        leg, other = self.chance.sample([Leg.STOP_LOSS, Leg.TAKE_PROFIT], 2)
        for part in self._parts(self.open[entry.order_id], self._lot(entry)):
            self._fill(entry, part, now_ms, leg)
        self.open[entry.order_id] = Decimal(0)
        self.pending.append(leg_report(entry, other, K.CANCELLED, now_ms))

    def tell(self, reorder: bool) -> VenueReport | None:
        """Return the next report, sometimes an old one again."""
        if not self.pending:
            return None
        index = self.chance.randrange(min(len(self.pending), REORDERED)) if reorder else 0
        if self.chance.random() < 0.15:
            return self.pending[index]
        return self.pending.pop(index)

    def end_all(self, now_ms: int) -> None:
        """Cancel whatever rests."""
        for order_id in list(self.resting):
            self._cancel(order_id, now_ms)
