"""Average true range after Wilder.

Formula: range[t] = max(high[t], close[t-1]) - min(low[t], close[t-1]); sum[t] = sum[t-1] * (period - 1) / period +
range[t], the first being the sum of the first `period` ranges; atr = sum / period.
Source: J. Welles Wilder, New Concepts in Technical Trading Systems (1978); TA-Lib `ATR`.
Warm-up: the first value comes with bar period + 1 (the first bar has no close before it), exact to TA-Lib from there.
ta `AverageTrueRange` counts high - low of the first bar as a range and starts one bar earlier; the difference is below
1e-9 of the price after some 11 * period bars.
"""

from typing import Any

from processors.indicators import IndicatorSpec


class Atr:
    """Running state: the Wilder sum of ranges and the close before."""

    __slots__ = ("count", "keep", "period", "previous", "total")

    def __init__(self, period: int) -> None:
        self.period = period
        self.keep = (period - 1) / period
        self.count = 0  # closes seen, up to period + 1
        self.previous = self.total = 0.0

    def update(self, open_: float, high: float, low: float, close: float, volume: float) -> None:
        """Take one closed bar."""
        previous, self.previous = self.previous, close
        true_range = (high if high > previous else previous) - (low if low < previous else previous)
        if self.count > self.period:
            self.total = self.total * self.keep + true_range
            return
        self.count += 1
        if self.count == 1:
            return
        self.total += true_range

    def values(self) -> tuple[float, ...] | None:
        """Return (atr,)."""
        return (self.total / self.period,) if self.count > self.period else None

    def dump(self) -> list[Any]:
        """Return the state."""
        return [self.period, self.count, self.previous, self.total]


def load(dump: list[Any]) -> Atr:
    """Inverse of `dump`."""
    atr = Atr(dump[0])
    _, atr.count, atr.previous, atr.total = dump
    return atr


INDICATOR = IndicatorSpec(
    name="atr",
    outputs=("atr",),
    settings={"period": 14},
    warm_up=lambda period: period + 1,
    new=Atr,
    load=load,
)
