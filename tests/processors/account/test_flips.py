"""A leader that trades through zero: an exit and an entry of one cause, both copied once."""

from decimal import Decimal
from typing import Any

import pytest

from schemas.reasons import Leg, OutcomeState, ReportKind, Side
from tests.processors.account.sized import FREE, MIRROR, RATIO, SizedLeader, check_ledger, fill_all, follow, market
from tests.processors.account.world import report, subscription

D = Decimal
INVERSE = {"size": {"kind": "inverse"}}


@pytest.mark.parametrize(("mode", "sign"), [(MIRROR, 1), (RATIO, 1), (INVERSE, -1)])
def test_a_trade_through_zero_is_copied_as_exit_and_entry(mode: dict[str, Any], sign: int) -> None:
    leader, world = SizedLeader(), market(subscription(ratio="0.1", **mode, **FREE))
    follow(world, leader.trade("1"))
    assert world.holding().size == sign * D("0.1")
    world.give(*leader.trade("-3"))
    fill_all(world)
    assert world.holding().size == sign * D("-0.2")
    told = [item.state for item in world.outcomes(world.outs) if item.state is not OutcomeState.PENDING]
    assert told == [OutcomeState.COPIED] * 3
    check_ledger(world)


@pytest.mark.parametrize("mode", [MIRROR, RATIO])
def test_an_exit_that_the_venue_refused_is_tried_again_under_another_id(mode: dict[str, Any]) -> None:
    """Exit and entry of a turn have one cause: the close that the entry needs must not have the first exit's id."""
    leader, world = SizedLeader(), market(subscription(ratio="0.1", halt_on=[], **mode, **FREE))
    follow(world, leader.trade("1"))
    world.give(*leader.trade("-2"))
    (refused,) = world.orders()
    world.give(report(refused, ReportKind.REJECTED, message="busy"))
    (again,) = world.orders()
    assert (again.leg, again.side, again.size) == (Leg.EXIT, Side.SELL, D("0.1"))
    assert again.order_id != refused.order_id
    fill_all(world)
    assert world.holding().size == D("-0.1")
    assert world.holding().closing is None
    check_ledger(world)
