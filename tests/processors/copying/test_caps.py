"""Caps: a table of cases for each, and the smallest of them against a slow oracle."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.account.money import money_context
from processors.copying.caps import CapRequest
from processors.copying.params import SubscriptionParams
from processors.copying.sizing import CAPS, smallest_room
from schemas.reasons import RefusalReason

D = Decimal
BY_NAME = {cap.name: cap for cap in CAPS}
OFF = SubscriptionParams(max_position_notional=None)


def request(settings: dict[str, Any] | None = None, **fields: Any) -> CapRequest:
    """Nothing held, 10,000 free, a margin of 10 %; every cap off but those given."""
    amounts = dict.fromkeys(("held", "leader_held", "instrument_held", "account_held", "day_notional"), D(0))
    values: dict[str, Any] = {**amounts, "margin_free": D(10000), "margin_rate": D("0.1")}
    return CapRequest(params=OFF.model_copy(update=settings or {}), **{**values, **fields})


# name, settings, fields, (left, limit told) or None
CASES: list[tuple[str, dict[str, Any], dict[str, Any], tuple[str, str] | None]] = [
    ("max_order_notional", {}, {}, None),
    ("max_order_notional", {"max_order_notional": D(500)}, {}, ("500", "500")),
    ("max_order_notional", {"max_order_notional": D(500)}, {"held": D(9999), "day_notional": D(9999)}, ("500", "500")),
    ("max_position_notional", {}, {"held": D(10**9)}, None),
    ("max_position_notional", {"max_position_notional": D(500)}, {"held": D("499.99")}, ("0.01", "500")),
    ("max_position_notional", {"max_position_notional": D(500)}, {"held": D(500)}, ("0", "500")),
    ("max_position_notional", {"max_position_notional": D(500)}, {"held": D(501)}, ("0", "500")),
    ("max_position_notional", {"max_position_notional": D(500)}, {"leader_held": D(501)}, ("500", "500")),
    ("max_leader_notional", {}, {"leader_held": D(10**9)}, None),
    ("max_leader_notional", {"max_leader_notional": D(500)}, {"leader_held": D("499.99")}, ("0.01", "500")),
    ("max_leader_notional", {"max_leader_notional": D(500)}, {"leader_held": D(500)}, ("0", "500")),
    ("max_leader_notional", {"max_leader_notional": D(500)}, {"leader_held": D(501)}, ("0", "500")),
    ("max_leader_notional", {"max_leader_notional": D(500)}, {"account_held": D(501)}, ("500", "500")),
    ("max_day_notional", {}, {"day_notional": D(10**9)}, None),
    ("max_day_notional", {"max_day_notional": D(500)}, {"day_notional": D("499.99")}, ("0.01", "500")),
    ("max_day_notional", {"max_day_notional": D(500)}, {"day_notional": D(500)}, ("0", "500")),
    ("max_day_notional", {"max_day_notional": D(500)}, {"day_notional": D(501)}, ("0", "500")),
    ("margin", {}, {}, ("100000", "10000")),
    ("margin", {}, {"margin_rate": D("1.001"), "margin_free": D("100.1")}, ("100", "100.1")),
    ("margin", {}, {"margin_free": D(0)}, ("0", "0")),
    ("margin", {}, {"margin_free": D(-5)}, ("0", "0")),
]


@pytest.mark.parametrize(("name", "settings", "fields", "expected"), CASES)
def test_room(name: str, settings: dict[str, Any], fields: dict[str, Any], expected: tuple[str, str] | None) -> None:
    with money_context():
        room = BY_NAME[name].room(request(settings, **fields))
    assert room == (None if expected is None else (D(expected[0]), D(expected[1])))


REFUSALS = {
    "max_order_notional": RefusalReason.MAX_ORDER,
    "max_position_notional": RefusalReason.MAX_POSITION,
    "max_leader_notional": RefusalReason.MAX_LEADER,
    "max_day_notional": RefusalReason.DAY_AMOUNT,
    "margin": RefusalReason.INSUFFICIENT_MARGIN,
}


def test_every_cap_has_cases_and_its_reason() -> None:
    assert {name for name, *_ in CASES} == set(BY_NAME)
    assert {name: cap.refusal for name, cap in BY_NAME.items()} == REFUSALS


def test_of_equals_the_first_is_named() -> None:
    caps = {"max_order_notional": D(500), "max_leader_notional": D(500), "max_day_notional": D(500)}
    found = smallest_room(request(caps))
    assert found is not None
    assert found[0].name == "max_order_notional"
    found = smallest_room(request(caps, day_notional=D("0.01")))
    assert found is not None
    assert (found[0].name, found[1].notional, found[1].limit) == ("max_day_notional", D("499.99"), D(500))


amounts = st.one_of(st.sampled_from([D(0), D(500)]), st.integers(0, 200_000).map(lambda cents: D(cents) / 100))
limits = st.none() | amounts.filter(lambda amount: amount > 0)
names = [name for name in REFUSALS if name != "margin"]


@given(
    st.fixed_dictionaries(dict.fromkeys(names, limits)),
    st.fixed_dictionaries(dict.fromkeys(("held", "leader_held", "day_notional"), amounts)),
    st.integers(-1000, 1000).map(D),
    st.sampled_from([D(1), D("0.1"), D("0.5")]),
)
def test_the_smallest_wins(
    settings: dict[str, Any], fields: dict[str, Any], margin_free: Decimal, margin_rate: Decimal
) -> None:
    with money_context():
        found = smallest_room(request(settings, margin_free=margin_free, margin_rate=margin_rate, **fields))
    used = dict(zip(names, (D(0), fields["held"], fields["leader_held"], fields["day_notional"]), strict=True))
    left = [(settings[name] - used[name], name) for name in names if settings[name] is not None]
    left.append((margin_free / margin_rate, "margin"))
    least = max(min(amount for amount, _ in left), D(0))
    assert found is not None
    cap, room = found
    assert room.notional == least >= 0
    assert cap.name == next(name for amount, name in left if max(amount, D(0)) == least)
    assert room.limit == (max(margin_free, D(0)) if cap.name == "margin" else settings[cap.name])
