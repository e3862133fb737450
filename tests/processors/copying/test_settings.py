"""Settings of subscriptions: inheritance, contradictions, and errors that name the field and the level."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.copying.params import InstrumentOverride, ParamsError, RatioSize, SubscriptionParams
from processors.copying.settings import LEVELS, PRODUCT, cascade, for_instrument

D = Decimal
BTC = "binanceusdm:BTC/USDT:USDT"
ETH = "binanceusdm:ETH/USDT:USDT"
XRP = "binanceusdm:XRP/USDT:USDT"


def tiers(*bounds: Any) -> dict[str, Any]:
    return {"kind": "tiers", "tiers": [{"up_to": bound, "multiplier": 1} for bound in bounds]}


# settings, the fields at fault, what the error must say
WRONG: list[tuple[dict[str, Any], tuple[str, ...], str]] = [
    ({"ratio": 0}, ("ratio",), "settings.ratio: Input should be greater than 0"),
    ({"ratio": "-0.1"}, ("ratio",), "settings.ratio: Input should be greater than 0"),
    ({"ratio": "NaN"}, ("ratio",), "settings.ratio: Input should be a finite number"),
    ({"ratio": float("nan")}, ("ratio",), "settings.ratio: Input should be a finite number"),
    ({"ratio": "Infinity"}, ("ratio",), "settings.ratio: Input should be a finite number"),
    ({"ratio": 1e9}, ("ratio",), "settings.ratio: Input should be less than or equal to 1000"),
    ({"ratio": "1000.01"}, ("ratio",), "settings.ratio: Input should be less than or equal to 1000"),
    ({"ratio": "1e-999999"}, ("ratio",), "settings.ratio: Decimal input should have no more than"),
    ({"ratio": "1e-19"}, ("ratio",), "settings.ratio: Decimal input should have no more than 18 decimal places"),
    ({"ratio": "much"}, ("ratio",), "settings.ratio: "),
    ({"ratio": None}, ("ratio",), "settings.ratio: "),
    ({"ratio": True}, ("ratio",), "settings.ratio: "),
    ({"max_open_trades": True}, ("max_open_trades",), "must be a number, not true or false"),
    ({"max_open_trades": 0}, ("max_open_trades",), "settings.max_open_trades: "),
    ({"max_day_orders": 1.5}, ("max_day_orders",), "settings.max_day_orders: "),
    ({"leverage": True}, ("leverage",), "settings.leverage: must be a number, not true or false; settings.leverage: "),
    ({"leverage": 126}, ("leverage",), "settings.leverage: "),
    ({"max_day_loss": "1e500"}, ("max_day_loss",), "settings.max_day_loss: "),
    ({"stop_loss": None}, ("stop_loss",), "settings.stop_loss: "),
    ({"ratioo": 1}, ("ratioo",), "settings.ratioo: no such setting; did you mean ratio?"),
    ({"colour": "red"}, ("colour",), "settings.colour: no such setting"),
    ({"size": "ratio"}, ("size",), "settings.size: "),
    ({"size": {"kind": "double"}}, ("size",), "'fixed_notional'"),
    ({"size": {"kind": "fixed_quantity"}}, ("size",), "settings.size.fixed_quantity.quantity: Field required"),
    ({"size": {"kind": "fixed_notional", "notional": 0}}, ("size",), "settings.size.fixed_notional.notional: "),
    ({"size": {"kind": "balance_percent", "fraction": 11}}, ("size",), "settings.size.balance_percent.fraction: "),
    ({"size": tiers(5, 5, None)}, ("size",), "up_to must rise"),
    ({"size": tiers(5, 4, None)}, ("size",), "up_to must rise"),
    ({"size": tiers(5, 6)}, ("size",), "the last must have none"),
    ({"size": tiers(None, None)}, ("size",), "every tier but the last needs up_to"),
    ({"size": tiers()}, ("size",), "settings.size.tiers.tiers: "),
    ({"condition": {"from_hour": 3}}, ("condition",), "settings.condition: from_hour and to_hour go together"),
    ({"condition": {"to_hour": 3}}, ("condition",), "from_hour and to_hour go together"),
    ({"condition": {"from_hour": 3, "to_hour": 3}}, ("condition",), "must differ"),
    ({"condition": {"from_hour": 24, "to_hour": 3}}, ("condition",), "24 is only an end"),
    ({"condition": {"from_hour": 3, "to_hour": 25}}, ("condition",), "settings.condition.to_hour: "),
    ({"condition": {"min_leader_trades": 3}}, ("condition",), "says nothing without min_leader_win_rate"),
    ({"condition": {"min_leader_win_rate": "1.1"}}, ("condition",), "settings.condition.min_leader_win_rate: "),
    ({"condition": {"from": 3}}, ("condition",), "settings.condition.from: no such setting"),
    ({"whitelist": []}, ("whitelist",), "names nothing"),
    ({"whitelist": [BTC, ETH], "blacklist": [ETH]}, ("blacklist", "whitelist"), f"both name {ETH}"),
    ({"whitelist": ["BTC"]}, ("whitelist",), "settings.whitelist.0: an instrument must look like venue:SYMBOL"),
    ({"blacklist": [BTC, "binanceusdm:"]}, ("blacklist",), "settings.blacklist.1: an instrument must look like"),
    ({"blacklist": ["binanceusdm:BTC /USDT"]}, ("blacklist",), "settings.blacklist.0: an instrument must look like"),
    ({"blacklist": [":BTC"]}, ("blacklist",), "settings.blacklist.0: "),
    ({"blacklist": BTC}, ("blacklist",), "settings.blacklist: "),
    ({"symbol_map": {"BTC": BTC}}, ("symbol_map",), "settings.symbol_map.BTC.[key]: an instrument must look like"),
    ({"symbol_map": {BTC: "BTC"}}, ("symbol_map",), f"settings.symbol_map.{BTC}: an instrument must look like"),
    ({"symbol_map": {XRP: BTC, ETH: BTC}}, ("symbol_map",), f"map to {BTC}, one of ours: {ETH} and {XRP}"),
    ({"instruments": {"BTC": {}}}, ("instruments",), "settings.instruments.BTC.[key]: an instrument must look like"),
    ({"instruments": {BTC: {"ratio": 0}}}, ("instruments",), f"settings.instruments.{BTC}.ratio: "),
    ({"instruments": {BTC: {"whitelist": [BTC]}}}, ("instruments",), f"instruments.{BTC}.whitelist: no such setting"),
    (
        {"instruments": {BTC: {"max_order_notional": 1001}}},  # above the product's own 1,000
        ("instruments", "max_position_notional"),
        f"instruments.{BTC}: max_order_notional 1001 is above max_position_notional 1000",
    ),
    (
        {"instruments": {BTC: {"size": {"kind": "mirror"}}}, "below_minimum": "accumulate"},
        ("below_minimum", "instruments"),
        f"instruments.{BTC}: below_minimum: accumulate contradicts size mirror",
    ),
    (
        {"max_order_notional": "100.01", "max_position_notional": 100},
        ("max_order_notional", "max_position_notional"),
        "max_order_notional 100.01 is above max_position_notional 100",
    ),
    (
        {"size": {"kind": "mirror"}, "below_minimum": "accumulate"},
        ("below_minimum", "size"),
        "accumulate contradicts size mirror",
    ),
    (
        {"size": {"kind": "inverse", "follows": "position"}, "below_minimum": "accumulate"},
        ("below_minimum", "size"),
        "accumulate contradicts size inverse",
    ),
    ({"ratio": 0, "leverage": 0, "colour": 1}, ("colour", "leverage", "ratio"), "settings.colour: no such setting"),
]


@pytest.mark.parametrize(("settings", "fields", "text"), WRONG)
def test_wrong_settings_name_the_field(settings: dict[str, Any], fields: tuple[str, ...], text: str) -> None:
    with pytest.raises(ParamsError) as told:
        cascade([("subscription", settings)])
    assert text in str(told.value)
    assert told.value.fields == fields
    assert "Value error" not in str(told.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"ratio": "1000", "max_order_notional": 1000},
        {"ratio": "0.000000000000000001"},
        {"size": tiers(5, 6, None), "below_minimum": "accumulate"},
        {"size": {"kind": "inverse"}, "below_minimum": "accumulate"},
        {"condition": {"from_hour": 22, "to_hour": 0}},
        {"condition": {"from_hour": 0, "to_hour": 24}},
        {"condition": {"min_leader_trades": 3, "min_leader_win_rate": 0}},
        {"max_order_notional": 5000, "max_position_notional": None},
        {"max_order_notional": 5000, "max_position_notional": 5000},
        {"instruments": {BTC: {"max_order_notional": 5000, "max_position_notional": 5000}}},
        {"whitelist": [BTC], "blacklist": [ETH], "symbol_map": {XRP: BTC, BTC: XRP}},
    ],
)
def test_at_the_bounds_is_fine(settings: dict[str, Any]) -> None:
    params = cascade([("subscription", settings)]).params
    assert SubscriptionParams.model_validate_json(params.model_dump_json()) == params


@pytest.mark.parametrize("part", [None, [], "ratio", 3])
def test_a_level_must_be_names_with_values(part: Any) -> None:
    with pytest.raises(ParamsError, match="settings: what the group sets must be names with values"):
        cascade([("leader", {}), ("group", part)])


def test_keys_must_be_text() -> None:
    with pytest.raises(ParamsError, match=r"settings\.1: .*1 from the group"):
        cascade([("group", {1: 2})])  # type: ignore[dict-item]


def test_an_error_names_the_level_of_what_was_inherited() -> None:
    with pytest.raises(ParamsError, match=r"^sub s: settings\.ratio: .* \(ratio from the leader\)$"):
        cascade([("leader", {"ratio": 0}), ("subscription", {"max_day_orders": 1})], "sub s: settings")
    with pytest.raises(ParamsError) as told:
        cascade([("leader", {"blacklist": [BTC]}), ("group", {}), ("subscription", {"whitelist": [BTC]})])
    assert str(told.value).endswith("(blacklist from the leader, whitelist from the subscription)")
    with pytest.raises(ParamsError) as told:
        cascade([("group", {"max_order_notional": 2000})])
    assert str(told.value).endswith("(max_order_notional from the group, max_position_notional from the product)")
    with pytest.raises(ParamsError, match=r"greater than 0$"):
        cascade([("leader", {"max_day_orders": 1}), ("subscription", {"ratio": 0})])


def test_a_wrong_value_that_a_stronger_level_replaces_does_no_harm() -> None:
    assert cascade([("leader", {"ratio": 0}), ("subscription", {"ratio": 2})]).params.ratio == 2


VALUES: dict[str, list[Any]] = {
    "ratio": ["0.1", "2"],
    "max_day_orders": [None, 5, 7],
    "max_position_notional": [None, "500"],
    "notify_only": [True, False],
    "condition": [{}, {"sides": "long"}, {"from_hour": 1, "to_hour": 2}],
    "whitelist": [None, [BTC]],
}
parts = st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in VALUES.items()})


@given(st.tuples(parts, parts, parts))
def test_the_last_level_that_says_a_field_wins(said: tuple[dict[str, Any], ...]) -> None:
    resolved = cascade(list(zip(LEVELS, said, strict=True)))
    product = SubscriptionParams()
    for field in SubscriptionParams.model_fields:
        naming = [level for level, part in zip(LEVELS, said, strict=True) if field in part]
        assert resolved.origins[field] == (naming[-1] if naming else PRODUCT)
        value = said[LEVELS.index(naming[-1])][field] if naming else None
        alone = SubscriptionParams.model_validate({field: value}) if naming else product
        assert getattr(resolved.params, field) == getattr(alone, field)
    assert set(resolved.origins) == set(SubscriptionParams.model_fields)
    assert cascade([("x", json.loads(resolved.params.model_dump_json()))]).params == resolved.params


def test_an_override_of_an_instrument() -> None:
    override = {"ratio": "0.5", "size": {"kind": "ratio"}, "max_order_notional": "50"}
    params = cascade([("leader", {"instruments": {BTC: override}}), ("subscription", {"ratio": 2})]).params
    own = for_instrument(params, BTC)
    assert (own.ratio, own.size, own.max_order_notional) == (D("0.5"), RatioSize(), D(50))
    same = {name for name in SubscriptionParams.model_fields if getattr(own, name) == getattr(params, name)}
    assert set(SubscriptionParams.model_fields) - same == set(override)
    assert params.ratio == 2  # the rest goes on as it was
    assert for_instrument(params, ETH) is params
    assert for_instrument(SubscriptionParams.model_validate_json(params.model_dump_json()), BTC) == own


def test_every_override_is_a_setting() -> None:
    assert set(InstrumentOverride.model_fields) <= set(SubscriptionParams.model_fields)
