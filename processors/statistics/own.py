"""A leader's own record at its own prices, from its events in their sequence.

Entry point: `lead`.

1. With `position` the event is a trade of that size: P&L by average cost, without fees, which we do not know. Each
   event that closes (in part) is one trade.
2. Without it the event is a signal: a notional of `SIGNAL_NOTIONAL` is held in the side of the last signal, turned
   by an opposite one and closed by reduce or exit; more of the same side change nothing. Capital is that notional.
3. A position that was there before we saw it opened counts from the price at which we first see it.
"""

from decimal import Decimal
from typing import Final

from processors.account.money import FINEST, ZERO, usable
from processors.statistics.state import Leader, Position
from processors.statistics.sums import exact
from schemas.codec import BadRecord
from schemas.leaders import LeaderEvent
from schemas.reasons import LeaderAction, Side

SIGNAL_NOTIONAL: Final = Decimal(1_000)

_CLOSES: Final = frozenset({LeaderAction.REDUCE, LeaderAction.EXIT})
_TRADES: Final = _CLOSES | {LeaderAction.ENTRY, LeaderAction.INCREASE}


def lead(leader: Leader, event: LeaderEvent, capital_every_ms: int) -> None:
    """Apply one event of the leader.

    Raises:
        BadRecord: price, size, position or equity is no such thing; the leader is untouched.
    """
    position = leader.positions.get(event.instrument, Position())
    _refuse_bad(event, position)
    if event.action not in _TRADES:
        return
    if event.position is None:
        _signal(leader, position, event)
        leader.capital.sample(SIGNAL_NOTIONAL, event.now_ms, capital_every_ms)
    else:
        _trade(leader, position, event, event.position)
    if event.equity is not None:
        leader.capital.sample(exact(event.equity, "equity", event.event_id), event.now_ms, capital_every_ms)
    if position.size == ZERO:
        leader.positions.pop(event.instrument, None)
    else:
        leader.positions[event.instrument] = position


def _refuse_bad(event: LeaderEvent, position: Position) -> None:
    where = f"leader event {event.event_id}"
    if not usable(event.price):
        raise BadRecord(f"{where}: price {event.price} is no price")
    if event.size is not None and not usable(event.size):
        raise BadRecord(f"{where}: size {event.size} must be a finite number above zero")
    if event.position is not None:
        exact(event.position, "position", event.event_id)
    if event.equity is not None:
        exact(event.equity, "equity", event.event_id)
    for size in (position.size, event.size, event.position):
        if size is not None:
            exact(size * event.price, "value of the position", event.event_id)


def _trade(leader: Leader, position: Position, event: LeaderEvent, after: Decimal) -> None:
    if event.size is not None:
        before = after - (event.size if event.side is Side.BUY else -event.size)
        if before != position.size:  # not what we saw: rule 3
            position.size, position.cost = before, before * event.price
    _move(leader, position, after, event)


def _signal(leader: Leader, position: Position, event: LeaderEvent) -> None:
    wanted = Decimal(1) if event.side is Side.BUY else Decimal(-1)
    if event.action not in _CLOSES and position.size * wanted > ZERO:
        return
    _move(leader, position, ZERO, event)
    if event.action not in _CLOSES:
        position.size = (wanted * SIGNAL_NOTIONAL / event.price).quantize(FINEST)
        position.cost = position.size * event.price


def _move(leader: Leader, position: Position, after: Decimal, event: LeaderEvent) -> None:
    """Bring the position to `after` at the event's price; book what that closes."""
    before, price = position.size, event.price
    crossed = before * after < ZERO
    kept = ZERO if crossed else after
    if abs(kept) < abs(before):
        cost = (position.cost * kept / before).quantize(FINEST)
        realized = ((before - kept) * price - (position.cost - cost)).quantize(FINEST)
        position.cost = cost
        leader.money.book(realized, ZERO, event.now_ms)
        leader.money.trade(realized, None)
        before = kept
    position.cost += (after - before) * price
    position.size = after
