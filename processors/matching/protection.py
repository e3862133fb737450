"""Bracket legs: how an entry's bracket becomes orders, and which trigger prices are asked for. Pure.

Entry points: `legs(entry, size, now_ms)`, `changed(bracket, change)`, `changes_nothing(order, change)`.
"""

from decimal import Decimal

import msgspec

from processors.matching.types import Bracket, TriggerChange, VenueOrder


def legs(entry: VenueOrder, size: Decimal, now_ms: int) -> list[VenueOrder]:
    """Return the stop-loss and take-profit of an entry for `size`; what is on its way to the entry comes to them."""
    bracket = entry.bracket
    assert bracket is not None
    return [
        VenueOrder(
            client_order_id=client_order_id,
            account=entry.account,
            group=entry.group,
            instrument=entry.instrument,
            side=entry.side.opposite,
            kind="stop_loss" if client_order_id == bracket.stop_loss_client_id else "take_profit",
            size=size,
            trigger_price=price,
            trigger=bracket.trigger,
            reduce_only=True,
            entry=entry.client_order_id,
            state="resting",
            arrives_ms=now_ms,
            changes=list(entry.changes),
        )
        for client_order_id, price in (
            (bracket.stop_loss_client_id, bracket.stop_loss),
            (bracket.take_profit_client_id, bracket.take_profit),
        )
    ]


def changed(bracket: Bracket, change: TriggerChange) -> Bracket:
    """Return the bracket with new trigger prices."""
    stop_loss = bracket.stop_loss if change.stop_loss is None else change.stop_loss
    take_profit = bracket.take_profit if change.take_profit is None else change.take_profit
    return msgspec.structs.replace(bracket, stop_loss=stop_loss, take_profit=take_profit)


def price_for(leg: VenueOrder, change: TriggerChange) -> Decimal | None:
    """Return what a change asks of a leg."""
    return change.stop_loss if leg.kind == "stop_loss" else change.take_profit


def changes_nothing(order: VenueOrder, change: TriggerChange) -> bool:
    """Whether a leg, or an entry whose legs do not rest yet, has these prices or already waits for them."""
    bracket = order.bracket
    if bracket is not None:
        for earlier in order.changes:
            bracket = changed(bracket, earlier)
        return changed(bracket, change) == bracket
    asked = [order.trigger_price, *(price_for(order, earlier) for earlier in order.changes)]
    last = [price for price in asked if price is not None][-1]
    return price_for(order, change) in (None, last)
