"""The expected position of a holding: what the leader's trades and the rule would have made, and repairs to it."""

from decimal import Decimal
from typing import Any

import pytest

from schemas.reasons import Leg, OutcomeState, RefusalReason, ReportKind, Side
from schemas.status import FanOut
from tests.processors.account.sized import (
    FREE,
    MIRROR,
    RATIO,
    SizedLeader,
    check_ledger,
    command,
    drifts,
    entries,
    exits,
    fill_all,
    follow,
    market,
    rich,
    said,
)
from tests.processors.account.world import (
    BTC,
    ETH,
    START,
    World,
    clock,
    instrument,
    leg_fill,
    marks,
    report,
    subscription,
)

D = Decimal
NOW = {"drift": {"policy": "now", "interval_ms": 1_000}}


def feed(*events: Any) -> tuple[SizedLeader, World]:
    leader = SizedLeader()
    return leader, market(leader.state("settings"), *events)


def refused(world: World, events: list[Any]) -> None:
    """The venue refuses what comes of these events."""
    world.give(*events)
    for order in world.orders():
        world.give(report(order, ReportKind.REJECTED, message="busy"))


@pytest.mark.parametrize("mode", [MIRROR, RATIO])
def test_a_repair_brings_what_is_missing_once(mode: dict[str, Any]) -> None:
    leader, world = feed(subscription(ratio="0.1", halt_on=[], **mode, **FREE))
    refused(world, leader.trade("1"))
    assert (world.holding().size, world.holding().expected) == (0, D("0.1"))
    for _ in range(3):
        world.give(command("repair"))
        fill_all(world)
        assert (world.holding().size, world.holding().expected) == (D("0.1"), D("0.1"))
    assert len(entries(world, world.outs)) == 2
    check_ledger(world)


def test_a_repair_uses_up_what_was_kept_back() -> None:
    leader, world = feed(subscription(ratio="1", below_minimum="accumulate", halt_on=[], **RATIO, **FREE))
    follow(world, leader.trade("0.0016"))
    assert (world.holding().size, world.holding().kept_back) == (D("0.001"), D("0.0006"))
    world.give(command("repair"))
    assert world.orders() == [], "less than a lot is missing"
    assert world.holding().kept_back == D("0.0006")
    refused(world, leader.trade("0.01"))
    world.give(command("repair"))
    fill_all(world)
    assert abs(world.holding().size + world.holding().kept_back - world.holding().expected) < D("0.001")
    check_ledger(world)


def test_repairs_in_one_millisecond_are_different_events() -> None:
    leader, world = feed(subscription(ratio="0.1", halt_on=[], **MIRROR, **FREE))
    refused(world, leader.trade("1"))
    world.give(subscription(ratio="0.1", status="paused", **MIRROR, **FREE))
    world.give(command("repair"), command("repair"))
    told = said(world, FanOut)
    assert len({item.event_id for item in told}) == len(told) == 2
    assert [item.reason for item in world.outcomes()] == [RefusalReason.PAUSED] * 2
    check_ledger(world)


def test_a_reduction_counts_for_what_is_expected_even_where_nothing_is_held() -> None:
    leader, world = feed(subscription(ratio="0.1", halt_on=[], **RATIO, **FREE))
    refused(world, leader.trade("1"))
    world.give(*leader.trade("-0.5"))
    assert [item.reason for item in world.outcomes()] == [RefusalReason.NOTHING_TO_CLOSE]
    assert world.holding().expected == D("0.05")


def test_turning_after_a_missed_exit_begins_at_nothing() -> None:
    leader, world = feed(subscription(ratio="0.1", max_exit_age_ms=1, halt_on=[], **RATIO, **FREE))
    follow(world, leader.trade("1"))
    world.give(subscription(ratio="0.1", size={"kind": "inverse"}, halt_on=[], **FREE))
    follow(world, leader.trade("1"))
    assert (world.holding().size, world.holding().expected) == (D("-0.1"), D("-0.1"))


def test_an_own_stop_loss_of_a_capped_position_leaves_nothing_to_repair() -> None:
    free = {**FREE, "max_position_notional": "600"}
    leader, world = feed(subscription(ratio="0.1", **RATIO, **free, **NOW))
    follow(world, leader.trade("1"))
    (entry,) = entries(world, world.outs)
    assert (world.holding().size, world.holding().expected) == (D("0.009"), D("0.1"))
    world.give(leg_fill(entry, Leg.STOP_LOSS, "58200", "0.003", "s1"))
    assert world.holding().expected == D("0.066666666667")
    world.give(leg_fill(entry, Leg.STOP_LOSS, "58200", "0.006", "s2"))
    assert world.holding().expected == 0
    world.give(clock(START + 10_000))
    assert world.orders() == []


def test_less_than_a_lot_is_no_drift() -> None:
    leader, world = feed(subscription(ratio="0.1", **MIRROR, **FREE, **NOW))
    follow(world, leader.trade("0.0159"))
    assert (world.holding().size, world.holding().expected) == (D("0.001"), D("0.00159"))
    world.give(clock(START + 10_000), clock(START + 20_000))
    assert drifts(world, world.outs) == []
    assert [item.sequence for item in world.outcomes(world.outs)] == [2]


@pytest.mark.parametrize("settings", [{"notify_only": True}, {"blacklist": ["binanceusdm:BTC/USDT:USDT"]}])
def test_what_is_never_traded_is_not_expected(settings: dict[str, Any]) -> None:
    leader, world = feed(subscription(ratio="0.1", **MIRROR, **FREE, **settings))
    follow(world, leader.trade("1"))
    world.give(rich(report_interval_ms=500), clock(START + 140_000))
    assert drifts(world, world.outs) == []
    assert world.alerts(world.outs) == []


def test_next_event_repairs_in_modes_of_change_too() -> None:
    policy = {"drift": {"policy": "next_event"}}
    leader, world = feed(subscription(ratio="0.1", halt_on=[], **RATIO, **FREE, **policy))
    refused(world, leader.trade("1"))
    (order,) = follow(world, leader.trade("1"))
    assert (order.size, world.holding().size) == (D("0.2"), D("0.2"))
    refused(world, leader.trade("1"))
    follow(world, leader.trade("-0.5"))
    assert (world.holding().size, world.holding().expected) == (D("0.2"), D("0.25"))
    check_ledger(world)


def test_existing_positions_are_copied_once() -> None:
    leader, world = feed()
    world.give(*leader.trade("1"), subscription(ratio="0.1", copy_existing="ask", **RATIO, **FREE))
    assert [item.kind for item in world.alerts()] == ["copy_existing"]
    for _ in range(2):
        world.give(command("copy_existing"))
        fill_all(world)
    assert world.holding().size == D("0.1")
    check_ledger(world)


def test_resolving_lets_a_repair_go() -> None:
    leader, world = feed(subscription(ratio="0.1", **MIRROR, **FREE, **NOW))
    refused(world, leader.trade("1"))
    for second in (1, 2, 3):
        world.give(clock(START + second * 1_000))
    assert len(entries(world, world.outs)) == 1, "halted"
    world.give(command("resolve"), clock(START + 10_000))
    assert [(order.side, order.size) for order in world.orders()] == [(Side.BUY, D("0.1"))]
    fill_all(world)
    assert exits(world, world.outs) == []
    assert world.outcomes(world.outs)[-1].state is OutcomeState.COPIED
    check_ledger(world)


def test_a_repair_of_what_the_leader_left_names_the_leaders_instrument() -> None:
    own = {"symbol_map": {BTC: ETH}, "exit_slippage": {"ticks": 0}}
    leader, world = feed(instrument(ETH), marks("60000", "60000.1", ETH), subscription(**MIRROR, **FREE, **own))
    follow(world, leader.trade("1"))
    world.give(*leader.trade("-1", price="70000"))
    assert [item.reason for item in world.outcomes()] == [RefusalReason.SLIPPAGE]
    world.give(command("repair"))
    assert [(item.instrument, item.side) for item in said(world, FanOut)] == [(BTC, Side.SELL)]
    fill_all(world)
    assert world.holding(instrument=ETH).size == 0
    check_ledger(world)
