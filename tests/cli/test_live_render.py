"""The view fits every terminal and shows what it must."""

import io
from decimal import Decimal as D

import pytest
from rich.console import Console

from cli.live import text
from cli.live.model import RunModel
from cli.live.render import render, share_rows
from cli.live.show import plain_lines
from schemas.reasons import OutcomeState
from schemas.system import ControlState
from tests.cli.sample import busy_model, fan_out, follower, outcome, screen


def drawn(model: RunModel, width: int, height: int, notice: str = "") -> list[str]:
    console = Console(width=width, height=height, file=io.StringIO(), color_system=None)
    console.print(render(model, screen(notice), width, height))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def crowd() -> RunModel:
    """Twenty leaders with ten followers each, whose names and reasons are long."""
    model = busy_model()
    for leader in range(20):
        model.copies.take(fan_out(1000 + leader, 10, f"leader-of-many-followers-{leader}"))
        for number in range(10):
            name = f"account-with-a-long-name-{number}/leader-of-many-followers-{leader}"
            model.copies.take(follower(name, ratio="0.123456789", whitelist=[f"v:COIN{n}/USDT" for n in range(9)]))
            model.copies.take(outcome(number, OutcomeState.FAILED, name, message="no " * 99))
    return model


@pytest.mark.parametrize("model", [RunModel(), busy_model(), crowd()], ids=["empty", "busy", "crowd"])
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
        "+1.23", "-0.31",                          # unrealised P&L
        "position_open", "cool_down",              # refusals by reason
        "demo 4 events", "alice-desk 1 event", "1 blocked", "5 followers",      # leaders
        "dave/demo", "slippage 0.83 >",            # followers with their reasons
        "fixed 250", "mirror x0.5", "notify only", "halted", "paused", "rejected -2019",
        "latency ms", "signal", "p99",
        "lag", "roles running",
        "12:00:30", "equity", "9,997.33",
    ):  # fmt: skip
        assert part in seen, part


@pytest.mark.parametrize(("width", "height"), [(100, 30), (120, 35), (160, 45)])
def test_with_more_lines_it_is_seen_what_became_of_orders_and_positions(width: int, height: int) -> None:
    seen = "\n".join(drawn(busy_model(), width, height))
    assert "stop loss" in seen
    assert "57286.2" in seen, "a position's mark"


def test_trouble_stands_at_the_foot() -> None:
    assert "ending: the broker" in drawn(busy_model(), 80, 24, "ending: the broker")[-1]
    assert "strategy restarted" in drawn(busy_model(), 80, 24)[-1]


def test_an_empty_run_says_why() -> None:
    seen = "\n".join(drawn(RunModel(), 80, 24))
    assert "warming up" in seen
    assert "no order yet" in seen
    assert "no open position" in seen
    assert "nobody follows yet" in seen


def test_a_large_screen_shows_everything_of_a_follower() -> None:
    line = next(line for line in drawn(busy_model(), 140, 42) if line.startswith("bob/demo"))
    assert line.split() == [
        "bob/demo", "risk", "2%", "x0.5,", "reverse", "active", "0", "1", "0", "0", "0", "45", "1.20",
        "0.006", "of", "0.017:", "max", "order", "400",
    ]  # fmt: skip


def test_with_too_few_lines_the_halted_come_first_and_the_rest_is_summed_up() -> None:
    model = busy_model()
    for number in range(100, 140):
        model.copies.take(follower(f"zoe{number}/demo"))
        model.copies.take(outcome(number, OutcomeState.COPIED, f"zoe{number}/demo"))
    model.copies.take(follower("zoe139/demo", halted=True))
    for width, height in ((80, 24), (100, 40), (140, 42)):
        lines = drawn(model, width, height)
        heading = next(number for number, line in enumerate(lines) if line.startswith("follower"))
        assert lines[heading + 1].startswith("carol/demo")
        assert lines[heading + 2].startswith("zoe139/demo")
        rest = next(line for line in lines[heading:] if line.startswith("and "))
        shown = next(number for number, line in enumerate(lines[heading:]) if line.startswith("and ")) - 1
        assert int(rest.split()[1]) + shown == 46
    assert "46 followers" not in "\n".join(lines)


def test_a_pause_of_everything_is_seen_at_once() -> None:
    model = busy_model()
    model.copies.take(ControlState(now_ms=1, scope="*", paused=True, reason="maintenance"))
    for width, height in ((80, 24), (140, 42)):
        assert "ALL HELD BACK: maintenance" in "\n".join(drawn(model, width, height))


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


def test_plain_lines_are_silent_about_copies_before_somebody_follows() -> None:
    assert "copies" not in "\n".join(plain_lines(RunModel(), screen()))


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
        "copies copied 1 reduced 1 skipped 2 failed 1 pending 9",
        "leader events 5, blocked 1",
        "followers 6, HALTED 1",
        "erin/demo: notify only",
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
