"""What a trade did to a leader's position, by name.

Entry points: `complete`, `Move`, `NotAMove`.

1. One of size and position may be missing: it is completed from the other and the position in the book.
2. The name comes from the position before and after: from nothing it is an entry, larger an increase, smaller a reduce,
   to nothing an exit; through zero it is an exit and then an entry, each with its part of the size.
3. Told size and told position that contradict the book mean that trades were missed. The told position is the truth:
   | the book's change           | the move is                                                            |
   |-----------------------------|------------------------------------------------------------------------|
   | to the trade's own side     | the book's change; what grew unseen is in the position, not in the size |
   | against it, not larger      | the book's change, on its own side: what shrank unseen is followed      |
   | against it, larger          | the trade's own reduction, of a position that was larger than known     |
   | none                        | none: those who follow hold what the leader holds                       |
"""

from decimal import Decimal
from typing import NamedTuple

from processors.account.money import ZERO, usable
from schemas.reasons import LeaderAction, Side


class NotAMove(ValueError):
    """The trade contradicts itself; the text says how."""


class Move(NamedTuple):
    """One named change: `size` above zero for followers of the change, `change` signed for the book."""

    action: LeaderAction
    side: Side
    size: Decimal
    position: Decimal
    change: Decimal


class Moves(NamedTuple):
    """The moves of one trade, in order, and whether the told position corrected the book."""

    moves: tuple[Move, ...]
    corrected: bool


def complete(before: Decimal, side: Side, size: Decimal | None, position: Decimal | None) -> Moves:
    """Return the moves of a trade by `side`, given the book's position and at least one of size and position.

    Raises:
        NotAMove: the position did not change, or against the side, or grew beyond what can be kept.
    """
    if position is None:
        if size is None:
            raise ValueError("size or position is needed")
        position = before + _signed(side, size)
        told = None
    else:
        told = size
    if position == ZERO:
        position = ZERO  # not -0, and without decimals
    elif not usable(abs(position)):
        raise NotAMove(f"the position would be {position}, which is out of range (at most 1e12, 18 decimals)")
    change = position - before
    if told is not None and change != _signed(side, told):
        return Moves(_corrected(before, side, told, position), True)
    if change == ZERO:
        raise NotAMove(f"position {position} is what is known already: nothing was traded")
    if (change > ZERO) != (side is Side.BUY):
        raise NotAMove(
            f"side {side} contradicts the position, which went from {before} to {position}; tell the size too if "
            "trades in between were missed"
        )
    return Moves(_named(before, side, position), False)


def _signed(side: Side, size: Decimal) -> Decimal:
    return size if side is Side.BUY else -size


def _named(before: Decimal, side: Side, after: Decimal) -> tuple[Move, ...]:
    change = after - before
    if before == ZERO:
        return (Move(LeaderAction.ENTRY, side, abs(change), after, change),)
    if after == ZERO:
        return (Move(LeaderAction.EXIT, side, abs(change), after, change),)
    if (before > ZERO) != (after > ZERO):
        return (
            Move(LeaderAction.EXIT, side, abs(before), ZERO, -before),
            Move(LeaderAction.ENTRY, side, abs(after), after, after),
        )
    action = LeaderAction.INCREASE if abs(after) > abs(before) else LeaderAction.REDUCE
    return (Move(action, side, abs(change), after, change),)


def _corrected(before: Decimal, side: Side, size: Decimal, after: Decimal) -> tuple[Move, ...]:
    change = after - before
    if change == ZERO:
        return ()
    if (change > ZERO) == (side is Side.BUY):
        moves = _named(before, side, after)
        last = moves[-1]
        if last.action in (LeaderAction.ENTRY, LeaderAction.INCREASE):
            return (*moves[:-1], last._replace(size=min(size, last.size)))
        return moves
    if before * after >= ZERO and abs(after) > abs(before):
        return (Move(LeaderAction.REDUCE, side, size, after, change),)
    return _named(before, side.opposite, after)
