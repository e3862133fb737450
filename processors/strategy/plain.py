"""The plain kernel: one-file indicators and a scorer, one object each.

Entry points: `PlainKernel`, `ROLES`, `role_settings`, `ready_after`.

It runs any indicators with any scorer, warms the fused kernel up, and is what the fused kernel is tested equal to.
A role is the part an indicator plays in a strategy: `sma_fast` and `sma_slow` are both the indicator `sma`.
"""

from typing import Any, Final

from processors import indicators, scoring
from processors.indicators import Indicator, IndicatorSpec
from processors.registry import discover
from processors.scoring import Score, Scorer
from processors.strategy.params import StrategyParams

INDICATORS: Final[dict[str, IndicatorSpec]] = discover(indicators, "INDICATOR")
SCORERS: Final[dict[str, Scorer]] = discover(scoring, "SCORER")

ROLES: Final[tuple[tuple[str, str, dict[str, str]], ...]] = (
    ("rsi", "rsi", {"period": "rsi_period"}),
    ("macd", "macd", {"fast": "macd_fast", "slow": "macd_slow", "signal": "macd_signal"}),
    ("bollinger", "bollinger", {"period": "bollinger_period", "deviations": "bollinger_deviations"}),
    ("sma_fast", "sma", {"period": "sma_fast"}),
    ("sma_slow", "sma", {"period": "sma_slow"}),
    ("ema_fast", "ema", {"period": "ema_fast"}),
    ("ema_slow", "ema", {"period": "ema_slow"}),
    ("atr", "atr", {"period": "atr_period"}),
)
"""(role, indicator, {setting of the indicator: field of StrategyParams}) of the built-in set, in order."""

NOTHING: Final = Score(0, 0.0, 0.0, 0.0, ())


def role_settings(params: StrategyParams) -> list[tuple[str, IndicatorSpec, dict[str, Any]]]:
    """Return (role, indicator, settings) of everything a strategy computes, in order.

    Raises:
        ValueError: an extra indicator is unknown or its settings do not fit.
    """
    found: list[tuple[str, IndicatorSpec, dict[str, Any]]] = [
        (role, INDICATORS[name], {setting: getattr(params, field) for setting, field in fields.items()})
        for role, name, fields in ROLES
    ]
    taken = {role for role, _, _ in found}
    for role, extra in params.extra_indicators.items():
        if extra.indicator not in INDICATORS:
            raise ValueError(
                f"extra_indicators.{role}: no indicator {extra.indicator!r}, one of: {', '.join(INDICATORS)}"
            )
        spec = INDICATORS[extra.indicator]
        unknown = sorted(set(extra.settings) - set(spec.settings))
        if unknown:
            raise ValueError(
                f"extra_indicators.{role}: {spec.name} has no setting {unknown[0]!r}, it has: "
                f"{', '.join(spec.settings) or 'none'}"
            )
        if role in taken:
            raise ValueError(f"extra_indicators.{role}: the name is taken by a built-in indicator")
        settings = {**spec.settings, **extra.settings}
        found.append(
            (role, spec, {key: int(value) if value == int(value) else value for key, value in settings.items()})
        )
    return found


def ready_after(params: StrategyParams) -> int:
    """Return the number of bars after which every value is there."""
    return max(spec.warm_up(**settings) for _, spec, settings in role_settings(params))


def value_names(params: StrategyParams) -> tuple[str, ...]:
    """Return the names of all values, in the order of `PlainKernel.values`."""
    return tuple(
        name
        for role, spec, _ in role_settings(params)
        for name in (spec.outputs if role == spec.name else _named(role, spec))
    )


def _named(role: str, spec: IndicatorSpec) -> tuple[str, ...]:
    return (role,) if len(spec.outputs) == 1 else tuple(f"{role}.{output}" for output in spec.outputs)


class PlainKernel:
    """All indicators of one strategy on one instrument, as separate objects.

    count: bars taken. last: code of the last published class (kept by the processor).
    """

    __slots__ = ("_names", "_parts", "_score", "_scorer", "close", "count", "last", "params")

    def __init__(self, params: StrategyParams) -> None:
        self.params = params
        self.count = 0
        self.last = 0
        self.close = 0.0
        self._scorer = SCORERS[params.scorer]
        self._names = value_names(params)
        self._parts: list[tuple[IndicatorSpec, Indicator]] = [
            (spec, spec.new(**settings)) for _, spec, settings in role_settings(params)
        ]
        self._score: Score | None = NOTHING

    def update(self, open_: float, high: float, low: float, close: float, volume: float) -> int:
        """Take one closed bar; return the code of its class (index in processors.scoring.CLASSES)."""
        self.count += 1
        self.close = close
        for _, part in self._parts:
            part.update(open_, high, low, close, volume)
        self._score = None
        return self.score().code

    def tick(self, price: float) -> int:
        """Take one price as a bar of one trade."""
        return self.update(price, price, price, price, 0.0)

    def values(self) -> dict[str, float] | None:
        """Return every value by name; None until all are there."""
        found: list[float] = []
        for _, part in self._parts:
            values = part.values()
            if values is None:
                return None
            found.extend(values)
        return dict(zip(self._names, found, strict=True))

    def score(self) -> Score:
        """Return the score of the newest bar."""
        if self._score is None:
            values = self.values()
            self._score = NOTHING if values is None else self._scorer.score(values, self.close, self.params)
        return self._score

    def report(self) -> tuple[int, Score, dict[str, float]]:
        """Return (bars taken, score of the newest bar, every value by name; none before all are there)."""
        values = self.values()
        return self.count, self.score(), {} if values is None else values

    def part(self, role: str) -> Indicator:
        """Return the running indicator of a built-in role."""
        return self._parts[[name for name, _, _ in ROLES].index(role)][1]

    def dump(self) -> list[Any]:
        """Return the state as numbers and lists."""
        return [self.count, self.last, self.close, [part.dump() for _, part in self._parts]]

    def load(self, dump: list[Any]) -> None:
        """Take the state from a `dump` of a kernel with the same parameters."""
        self.count, self.last, self.close, parts = dump
        self._parts = [(spec, spec.load(part)) for (spec, _), part in zip(self._parts, parts, strict=True)]
        self._score = None
