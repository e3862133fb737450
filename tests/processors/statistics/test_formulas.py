"""Each number of the statistics: tables by hand, and series of days beside numpy and pandas."""

from decimal import Decimal as D
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import BadRecord
from schemas.reasons import Leg, OutcomeState, Side
from tests.processors.statistics.stories import (
    ACTION,
    BTC,
    DAY_MS,
    ETH,
    HOUR_MS,
    counted,
    equity,
    fill,
    follows,
    leads,
    outcome,
    statistics_of,
)

ENTRY, EXIT, STOP = Leg.ENTRY, Leg.EXIT, Leg.STOP_LOSS


# -- trades
@pytest.mark.parametrize(
    ("records", "trades", "wins", "profit", "loss"),
    [
        pytest.param([fill(1, ENTRY, fee="1")], 0, 0, "0", "0", id="an entry is no trade"),
        pytest.param([fill(1, ENTRY, fee="1"), fill(2, EXIT, "10", "2")], 1, 1, "7", "0", id="net of both fees"),
        pytest.param([fill(1, ENTRY, fee="1"), fill(2, EXIT, "2", "1")], 1, 0, "0", "0", id="zero is no win"),
        pytest.param([fill(1, ENTRY, fee="2"), fill(2, EXIT, "3", "2")], 1, 0, "0", "1", id="fees turn it"),
        pytest.param(
            [fill(1, ENTRY, fee="4", size="4"), fill(2, STOP, "5", size="1"), fill(3, EXIT, "-9", size="3")],
            2, 1, "4", "12", id="entry fees by the part closed",
        ),
        pytest.param(
            [fill(1, ENTRY, size="2"), fill(2, EXIT, "-3", order="x"), fill(3, EXIT, "5", order="x")],
            1, 1, "2", "0", id="fills of one order are one trade",
        ),
        pytest.param(
            [
                fill(1, ENTRY, size="2"),
                fill(2, ENTRY, size="2", instrument=ETH),
                fill(3, EXIT, "5", order="x"),
                fill(4, EXIT, "-1", order="y", instrument=ETH),
                fill(5, EXIT, "-6", order="x"),
            ],
            2, 0, "0", "2", id="instruments apart",
        ),
        pytest.param([fill(1, EXIT, "5", "1")], 1, 1, "4", "0", id="entry not seen"),
    ],
)  # fmt: skip
def test_trades(records: list[Any], trades: int, wins: int, profit: str, loss: str) -> None:
    got = statistics_of(records)
    assert (got.trades, got.wins, got.gross_profit, got.gross_loss) == (trades, wins, D(profit), D(loss))
    assert got.win_rate == (wins / trades if trades else None)
    assert got.profit_factor == (float(D(profit) / D(loss)) if D(loss) else None)


def test_money_is_all_fills() -> None:
    got = statistics_of([fill(1, ENTRY, fee="1.5"), fill(2, EXIT, "10", "0.5"), fill(3, EXIT, "-4", "0.25")])
    assert (got.realized_pnl, got.fees) == (D(6), D("2.25"))


# -- drawdown, return, capital
@pytest.mark.parametrize(
    ("nets", "fall", "peak"),
    [
        (["5", "5"], "0", "0"),
        (["-3"], "3", "0"),
        (["10", "-4", "2", "-5", "20"], "7", "10"),
        (["10", "-4", "20", "-4"], "4", "10"),  # the first of equal falls
        (["10", "-4", "20", "-4.1"], "4.1", "26"),
    ],
)
def test_drawdown(nets: list[str], fall: str, peak: str) -> None:
    got = statistics_of([equity("100"), *(fill(number, EXIT, net) for number, net in enumerate(nets))])
    assert got.max_drawdown == D(fall)
    assert got.max_drawdown_fraction == float(D(fall) / (100 + D(peak)))


def test_return_is_over_the_average_of_the_samples() -> None:
    records = [
        equity("100"),
        equity("900", at=HOUR_MS),  # the same four hours: no sample
        equity("300", at=5 * HOUR_MS),
        fill(1, EXIT, "30", "10"),
    ]
    got = statistics_of(records)
    assert (got.capital, got.total_return) == (D(200), 0.1)


def test_without_capital_there_is_no_return() -> None:
    got = statistics_of([fill(1, EXIT, "30")])
    assert (got.capital, got.total_return, got.max_drawdown_fraction) == (None, None, None)


def test_capital_of_nothing_gives_no_return() -> None:
    assert statistics_of([equity("0"), fill(1, EXIT, "30")]).total_return is None


# -- days, beside numpy and pandas
def _oracle(nets: list[tuple[int, float]]) -> tuple[float | None, float | None, float]:
    """Sharpe, Sortino and drawdown of (day, net) by pandas."""
    booked = pd.Series([net for _, net in nets], index=pd.to_datetime([day for day, _ in nets], unit="D"))
    daily = booked.resample("D").sum()
    sharpe = sortino = None
    if len(daily) > 1:
        if (spread := daily.std(ddof=1)) > 1e-9:
            sharpe = daily.mean() / spread * np.sqrt(365)
        if (down := np.sqrt((np.minimum(daily, 0) ** 2).mean())) > 1e-9:
            sortino = daily.mean() / down * np.sqrt(365)
    curve = np.concatenate([[0.0], booked.cumsum().to_numpy()])
    return sharpe, sortino, float((np.maximum.accumulate(curve) - curve).max())


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-1_000, 1_000)), min_size=1, max_size=40))
def test_days_are_those_of_pandas(steps: list[tuple[int, int]]) -> None:
    day, nets, records = 0, [], []
    for number, (gap, net) in enumerate(steps):
        day += gap
        nets.append((day, float(net)))
        records.append(fill(number, EXIT, str(net), at=day * DAY_MS + number))
    got = statistics_of(records)
    sharpe, sortino, fall = _oracle(nets)
    assert got.sharpe == (None if sharpe is None else pytest.approx(sharpe, abs=1e-6))
    assert got.sortino == (None if sortino is None else pytest.approx(sortino, abs=1e-6))
    assert float(got.max_drawdown) == fall


def test_ratios_by_hand() -> None:
    """Days +3, 0 (nothing booked), -1: mean 2/3, deviation sqrt(13/3), downside sqrt(1/3)."""
    got = statistics_of([fill(1, EXIT, "3"), fill(2, EXIT, "-1", at=2 * DAY_MS)])
    assert got.sharpe == pytest.approx(2 / 3 / (13 / 3) ** 0.5 * 365**0.5)
    assert got.sortino == pytest.approx(2 / 3 / (1 / 3) ** 0.5 * 365**0.5)


def test_equal_days_have_no_sharpe() -> None:
    records = [fill(day, EXIT, "123456789.123456789123", at=day * DAY_MS) for day in range(7)]
    got = statistics_of(records)
    assert (got.sharpe, got.sortino) == (None, None)


# -- outcomes, followers, AUM
def test_outcomes() -> None:
    states = OutcomeState
    records = [
        outcome(1, states.PENDING, 5, "5"),
        outcome(1, states.COPIED, 10, "1"),
        outcome(2, states.REDUCED, 30, "2.5"),
        outcome(3, states.SKIPPED),
        outcome(4, states.FAILED),
        outcome(5, states.COPIED, None, "9"),  # never filled
    ]
    got = statistics_of(records)
    assert (got.copied, got.reduced, got.skipped, got.failed) == (2, 1, 1, 1)
    assert (got.success_rate, got.measured, got.delay_ms, got.cost_bps) == (0.75, 2, 20.0, 1.75)


def test_only_skipped_has_no_success_rate() -> None:
    assert statistics_of([outcome(1, OutcomeState.SKIPPED)]).success_rate is None


def test_followers_and_their_capital() -> None:
    records = [
        follows(), equity("100"),
        follows("paused", subscription="bob/lead"), equity("50", subscription="bob/lead"),
        equity("70", subscription="cid/lead"),  # never said to follow
        follows(subscription="dan/lead"),  # capital not told
        equity("7", subscription="eve/lead"), follows(subscription="eve/lead"),
        follows("stopped", subscription="eve/lead"),
        fill(1, EXIT, "5", "1"), fill(1, EXIT, "-7", "2", subscription="bob/lead"),
    ]  # fmt: skip
    got = counted(records)
    leader = got["leader:lead"]
    assert (leader.followers, leader.aum) == (3, D(150))
    assert (leader.copiers_realized_pnl, leader.copiers_fees) == (D(-2), D(3))
    assert (leader.realized_pnl, leader.trades) == (D(0), 0), "its own record is its own"
    assert (got["subscription:bob/lead"].followers, got["subscription:bob/lead"].aum) == (1, D(50))
    assert (got["subscription:eve/lead"].followers, got["subscription:eve/lead"].aum) == (0, None)


# -- a leader's own record
BUY, SELL = Side.BUY, Side.SELL


@pytest.mark.parametrize(
    ("events", "realized", "trades", "wins"),
    [
        pytest.param([leads(1, ACTION.ENTRY, BUY, "100", "2", "2")], "0", 0, 0, id="open"),
        pytest.param(
            [
                leads(1, ACTION.ENTRY, BUY, "100", "2", "2"),
                leads(2, ACTION.INCREASE, BUY, "130", "1", "3"),
                leads(3, ACTION.REDUCE, SELL, "140", "1", "2"),
                leads(4, ACTION.EXIT, SELL, "100", "2", "0"),
            ],
            "10", 2, 1, id="average cost 110",
        ),
        pytest.param(
            [leads(1, ACTION.ENTRY, SELL, "100", "2", "-2"), leads(2, ACTION.EXIT, BUY, "90", "2", "0")],
            "20", 1, 1, id="short",
        ),
        pytest.param(
            [leads(1, ACTION.ENTRY, BUY, "100", "1", "1"), leads(2, ACTION.ENTRY, SELL, "110", "3", "-2"),
             leads(3, ACTION.EXIT, BUY, "100", "2", "0")],
            "30", 2, 2, id="through zero",
        ),
        pytest.param(
            [leads(5, ACTION.REDUCE, SELL, "100", "1", "3"), leads(6, ACTION.EXIT, SELL, "110", "3", "0")],
            "30", 2, 1, id="held before it was seen",
        ),
        pytest.param(
            [leads(1, ACTION.ENTRY, BUY, "100", "1", "1"), leads(1, ACTION.EXIT, SELL, "110", "1", "0")],
            "0", 0, 0, id="a repeated sequence is nothing",
        ),
        pytest.param(
            [leads(1, ACTION.ENTRY, BUY, "100", "1", "1"), leads(2, ACTION.PROTECTION, SELL, "110", None, "1"),
             leads(3, ACTION.EXIT, SELL, "101", "1", "0", instrument=BTC)],
            "1", 1, 1, id="protection moves nothing",
        ),
        pytest.param(
            [leads(1, ACTION.ENTRY, BUY, "100"), leads(2, ACTION.ENTRY, BUY, "105"),
             leads(3, ACTION.ENTRY, SELL, "110"), leads(4, ACTION.ENTRY, BUY, "121")],
            "0", 2, 1, id="signals: +10 % of 1000, then -10 %",
        ),
        pytest.param(
            [leads(1, ACTION.ENTRY, SELL, "100"), leads(2, ACTION.EXIT, BUY, "95"), leads(3, ACTION.EXIT, BUY, "90")],
            "50", 1, 1, id="signals: closed once",
        ),
    ],
)  # fmt: skip
def test_own_record(events: list[Any], realized: str, trades: int, wins: int) -> None:
    got = statistics_of(events, "leader:lead")
    assert float(got.realized_pnl) == pytest.approx(float(realized), abs=1e-6)
    assert (got.trades, got.wins) == (trades, wins)


def test_capital_of_a_leader() -> None:
    assert statistics_of([leads(1, ACTION.ENTRY, BUY, "100")], "leader:lead").capital == D(1000)
    known = leads(1, ACTION.ENTRY, BUY, "100", "1", "1", equity="250")
    assert statistics_of([known], "leader:lead").capital == D(250)
    assert statistics_of([leads(1, ACTION.ENTRY, BUY, "100", "1", "1")], "leader:lead").capital is None


# -- bad input
@pytest.mark.parametrize(
    "record",
    [
        fill(1, EXIT, "NaN"),
        fill(1, EXIT, "1e20"),
        fill(1, EXIT, fee="Infinity"),
        fill(1, EXIT, size="0"),
        fill(1, EXIT, size="NaN"),
        fill(1, subscription=""),
        fill(1, leader=""),
        outcome(1, delay_ms=1, bps="NaN"),
        equity("sNaN"),
        leads(1, ACTION.ENTRY, BUY, "NaN"),
        leads(1, ACTION.ENTRY, BUY, "0"),
        leads(1, ACTION.ENTRY, BUY, "100", "-1", "1"),
        leads(1, ACTION.ENTRY, BUY, "100", "1", "NaN"),
        leads(1, ACTION.ENTRY, BUY, "100", "1", "1e14"),
        leads(1, ACTION.ENTRY, BUY, "1e12", "1", "1e12"),
        leads(1, ACTION.ENTRY, BUY, "100", "1", "1", equity="Infinity"),
    ],
)
def test_what_cannot_be_counted_is_refused(record: Any) -> None:
    with pytest.raises(BadRecord):
        counted([record])
