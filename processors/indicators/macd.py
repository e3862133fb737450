"""Moving average convergence / divergence.

Formula: macd = EMA(fast) - EMA(slow); macd_signal = EMA(signal) of macd; macd_histogram = macd - macd_signal. Each EMA
starts from the mean of its own first values: those of the close with bars `fast` and `slow`, the signal line with the
first `signal` macd values.
Source: Gerald Appel, Technical Analysis: Power Tools for Active Investors (2005); the EMA is TA-Lib's.
Warm-up: the first values come with bar slow + signal - 1, and macd is exact to TA-Lib's `EMA(fast) - EMA(slow)` from
there. TA-Lib `MACD` starts the fast average late (from the last `fast` of the first `slow` closes) and ta `MACD` starts
each average from a single value; both agree to 1e-9 of the price after some 8 * slow bars.
"""

from typing import Any

from processors.indicators import IndicatorSpec


class Macd:
    """Running state: both averages and the signal line; during warm-up their sums."""

    __slots__ = ("count", "fast", "fast_average", "line", "periods", "ready_at", "signal", "slow", "slow_average")

    def __init__(self, fast: int, slow: int, signal: int) -> None:
        if not 1 <= fast < slow:
            raise ValueError(f"macd: fast ({fast}) must be smaller than slow ({slow})")
        self.periods = (fast, slow, signal)
        self.fast, self.slow, self.signal = 2.0 / (fast + 1), 2.0 / (slow + 1), 2.0 / (signal + 1)
        self.ready_at = slow + signal - 1
        self.count = 0
        self.fast_average = self.slow_average = self.line = 0.0

    def update(self, open_: float, high: float, low: float, close: float, volume: float) -> None:
        """Take one closed bar."""
        if self.count >= self.ready_at:
            self.fast_average += self.fast * (close - self.fast_average)
            self.slow_average += self.slow * (close - self.slow_average)
            self.line += self.signal * (self.fast_average - self.slow_average - self.line)
            return
        self.count += 1
        fast, slow, signal = self.periods
        self.fast_average = _warm_up(self.fast_average, self.fast, fast, self.count, close)
        self.slow_average = _warm_up(self.slow_average, self.slow, slow, self.count, close)
        if self.count >= slow:
            self.line += self.fast_average - self.slow_average
        if self.count == self.ready_at:
            self.line /= signal

    def values(self) -> tuple[float, ...] | None:
        """Return (macd, macd_signal, macd_histogram)."""
        if self.count < self.ready_at:
            return None
        macd = self.fast_average - self.slow_average
        return macd, self.line, macd - self.line

    def dump(self) -> list[Any]:
        """Return the state."""
        return [*self.periods, self.count, self.fast_average, self.slow_average, self.line]


def _warm_up(average: float, alpha: float, period: int, count: int, close: float) -> float:
    """Return the average after bar `count`; up to bar `period` it is a sum."""
    if count > period:
        return average + alpha * (close - average)
    return (average + close) / period if count == period else average + close


def load(dump: list[Any]) -> Macd:
    """Inverse of `dump`."""
    macd = Macd(*dump[:3])
    macd.count, macd.fast_average, macd.slow_average, macd.line = dump[3:]
    return macd


INDICATOR = IndicatorSpec(
    name="macd",
    outputs=("macd", "macd_signal", "macd_histogram"),
    settings={"fast": 12, "slow": 26, "signal": 9},
    warm_up=lambda fast, slow, signal: slow + signal - 1,
    new=Macd,
    load=load,
)
