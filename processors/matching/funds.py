"""What accounts have at the venue: balances, and the margin that positions and open entries hold. Pure.

Entry point: `Funds`. An account without a balance is not looked at: it can never lack anything.

Free = balance - cost / leverage of the open lots - (price / leverage + taker fee) of what open entries may still fill.
Profit and loss counts once it is realised. Closing needs nothing.
"""

from decimal import Decimal

from processors.matching.types import Group, VenueOrder

ZERO = Decimal(0)


class Funds:
    """Balances by account; `changed` are those not drained yet."""

    def __init__(self) -> None:
        self.balances: dict[str, Decimal] = {}
        self.changed: dict[str, Decimal] = {}
        self._entries: dict[str, dict[str, VenueOrder]] = {}
        self._groups: dict[str, dict[tuple[str, str], Group]] = {}

    def add(self, account: str, amount: Decimal) -> None:
        """Pay into (or, below zero, out of) an account; the first payment makes its balance."""
        self.balances[account] = self.changed[account] = self.balances.get(account, ZERO) + amount

    def free(self, account: str) -> Decimal:
        """Return what an account may still use."""
        held = ZERO
        for order in self._entries.get(account, {}).values():
            held += (order.size - order.filled) * order.hold
        for group in self._groups.get(account, {}).values():
            held += sum((lot.cost / lot.leverage for lot in group.lots), ZERO)
        return self.balances[account] - held

    def lacking(self, order: VenueOrder) -> str:
        """Return why an entry cannot be paid for, in numbers; "": it can."""
        if order.reduce_only or order.account not in self.balances:
            return ""
        needed, free = order.size * order.hold, self.free(order.account)
        if needed <= free:
            return ""
        return (
            f"margin and fee {needed:f} at leverage {order.leverage}, free {free:f} of {self.balances[order.account]:f}"
        )

    def came(self, order: VenueOrder) -> None:
        """An order is on its way or rests."""
        if order.hold != 0:
            self._entries.setdefault(order.account, {})[order.client_order_id] = order

    def went(self, order: VenueOrder) -> None:
        """An order is terminal."""
        self._entries.get(order.account, {}).pop(order.client_order_id, None)

    def filled(self, group: Group, realized: Decimal, fee: Decimal) -> None:
        """A fill changed a group."""
        groups = self._groups.setdefault(group.account, {})
        key = (group.group, group.instrument)
        if group.lots:
            groups[key] = group
        else:
            groups.pop(key, None)
        if group.account in self.balances:
            self.add(group.account, realized - fee)

    def load(self, group: Group) -> None:
        """Take a group that was open before a restart."""
        self._groups.setdefault(group.account, {})[(group.group, group.instrument)] = group

    def drain(self) -> dict[str, Decimal]:
        """Return the balances that changed and start anew."""
        changed, self.changed = self.changed, {}
        return changed
