"""Relative strength index after Wilder.

Formula: rsi = 100 * gain / (gain + loss), where gain and loss are Wilder sums of the rises and falls of the close:
sum[t] = sum[t-1] * (period - 1) / period + x[t], the first being the sum of the first `period` of them. (Wilder's
averages are these sums over the period; the ratio is the same.)
Source: J. Welles Wilder, New Concepts in Technical Trading Systems (1978); TA-Lib `RSI`.
Warm-up: the first value comes with bar period + 1, exact to TA-Lib from there. ta `RSIIndicator` starts both averages
from zero at the first bar; the difference is below 1e-9 after some 20 * period bars.
A market that does not move (gain + loss not above period * 1e-14, TA-Lib's own limit) has the neutral value 50;
TA-Lib says 0 there, which would read as deeply oversold, ta says 100.
"""

from typing import Any, Final

from processors.indicators import IndicatorSpec

MOTIONLESS: Final = 1e-14
"""Below this sum of averages TA-Lib takes the market as not moving (TA_EPSILON)."""


class Rsi:
    """Running state: both Wilder sums and the close before."""

    __slots__ = ("count", "gain", "keep", "loss", "motionless", "period", "previous")

    def __init__(self, period: int) -> None:
        self.period = period
        self.keep = (period - 1) / period
        self.motionless = MOTIONLESS * period
        self.count = 0  # closes seen, up to period + 1
        self.previous = self.gain = self.loss = 0.0

    def update(self, open_: float, high: float, low: float, close: float, volume: float) -> None:
        """Take one closed bar."""
        change = close - self.previous
        self.previous = close
        if self.count > self.period:
            if change > 0.0:
                self.gain = self.gain * self.keep + change
                self.loss *= self.keep
            else:
                self.gain *= self.keep
                self.loss = self.loss * self.keep - change
            return
        self.count += 1
        if self.count == 1:
            return
        if change > 0.0:
            self.gain += change
        else:
            self.loss -= change

    def values(self) -> tuple[float, ...] | None:
        """Return (rsi,), 0 to 100."""
        if self.count <= self.period:
            return None
        movement = self.gain + self.loss
        return (100.0 * self.gain / movement if movement > self.motionless else 50.0,)

    def dump(self) -> list[Any]:
        """Return the state."""
        return [self.period, self.count, self.previous, self.gain, self.loss]


def load(dump: list[Any]) -> Rsi:
    """Inverse of `dump`."""
    rsi = Rsi(dump[0])
    _, rsi.count, rsi.previous, rsi.gain, rsi.loss = dump
    return rsi


INDICATOR = IndicatorSpec(
    name="rsi",
    outputs=("rsi",),
    settings={"period": 14},
    warm_up=lambda period: period + 1,
    new=Rsi,
    load=load,
)
