"""Settings of a leader: what is promised, what is refused and by which name."""

import json
from decimal import Decimal
from typing import Any

import pytest

from processors.copying.params import ParamsError
from processors.leader.params import LeaderParams, RateLimit, parse_leader_params


def test_promised_defaults() -> None:
    params = LeaderParams()
    assert (params.visibility, params.max_followers, params.min_investment) == ("public", None, None)
    assert params.rate_limit == RateLimit(events=30, per_ms=10_000)
    assert params.breaker is not None
    assert (params.breaker.min_attempts, params.breaker.max_failure_rate) == (20, Decimal("0.5"))
    assert params.suspicion is not None
    assert params.suspicion.action == "alert"


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"title": "The desk", "tags": ["trend", "btc"], "max_followers": 100, "min_investment": "250.5"},
        {"visibility": "invite", "invite_code": "let-me-in"},
        {"rate_limit": None, "breaker": None, "suspicion": None},
        {"suspicion": {"flips": None, "wash_ms": None, "wash_count": None, "action": "pause"}},
        {"defaults": {"stop_loss": {"kind": "percent", "fraction": "0.02"}, "ratio": "0.5", "whitelist": ["a:B/C"]}},
    ],
)
def test_the_json_form_is_read_back(settings: dict[str, Any]) -> None:
    params = parse_leader_params(settings)
    assert parse_leader_params(params.model_dump(mode="json")) == params
    assert parse_leader_params(json.loads(params.model_dump_json())) == params


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"max_followers": 0}, "leader.max_followers"),
        ({"max_followers": -1}, "leader.max_followers"),
        ({"max_followers": 10**9}, "leader.max_followers"),
        ({"min_investment": "NaN"}, "leader.min_investment"),
        ({"min_investment": "0"}, "leader.min_investment"),
        ({"min_investment": "-5"}, "leader.min_investment"),
        ({"title": "x" * 101}, "leader.title"),
        ({"tags": ["t"] * 21}, "leader.tags"),
        ({"tags": ["t", "t"]}, "tags"),
        ({"tags": [""]}, "leader.tags.0"),
        ({"colour": "red"}, "leader.colour"),
        ({"visibility": "secret"}, "leader.visibility"),
        ({"visibility": "invite"}, "invite_code"),
        ({"invite_code": "let-me-in"}, "invite_code contradicts visibility"),
        ({"visibility": "invite", "invite_code": "abc"}, "leader.invite_code"),
        ({"rate_limit": {"events": 0}}, "leader.rate_limit.events"),
        ({"rate_limit": {"events": 10**9}}, "leader.rate_limit.events"),
        ({"rate_limit": {"per_ms": 0}}, "leader.rate_limit.per_ms"),
        ({"rate_limit": {"per_ms": 10**12}}, "leader.rate_limit.per_ms"),
        ({"breaker": {"window_ms": 0}}, "leader.breaker.window_ms"),
        ({"breaker": {"min_attempts": 0}}, "leader.breaker.min_attempts"),
        ({"breaker": {"max_failure_rate": "1"}}, "leader.breaker.max_failure_rate"),
        ({"breaker": {"max_failure_rate": "NaN"}}, "leader.breaker.max_failure_rate"),
        ({"breaker": {"open_ms": -1}}, "leader.breaker.open_ms"),
        ({"breaker": {"probes": 0}}, "leader.breaker.probes"),
        ({"breaker": {"probes": 101}}, "leader.breaker.probes"),
        ({"suspicion": {"flips": 1}}, "leader.suspicion.flips"),
        ({"suspicion": {"size_factor": "1"}}, "leader.suspicion.size_factor"),
        ({"suspicion": {"size_factor": "1e9"}}, "leader.suspicion.size_factor"),
        ({"suspicion": {"wash_ms": None}}, "leader.suspicion: .*wash_ms and wash_count"),
        ({"suspicion": {"wash_ms": 70_000}}, "leader.suspicion: .*wash_ms"),
        (
            {"suspicion": {"flips": None, "size_factor": None, "wash_ms": None, "wash_count": None}},
            "leader.suspicion: .*flips, size_factor and wash_ms",
        ),
        ({"suspicion": {"action": "close"}}, "leader.suspicion.action"),
        ({"defaults": {"ratio": "1e9"}}, "leader.defaults: .*defaults.ratio"),
        ({"defaults": {"ratio": "-1"}}, "leader.defaults: .*defaults.ratio"),
        ({"defaults": {"raito": "1"}}, "leader.defaults: .*defaults.raito"),
        ({"defaults": {"whitelist": ["a:B"], "blacklist": ["a:B"]}}, "leader.defaults: .*whitelist and blacklist"),
        ({"defaults": {"blacklist": ["x" * 70_000]}}, "leader.defaults: .*bytes"),
        ({"defaults": {"ratio": object()}}, "leader.defaults: .*JSON"),
        ({"defaults": 3}, "leader.defaults"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], path: str) -> None:
    with pytest.raises(ParamsError, match=path):
        parse_leader_params(settings, "leader")


def test_every_wrong_field_is_named_at_once() -> None:
    with pytest.raises(ParamsError) as error:
        parse_leader_params({"max_followers": 0, "breaker": {"probes": 0}})
    assert "settings.max_followers" in str(error.value)
    assert "settings.breaker.probes" in str(error.value)
