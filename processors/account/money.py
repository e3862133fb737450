"""Money arithmetic: one Decimal context, and rounding that names its direction.

Entry points: `money_context`, `floor_to`, `ceil_to`, `tidy`, `shown`, `usable`, `usable_or_zero`, `ZERO`.

1. Every step runs under `money_context()`: 34 digits, half-even, so that no result depends on the thread's context.
2. Values are rounded only by the functions here, and by `quantize`; `normalize` is never used (it turns 100 into 1E+2).
"""

from contextlib import AbstractContextManager
from decimal import ROUND_HALF_EVEN, Context, Decimal, DivisionByZero, InvalidOperation, Overflow, localcontext

ZERO = Decimal(0)
ONE = Decimal(1)
BPS = Decimal(10_000)
FINEST = Decimal("1e-12")
"""Finest step that a quotient (average price, realised P&L of a partial close) is rounded to."""
_SHOWN = Decimal("1e-8")
_LARGEST = Decimal("1e12")
_MOST_DECIMALS = 18
_MOST_STEPS = Decimal("1e20")

_CONTEXT = Context(prec=34, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, DivisionByZero, Overflow])


def money_context() -> AbstractContextManager[Context]:
    """Return the context manager under which money is computed."""
    return localcontext(_CONTEXT)


def floor_to(value: Decimal, step: Decimal) -> Decimal:
    """Return the largest multiple of `step` not above `value` (both above zero or zero); at most 1e20 steps."""
    if value >= step * _MOST_STEPS:
        return step * _MOST_STEPS
    return (value // step) * step


def ceil_to(value: Decimal, step: Decimal) -> Decimal:
    """Return the smallest multiple of `step` not below `value` (both above zero or zero)."""
    floored = floor_to(value, step)
    return floored if floored >= value else floored + step


def tidy(value: Decimal, step: Decimal) -> Decimal:
    """Return `value` with the decimals of `step` where that is exact, else with its own, rounded to `FINEST`."""
    if value == ZERO:
        return ZERO
    if abs(value) >= _MOST_STEPS:  # absurd, and more digits than the context has: as it is
        return value
    at_step = value.quantize(step)
    if at_step == value:
        return at_step
    exponent = value.as_tuple().exponent
    return value if isinstance(exponent, int) and exponent >= -12 else value.quantize(FINEST)


def shown(value: Decimal, step: Decimal = _SHOWN) -> str:
    """Return `value` as plain text for people: rounded to `step`, no exponent, no trailing zeros."""
    if abs(value) >= _MOST_STEPS:
        return str(value)
    text = format(value.quantize(step), "f").rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def usable(value: Decimal) -> bool:
    """Return whether `value` can be a price or size: finite, above zero, at most 1e12, at most 18 decimals."""
    if not value.is_finite():  # comparing NaN raises
        return False
    exponent = value.as_tuple().exponent
    return isinstance(exponent, int) and exponent >= -_MOST_DECIMALS and ZERO < value <= _LARGEST


def usable_or_zero(value: Decimal) -> bool:
    """Return whether `value` can be an amount that may be nothing."""
    return value.is_finite() and (value == ZERO or usable(value))
