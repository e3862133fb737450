"""Subscriptions, leaders and accounts that stop in the middle of something."""

from typing import Any

import pytest

from schemas.reasons import Leg, OutcomeState, RefusalReason, ReportKind, Side
from tests.processors.account.sized import (
    FREE,
    MIRROR,
    RATIO,
    SizedLeader,
    check_ledger,
    command,
    fill_all,
    follow,
    market,
)
from tests.processors.account.world import (
    START,
    D,
    World,
    clock,
    fill,
    leader_event,
    leg_report,
    marks,
    ready,
    report,
    subscription,
)


def feed(*events: Any) -> tuple[SizedLeader, World]:
    leader = SizedLeader()
    return leader, market(leader.state("settings"), *events)


@pytest.mark.parametrize("status", ["stopped", "closed"])
def test_a_turn_does_not_enter_for_a_subscription_that_ended(status: str) -> None:
    world = ready(leader_event(1), opposite="reverse")
    world.give(fill(world.orders()[0], "60000.1"), leader_event(2, Side.SELL))
    (exit_order,) = world.orders()
    world.give(subscription(status=status, opposite="reverse"), fill(exit_order, "60000", trade="x"))
    assert world.orders() == []
    (ended,) = world.outcomes()
    assert (ended.state, ended.reason) == (OutcomeState.REDUCED, RefusalReason.PAUSED)
    assert world.holding().size == 0


@pytest.mark.parametrize("status", ["stopped", "closed"])
def test_a_repair_does_not_enter_for_a_subscription_that_ended(status: str) -> None:
    settings: dict[str, Any] = {"ratio": "0.1", "halt_on": [], **MIRROR, **FREE}
    leader, world = feed(subscription(**settings))
    world.give(*leader.trade("1"))
    world.give(report(world.orders()[0], ReportKind.REJECTED))
    world.give(subscription(status=status, **settings), command("repair"))
    assert world.orders() == []
    check_ledger(world)


@pytest.mark.parametrize("action", ["paused", "closed"])
def test_a_leader_that_does_not_lead_makes_nobody_enter(action: str) -> None:
    """What blocks a leader's entries is not on a repair, which must not enter either."""
    leader, world = feed(subscription(ratio="0.1", halt_on=[], **MIRROR, **FREE))
    world.give(*leader.trade("1"))
    world.give(report(world.orders()[0], ReportKind.REJECTED), leader.state(action, action))
    world.give(*leader.trade("-0.5"), command("repair"))
    assert world.orders() == []
    assert [item.reason for item in world.outcomes()] == [RefusalReason.PAUSED] * 2
    if action == "paused":
        world.give(leader.state("resumed"), *leader.trade("0.1"))
        assert [order.size for order in world.orders()] == [D("0.06")]
    check_ledger(world)


@pytest.mark.parametrize("mode", [MIRROR, RATIO])
@pytest.mark.parametrize("by", ["leader", "subscription"])
def test_an_end_while_a_position_is_being_reduced_closes_the_rest(mode: dict[str, Any], by: str) -> None:
    settings: dict[str, Any] = {"ratio": "0.1", "on_leader_closed": "close", **mode, **FREE}
    leader, world = feed(subscription(**settings))
    follow(world, leader.trade("1"))
    world.give(*leader.trade("-0.5"))
    (reduction,) = world.orders()
    world.give(leader.state("closed", "closed") if by == "leader" else subscription(status="stopped", **settings))
    assert world.orders() == []
    world.give(fill(reduction, "60000", trade="x"))
    (rest,) = world.orders()
    assert (rest.leg, rest.size) == (Leg.EXIT, D("0.05"))
    fill_all(world)
    assert (world.holding().size, world.holding().state) == (0, "flat")
    check_ledger(world)


def test_an_end_while_a_reduction_waits_for_an_entry_closes_all() -> None:
    settings: dict[str, Any] = {"ratio": "0.1", **MIRROR, **FREE}
    leader, world = feed(subscription(**settings))
    follow(world, leader.trade("1"))
    world.give(*leader.trade("1"))
    (entry,) = world.orders()
    world.give(*leader.trade("-1.5"), subscription(status="stopped", **settings))
    assert len(world.cancels()) == 1
    world.give(fill(entry, "60000", "0.04", trade="late"), report(entry, ReportKind.CANCELLED))
    fill_all(world)
    assert world.holding().size == 0
    assert world.account().working == []
    check_ledger(world)


def test_totals_end_a_subscription_in_the_middle_of_a_reduction() -> None:
    leader, world = feed(subscription(ratio="0.1", stop_loss_total="50", **RATIO, **FREE))
    follow(world, leader.trade("1"))
    world.give(*leader.trade("-0.5"))
    (reduction,) = world.orders()
    world.give(marks("59000", "59000.1", now_ms=START + 2_000))
    assert world.state.ledger.subscriptions["sub"].status == "stopped"
    world.give(fill(reduction, "59000", trade="x"))
    fill_all(world)
    assert world.holding().size == 0
    world.give(*leader.trade("1"))
    assert world.outcomes() == []
    check_ledger(world)


def test_what_waits_is_skipped_when_the_subscription_stops() -> None:
    settings: dict[str, Any] = {"ratio": "0.1", **RATIO, **FREE}
    leader, world = feed(subscription(**settings))
    follow(world, leader.trade("1"))
    world.give(*leader.trade("-0.5"), *leader.trade("0.2"), *leader.trade("0.3"))
    world.give(subscription(status="stopped", **settings))
    assert [item.reason for item in world.outcomes()] == [RefusalReason.STOPPED] * 2
    check_ledger(world)


def test_an_exit_finds_room_behind_whatever_waits() -> None:
    leader, world = feed(subscription(ratio="0.1", **RATIO, **FREE))
    follow(world, leader.trade("10"))
    world.give(*leader.trade("-1"))
    (reduction,) = world.orders()
    for _ in range(64):
        world.give(*leader.trade("1"))
    world.give(*leader.trade("1"))
    assert [item.reason for item in world.outcomes()] == [RefusalReason.ORDER_IN_FLIGHT]
    world.give(*leader.trade("-74"))
    assert world.state.ledger.leaders["lead"].positions == {}
    assert {item.reason for item in world.outcomes()} == {RefusalReason.SUPERSEDED, None}
    world.give(fill(reduction, "60000", trade="x"))
    fill_all(world)
    assert world.holding().size == 0
    check_ledger(world)


def test_blocked_numbers_of_a_waiting_event_are_told_the_same_after_a_restart() -> None:
    def told(restart: bool) -> list[dict[str, str]]:
        leader, world = feed(subscription(ratio="0.1", **MIRROR, **FREE))
        follow(world, leader.trade("1"))
        world.give(*leader.trade("-0.5"))
        (reduction,) = world.orders()
        blocked = {"since_ms": "7", "pattern": "flips"}
        world.give(*leader.trade("3", blocked=RefusalReason.SUSPICIOUS, blocked_by=blocked))
        if restart:
            world.restart()
        world.give(fill(reduction, "60000", trade="x"))
        return [list(item.numbers.items()) for item in world.outcomes() if item.reason]  # type: ignore[misc]

    assert told(True) == told(False) != []


def test_of_the_targets_that_wait_only_the_newest_stands() -> None:
    leader, world = feed(subscription(ratio="0.1", **MIRROR, **FREE))
    follow(world, leader.trade("1"))
    world.give(*leader.trade("-3"))
    (exit_order,) = world.orders()
    for change in ("0.2", "0.3", "0.5"):
        world.give(*leader.trade(change))
    world.give(fill(exit_order, "60000", trade="x"))
    fill_all(world)
    assert world.holding().size == D("-0.1")
    told = [item.reason for item in world.outcomes(world.outs)]
    assert told.count(RefusalReason.SUPERSEDED) == 3
    check_ledger(world)


def test_a_reduction_of_the_leader_closes_what_is_held_against_it() -> None:
    leader, world = feed(subscription(ratio="0.1", max_exit_age_ms=1, **MIRROR, **FREE))
    follow(world, leader.trade("1"))
    late = START + 10
    world.give(clock(late), *leader.trade("-2"))
    assert world.orders() != [], "the entry closes first"
    for order in world.orders():
        world.give(report(order, ReportKind.REJECTED))
    assert world.holding().size == D("0.1")
    world.give(*leader.trade("0.5", now_ms=late))
    (order,) = world.orders()
    assert (order.leg, order.size) == (Leg.EXIT, D("0.1"))
    fill_all(world)
    assert world.holding().size == 0
    check_ledger(world)


@pytest.mark.parametrize(("setting", "size"), [("close", "0"), ("alert", "0.05")])
def test_a_stop_loss_that_is_refused_during_a_reduction_is_not_overlooked(setting: str, size: str) -> None:
    leader, world = feed(subscription(ratio="0.1", on_lost_stop=setting, **RATIO, **FREE))
    follow(world, leader.trade("1"))
    entry = world.orders(world.outs)[0]
    world.give(*leader.trade("-0.5"))
    (reduction,) = world.orders()
    world.give(leg_report(entry, Leg.STOP_LOSS, ReportKind.REJECTED, message="no stops"))
    assert [item.kind for item in world.alerts()] == ["stop_loss_lost"]
    assert len(world.state.ledger.subscriptions["sub"].errors) == 1
    world.restart()
    world.give(fill(reduction, "60000", trade="x"))
    fill_all(world)
    assert world.holding().size == D(size)
    check_ledger(world)
