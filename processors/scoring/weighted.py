"""Weighted votes of RSI, MACD, Bollinger bands and two pairs of averages.

Buy points (sell points are their mirror image):
  RSI below `rsi_oversold`: `rsi_extreme_weight`, else below `rsi_low`: `rsi_weight`
  MACD above its signal line: `macd_weight`
  price near the lower band (see `band_nearness`) or below it: `bollinger_weight`
  fast SMA above the slow one: `sma_weight`; fast EMA above the slow one: `ema_weight`

Entry points: `SCORER`, `zone_of`, `score_table`.

Each rule has only a few answers, so a bar falls into one of 405 zones and a zone into one score. The table of all of
them is made once per set of parameters; the kernels work out the zone and look the class up.
"""

from collections.abc import Mapping
from typing import Final, Literal

from processors.scoring import Score, ScoringParams, grade

ZONES: Final = 5 * 3 * 3 * 3 * 3
RSI_STEP, MACD_STEP, BAND_STEP, SMA_STEP, EMA_STEP = 81, 27, 9, 3, 1
FLAT_SQUARED: Final = 1e-16
"""Bands narrower than 1e-8 of the price are rounding noise of a market that stands still: near neither side."""
Vote = Literal[0, 1, 2]  # 0 buy, 1 neither, 2 sell


def zone_of(values: Mapping[str, float], close: float, params: ScoringParams) -> int:
    """Return the zone (0 ... 404) of a bar that closed at `close`."""
    rsi = values["rsi"]
    if rsi < params.rsi_low:
        zone = 0 if rsi < params.rsi_oversold else RSI_STEP
    elif rsi > params.rsi_high:
        zone = 4 * RSI_STEP if rsi > params.rsi_overbought else 3 * RSI_STEP
    else:
        zone = 2 * RSI_STEP
    zone += MACD_STEP * _compare(values["macd"], values["macd_signal"])
    middle = values["bollinger_middle"]
    distance = close - middle
    reach_squared = values["bollinger_variance"] * inner_squared(params)
    if distance * distance < reach_squared or reach_squared <= FLAT_SQUARED * (middle * middle):
        zone += BAND_STEP
    elif distance > 0.0:
        zone += 2 * BAND_STEP
    zone += SMA_STEP * _compare(values["sma_fast"], values["sma_slow"])
    return zone + EMA_STEP * _compare(values["ema_fast"], values["ema_slow"])


def inner_squared(params: ScoringParams) -> float:
    """Return the square of: standard deviations from the middle from which on a price is near a band."""
    inner = params.bollinger_deviations * (1.0 - 2.0 * params.band_nearness)
    return inner * inner


def _compare(first: float, second: float) -> Vote:
    return 0 if first > second else 2 if first < second else 1


def score_table(params: ScoringParams) -> tuple[Score, ...]:
    """Return the score of every zone."""
    return tuple(_score_zone(zone, params) for zone in range(ZONES))


def _score_zone(zone: int, params: ScoringParams) -> Score:
    votes: list[tuple[int, float, str]] = []
    rsi = zone // RSI_STEP
    if rsi != 2:
        weight = params.rsi_extreme_weight if rsi in (0, 4) else params.rsi_weight
        words = (
            f"RSI below {params.rsi_oversold:g}",
            f"RSI below {params.rsi_low:g}",
            "",
            f"RSI above {params.rsi_high:g}",
            f"RSI above {params.rsi_overbought:g}",
        )[rsi]
        votes.append((0 if rsi < 2 else 2, weight, words))
    pairs = (
        (MACD_STEP, params.macd_weight, "MACD above its signal line", "MACD below its signal line"),
        (BAND_STEP, params.bollinger_weight, "price near the lower band", "price near the upper band"),
        (SMA_STEP, params.sma_weight, "fast SMA above slow SMA", "fast SMA below slow SMA"),
        (EMA_STEP, params.ema_weight, "fast EMA above slow EMA", "fast EMA below slow EMA"),
    )
    for step, weight, buy_words, sell_words in pairs:
        vote = zone // step % 3
        votes.append((vote, weight, buy_words if vote == 0 else sell_words))
    buy = sell = 0.0
    reasons = []
    for vote, weight, words in votes:
        if vote == 1 or weight <= 0.0:
            continue
        if vote == 0:
            buy += weight
        else:
            sell += weight
        reasons.append(f"{'buy' if vote == 0 else 'sell'} +{weight:g}: {words}")
    return grade(buy, sell, tuple(reasons), params)


class Weighted:
    """The scorer."""

    name = "weighted"

    def score(self, values: Mapping[str, float], close: float, params: ScoringParams) -> Score:
        """Return the score of a bar that closed at `close`."""
        return _score_zone(zone_of(values, close, params), params)


SCORER = Weighted()
