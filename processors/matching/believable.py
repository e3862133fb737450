"""Whether a price can be so: a venue fills nothing at a price that no market has. Entry point: `near`."""

from decimal import Decimal

from processors.market_time import CONFIRMATIONS
from processors.matching.types import Touch

RATIO = 10
"""A price this many times above or below the last one is not believed, until others agree with it."""


def near(touch: Touch, prices: tuple[Decimal, ...]) -> bool:
    """Whether prices lie in [1/10, 10] of the last ones, or `CONFIRMATIONS` before them agreed on a new level.

    The rule of the strategy role (processors/strategy/checks.py), which parks what is refused.
    """
    last = touch.reference
    if last is None or all(last <= price * RATIO and price <= last * RATIO for price in prices):
        touch.reference = prices[0]
        touch.refused, touch.refusals = None, 0
        return True
    before = touch.refused
    agrees = before is not None and all(before <= price * RATIO and price <= before * RATIO for price in prices)
    if agrees and touch.refusals >= CONFIRMATIONS:
        touch.reference = prices[0]
        touch.refused, touch.refusals = None, 0
        return True
    touch.refused, touch.refusals = prices[0], touch.refusals + 1 if agrees else 1
    return False
