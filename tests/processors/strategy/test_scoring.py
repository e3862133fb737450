"""The score table of the issue, row by row, and its mirror image."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors import scoring
from processors.registry import discover
from processors.scoring import CLASSES, grade
from processors.scoring.weighted import SCORER, ZONES, score_table, zone_of
from processors.strategy.params import StrategyParams
from schemas.reasons import Side, SignalClass

PARAMS = StrategyParams(name="demo")
NEUTRAL = {
    "rsi": 50.0, "macd": 0.0, "macd_signal": 0.0, "macd_histogram": 0.0, "bollinger_lower": 98.0,
    "bollinger_middle": 100.0, "bollinger_upper": 102.0, "bollinger_variance": 1.0, "sma_fast": 100.0,
    "sma_slow": 100.0, "ema_fast": 100.0, "ema_slow": 100.0, "atr": 1.0,
}  # fmt: skip
UP = {"macd": 1.0, "sma_fast": 101.0, "ema_fast": 101.0}
DOWN = {"macd": -1.0, "sma_fast": 99.0, "ema_fast": 99.0}

ROWS = [
    # changed values, close -> buy, sell, class
    ({}, 100.0, 0, 0, None),
    ({"rsi": 29.9}, 100.0, 2, 0, SignalClass.BUY),
    ({"rsi": 30.0}, 100.0, 1, 0, SignalClass.BUY),
    ({"rsi": 39.9}, 100.0, 1, 0, SignalClass.BUY),
    ({"rsi": 40.0}, 100.0, 0, 0, None),
    ({"rsi": 60.0}, 100.0, 0, 0, None),
    ({"rsi": 60.1}, 100.0, 0, 1, SignalClass.SELL),
    ({"rsi": 70.0}, 100.0, 0, 1, SignalClass.SELL),
    ({"rsi": 70.1}, 100.0, 0, 2, SignalClass.SELL),
    ({"macd": 0.1}, 100.0, 1, 0, SignalClass.BUY),
    ({"macd_signal": 0.1}, 100.0, 0, 1, SignalClass.SELL),
    ({"sma_fast": 100.1}, 100.0, 1, 0, SignalClass.BUY),
    ({"sma_slow": 100.1}, 100.0, 0, 1, SignalClass.SELL),
    ({"ema_fast": 100.1}, 100.0, 1, 0, SignalClass.BUY),
    ({"ema_slow": 100.1}, 100.0, 0, 1, SignalClass.SELL),
    # bands 98 ... 102, near = within a tenth of the width (0.4) of a band, or beyond it
    ({}, 98.41, 0, 0, None),
    ({}, 98.39, 1, 0, SignalClass.BUY),
    ({}, 90.0, 1, 0, SignalClass.BUY),
    ({}, 101.59, 0, 0, None),
    ({}, 101.61, 0, 1, SignalClass.SELL),
    # a market that stands still is near neither band
    ({"bollinger_variance": 0.0}, 100.0, 0, 0, None),
    ({"bollinger_variance": 1e-30}, 100.0 + 1e-13, 0, 0, None),
    # together
    (UP | {"rsi": 29.0}, 98.0, 6, 0, SignalClass.STRONG_BUY),
    (UP | {"rsi": 39.0}, 100.0, 4, 0, SignalClass.STRONG_BUY),
    (UP, 100.0, 3, 0, SignalClass.BUY),
    (UP | {"rsi": 71.0}, 100.0, 3, 2, None),  # 0.6 exactly is not above 0.6
    (UP | {"rsi": 39.0} | {"macd": -1.0}, 98.0, 4, 1, SignalClass.STRONG_BUY),
    (UP | {"rsi": 29.0} | {"macd": -1.0}, 101.9, 4, 2, SignalClass.STRONG_BUY),
    (UP | {"macd": -1.0}, 100.0, 2, 1, SignalClass.BUY),  # 0.667
    (UP | {"rsi": 71.0, "macd": -1.0}, 98.0, 3, 3, None),
    (DOWN | {"rsi": 71.0}, 102.0, 0, 6, SignalClass.STRONG_SELL),
    (DOWN, 100.0, 0, 3, SignalClass.SELL),
    (DOWN | {"rsi": 29.0}, 100.0, 2, 3, None),
]


@pytest.mark.parametrize(("changes", "close", "buy", "sell", "signal_class"), ROWS)
def test_table(changes: dict, close: float, buy: float, sell: float, signal_class: SignalClass | None) -> None:
    score = SCORER.score(NEUTRAL | changes, close, PARAMS)
    assert (score.buy, score.sell, CLASSES[score.code]) == (buy, sell, signal_class)
    if signal_class is not None:
        assert score.strength == pytest.approx(max(buy, sell) / (buy + sell))
        assert score.side is (Side.BUY if buy > sell else Side.SELL)


GRADES = [
    (3.1, 2.0, SignalClass.WEAK_BUY),  # 0.608
    (2.0, 3.1, SignalClass.WEAK_SELL),
    (3.0, 2.0, None),
    (6.5, 3.5, SignalClass.STRONG_BUY),
    (3.25, 1.75, SignalClass.BUY),  # 0.65 exactly, score below 4
    (4.0, 2.0, SignalClass.STRONG_BUY),
    (3.9, 2.0, SignalClass.BUY),
    (2.0, 4.0, SignalClass.STRONG_SELL),
    (1.0, 1.0, None),
    (0.0, 0.0, None),
]


@pytest.mark.parametrize(("buy", "sell", "signal_class"), GRADES)
def test_grades(buy: float, sell: float, signal_class: SignalClass | None) -> None:
    assert CLASSES[grade(buy, sell, (), PARAMS).code] is signal_class


def test_reasons_say_what_voted() -> None:
    score = SCORER.score(NEUTRAL | UP | {"rsi": 39.0, "macd": -1.0}, 98.0, PARAMS)
    assert score.reasons == (
        "buy +1: RSI below 40",
        "sell +1: MACD below its signal line",
        "buy +1: price near the lower band",
        "buy +1: fast SMA above slow SMA",
        "buy +1: fast EMA above slow EMA",
    )


def test_a_weight_of_zero_has_no_vote_and_no_reason() -> None:
    params = StrategyParams(name="demo", macd_weight=0)
    score = SCORER.score(NEUTRAL | {"macd": 1.0}, 100.0, params)
    assert (score.buy, score.reasons, score.code) == (0, (), 0)


number = st.floats(min_value=-5, max_value=5)


@given(st.floats(0, 100), number, number, number, number, number, st.floats(0, 4))
def test_sell_is_the_mirror_of_buy(
    rsi: float, macd: float, line: float, sma: float, ema: float, distance: float, variance: float
) -> None:
    def values(sign: float) -> dict[str, float]:
        return NEUTRAL | {
            "rsi": 50 + sign * (rsi - 50), "macd": sign * macd, "macd_signal": sign * line,
            "sma_fast": 100 + sign * sma, "ema_fast": 100 + sign * ema, "bollinger_variance": variance,
        }  # fmt: skip

    one, other = (SCORER.score(values(sign), 100 + sign * distance, PARAMS) for sign in (1.0, -1.0))
    if abs(50 - rsi) in (10, 20):
        return  # a threshold itself is rounded differently on its two sides
    assert (one.buy, one.sell) == (other.sell, other.buy)
    assert one.code == (7 - other.code if other.code else 0)
    assert one.strength == other.strength


@given(st.floats(0, 100), number, number, number, number, st.floats(-5, 5), st.floats(0, 4))
def test_table_of_zones_equals_the_scorer(
    rsi: float, macd: float, line: float, sma: float, ema: float, distance: float, variance: float
) -> None:
    values = NEUTRAL | {"rsi": rsi, "macd": macd, "macd_signal": line, "sma_fast": 100 + sma, "ema_fast": 100 + ema,
                        "bollinger_variance": variance}  # fmt: skip
    zone = zone_of(values, 100 + distance, PARAMS)
    assert 0 <= zone < ZONES
    assert score_table(PARAMS)[zone] == SCORER.score(values, 100 + distance, PARAMS)


def test_every_scorer_is_found_and_pure() -> None:
    found = discover(scoring, "SCORER")
    assert "weighted" in found
    for scorer in found.values():
        values = dict(NEUTRAL)
        assert scorer.score(values, 100.0, PARAMS) == scorer.score(values, 100.0, PARAMS)
        assert values == NEUTRAL
        assert type(scorer).__module__
        assert __import__(type(scorer).__module__, fromlist=["x"]).__doc__
