"""Bollinger bands.

Formula: middle = SMA(period); deviation = sqrt(mean of (close - middle)^2 over the window), the population's; upper and
lower = middle +- deviations * deviation. The variance (deviation squared) is a value of its own.
Source: John Bollinger; TA-Lib `BBANDS` with a simple average, ta `BollingerBands`.
Warm-up: the first values come with bar `period`. TA-Lib and ta agree from that bar on.

The sum of squared distances is moved with the window (Welford's update for a sliding window), not taken as the
difference of two large sums: at a price of 60,000 and a deviation of 0.1 that would have few correct digits left.
What remains is rounding of the largest square in sight: a window that stands perfectly still after a jump shows, until
the next refresh, a deviation of up to some 2e-8 of the jump instead of zero. No vote comes of that (FLAT_SQUARED in
processors/scoring/weighted.py).
"""

from math import sqrt
from typing import Any

from processors.indicators import REFRESH_EVERY, IndicatorSpec, in_order_sum


class Bollinger:
    """Running state: the window as a ring, how far its mean is from the anchor, and its sum of squared distances."""

    __slots__ = ("anchor", "count", "deviations", "offset", "period", "ring", "share", "spread")

    def __init__(self, period: int, deviations: float) -> None:
        self.period = period
        self.share = 1.0 / period
        self.deviations = float(deviations)
        self.count = 0
        self.ring = [0.0] * period
        self.anchor = self.offset = self.spread = 0.0

    def update(self, open_: float, high: float, low: float, close: float, volume: float) -> None:
        """Take one closed bar."""
        slot = self.count % self.period
        old = self.ring[slot]
        self.ring[slot] = close
        self.count += 1
        fresh = self.count % REFRESH_EVERY == 0
        if fresh or self.count == 1:
            self.anchor = close
        if fresh or self.count <= self.period:
            self._refresh()
            return
        before = self.offset
        self.offset = before + (close - old) * self.share
        self.spread += (close - old) * ((close - self.anchor - self.offset) + (old - self.anchor - before))
        if self.spread < 0.0:  # rounding, when the window has become flat
            self.spread = 0.0

    def _refresh(self) -> None:
        if self.count >= self.period:
            oldest = self.count % self.period
            window = [value - self.anchor for value in self.ring[oldest:] + self.ring[:oldest]]
            self.offset = in_order_sum(window) / self.period
            self.spread = in_order_sum((value - self.offset) * (value - self.offset) for value in window)

    def values(self) -> tuple[float, ...] | None:
        """Return (bollinger_lower, bollinger_middle, bollinger_upper, bollinger_variance)."""
        if self.count < self.period:
            return None
        variance = self.spread * self.share
        reach = self.deviations * sqrt(variance)
        mean = self.anchor + self.offset
        return mean - reach, mean, mean + reach, variance

    def dump(self) -> list[Any]:
        """Return the state."""
        return [self.period, self.deviations, self.count, self.anchor, self.offset, self.spread, list(self.ring)]


def load(dump: list[Any]) -> Bollinger:
    """Inverse of `dump`."""
    bands = Bollinger(dump[0], dump[1])
    _, _, bands.count, bands.anchor, bands.offset, bands.spread, ring = dump
    bands.ring = list(ring)
    return bands


INDICATOR = IndicatorSpec(
    name="bollinger",
    outputs=("bollinger_lower", "bollinger_middle", "bollinger_upper", "bollinger_variance"),
    settings={"period": 20, "deviations": 2.0},
    warm_up=lambda period, deviations: period,
    new=Bollinger,
    load=load,
)
