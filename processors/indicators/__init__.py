"""Indicators, one file each, found by `processors.registry.discover(processors.indicators, "INDICATOR")`.

Entry points: `IndicatorSpec` (what a file exports), `Indicator` (its running state), `in_order_sum`, `REFRESH_EVERY`.

1. `update` is O(1) and takes one closed bar; `values` is None until the warm-up is over, then finite numbers.
2. `dump` gives plain numbers and lists; `load(dump())` goes on bit for bit as if nothing had happened.
3. Indicators are floats (law 10) and keep nothing outside their state. No file imports another.
4. Running means are kept as a small offset from an anchor: the first close, then that of every `REFRESH_EVERY`th bar,
   where they are made afresh from their windows. So rounding errors are those of small numbers, and never pile up: at a
   price of 60,000 a plain running mean makes the deviation of a flat window wrong in its ninth digit within minutes.
5. Sums run from the oldest value to the newest by plain addition. The built-in `sum` rounds differently from Python
   3.12 on, and would give other bits there than here and than in the compiled batch form.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple, Protocol

REFRESH_EVERY: Final = 1024
"""Bars between two refreshes of running sums: rare enough to cost nothing, a power of two so that the test is cheap."""


class Indicator(Protocol):
    """Running state of one indicator on one instrument."""

    def update(self, open_: float, high: float, low: float, close: float, volume: float) -> None:
        """Take one closed bar: prices in quote currency, volume in base units."""
        ...

    def values(self) -> tuple[float, ...] | None:
        """Return the values after the newest bar, in the order of the spec's `outputs`; None during warm-up."""
        ...

    def dump(self) -> list[Any]:
        """Return the state as numbers and lists of numbers."""
        ...


class IndicatorSpec(NamedTuple):
    """What an indicator's file exports as `INDICATOR`.

    settings: its settings with their usual values, passed to `new` by name.
    warm_up: settings -> number of bars before the first value (that bar included).
    """

    name: str
    outputs: tuple[str, ...]
    settings: Mapping[str, float]
    warm_up: Callable[..., int]
    new: Callable[..., Indicator]
    load: Callable[[list[Any]], Indicator]


def in_order_sum(values: Iterable[float]) -> float:
    """Return the sum by plain addition from the first to the last value (invariant 5)."""
    total = 0.0
    for value in values:
        total += value
    return total
