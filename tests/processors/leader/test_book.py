"""The book of a leader against a slow one in fractions that looks at every trade again."""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from processors.leader.book import Book, Record, position_of, trade
from processors.leader.processor import leader_context

Traded = tuple[str, Decimal, Decimal]  # instrument, signed size, price

sizes = st.decimals("-50", "50", places=4).filter(lambda size: size != 0)
prices = st.decimals("0.01", "70000", places=2)
traded = st.lists(st.tuples(st.sampled_from(["a", "b"]), sizes, prices), max_size=40)


def slow(trades: Sequence[Traded]) -> tuple[dict[str, Fraction], Fraction, int, int]:
    """Positions, P&L, closed trades and wins, at average price, without any rounding."""
    profit, closed, won = Fraction(0), 0, 0
    held: dict[str, tuple[Fraction, Fraction]] = {}  # size, average price
    for instrument, change, at in trades:
        size, average = held.get(instrument, (Fraction(0), Fraction(0)))
        more, price = Fraction(change), Fraction(at)
        if size * more >= 0:
            average = (size * average + more * price) / (size + more)
        else:
            closing = min(abs(size), abs(more)) * (1 if size > 0 else -1)
            gain = closing * (price - average)
            profit, closed, won = profit + gain, closed + 1, won + (gain > 0)
            if abs(more) > abs(size):
                average = price
        held[instrument] = (size + more, average)
    return {name: size for name, (size, _) in held.items() if size != 0}, profit, closed, won


def fast(trades: Sequence[Traded]) -> tuple[Book, Record]:
    book, record = Book(), Record()
    with leader_context():
        for instrument, change, at in trades:
            trade(book, record, instrument, change, at)
    return book, record


@given(traded)
def test_the_book_is_that_of_fractions(trades: list[Traded]) -> None:
    book, record = fast(trades)
    held, profit, closed, won = slow(trades)
    assert {name: Fraction(position.size) for name, position in book.positions.items()} == held
    assert record.trades == closed
    assert abs(Fraction(record.realized_pnl) - profit) <= Fraction(1, 10**9)
    assert abs(record.wins - won) <= sum(abs(gain) < Fraction(1, 10**9) for gain in _gains(trades))


def _gains(trades: Sequence[Traded]) -> list[Fraction]:
    sums = [slow(trades[:count])[1:3] for count in range(len(trades) + 1)]
    return [after - before for (before, n), (after, m) in pairwise(sums) if m > n]


@given(traded)
def test_from_flat_to_flat_the_profit_is_what_was_paid_and_received(trades: list[Traded]) -> None:
    book, _ = fast(trades)
    closing = [(name, -position.size, Decimal("123.45")) for name, position in sorted(book.positions.items())]
    book, record = fast([*trades, *closing])
    assert book.positions == {}
    assert Fraction(record.realized_pnl) == -sum(Fraction(c) * Fraction(p) for _, c, p in [*trades, *closing])


def test_what_is_held_is_answered() -> None:
    book, _ = fast([("a", Decimal(3), Decimal(1)), ("a", Decimal(-1), Decimal(2))])
    assert (position_of(book, "a"), position_of(book, "b")) == (2, 0)


def test_the_largest_numbers_do_not_break_it() -> None:
    most, least = Decimal("1e12"), Decimal("1e-18")
    book, record = fast([("a", most, most), ("a", -least, least), ("a", -most / 2, least), ("a", least, most)])
    assert record.trades == 2
    assert position_of(book, "a") == Decimal("5e11")
