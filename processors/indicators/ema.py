"""Exponential moving average.

Formula: ema[t] = ema[t-1] + 2 / (period + 1) * (close[t] - ema[t-1]); the first is the mean of
the first `period` closes.
Source: TA-Lib `EMA` (default, unstable period 0).
Warm-up: the first value comes with bar `period`, exact to TA-Lib from there. ta `EMAIndicator` starts from the first
close instead; the difference shrinks by 1 - 2/(period+1) per bar and is below 1e-9 of the price after some
8 * period bars (measured: docs/adding-an-indicator.md).
"""

from typing import Any

from processors.indicators import IndicatorSpec


class Ema:
    """Running state: the average; during warm-up the sum of closes."""

    __slots__ = ("alpha", "average", "count", "period")

    def __init__(self, period: int) -> None:
        self.period = period
        self.alpha = 2.0 / (period + 1)
        self.count = 0
        self.average = 0.0

    def update(self, open_: float, high: float, low: float, close: float, volume: float) -> None:
        """Take one closed bar."""
        if self.count >= self.period:
            self.average += self.alpha * (close - self.average)
            return
        self.count += 1
        self.average += close
        if self.count == self.period:
            self.average /= self.period

    def values(self) -> tuple[float, ...] | None:
        """Return (ema,)."""
        return (self.average,) if self.count >= self.period else None

    def dump(self) -> list[Any]:
        """Return the state."""
        return [self.period, self.count, self.average]


def load(dump: list[Any]) -> Ema:
    """Inverse of `dump`."""
    ema = Ema(dump[0])
    _, ema.count, ema.average = dump
    return ema


INDICATOR = IndicatorSpec(
    name="ema",
    outputs=("ema",),
    settings={"period": 12},
    warm_up=lambda period: period,
    new=Ema,
    load=load,
)
