"""Slippage: how much worse than the leader's price the touch is.

Entry point: `too_far`.

1. Only the direction that costs counts: buying above, selling below the leader's price.
2. Of two limits both apply; exactly at a limit passes.
"""

from decimal import Decimal

from processors.account.money import BPS, ZERO, shown
from processors.copying.params import Slippage
from schemas.reasons import Side

_SHOWN = Decimal("0.01")


def too_far(
    limits: Slippage, side: Side, price: Decimal, leader_price: Decimal, tick: Decimal
) -> dict[str, str] | None:
    """Return the numbers of the limit that `price` exceeds, None if it exceeds none."""
    cost = price - leader_price if side is Side.BUY else leader_price - price
    if cost <= ZERO:
        return None
    prices = {"price": str(price), "leader_price": str(leader_price)}
    if limits.bps is not None and cost * BPS > limits.bps * leader_price:  # multiplied out: no rounding decides
        return {"slippage_bps": shown(cost * BPS / leader_price, _SHOWN), "max_slippage_bps": str(limits.bps), **prices}
    if limits.ticks is not None and cost > limits.ticks * tick:
        return {"slippage": shown(cost), "max_slippage_ticks": str(limits.ticks), "tick": str(tick), **prices}
    return None
