"""The contract of caps; it finds every file in processors/copying/caps/ by itself.

A cap that is no setting (but the margin), or one that is not written down in docs/adding-a-cap.md, fails.
"""

import dataclasses
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from processors.copying import caps
from processors.copying.caps import Cap, CapRequest
from processors.copying.params import SubscriptionParams
from processors.copying.sizing import CAPS, _ranked
from processors.registry import discover
from schemas.reasons import RefusalReason

FOUND: dict[str, Cap] = discover(caps, "CAP")
SETTINGS = [name for name in FOUND if name != "margin"]
D = Decimal


def request(params: SubscriptionParams, amount: int = 0, margin_free: int = 1000) -> CapRequest:
    """Everything held amounts to `amount`."""
    values: dict[str, Any] = {field.name: D(amount) for field in dataclasses.fields(CapRequest)}
    return CapRequest(**{**values, "params": params, "margin_free": D(margin_free), "margin_rate": D("0.1")})


def only(name: str, limit: Decimal | None) -> SubscriptionParams:
    return SubscriptionParams(**{"max_position_notional": None, name: limit})


@pytest.mark.parametrize("name", FOUND)
def test_one_file_per_cap_named_like_it(name: str) -> None:
    cap = FOUND[name]
    assert type(cap).__module__ == f"processors.copying.caps.{name}"
    assert cap.name == name
    assert cap.refusal in set(RefusalReason)
    assert type(cap).__doc__


def test_every_amount_that_is_a_limit_has_a_cap() -> None:
    amounts = {field for field in SubscriptionParams.model_fields if field.endswith("_notional")}
    assert amounts == set(SETTINGS)


@pytest.mark.parametrize("name", SETTINGS)
def test_reads_its_own_setting_alone(name: str) -> None:
    assert FOUND[name].room(request(only(name, None))) is None
    room = FOUND[name].room(request(only(name, D(700))))
    assert room is not None
    assert room == (D(700), D(700))
    assert all(FOUND[other].room(request(only(name, D(700)))) is None for other in SETTINGS if other != name)


@pytest.mark.parametrize("name", FOUND)
def test_never_leaves_less_than_nothing(name: str) -> None:
    params = SubscriptionParams(max_position_notional=None) if name == "margin" else only(name, D(700))
    for amount in (0, 700, 10**12):
        room = FOUND[name].room(request(params, amount, margin_free=-amount))
        assert room is not None
        assert room.notional >= 0
        assert room.limit >= 0


def test_asked_in_the_order_of_their_ranks() -> None:
    assert [cap.name for cap in CAPS] == sorted(FOUND, key=lambda name: FOUND[name].rank)
    with pytest.raises(TypeError, match="different ranks"):
        _ranked([CAPS[0], CAPS[0]])


@pytest.mark.parametrize("name", FOUND)
def test_is_documented(name: str) -> None:
    text = (Path(__file__).parents[2] / "docs" / "adding-a-cap.md").read_text()
    assert f"| `{name}` | {FOUND[name].rank} |" in text
