"""Risk checks of copying: the cases beside the edge that tests/contracts/test_risk_checks.py asks of each."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.account.gate import CHECKS
from processors.account.risk import Proposal
from processors.account.slippage import too_far
from processors.copying.params import Condition, Slippage
from schemas.reasons import Leg, RefusalReason, Side
from tests.contracts.test_risk_checks import proposal
from tests.processors.account.world import BTC, ETH, START, leader_event

D = Decimal
BY_NAME = {check.name: check for check in CHECKS}
HOUR = 3_600_000


def answer(name: str, asked: Proposal) -> dict[str, str] | None:
    finding = BY_NAME[name].check(asked)
    return None if finding is None else finding[1]


def conditional(condition: dict[str, Any], side: Side = Side.BUY, hour: int = 0, **record: Any) -> Proposal:
    return proposal(
        subscription={"condition": Condition(**condition)},
        side=side,
        now_ms=START + hour * HOUR,
        event=leader_event(7, **record),
    )


PNL = {"min_leader_pnl": D(10)}
RATE = {"min_leader_win_rate": D("0.6"), "min_leader_trades": 10}
CONDITIONS: list[tuple[Proposal, dict[str, str] | None]] = [
    (conditional(PNL, realized_pnl=D(10)), None),
    (
        conditional(PNL, realized_pnl=D("9.99")),
        {"condition": "min_leader_pnl", "leader_pnl": "9.99", "min_leader_pnl": "10"},
    ),
    (conditional({"min_leader_pnl": D(-5)}, realized_pnl=D(-5)), None),
    (
        conditional({"min_leader_pnl": D(0)}, realized_pnl=D(-1)),
        {"condition": "min_leader_pnl", "leader_pnl": "-1", "min_leader_pnl": "0"},
    ),
    (conditional(RATE, trades=10, wins=6), None),
    (
        conditional(RATE, trades=10, wins=5),
        {"condition": "min_leader_win_rate", "leader_wins": "5", "leader_trades": "10", "min_leader_win_rate": "0.6"},
    ),
    (conditional(RATE, trades=9, wins=0), None),  # too few to judge
    (conditional({"min_leader_win_rate": D(1)}, trades=0, wins=0), None),
    (
        conditional({"min_leader_win_rate": D(1)}, trades=1, wins=0),
        {"condition": "min_leader_win_rate", "leader_wins": "0", "leader_trades": "1", "min_leader_win_rate": "1"},
    ),
    (conditional({"sides": "long"}), None),
    (conditional({"sides": "long"}, Side.SELL), {"condition": "sides", "side": "short", "sides": "long"}),
    (conditional({"sides": "short"}, Side.SELL), None),
    (conditional({"sides": "short"}), {"condition": "sides", "side": "long", "sides": "short"}),
]


@pytest.mark.parametrize(("asked", "expected"), CONDITIONS)
def test_condition(asked: Proposal, expected: dict[str, str] | None) -> None:
    assert answer("condition", asked) == expected


@pytest.mark.parametrize(
    ("begin", "end", "open_hours"),
    [
        (9, 17, set(range(9, 17))),
        (22, 6, {22, 23, *range(6)}),
        (22, 0, {22, 23}),
        (22, 24, {22, 23}),
        (0, 24, set(range(24))),
        (0, 1, {0}),
        (23, 22, set(range(24)) - {22}),
    ],
)
def test_hours(begin: int, end: int, open_hours: set[int]) -> None:
    condition = {"from_hour": begin, "to_hour": end}
    passed = {hour for hour in range(24) if answer("condition", conditional(condition, hour=hour)) is None}
    assert passed == open_hours
    last_ms = proposal(subscription={"condition": Condition(**condition)}, now_ms=START + 24 * HOUR - 1)
    assert (answer("condition", last_ms) is None) == (23 in open_hours)


@pytest.mark.parametrize(
    ("whitelist", "blacklist", "named"),
    [
        (None, (), None),
        (None, (ETH,), None),
        (None, (ETH, BTC), "blacklist"),
        ((BTC,), (), None),
        ((ETH,), (), "whitelist"),
        ((BTC,), (ETH,), None),
    ],
)
def test_listed(whitelist: tuple[str, ...] | None, blacklist: tuple[str, ...], named: str | None) -> None:
    asked = proposal(subscription={"whitelist": whitelist, "blacklist": blacklist})
    assert answer("listed", asked) == (None if named is None else {"instrument": BTC, "list": named})


def test_lists_name_own_instruments_and_not_the_leaders() -> None:
    mapped = proposal(subscription={"whitelist": (ETH,)}, instrument=ETH)
    assert mapped.event.instrument == BTC
    assert answer("listed", mapped) is None


@pytest.mark.parametrize(
    ("chain", "leads", "own"),
    [
        ((), (), None),
        (("a", "b"), (), None),
        ((), ("lead",), "lead"),  # following oneself
        (("a", "b"), ("b",), "b"),
        (("a", "b"), ("c",), None),
        (("a", "b"), ("c", "a"), "a"),
    ],
)
def test_cycle(chain: tuple[str, ...], leads: tuple[str, ...], own: str | None) -> None:
    told = answer("cycle", proposal(event=leader_event(7, chain=chain), leads=leads))
    assert told == (None if own is None else {"own_leader": own, "chain": " -> ".join((*chain, "lead"))})


@pytest.mark.parametrize(
    ("side", "price", "limits", "passes"),
    [
        (Side.BUY, "60000", Slippage(bps=D(0), ticks=0), True),
        (Side.BUY, "60000.1", Slippage(bps=D(0)), False),
        (Side.BUY, "60000.1", Slippage(ticks=0), False),
        (Side.BUY, "60000.1", Slippage(ticks=1), True),
        (Side.BUY, "60000.2", Slippage(ticks=1), False),
        (Side.BUY, "1", Slippage(bps=D(0), ticks=0), True),  # cheaper
        (Side.SELL, "90000", Slippage(bps=D(0), ticks=0), True),  # dearer
        (Side.SELL, "59940", Slippage(bps=D(10)), True),
        (Side.SELL, "59939.9", Slippage(bps=D(10)), False),
        (Side.BUY, "60060", Slippage(bps=D(10), ticks=600), True),
        (Side.BUY, "60060", Slippage(bps=D(10), ticks=599), False),
        (Side.BUY, "60060.1", Slippage(bps=D(10), ticks=10_000), False),
        (Side.BUY, "90000", Slippage(), True),
    ],
)
def test_slippage_counts_only_what_costs(side: Side, price: str, limits: Slippage, passes: bool) -> None:
    for name, leg in (("entry_slippage", Leg.ENTRY), ("exit_slippage", Leg.EXIT)):
        asked = proposal(subscription={name: limits}, side=side, price=D(price), leg=leg)
        assert (answer(name, asked) is None) == passes
        asked.leg = Leg.EXIT if leg is Leg.ENTRY else Leg.ENTRY
        assert answer(name, asked) is None


prices = st.integers(1, 10**7).map(lambda cents: D(cents) / 100)


@given(prices, prices, st.none() | st.integers(0, 500), st.none() | st.integers(0, 1000), st.sampled_from(Side))
def test_slippage_against_its_words(
    price: Decimal, leader: Decimal, bps: int | None, ticks: int | None, side: Side
) -> None:
    limits = Slippage(bps=None if bps is None else D(bps), ticks=ticks)
    worst = [leader * (10_000 + sign * bps) / 10_000 for sign in (1, -1)] if bps is not None else None
    allowed = True
    if side is Side.BUY:
        allowed &= worst is None or price <= worst[0]
        allowed &= ticks is None or price <= leader + ticks * D("0.01")
    else:
        allowed &= worst is None or price >= worst[1]
        allowed &= ticks is None or price >= leader - ticks * D("0.01")
    assert (too_far(limits, side, price, leader, D("0.01")) is None) == allowed


def test_notify_only_stops_exits_too() -> None:
    for leg in (Leg.ENTRY, Leg.EXIT):
        asked = proposal(subscription={"notify_only": True}, leg=leg)
        assert BY_NAME["notify_only"].check(asked) == (RefusalReason.NOTIFY_ONLY, {"notify_only": "true"})


def test_a_gain_is_no_loss_of_the_day() -> None:
    for gain in ("0", "-100", "-0.01"):
        assert answer("day_loss", proposal(subscription={"max_day_loss": D("0.01")}, day_loss=D(gain))) is None


def test_open_trades_lets_what_is_held_grow() -> None:
    limit = {"max_open_trades": 1}
    assert answer("open_trades", proposal(subscription=limit, open_trades=0)) is None
    assert answer("open_trades", proposal(subscription=limit, open_trades=1, held=D("0.01"))) is None
    assert answer("open_trades", proposal(subscription=limit, open_trades=1)) is not None


@pytest.mark.parametrize("reason", [RefusalReason.LEADER_PAUSED, RefusalReason.BREAKER_OPEN, RefusalReason.SUSPICIOUS])
def test_a_blocked_event_gives_its_own_reason(reason: RefusalReason) -> None:
    numbers = {"why": "by hand"}
    finding = BY_NAME["blocked"].check(proposal(event=leader_event(7, blocked=reason, blocked_by=numbers)))
    assert finding == (reason, numbers)
    assert finding[1] is not numbers  # whoever adds to it must not change the event


def test_what_the_leader_is_refused_for_is_told_before_all_limits() -> None:
    first = [check.name for check in CHECKS][:7]
    assert first == ["blocked", "paused", "halted", "notify_only", "cycle", "listed", "condition"]
