"""Scorers, one file each, found by `processors.registry.discover(processors.scoring, "SCORER")`.

Entry points: `Score`, `Scorer` (what a file exports), `ScoringParams`, `grade`, `CLASSES`.

1. A scorer is a pure function of the newest indicator values, the close and the parameters.
2. Strength is the larger score over the sum of both. A tie, or a strength not above `publish_above`, says nothing.
3. A class is also known by a small number (its index in `CLASSES`; 0 is "nothing"), which the hot path compares.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple, Protocol

from schemas.reasons import Side, SignalClass

CLASSES: Final[tuple[SignalClass | None, ...]] = (
    None,
    SignalClass.STRONG_BUY,
    SignalClass.BUY,
    SignalClass.WEAK_BUY,
    SignalClass.WEAK_SELL,
    SignalClass.SELL,
    SignalClass.STRONG_SELL,
)
TRADED: Final = frozenset({1, 2, 5, 6})
"""Codes of the classes that leaders act on; weak ones are published for people only."""


class ScoringParams(Protocol):
    """The settings of processors.strategy.params.StrategyParams that scorers read; see there for their meaning."""

    @property
    def rsi_oversold(self) -> float: ...  # noqa: D102
    @property
    def rsi_low(self) -> float: ...  # noqa: D102
    @property
    def rsi_high(self) -> float: ...  # noqa: D102
    @property
    def rsi_overbought(self) -> float: ...  # noqa: D102
    @property
    def bollinger_deviations(self) -> float: ...  # noqa: D102
    @property
    def band_nearness(self) -> float: ...  # noqa: D102
    @property
    def rsi_extreme_weight(self) -> float: ...  # noqa: D102
    @property
    def rsi_weight(self) -> float: ...  # noqa: D102
    @property
    def macd_weight(self) -> float: ...  # noqa: D102
    @property
    def bollinger_weight(self) -> float: ...  # noqa: D102
    @property
    def sma_weight(self) -> float: ...  # noqa: D102
    @property
    def ema_weight(self) -> float: ...  # noqa: D102
    @property
    def publish_above(self) -> float: ...  # noqa: D102
    @property
    def class_from(self) -> float: ...  # noqa: D102
    @property
    def strong_from(self) -> float: ...  # noqa: D102
    @property
    def strong_score(self) -> float: ...  # noqa: D102


class Score(NamedTuple):
    """What a scorer says of one bar. `code` indexes `CLASSES`; 0: nothing to publish."""

    code: int
    buy: float
    sell: float
    strength: float
    reasons: tuple[str, ...]

    @property
    def side(self) -> Side:
        """The side with the larger score."""
        return Side.BUY if self.buy > self.sell else Side.SELL


class Scorer(Protocol):
    """One way to turn indicator values into a score."""

    @property
    def name(self) -> str:
        """Name by which `StrategyParams.scorer` asks for it."""
        ...

    def score(self, values: Mapping[str, float], close: float, params: ScoringParams) -> Score:
        """Return the score of a bar that closed at `close`; `values` holds every indicator value by name."""
        ...


def grade(buy: float, sell: float, reasons: tuple[str, ...], params: ScoringParams) -> Score:
    """Return the score, with strength and class, of these points for buying and selling (both zero or more)."""
    larger, total = max(buy, sell), buy + sell
    if buy == sell or total <= 0.0:
        return Score(0, buy, sell, 0.5 if total > 0.0 else 0.0, reasons)
    strength = larger / total
    if not strength > params.publish_above:
        code = 0
    elif strength >= params.strong_from and larger >= params.strong_score:
        code = 1
    elif strength >= params.class_from:
        code = 2
    else:
        code = 3
    if code != 0 and sell > buy:
        code = 7 - code
    return Score(code, buy, sell, strength, reasons)
