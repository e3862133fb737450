"""Absurd numbers are refused or survived: nothing but BadRecord may come out of a step, or a worker would end."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.accounts import AccountChanged, InstrumentChanged, SubscriptionChanged
from schemas.codec import BadRecord, decode, encode
from schemas.leaders import LeaderEvent
from schemas.market import Marks
from schemas.reasons import Side
from tests.processors.account.world import World, account, clock, fill, instrument, leader_event, marks, subscription

numbers = st.one_of(
    st.sampled_from(
        ["0", "-1", "1e12", "1e-18", "1e30", "1e-30", "NaN", "sNaN", "Infinity", "0.1", "1", "60000", "1E+5"]
    ),
    st.decimals(min_value=Decimal("1e-15"), max_value=Decimal("1e12")).map(str),
)


def through_the_wire(event: Any) -> Any:
    """What the inbox would hand over: None where the codec refuses it."""
    try:
        return decode(encode(event))
    except (BadRecord, ValueError):
        return None


def build(make: Any, *values: Any, **fields: Any) -> Any:
    try:
        return through_the_wire(make(*values, **fields))
    except ValueError:  # the message itself refuses the number
        return None


@settings(max_examples=300, deadline=None)
@given(
    rules=st.tuples(numbers, numbers, numbers, numbers, numbers),
    quote=st.tuples(numbers, numbers),
    price=numbers,
    ratio=numbers,
    balance=numbers,
    fills=st.lists(st.tuples(numbers, numbers, numbers), max_size=4),
    atr=st.one_of(st.none(), st.floats()),
    by_atr=st.booleans(),
    cap=st.one_of(st.none(), st.just("1e15")),
)
def test_a_step_answers_or_refuses(
    rules: tuple[str, ...],
    quote: tuple[str, str],
    price: str,
    ratio: str,
    balance: str,
    fills: list[tuple[str, str, str]],
    atr: float | None,
    by_atr: bool,
    cap: str | None,
) -> None:
    names = ("tick", "lot", "min_size", "min_notional", "contract_size")
    stop = {"stop_loss": {"kind": "atr"}} if by_atr else {}
    loose = {"max_position_notional": cap, "max_price_drift_bps": None, **stop}
    world = World(account(), subscription(), instrument(), marks("60000", "60000.1"))
    events = [
        build(account, "rich", balance, max_total_exposure=None),
        build(subscription, "s", "rich", ratio=ratio, **loose),
        build(instrument, **{name: Decimal(value) for name, value in zip(names, rules, strict=True)}),
        build(marks, *quote),
        build(leader_event, 1, price=price, atr=atr),
    ]
    for event in events:
        give(world, event)
    for order in world.orders(world.outs):
        for index, (at, size, fee) in enumerate(fills):
            give(world, build(fill, order, at, size, f"t{index}", fee=Decimal(fee)))
    give(world, clock(world.now_ms + 5_000))
    give(world, build(leader_event, 2, Side.SELL, price))
    world.restart()


def give(world: World, event: Any) -> None:
    if event is None:
        return
    before = world.processor.encode(world.state)
    try:
        world.give(event)
    except BadRecord:
        assert world.processor.encode(world.state) == before


@pytest.mark.parametrize("kind", [AccountChanged, SubscriptionChanged, InstrumentChanged, LeaderEvent, Marks])
def test_plain_numbers_do_get_through(kind: type) -> None:
    """Or the test above would test nothing."""
    made = [account(), subscription(), instrument(), leader_event(1), marks("1", "2")]
    event = next(item for item in made if isinstance(item, kind))
    assert through_the_wire(event) == event
