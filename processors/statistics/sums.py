"""What is remembered of a leader or subscription to tell its statistics: sums only, whatever its age.

Entry points: `Money` (P&L, trades, drawdown, days), `Copies` (outcomes, delay, cost), `Capital`, `exact`, `ratio`,
`share`.

1. Sums of several subscriptions are sums of values with at most `DECIMALS` decimals: nothing is rounded while adding,
   so they do not depend on the order in which the subscriptions were told.
2. What does depend on an order (days, drawdown) is kept for one subscription or one leader alone, whose records the
   log keeps in one order on every topic.
"""

from decimal import Decimal
from math import sqrt
from typing import Final

import msgspec

from processors.account.money import FINEST, ZERO
from schemas.codec import BadRecord

DECIMALS: Final = 12
DAY_MS: Final = 86_400_000
YEAR_DAYS: Final = 365
_LARGEST: Final = Decimal("1e15")
_NOISE: Final = Decimal("1e-24")
"""A variance below this part of the mean square is what rounding left of none."""


def exact(value: Decimal, name: str, of: str) -> Decimal:
    """Return the amount `name` of record `of` as it can be summed without rounding: with at most `DECIMALS` decimals.

    Raises:
        BadRecord: NaN, infinite, or above 1e15.
    """
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int) or abs(value) > _LARGEST:
        raise BadRecord(f"{of}: {name} must be a finite number of at most 1e15, not {value}")
    return value if exponent >= -DECIMALS else value.quantize(FINEST)


def ratio(part: Decimal, whole: Decimal | int) -> float | None:
    """Return part / whole, None where `whole` is not above zero."""
    return float(part / whole) if whole > 0 else None


def share(part: int, whole: int) -> float | None:
    """Return part / whole of counts, None of nothing."""
    return part / whole if whole else None


class Money(msgspec.Struct, array_like=True):
    """Realised P&L of one subject, its closed trades, its days and its drawdown.

    peak: highest net P&L so far, from 0 on; fall: largest fall below a peak, fall_peak: that peak.
    first_day, day: of the first and the last booking, in days since 1970; today: net P&L of `day` so far.
    squares, down_squares: sums of the squared net P&L of the days before `day`, and of those below zero.
    """

    trades: int = 0
    wins: int = 0
    gross_profit: Decimal = ZERO
    gross_loss: Decimal = ZERO
    realized: Decimal = ZERO
    fees: Decimal = ZERO
    peak: Decimal = ZERO
    fall: Decimal = ZERO
    fall_peak: Decimal = ZERO
    first_day: int = -1
    day: int = -1
    today: Decimal = ZERO
    squares: Decimal = ZERO
    down_squares: Decimal = ZERO

    @property
    def net(self) -> Decimal:
        """Realised P&L less fees."""
        return self.realized - self.fees

    def book(self, realized: Decimal, fee: Decimal, now_ms: int) -> None:
        """Add what a fill realised and cost."""
        day = now_ms // DAY_MS
        if self.day < 0:
            self.first_day = self.day = day
        elif day > self.day:
            self.squares, self.down_squares = self._squares()
            self.day, self.today = day, ZERO
        self.realized += realized
        self.fees += fee
        self.today += realized - fee
        net = self.net
        if net > self.peak:
            self.peak = net
        elif self.peak - net > self.fall:
            self.fall, self.fall_peak = self.peak - net, self.peak

    def trade(self, net: Decimal, before: Decimal | None) -> None:
        """Count a closed trade; `before` is what it had made when it was counted last, None if it is new."""
        if before is None:
            self.trades += 1
        else:
            self._result(before, -1)
        self._result(net, 1)

    def _result(self, net: Decimal, sign: int) -> None:
        if net > ZERO:
            self.wins += sign
            self.gross_profit += sign * net
        else:
            self.gross_loss -= sign * net

    def _squares(self) -> tuple[Decimal, Decimal]:
        square = self.today * self.today
        return self.squares + square, self.down_squares + (square if self.today < ZERO else ZERO)

    def sharpe_and_sortino(self) -> tuple[float | None, float | None]:
        """Return both for the days from the first booking to the last, those without one included.

        Capital cancels out: it scales mean and deviation alike.
        """
        days = self.day - self.first_day + 1
        if self.day < 0 or days < 2:
            return None, None
        squares, down_squares = self._squares()
        total = self.net
        spread = days * squares - total * total  # days x (days - 1) x variance
        sharpe = sortino = None
        if spread > days * squares * _NOISE:
            sharpe = float(total) / days / sqrt(float(spread / (days * (days - 1)))) * sqrt(YEAR_DAYS)
        if down_squares > ZERO:
            sortino = float(total) / days / sqrt(float(down_squares) / days) * sqrt(YEAR_DAYS)
        return sharpe, sortino


class Copies(msgspec.Struct, array_like=True):
    """Terminal outcomes by state, and of the measured ones (filled, cost known) the sums of delay and cost."""

    copied: int = 0
    reduced: int = 0
    skipped: int = 0
    failed: int = 0
    measured: int = 0
    delay_ms: int = 0
    cost_bps: Decimal = ZERO

    def count(self, state: str, measure: tuple[int, Decimal] | None) -> None:
        """Add a terminal outcome and its (delay, cost)."""
        setattr(self, state, getattr(self, state) + 1)
        if measure is not None:
            self.measured += 1
            self.delay_ms += measure[0]
            self.cost_bps += measure[1]


class Capital(msgspec.Struct, array_like=True):
    """Samples of a capital: the first of each interval of log time counts."""

    interval: int = -1
    latest: Decimal = ZERO
    total: Decimal = ZERO
    samples: int = 0

    def due(self, now_ms: int, every_ms: int) -> bool:
        """Return whether the interval of `now_ms` has no sample yet."""
        return now_ms // every_ms > self.interval

    def sample(self, amount: Decimal, now_ms: int, every_ms: int) -> None:
        """Take the amount if its interval has none yet."""
        if self.due(now_ms, every_ms):
            self.interval, self.latest = now_ms // every_ms, amount
            self.total += amount
            self.samples += 1

    @property
    def average(self) -> Decimal | None:
        """Mean of the samples, None without one."""
        return (self.total / self.samples).quantize(FINEST) if self.samples else None
