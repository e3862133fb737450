"""What a strategy's settings refuse, and what their hash covers."""

import pytest
from pydantic import ValidationError

from processors.strategy.params import StrategyParams
from processors.strategy.processor import StrategyProcessor

REFUSED = [
    ({"name": "a/b"}, "name"),
    ({"name": ""}, "name"),
    ({"nosuch": 1}, "nosuch"),
    ({"interval": "2m"}, "unknown interval '2m', one of: tick, 1s"),
    ({"instruments": []}, "at least one instrument"),
    ({"instruments": ["no-venue"]}, "instruments"),
    ({"instruments": ["v:A", "v:A"]}, "one instrument twice"),
    ({"rsi_period": 1}, "rsi_period"),
    ({"rsi_period": 2.5}, "rsi_period"),
    ({"macd_fast": 26}, r"macd_fast \(26\) must be smaller than macd_slow \(26\)"),
    ({"sma_fast": 60}, r"sma_fast \(60\) must be smaller"),
    ({"ema_slow": 12}, r"ema_fast \(12\) must be smaller"),
    ({"rsi_oversold": 41}, r"rsi_oversold \(41.0\) must not be above rsi_low"),
    ({"rsi_low": 61}, "rsi_low"),
    ({"rsi_overbought": 59}, "rsi_high"),
    ({"bollinger_deviations": float("nan")}, "bollinger_deviations"),
    ({"band_nearness": 0.5}, "band_nearness"),
    ({"macd_weight": -1}, "macd_weight"),
    ({"publish_above": 0.4}, "publish_above"),
    ({"class_from": 0.59}, r"class_from \(0.59\) must not be below publish_above"),
    ({"strong_from": 0.61}, "strong_from"),
    ({"emit": "sometimes"}, "emit"),
    ({"publish_tick_bars": True}, "needs interval tick"),
    ({"marks_interval_ms": 0}, "marks_interval_ms"),
]


@pytest.mark.parametrize(("changes", "words"), REFUSED, ids=[str(changes) for changes, _ in REFUSED])
def test_refused(changes: dict, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        StrategyParams(**{"name": "demo", **changes})


def test_hash_covers_what_changes_signals_and_nothing_else() -> None:
    base = StrategyParams(name="demo")
    assert base.params_hash == StrategyParams(name="other", instruments=["v:A"]).params_hash
    assert base.config_hash != StrategyParams(name="demo", instruments=["v:A"]).config_hash
    changed = {"interval": "5m", "rsi_low": 35.0, "atr_period": 15, "macd_weight": 2, "emit": "each_bar",
               "strong_score": 5, "extra_indicators": {"x": {"indicator": "sma"}}}  # fmt: skip
    for key, value in changed.items():
        assert StrategyParams(name="demo", **{key: value}).params_hash != base.params_hash, key
    assert base.params_hash == StrategyParams.model_validate_json(base.model_dump_json()).params_hash


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ({"name": "a"}, {"name": "a"}, "two strategies are named 'a'"),
        ({"name": "a"}, {"name": "b", "marks_interval_ms": 100}, "differ in marks_interval_ms"),
        ({"name": "a"}, {"name": "b", "bar_grace_ms": 100}, "differ in bar_grace_ms, but share their 1m bars"),
    ],
)
def test_strategies_that_do_not_fit_beside_each_other(first: dict, second: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        StrategyProcessor([StrategyParams(**first), StrategyParams(**second)])


def test_strategies_on_other_bars_may_have_another_grace() -> None:
    StrategyProcessor([StrategyParams(name="a"), StrategyParams(name="b", interval="1h", bar_grace_ms=5)])


def test_config_hash_tells_every_part() -> None:
    one, two = StrategyParams(name="a"), StrategyParams(name="b")
    hashes = {
        StrategyProcessor([one]).config_hash,
        StrategyProcessor([one, two]).config_hash,
        StrategyProcessor([one], frozenset({"v:A"})).config_hash,
        StrategyProcessor([one], name="strategy-2").config_hash,
    }
    assert len(hashes) == 4
