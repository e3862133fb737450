"""The contract of risk checks; it finds every file in processors/account/risk/ by itself.

A check without a case here, or one that is not written down in docs/adding-a-risk-check.md, fails.
"""

import dataclasses
import pickle
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from processors.account import risk
from processors.account.gate import CHECKS, _ranked
from processors.account.params import AccountParams
from processors.account.risk import Proposal, RiskCheck
from processors.copying.params import Condition, Slippage, SubscriptionParams
from processors.registry import discover
from schemas.reasons import Leg, RefusalReason, Side
from tests.processors.account.world import BTC, ETH, START, leader_event

FOUND: dict[str, RiskCheck] = discover(risk, "CHECK")
D = Decimal
OFF = AccountParams(
    max_position_notional=None, max_total_exposure=None, max_open_orders=None, max_daily_loss=None, max_drawdown=None
)
LOOSE = SubscriptionParams(max_signal_age_ms=None, max_price_drift_bps=None, cool_down_ms=None)


def proposal(
    account: dict[str, Any] | None = None, subscription: dict[str, Any] | None = None, **fields: Any
) -> Proposal:
    """A proposal that every check passes, changed by `fields`; all limits off but those given."""
    values: dict[str, Any] = {
        "now_ms": START,
        "event": leader_event(7),
        "price": D(60000),
        "equity": D(10000),
        "day_equity": D(10000),
        "peak_equity": D(10000),
        "exposure": D(0),
        "instrument_exposure": D(0),
        "open_orders": 0,
        "kill": None,
        "closed_ms": None,
        "told_before": None,
        "size": D("0.01"),
        "notional": D(600),
        "instrument": BTC,
        "tick": D("0.1"),
    }
    return Proposal(
        account=OFF.model_copy(update=account or {}),
        subscription=LOOSE.model_copy(update=subscription or {}),
        **{**values, **fields},
    )


HOUR = 3_600_000


def blocked(leg: Leg) -> Proposal:
    event = leader_event(7, blocked=RefusalReason.RATE_LIMITED, blocked_by={"events": "31", "max_events": "30"})
    return proposal(event=event, leg=leg)


def night(hour: int) -> Proposal:
    condition = Condition(from_hour=22, to_hour=6)
    return proposal(subscription={"condition": condition}, now_ms=START + hour * HOUR)


# name -> (refused at the edge, passed just inside it, number that must be told)
CASES: dict[str, tuple[Proposal, Proposal, dict[str, str]]] = {
    "kill_switch": (proposal(kill="command: c1"), proposal(), {"killed_by": "command: c1"}),
    "duplicate": (proposal(told_before=3), proposal(), {"sequence": "7", "first_sequence": "3"}),
    "stale_signal": (
        proposal(subscription={"max_signal_age_ms": 1000}, now_ms=START + 1001),
        proposal(subscription={"max_signal_age_ms": 1000}, now_ms=START + 1000),
        {"age_ms": "1001", "max_signal_age_ms": "1000"},
    ),
    "price_drift": (
        proposal(subscription={"max_price_drift_bps": D(50)}, price=D("60300.1")),
        proposal(subscription={"max_price_drift_bps": D(50)}, price=D(60300)),
        {"drift_bps": "50.02", "max_price_drift_bps": "50", "price": "60300.1", "leader_price": "60000"},
    ),
    "cool_down": (
        proposal(subscription={"cool_down_ms": 1000}, closed_ms=START - 999),
        proposal(subscription={"cool_down_ms": 1000}, closed_ms=START - 1000),
        {"passed_ms": "999", "cool_down_ms": "1000"},
    ),
    "daily_loss": (
        proposal({"max_daily_loss": D("0.05")}, equity=D(9500)),
        proposal({"max_daily_loss": D("0.05")}, equity=D("9500.01")),
        {"loss": "500", "day_equity": "10000", "max_daily_loss": "0.05"},
    ),
    "drawdown": (
        proposal({"max_drawdown": D("0.20")}, equity=D(9600), peak_equity=D(12000)),
        proposal({"max_drawdown": D("0.20")}, equity=D("9600.01"), peak_equity=D(12000)),
        {"fall": "2400", "peak_equity": "12000", "max_drawdown": "0.20"},
    ),
    "open_orders": (
        proposal({"max_open_orders": 2}, open_orders=2),
        proposal({"max_open_orders": 2}, open_orders=1),
        {"open_orders": "2", "max_open_orders": "2"},
    ),
    "max_position": (
        proposal({"max_position_notional": D(1000)}, instrument_exposure=D("400.01")),
        proposal({"max_position_notional": D(1000)}, instrument_exposure=D(400)),
        {"held": "400.01", "notional": "600", "max_position_notional": "1000"},
    ),
    "total_exposure": (
        proposal({"max_total_exposure": D(1000)}, exposure=D("400.01")),
        proposal({"max_total_exposure": D(1000)}, exposure=D(400)),
        {"exposure": "400.01", "notional": "600", "max_total_exposure": "1000"},
    ),
    "blocked": (blocked(Leg.ENTRY), blocked(Leg.EXIT), {"events": "31", "max_events": "30"}),
    "paused": (proposal(paused="leader:lead: by hand"), proposal(), {"paused_by": "leader:lead: by hand"}),
    "halted": (proposal(halted=1), proposal(halted=0), {"open_errors": "1"}),
    "notify_only": (proposal(subscription={"notify_only": True}), proposal(), {"notify_only": "true"}),
    "cycle": (
        proposal(event=leader_event(7, chain=("first", "mine")), leads=("mine",)),
        proposal(event=leader_event(7, chain=("first", "second")), leads=("mine",)),
        {"own_leader": "mine", "chain": "first -> mine -> lead"},
    ),
    "listed": (
        proposal(subscription={"whitelist": (ETH,)}),
        proposal(subscription={"whitelist": (ETH, BTC)}),
        {"instrument": BTC, "list": "whitelist"},
    ),
    "condition": (
        night(21),
        night(22),
        {"condition": "hours", "hour": "21", "from_hour": "22", "to_hour": "6"},
    ),
    "exit_age": (
        proposal(subscription={"max_exit_age_ms": 1000}, now_ms=START + 1001, leg=Leg.EXIT),
        proposal(subscription={"max_exit_age_ms": 1000}, now_ms=START + 1000, leg=Leg.EXIT),
        {"age_ms": "1001", "max_exit_age_ms": "1000"},
    ),
    "entry_slippage": (
        proposal(subscription={"entry_slippage": Slippage(bps=D(10))}, price=D("60060.1")),
        proposal(subscription={"entry_slippage": Slippage(bps=D(10))}, price=D(60060)),
        {"slippage_bps": "10.02", "max_slippage_bps": "10", "price": "60060.1", "leader_price": "60000"},
    ),
    "exit_slippage": (
        proposal(subscription={"exit_slippage": Slippage(ticks=3)}, price=D("59999.6"), side=Side.SELL, leg=Leg.EXIT),
        proposal(subscription={"exit_slippage": Slippage(ticks=3)}, price=D("59999.7"), side=Side.SELL, leg=Leg.EXIT),
        {
            "slippage": "0.4",
            "max_slippage_ticks": "3",
            "tick": "0.1",
            "price": "59999.6",
            "leader_price": "60000",
        },
    ),
    "day_orders": (
        proposal(subscription={"max_day_orders": 5}, day_orders=5),
        proposal(subscription={"max_day_orders": 5}, day_orders=4),
        {"day_orders": "5", "max_day_orders": "5"},
    ),
    "day_loss": (
        proposal(subscription={"max_day_loss": D(100)}, day_loss=D(100)),
        proposal(subscription={"max_day_loss": D(100)}, day_loss=D("99.99")),
        {"day_loss": "100", "max_day_loss": "100"},
    ),
    "open_trades": (
        proposal(subscription={"max_open_trades": 2}, open_trades=2),
        proposal(subscription={"max_open_trades": 2}, open_trades=2, held=D("-0.01")),
        {"open_trades": "2", "max_open_trades": "2"},
    ),
}
# What a check answers where that is not its own name.
REASONS = {
    "blocked": RefusalReason.RATE_LIMITED,  # whatever the event says
    "listed": RefusalReason.NOT_LISTED,
    "exit_age": RefusalReason.STALE_SIGNAL,
    "entry_slippage": RefusalReason.SLIPPAGE,
    "exit_slippage": RefusalReason.SLIPPAGE,
}
# What reduces risk must pass; only these may stop an exit, the last two only where their limit is set.
MAY_STOP_EXITS = {"duplicate", "notify_only", "exit_age", "exit_slippage"}
ONLY_EXITS = {"exit_age", "exit_slippage"}


def test_every_check_has_cases() -> None:
    assert set(CASES) == set(FOUND)


@pytest.mark.parametrize("name", FOUND)
def test_refuses_at_the_edge_and_tells_the_numbers(name: str) -> None:
    refused, passed, numbers = CASES[name]
    finding = FOUND[name].check(refused)
    assert finding == (REASONS.get(name) or RefusalReason(name), numbers)
    assert FOUND[name].check(passed) is None


@pytest.mark.parametrize("name", FOUND)
def test_passes_when_off(name: str) -> None:
    extreme = proposal(
        now_ms=START + 10**9,
        price=D(1),
        equity=D(1),
        exposure=D(10**9),
        instrument_exposure=D(10**9),
        open_orders=10**6,
        closed_ms=START,
        day_orders=10**6,
        day_notional=D(10**9),
        day_loss=D(10**9),
        open_trades=10**6,
        held=D(-(10**6)),
        leads=("mine",),
    )
    for leg, side in [(Leg.ENTRY, Side.BUY), (Leg.ENTRY, Side.SELL), (Leg.EXIT, Side.BUY), (Leg.EXIT, Side.SELL)]:
        assert FOUND[name].check(dataclasses.replace(extreme, leg=leg, side=side)) is None


@pytest.mark.parametrize("name", FOUND)
def test_is_pure(name: str) -> None:
    for case in CASES[name][:2]:
        before = pickle.dumps(dataclasses.astuple(case))
        answers = [FOUND[name].check(case) for _ in range(2)]
        assert answers[0] == answers[1]
        assert pickle.dumps(dataclasses.astuple(case)) == before


@pytest.mark.parametrize("name", FOUND)
def test_one_file_per_check_named_like_it(name: str) -> None:
    check = FOUND[name]
    assert type(check).__module__ == f"processors.account.risk.{name}"
    assert check.name == name
    assert (name in REASONS) != (name in set(RefusalReason))
    assert type(check).__doc__


@pytest.mark.parametrize("name", FOUND)
def test_only_the_named_may_stop_an_exit(name: str) -> None:
    assert FOUND[name].on_exits == (name in MAY_STOP_EXITS)


@pytest.mark.parametrize("name", FOUND)
def test_limits_of_exits_let_entries_pass(name: str) -> None:
    refused = CASES[name][0]
    assert (FOUND[name].check(dataclasses.replace(refused, leg=Leg.ENTRY)) is None) == (name in ONLY_EXITS)


@pytest.mark.parametrize("name", FOUND)
def test_sizes_are_seen_only_after_sizing(name: str) -> None:
    if not FOUND[name].after_sizing:  # an answer that changes with the size would be given too early
        for case in CASES[name][:2]:
            sized = dataclasses.replace(case, size=D(10**6), notional=D(10**9))
            assert FOUND[name].check(sized) == FOUND[name].check(case)


@pytest.mark.parametrize("name", FOUND)
def test_is_documented(name: str) -> None:
    text = (Path(__file__).parents[2] / "docs" / "adding-a-risk-check.md").read_text()
    assert f"| `{name}` | {FOUND[name].rank} |" in text


def test_the_gate_asks_all_of_them_in_the_order_of_their_ranks() -> None:
    assert [check.name for check in CHECKS] == sorted(FOUND, key=lambda name: FOUND[name].rank)
    with pytest.raises(TypeError, match="different ranks"):
        _ranked([CHECKS[0], CHECKS[0]])
