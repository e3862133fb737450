"""Arithmetic of copying against a slow oracle: a venue that only fills, late and in parts, and no limit in the way."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.account.money import floor_to
from schemas.leaders import LeaderEvent
from schemas.orders import Order
from schemas.reasons import LeaderAction, Leg, ReportKind, Side
from tests.processors.account.sized import FREE, MIRROR, RATIO, SizedLeader, check_ledger, market
from tests.processors.account.world import BTC, World, fill, instrument, report, subscription

D = Decimal
LOT = D("0.001")
ZERO = D(0)
INVERSE = {"size": {"kind": "inverse", "follows": "position"}}


class SlowVenue:
    """Fills everything in the end, whatever it is asked to cancel; the caller picks what is next."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.open: list[tuple[Order, Decimal]] = []
        self.trades = 0

    def take(self) -> None:
        self.open += [(order, order.size) for order in self.world.orders()]

    def fill_one(self, pick: int, part: int) -> None:
        if not self.open:
            return
        order, rest = self.open.pop(pick % len(self.open))
        lots = int(rest / self.lot(order))
        size = max(lots * part // 4, 1) * self.lot(order)
        self.trades += 1
        if size < rest:
            self.open.append((order, rest - size))
        self.world.give(fill(order, "60000", str(size), trade=f"t{self.trades}"))
        self.take()

    def lot(self, order: Order) -> Decimal:
        return self.world.state.ledger.instruments[order.instrument].lot

    def drain(self) -> None:
        for _ in range(10_000):
            if not self.open:
                return
            self.fill_one(0, 4)
        raise AssertionError("orders never come to an end")


def by_change(held: Decimal, event: LeaderEvent, ratio: Decimal) -> Decimal:
    """Position of a follower of mode ratio after one more event of the leader."""
    assert event.size is not None
    sign = 1 if event.side is Side.BUY else -1
    wish = event.size * ratio
    if event.action is LeaderAction.EXIT:
        return ZERO
    if event.action is LeaderAction.REDUCE:
        return held + sign * min(floor_to(wish, LOT), abs(held)) if held * sign < 0 else held
    return (held if held * sign >= 0 else ZERO) + sign * floor_to(wish, LOT)


CHANGES = st.lists(
    st.tuples(st.integers(-3_000, 3_000), st.integers(0, 4), st.integers(0, 5), st.integers(0, 4)),
    min_size=1,
    max_size=25,
)


@settings(max_examples=80, deadline=None)
@given(CHANGES, st.sampled_from(["0.1", "0.037", "1", "2.5"]), st.booleans())
def test_positions_are_what_the_arithmetic_says(
    changes: list[tuple[int, int, int, int]], ratio: str, restarts: bool
) -> None:
    leader = SizedLeader()
    world = market(
        leader.state("settings"),
        *[
            subscription(name, ratio=ratio, **mode, **FREE)
            for name, mode in (("mirror", MIRROR), ("ratio", RATIO), ("against", INVERSE))
        ],
    )
    venue, exact, told = SlowVenue(world), ZERO, 0
    for change, fills, pick, part in changes:
        if not change:
            continue
        for event in leader.trade(D(change) / 1000):
            exact = by_change(exact, event, D(ratio))
            world.give(event)
            told += 1
            venue.take()
        if restarts:
            world.restart()
        for _ in range(fills):
            venue.fill_one(pick, part)
    venue.drain()
    check_ledger(world)
    if not told:
        return
    position = leader.positions[BTC]
    # In parts, an entry in flight may be reduced before it filled: what is rounded down is rounded down once more.
    assert abs(_size(world, "mirror") - position * D(ratio)) < LOT
    assert abs(_size(world, "against") + position * D(ratio)) < LOT
    assert _size(world, "ratio") == exact
    assert world.account().working == []
    held = world.account().holdings
    assert all((item.closing, item.waiting) == (None, []) for item in held.values())
    assert world.alerts(world.outs) == []


def _size(world: World, name: str) -> Decimal:
    held = world.account().holdings.get(f"{name}|{BTC}")
    return ZERO if held is None else held.size


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=30), st.sampled_from(["0.001", "0.0137", "0.5"]))
def test_what_is_accumulated_is_never_lost(sizes: list[int], ratio: str) -> None:
    leader = SizedLeader()
    world = market(
        instrument(min_size=D("0.003")),
        leader.state("settings"),
        subscription(ratio=ratio, below_minimum="accumulate", **RATIO, **FREE),
    )
    venue = SlowVenue(world)
    for size in sizes:
        for event in leader.trade(D(size) / 1000):
            world.give(event)
            venue.take()
        venue.drain()
        world.restart()
    holding = world.holding()
    assert holding.size + holding.kept_back == leader.positions[BTC] * D(ratio) == holding.expected
    assert 0 <= holding.kept_back < D("0.003")
    check_ledger(world)


def test_a_reduction_takes_what_was_kept_back_first() -> None:
    leader = SizedLeader()
    world = market(leader.state("settings"), subscription(ratio="0.1", below_minimum="accumulate", **RATIO, **FREE))
    venue = SlowVenue(world)
    for change in ("0.004", "0.004", "-0.004", "-0.002", "0.004", "0.004", "0.01", "-0.01"):
        world.give(*leader.trade(change))
        venue.take()
        venue.drain()
        holding = world.holding()
        assert holding.size + holding.kept_back == leader.positions[BTC] * D("0.1") == holding.expected, change
    check_ledger(world)


@pytest.mark.parametrize("contract_size", ["1", "0.01", "10"])
@pytest.mark.parametrize("mode", [MIRROR, RATIO])
def test_contracts_of_other_sizes(mode: dict[str, Any], contract_size: str) -> None:
    leader = SizedLeader()
    world = market(
        instrument(contract_size=D(contract_size)), leader.state("settings"), subscription(ratio="0.5", **mode, **FREE)
    )
    venue = SlowVenue(world)
    for change in ("3", "1.5", "-2", "0.7", "-3.2"):
        world.give(*leader.trade(change))
        venue.take()
        venue.drain()
        world.restart()
        base = world.holding().size * D(contract_size)
        assert abs(base - leader.positions[BTC] / 2) <= LOT * D(contract_size) * 5
    assert world.holding().size == 0
    check_ledger(world)


def test_entries_that_never_fill_leave_nothing_behind() -> None:
    leader = SizedLeader()
    limit = {"order": {"kind": "limit", "offset_bps": "-20"}}
    world = market(leader.state("settings"), subscription(ratio="0.1", **MIRROR, **limit, **FREE))
    for change in ("1", "-0.5", "1", "-3", "1.5"):
        world.give(*leader.trade(change))
        for order in list(world.account().orders.values()):
            if order.leg is Leg.ENTRY and order.cancel_cause and not order.over:
                entry = next(item for item in world.orders(world.outs) if item.order_id == order.order_id)
                world.give(report(entry, ReportKind.CANCELLED))
    assert _size(world, "sub") == 0
    assert (world.holding().closing, world.holding().waiting) == (None, [])
    check_ledger(world)
