"""Positions and P&L against exact fractions."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.account.ledger import book
from processors.account.money import ZERO, ceil_to, floor_to, money_context, shown, tidy, usable
from processors.account.state import Holding
from schemas.reasons import Side

D = Decimal
prices = st.integers(1, 10_000_000).map(lambda n: D(n) / 100)
sizes = st.integers(1, 1_000_000).map(lambda n: D(n) / 1000)
fills = st.lists(st.tuples(st.sampled_from(list(Side)), prices, sizes), min_size=1, max_size=40)


def holding(contract_size: str = "1") -> Holding:
    return Holding("sub", "lead", "BTC", D(contract_size))


class Oracle:
    """Average cost, in exact fractions."""

    def __init__(self, contract_size: Fraction) -> None:
        self.size = self.average = self.realized = self.cash = Fraction(0)
        self.contract_size = contract_size

    def book(self, side: Side, price: Fraction, size: Fraction) -> None:
        signed = size if side is Side.BUY else -size
        self.cash -= signed * price * self.contract_size
        if self.size * signed >= 0:
            self.average = (self.average * abs(self.size) + price * size) / (abs(self.size) + size)
            self.size += signed
            return
        closed = min(size, abs(self.size))
        direction = 1 if self.size > 0 else -1
        self.realized += (price - self.average) * closed * direction * self.contract_size
        self.size += signed
        if self.size * direction < 0:
            self.average = price


@given(fills, st.sampled_from(["1", "0.01", "100"]))
def test_position_and_pnl_equal_the_oracle(events: list[tuple[Side, Decimal, Decimal]], contract: str) -> None:
    held, oracle = holding(contract), Oracle(Fraction(contract))
    told = ZERO
    with money_context():
        for side, price, size in events:
            told += book(held, side, price, size)
            oracle.book(side, Fraction(price), Fraction(size))
            assert Fraction(held.size) == oracle.size
            assert abs(Fraction(held.realized) - oracle.realized) < Fraction(1, 10**8)
            assert held.realized == told
            if held.size == ZERO:
                assert held.cost == ZERO
                assert Fraction(held.realized) == oracle.cash  # flat: exactly what the fills paid and received
            else:
                assert abs(Fraction(held.cost) - oracle.average * oracle.size) < Fraction(1, 10**8)


@pytest.mark.parametrize(
    ("events", "size", "cost", "realized"),
    [
        ([("buy", "100", "10"), ("sell", "110", "4")], "6", "600", "40"),
        ([("sell", "100", "10"), ("buy", "90", "4")], "-6", "-600", "40"),
        ([("buy", "100", "1"), ("buy", "200", "1"), ("sell", "150", "2")], "0", "0", "0"),
        ([("buy", "100", "1"), ("sell", "90", "3")], "-2", "-180", "-10"),  # flips: the rest opens the other side
        ([("buy", "1", "1"), ("buy", "2", "2"), ("sell", "3", "1"), ("sell", "3", "2")], "0", "0", "4"),
    ],
)
def test_table(events: list[tuple[str, str, str]], size: str, cost: str, realized: str) -> None:
    held = holding()
    with money_context():
        for side, price, amount in events:
            book(held, Side(side), D(price), D(amount))
    assert (held.size, held.cost, held.realized) == (D(size), D(cost), D(realized))


@given(st.integers(0, 10**12).map(lambda n: D(n) / 10**6), st.sampled_from(["0.1", "0.001", "5", "0.25", "1e-8"]))
def test_rounding_brackets_the_value(value: Decimal, step: str) -> None:
    low, high = floor_to(value, D(step)), ceil_to(value, D(step))
    assert low <= value <= high
    assert high - low in (0, D(step))
    assert low % D(step) == 0
    assert high % D(step) == 0


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("1", True),
        ("0", False),
        ("-1", False),
        ("NaN", False),
        ("sNaN", False),
        ("Infinity", False),
        ("1e12", True),
        ("1e13", False),
        ("1e-18", True),
        ("1e-19", False),
    ],
)
def test_usable(text: str, good: bool) -> None:
    assert usable(D(text)) is good


def test_text_has_no_exponent() -> None:
    with money_context():
        assert [shown(D(text)) for text in ("0", "100", "1E+2", "0.10", "-0.000000001", "1e-8")] == [
            "0",
            "100",
            "100",
            "0.1",
            "0",
            "0.00000001",
        ]
        assert str(tidy(D("174.00") / D("0.003"), D("0.1"))) == "58000.0"
        assert str(tidy(D("0.000"), D("0.1"))) == "0"
        assert str(tidy(D(1) / D(3), D("0.1"))) == "0.333333333333"
