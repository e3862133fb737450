"""Settings: defaults that are promised, and errors with their path."""

import json
from decimal import Decimal
from typing import Any

import pytest
import yaml

from processors.account.params import AccountParams, parse_account_params
from processors.copying.params import (
    LimitEntry,
    ParamsError,
    PercentDistance,
    SubscriptionParams,
    parse_subscription_params,
)

D = Decimal


def test_promised_defaults() -> None:
    params = SubscriptionParams()
    assert (params.risk_per_trade, params.max_position_notional) == (D("0.02"), D(1000))
    assert params.stop_loss == PercentDistance(fraction=D("0.03"))
    assert params.take_profit == PercentDistance(fraction=D("0.06"))
    assert (params.opposite, params.allow_second_entry, params.order.kind) == ("close", False, "market")
    assert AccountParams().leverage == 10
    assert not AccountParams().kill_switch


@pytest.mark.parametrize("params", [AccountParams(), SubscriptionParams(order=LimitEntry(offset_bps=D("-2.5")))])
def test_the_json_form_is_read_back(params: Any) -> None:
    parse = parse_account_params if isinstance(params, AccountParams) else parse_subscription_params
    assert parse(params.model_dump(mode="json")) == params
    assert parse(json.loads(params.model_dump_json())) == params


def test_none_is_off_and_zero_is_a_number() -> None:
    assert AccountParams(max_drawdown=None).max_drawdown is None
    assert SubscriptionParams(max_price_drift_bps=D(0)).max_price_drift_bps == 0
    for off in ("stop_loss", "take_profit", "risk_per_trade"):
        with pytest.raises(ParamsError, match=off):
            parse_subscription_params({off: None})


def test_the_words_of_yaml_that_are_read_as_truth_values_are_words() -> None:
    tree = yaml.safe_load("{copy_existing: yes, drift: {policy: off}}")
    params = parse_subscription_params(tree)
    assert (params.copy_existing, params.drift.policy) == ("yes", "off")
    assert parse_subscription_params(yaml.safe_load("copy_existing: no")).copy_existing == "no"
    with pytest.raises(ParamsError, match=r"drift\.policy: Input should be 'off'"):
        parse_subscription_params(yaml.safe_load("drift: {policy: on}"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"risk_per_trade": "0"}, ["accounts.a.risk_per_trade"]),
        ({"risk_per_trade": "NaN"}, ["risk_per_trade"]),
        ({"risk_per_trade": 2}, ["less than 1"]),
        ({"stop_loss": {"kind": "percent", "fraction": 3}}, ["accounts.a.stop_loss.percent.fraction"]),
        ({"stop_loss": {"kind": "points", "value": 3}}, ["stop_loss", "percent", "atr"]),
        ({"take_profit": {"kind": "atr", "multiple": -1}}, ["take_profit.atr.multiple"]),
        ({"oposite": "close"}, ["accounts.a.oposite"]),
        ({"opposite": "flip", "trigger": "mark", "cool_down_ms": 0}, ["opposite", "trigger", "cool_down_ms"]),
        ({"order": {"kind": "limit", "offset_bps": "Infinity"}}, ["order.limit.offset_bps"]),
    ],
)
def test_all_errors_are_told_with_their_path(settings: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ParamsError) as told:
        parse_subscription_params(settings, "accounts.a")
    for word in words:
        assert word in str(told.value)
