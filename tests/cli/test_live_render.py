"""The view fits every terminal and shows what it must."""

import io
from decimal import Decimal as D

import pytest
from rich.console import Console

from cli.live import text
from cli.live.model import RunModel
from cli.live.render import render, share_rows
from cli.live.show import plain_lines
from tests.cli.sample import busy_model, screen


def drawn(model: RunModel, width: int, height: int, notice: str = "") -> list[str]:
    console = Console(width=width, height=height, file=io.StringIO(), color_system=None)
    console.print(render(model, screen(notice), width, height))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("model", [RunModel(), busy_model()], ids=["empty", "busy"])
@pytest.mark.parametrize("width", [80, 100, 119, 120, 150, 250])
@pytest.mark.parametrize("height", [24, 30, 40, 60])
def test_it_fits(model: RunModel, width: int, height: int) -> None:
    lines = drawn(model, width, height)
    assert len(lines) <= height
    assert all(len(line) <= width for line in lines)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (160, 45)])
def test_everything_promised_is_seen(width: int, height: int) -> None:
    seen = "\n".join(drawn(busy_model(), width, height))
    for part in (
        "market-data", "13.0k",                      # records and records per second per topic
        "StrongBuy", "0.81 5:1", "RSI 28.4",       # signals with strength, both scores and reasons
        "stop-loss", "57156.1", "57327.9",         # orders with their protection
        "stop loss",                  # and what became of them
        "+1.23", "-0.31",                          # unrealised P&L
        "position_open", "cool_down",              # refusals by reason
        "latency ms", "signal", "p99",
        "lag", "roles running",
        "12:00:30", "equity", "9,997.33",
    ):  # fmt: skip
        assert part in seen, part


def test_trouble_stands_at_the_foot() -> None:
    assert "ending: the broker" in drawn(busy_model(), 80, 24, "ending: the broker")[-1]
    assert "strategy restarted" in drawn(busy_model(), 80, 24)[-1]


def test_an_empty_run_says_why() -> None:
    seen = "\n".join(drawn(RunModel(), 80, 24))
    assert "warming up" in seen
    assert "no order yet" in seen
    assert "no open position" in seen


@pytest.mark.parametrize(
    ("available", "wanted", "shares"),
    [
        (9, [100, 100, 100], [3, 3, 3]),
        (10, [100, 100, 100], [4, 3, 3]),
        (9, [100, 1, 1], [7, 1, 1]),
        (9, [0, 0, 0], [1, 1, 1]),
        (2, [5, 5, 5], [1, 1, 0]),
        (0, [5, 5], [0, 0]),
        (-3, [5, 5], [0, 0]),
        (100, [2, 3, 4], [2, 3, 4]),
    ],
)
def test_rows_are_shared(available: int, wanted: list[int], shares: list[int]) -> None:
    assert share_rows(available, wanted) == shares


def test_plain_lines_say_the_same() -> None:
    lines = "\n".join(plain_lines(busy_model(), screen()))
    for part in (
        "market-data 13.0k",
        "buy 15 sell 5",
        "orders 10",
        "SL 2 TP 6",
        "refused 11",
        "lag strategy 3",
        "signal 7",
    ):
        assert part in lines, part


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (9, "9"),
        (9.54, "9.5"),
        (950, "950"),
        (9_999, "9999"),
        (12_345, "12.3k"),
        (999_999, "1.00M"),
        (4.56e6, "4.56M"),
        (2e9, "2.00G"),
    ],
)
def test_counts_stay_short(value: float, shown: str) -> None:
    assert text.count(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [("0", "0.00"), ("-0.001", "0.00"), ("1234.565", "+1,234.56"), ("-0.97", "-0.97"), ("1E+3", "+1,000.00")],
)
def test_money_is_written_out(value: str, shown: str) -> None:
    assert text.money(D(value), signed=True) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("57213.40", "57213.4"),
        ("0.000012345678", "0.0000123457"),
        ("1E+2", "100"),
        ("123456789.123", "123456789"),
        ("0", "0"),
    ],
)
def test_prices_keep_what_matters(value: str, shown: str) -> None:
    assert text.price(D(value)) == shown
