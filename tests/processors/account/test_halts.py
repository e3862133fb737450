"""Trade errors: which failures halt a subscription, what a halt stops, and how it is resolved."""

from typing import Any

import pytest

from processors.account.halts import MOST_OPEN
from schemas.codec import BadRecord
from schemas.ids import derive_id
from schemas.leaders import FollowerReport
from schemas.reasons import Leg, OutcomeState, RefusalReason, ReportKind
from schemas.status import VenuePosition
from tests.processors.account.sized import (
    FREE,
    MIRROR,
    RATIO,
    SizedLeader,
    check_ledger,
    command,
    drifts,
    errors,
    fill_all,
    follow,
    followers,
    market,
    said,
)
from tests.processors.account.world import BTC, START, D, World, clock, fill, leg_report, marks, report, subscription

K = ReportKind


def feed(*names: str, **settings: Any) -> tuple[SizedLeader, World]:
    leader = SizedLeader()
    made = [subscription(name, ratio="0.1", **{**RATIO, **FREE, **settings}) for name in names or ("sub",)]
    return leader, market(leader.state("settings"), *made)


def failed(kind: str, **settings: Any) -> tuple[SizedLeader, World]:
    """A world in which one order of `sub` has just failed in the way that `kind` calls."""
    leader, world = feed(**settings)
    world.give(*leader.trade("1"))
    (entry,) = world.orders()
    if kind in ("rejected", "expired"):
        world.give(report(entry, K.REJECTED if kind == "rejected" else K.EXPIRED, code="-1", message="no"))
        return leader, world
    world.give(fill(entry, "60000", trade="e"))
    if kind == "protection_lost":
        world.give(leg_report(entry, Leg.STOP_LOSS, K.REJECTED, message="no stops here"))
        return leader, world
    world.give(*leader.trade("-1"))
    world.give(report(world.orders()[0], K.REJECTED, message="no exits here"))
    return leader, world


KINDS = ["rejected", "protection_lost", "not_closed", "expired"]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_halts_where_the_settings_say_so(kind: str) -> None:
    leader, world = failed(kind, halt_on=[kind])
    (error,) = errors(world)
    assert (error.kind, error.state, error.open_errors) == (kind, "open", 1)
    assert error.error_id == derive_id("error", error.order_id, kind)
    assert [item.halted for item in followers(world)] == [True]
    told = said(world, FollowerReport)
    assert [(item.leader, item.of, item.failed, item.error) for item in told] == [
        ("lead", "lead", 1, kind),
        ("*", "lead", 1, kind),
    ]
    world.restart()
    world.give(*leader.trade("1"))
    assert [item.reason for item in world.outcomes()][:1] in ([RefusalReason.HALTED], [None])
    fill_all(world)
    check_ledger(world)


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_halts_where_the_settings_do_not_say_so(kind: str) -> None:
    leader, world = failed(kind, halt_on=[])
    assert errors(world, world.outs) == []
    assert len(said(world, FollowerReport)) == (0 if kind == "expired" else 2), "breakers hear of it all the same"
    fill_all(world)
    world.give(*leader.trade("1"))
    fill_all(world)
    assert world.holding().size != 0
    check_ledger(world)


def test_unknown_is_no_failure() -> None:
    leader, world = feed()
    world.give(*leader.trade("1"))
    (order,) = world.orders()
    world.give(report(order, K.UNKNOWN), *leader.trade("1"))
    assert errors(world, world.outs) == []
    assert len(world.orders()) == 1, "it goes on"
    check_ledger(world)


def test_the_last_error_that_is_resolved_resumes() -> None:
    leader, world = feed("sub", "other")
    world.give(*leader.trade("1"), *leader.trade("1"))
    for order in world.orders():
        world.give(
            report(order, K.REJECTED) if order.subscription == "sub" else fill(order, "60000", trade=order.order_id)
        )
    first, second = errors(world, world.outs)
    assert (first.open_errors, second.open_errors) == (1, 2)
    world.give(*leader.trade("1"))
    assert [order.subscription for order in world.orders()] == ["other"]
    world.give(command("resolve", first.error_id), command("resolve", first.error_id))
    assert [item.kind for item in world.alerts()] == ["nothing_to_resolve"]
    assert followers(world) == []
    world.restart()
    world.give(*leader.trade("1"))
    assert [order.subscription for order in world.orders()] == ["other"]
    world.give(command("resolve", "sub"))
    assert [item.error_id for item in errors(world)] == [second.error_id]
    world.give(*leader.trade("1"))
    assert {order.subscription for order in world.orders()} == {"sub", "other"}
    check_ledger(world)


@pytest.mark.parametrize("mode", [MIRROR, RATIO])
def test_a_halt_lets_reductions_and_exits_go(mode: dict[str, Any]) -> None:
    leader, world = feed(**mode)
    follow(world, leader.trade("1"))
    world.give(*leader.trade("1"))
    world.give(report(world.orders()[0], K.REJECTED))
    follow(world, leader.trade("-1.2"))
    follow(world, leader.trade("-0.8"))
    assert world.holding().size == 0
    told = [item.state for item in world.outcomes(world.outs)]
    assert told[-1] is OutcomeState.COPIED or mode is RATIO
    check_ledger(world)


def test_open_errors_are_bounded() -> None:
    leader, world = feed(halt_on=["rejected"])
    orders = []
    for _ in range(MOST_OPEN + 10):
        world.give(*leader.trade("0.1"))
        orders += world.orders()
    for order in orders:
        world.give(report(order, K.REJECTED))
    assert len(world.state.ledger.subscriptions["sub"].errors) == MOST_OPEN
    world.give(command("resolve", "sub"))
    assert world.state.ledger.subscriptions["sub"].errors == []
    check_ledger(world)


def test_a_failed_exit_is_repaired_by_the_next_one() -> None:
    _, world = failed("not_closed")
    assert [(item.kind, item.severity) for item in world.alerts()] == [("position_not_closed", "critical")]
    told = world.outcomes()[-1]
    assert (told.state, told.error_id) == (OutcomeState.FAILED, errors(world)[0].error_id)
    world.give(command("repair"))
    fill_all(world)
    assert world.holding().size == 0
    check_ledger(world)


def test_drift_is_told_once_per_interval() -> None:
    leader, world = feed(halt_on=[], drift={"policy": "alert", "interval_ms": 10_000})
    follow(world, leader.trade("1"))
    world.give(*leader.trade("1"))
    world.give(report(world.orders()[0], K.REJECTED))
    for second in range(1, 30):
        world.give(clock(START + second * 1_000), marks("60000", f"{60001 + second}", now_ms=START + second * 1_000))
    assert [(item.expected, item.actual) for item in drifts(world, world.outs)] == [(D("0.2"), D("0.1"))] * 3
    assert world.orders() == []


@pytest.mark.parametrize("action", ["repair", "copy_existing", "ignore_existing"])
def test_commands_of_unknown_subscriptions_are_refused(action: str) -> None:
    _, world = feed()
    before = world.processor.encode(world.state)
    for wrong in (command(action, "nobody"), command(action, "sub", "other")):
        with pytest.raises(BadRecord, match=action):
            world.give(wrong)
    assert world.processor.encode(world.state) == before


def test_the_venues_position_is_the_sum_of_ours_or_an_alarm() -> None:
    leader, world = feed("sub", "other")
    follow(world, leader.trade("1"))

    def venue(size: str) -> list[str]:
        told = VenuePosition(now_ms=START, account="acc", venue="paper", instrument=BTC, size=D(size))
        world.give(told)
        world.restart()
        return [item.kind for item in world.alerts()]

    assert venue("0.2") == []
    assert venue("0.25") == ["position_differs"]
    assert venue("0.25") == [], "told once"
    assert venue("0.3") == ["position_differs"]
    assert venue("0.200") == ["position_agrees"]
    assert world.account().venue_differs == {}


def test_breakers_hear_of_every_copy_that_was_tried() -> None:
    """Also of those that waited, and of repairs: else a few failures would look like all of them."""
    leader, world = feed(halt_on=[], **MIRROR)
    follow(world, leader.trade("1"))
    world.give(*leader.trade("-2"))
    (exit_order,) = world.orders()
    world.give(fill(exit_order, "60000", trade="x"))
    world.give(report(world.orders()[0], K.REJECTED), command("repair"))
    reports = [item for item in said(world, FollowerReport, world.outs) if item.leader == "lead"]
    assert (sum(item.attempted for item in reports), sum(item.failed for item in reports)) == (4, 1)
    assert len(world.orders(world.outs)) == 4
