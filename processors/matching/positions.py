"""Positions by (account, group, instrument) and how fills change their lots. Pure.

1. All lots of a group are on one side, and their open sizes sum to the size of the position.
2. A leg closes its own entry's lot; any other fill closes opposing lots, that of the entry it `closes` before the
   others and those oldest first, and what is left of it opens a lot of its own.
"""

from decimal import Decimal

from processors.matching.types import Group, Lot, VenueOrder
from schemas.reasons import Side

ZERO = Decimal(0)


class Positions:
    """Groups by key; a flat group is forgotten."""

    def __init__(self) -> None:
        self.groups: dict[tuple[str, str, str], Group] = {}

    @staticmethod
    def key(order: VenueOrder) -> tuple[str, str, str]:
        """Return the key of the group that `order` belongs to."""
        return (order.account, order.group, order.instrument)

    def lot(self, order: VenueOrder) -> Lot | None:
        """Return the open lot of the entry that `order` is a leg of."""
        group = self.groups.get(self.key(order))
        if group is None:
            return None
        return next((lot for lot in group.lots if lot.entry == order.entry), None)

    def closable(self, order: VenueOrder) -> Decimal:
        """Return how much a reduce-only `order` may still close: of its own lot for a leg, else of its group."""
        if order.entry:
            lot = self.lot(order)
            return lot.open if lot is not None else ZERO
        group = self.groups.get(self.key(order))
        if group is None or (group.position > 0) == (order.side is Side.BUY):
            return ZERO
        return abs(group.position)

    def book(self, order: VenueOrder, size: Decimal, price: Decimal) -> tuple[Group, list[Lot], Decimal]:
        """Book a fill; return the group, the lots whose open size changed (zero: closed), and what it realised."""
        key = self.key(order)
        group = self.groups.get(key)
        if group is None:
            group = self.groups[key] = Group(account=key[0], group=key[1], instrument=key[2])
        group.position += size if order.side is Side.BUY else -size
        changed: list[Lot] = []
        rest, realized = size, ZERO
        for lot in sorted(group.lots, key=lambda lot: lot.entry != order.closes):
            if rest == 0:
                break
            if lot.side is order.side or (order.entry and lot.entry != order.entry):
                continue
            closed = min(lot.open, rest)
            cost = lot.cost if closed == lot.open else lot.cost * closed / lot.open
            if lot.cost != 0:  # else it was opened before costs were kept
                realized += (closed * price - cost) if lot.side is Side.BUY else (cost - closed * price)
            lot.cost -= cost
            lot.open -= closed
            rest -= closed
            changed.append(lot)
            if lot.open == 0:
                group.lots.remove(lot)
        if rest > 0:
            changed.append(self._opened(group, order, rest, price))
        if group.position == 0 and not group.lots:
            del self.groups[key]
        return group, changed, realized

    @staticmethod
    def _opened(group: Group, order: VenueOrder, size: Decimal, price: Decimal) -> Lot:
        for lot in group.lots:
            if lot.entry == order.client_order_id:
                lot.open += size
                lot.cost += size * price
                return lot
        lot = Lot(order.client_order_id, order.side, size, size * price, order.leverage)
        group.lots.append(lot)
        return lot
