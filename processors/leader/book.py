"""A leader's positions as its own trades make them, and its record at its own prices.

Entry points: `Book`, `Record`, `trade`, `position_of`, `follow_signal`.

1. Sizes are base units, signed (above zero long). The cost is kept, not the average price, so that a position that went
   from flat to flat has realised exactly what its trades paid and received; a partial close is rounded once (`FINEST`),
   in step with the P&L it books.
2. A closed trade is a change that made a position smaller; it is a win if its P&L is above zero. Fees are not known
   here.
3. Signals carry no size: their record is that of a notional of `UNIT` per signal, opened by the first one in a
   direction, closed and turned by the first one against it. It is kept in a book of its own, since no position of the
   leader's follows from it.
4. Flat positions are forgotten; at most `MOST_POSITIONS` are open.
"""

from decimal import Decimal

import msgspec

from processors.account.money import FINEST, ZERO
from schemas.reasons import Side

UNIT = Decimal(1_000)
"""Notional of one signal in the record of a leader that gives no size."""
MOST_POSITIONS = 1_000


class Position(msgspec.Struct, array_like=True):
    """Signed size, and cost = sum of price x signed size of what is open."""

    size: Decimal
    cost: Decimal


class Record(msgspec.Struct, array_like=True):
    """What a leader realised since it is known, how many trades closed and how many of them won."""

    realized_pnl: Decimal = ZERO
    trades: int = 0
    wins: int = 0


class Book(msgspec.Struct, array_like=True):
    """Open positions by instrument."""

    positions: dict[str, Position] = {}


def position_of(book: Book, instrument: str) -> Decimal:
    """Return the signed position, zero where there is none."""
    position = book.positions.get(instrument)
    return ZERO if position is None else position.size


def is_full(book: Book, instrument: str) -> bool:
    """Return whether the book has no room to open this instrument."""
    return instrument not in book.positions and len(book.positions) >= MOST_POSITIONS


def trade(book: Book, record: Record, instrument: str, change: Decimal, price: Decimal) -> None:
    """Book a signed change of a position at a price; through zero it closes and opens."""
    position = book.positions.get(instrument)
    before = ZERO if position is None else position.size
    if change == ZERO:
        return
    if position is None:
        book.positions[instrument] = Position(change, change * price)
        return
    if (before > ZERO) == (change > ZERO):
        position.size += change
        position.cost += change * price
        return
    closing = min(abs(change), abs(before))
    part = closing if before > ZERO else -closing
    proceeds = part * price
    if closing == abs(before):
        profit = proceeds - position.cost
        position.cost = ZERO
    else:
        profit = (proceeds - position.cost * part / before).quantize(FINEST)
        position.cost -= proceeds - profit
    record.realized_pnl += profit
    record.trades += 1
    record.wins += profit > ZERO
    position.size = before + change
    position.cost += (change + part) * price  # what is left of the change opens the other side
    if position.size == ZERO:
        del book.positions[instrument]


def follow_signal(book: Book, record: Record, instrument: str, side: Side, price: Decimal) -> None:
    """Book a signal as a trade of `UNIT` notional, unless it only repeats the direction held (or the book is full)."""
    if is_full(book, instrument):
        return
    held = position_of(book, instrument)
    wanted = (UNIT if side is Side.BUY else -UNIT) / price
    wanted = wanted.quantize(FINEST)
    if held != ZERO and (held > ZERO) == (wanted > ZERO):
        return
    trade(book, record, instrument, wanted - held, price)
