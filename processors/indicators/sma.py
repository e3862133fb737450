"""Simple moving average.

Formula: sma[t] = (close[t] + close[t-1] + ... + close[t-period+1]) / period.
Source: any textbook; TA-Lib `SMA`, ta `SMAIndicator`.
Warm-up: the first value comes with bar `period`. TA-Lib and ta agree from that bar on.
"""

from typing import Any

from processors.indicators import REFRESH_EVERY, IndicatorSpec, in_order_sum


class Sma:
    """Running state: the window as a ring, and how far its mean is from the anchor."""

    __slots__ = ("anchor", "count", "offset", "period", "ring", "share")

    def __init__(self, period: int) -> None:
        self.period = period
        self.share = 1.0 / period
        self.count = 0
        self.ring = [0.0] * period
        self.anchor = self.offset = 0.0

    def update(self, open_: float, high: float, low: float, close: float, volume: float) -> None:
        """Take one closed bar."""
        slot = self.count % self.period
        old = self.ring[slot]
        self.ring[slot] = close
        self.count += 1
        fresh = self.count % REFRESH_EVERY == 0
        if fresh or self.count == 1:
            self.anchor = close
        if fresh or self.count == self.period:
            oldest = self.count % self.period
            window = self.ring[oldest:] + self.ring[:oldest]
            self.offset = in_order_sum(value - self.anchor for value in window) / self.period
        else:
            self.offset += (close - old) * self.share

    def values(self) -> tuple[float, ...] | None:
        """Return (sma,)."""
        return (self.anchor + self.offset,) if self.count >= self.period else None

    def dump(self) -> list[Any]:
        """Return the state."""
        return [self.period, self.count, self.anchor, self.offset, list(self.ring)]


def load(dump: list[Any]) -> Sma:
    """Inverse of `dump`."""
    sma = Sma(dump[0])
    _, sma.count, sma.anchor, sma.offset, ring = dump
    sma.ring = list(ring)
    return sma


INDICATOR = IndicatorSpec(
    name="sma",
    outputs=("sma",),
    settings={"period": 20},
    warm_up=lambda period: period,
    new=Sma,
    load=load,
)
