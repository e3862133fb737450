"""Trigger prices of the stop-loss and take-profit that protect an entry.

Entry points: `levels`, `leader_levels`.

1. Both are rounded to the tick TOWARDS the entry price: the stop never risks more than was asked, the target never
   waits for more than was wanted. Both stay at least one tick away from the entry.
2. A stop that the market has reached already would close the position at once: such an entry is refused.
"""

from decimal import Decimal
from typing import NamedTuple

from processors.account.money import ZERO, ceil_to, floor_to, usable
from processors.account.risk import Finding
from processors.copying.params import AtrDistance, Distance, LeaderDistance, SubscriptionParams
from schemas.accounts import InstrumentChanged
from schemas.leaders import LeaderEvent
from schemas.market import Mark
from schemas.reasons import RefusalReason, Side

_LARGEST_ATR = 1e12


class Levels(NamedTuple):
    """Trigger prices."""

    stop_loss: Decimal
    take_profit: Decimal


def levels(
    side: Side, price: Decimal, event: LeaderEvent, params: SubscriptionParams, rules: InstrumentChanged, mark: Mark
) -> Levels | Finding:
    """Return the levels for an entry at `price`, or why there are none.

    The leader's event carries its average true range (quote units) and its own stop-loss and take-profit, if it tells.
    """
    atr = event.atr
    stop_distance = _distance(params.stop_loss, price, atr, event.stop_loss, side is Side.BUY)
    take_distance = _distance(params.take_profit, price, atr, event.take_profit, side is Side.SELL)
    if stop_distance is None or take_distance is None:
        return RefusalReason.NOT_TRADABLE, {"atr": "missing" if atr is None else str(atr)}
    tick = rules.tick
    floored = floor_to(price, tick)
    highest_below, lowest_above = floored if floored < price else floored - tick, floored + tick
    if side is Side.BUY:
        stop_loss = _below(price - stop_distance, tick, highest_below)
        take_profit = max(floor_to(price + take_distance, tick), lowest_above)
        reached = stop_loss >= mark.bid
    else:
        stop_loss = max(floor_to(price + stop_distance, tick), lowest_above)
        take_profit = _below(price - take_distance, tick, highest_below)
        reached = stop_loss <= mark.ask
    if min(stop_loss, take_profit) <= ZERO or reached:
        numbers = {"stop_loss": stop_loss, "take_profit": take_profit, "bid": mark.bid, "ask": mark.ask, "price": price}
        return RefusalReason.NOT_TRADABLE, {name: str(number) for name, number in numbers.items()}
    return Levels(stop_loss, take_profit)


def leader_levels(
    side: Side, event: LeaderEvent, params: SubscriptionParams, rules: InstrumentChanged, mark: Mark
) -> tuple[Decimal | None, Decimal | None]:
    """Return the leader's new stop-loss and take-profit for a position on `side`, None where they are not followed.

    A level that the market has reached already is not followed: it would close the position at once.
    """
    long = side is Side.BUY
    stop_loss = take_profit = None
    if isinstance(params.stop_loss, LeaderDistance) and event.stop_loss is not None and usable(event.stop_loss):
        level = ceil_to(event.stop_loss, rules.tick) if long else floor_to(event.stop_loss, rules.tick)
        if level > ZERO and (level < mark.bid if long else level > mark.ask):
            stop_loss = level
    if isinstance(params.take_profit, LeaderDistance) and event.take_profit is not None and usable(event.take_profit):
        level = floor_to(event.take_profit, rules.tick) if long else ceil_to(event.take_profit, rules.tick)
        if level > ZERO and (level > mark.ask if long else level < mark.bid):
            take_profit = level
    return stop_loss, take_profit


def _below(level: Decimal, tick: Decimal, highest: Decimal) -> Decimal:
    """Return `level` rounded up, at most `highest`; zero if that is no price."""
    return min(ceil_to(level, tick), highest) if level > ZERO else ZERO


def _distance(
    distance: Distance, price: Decimal, atr: float | None, leaders: Decimal | None, below: bool
) -> Decimal | None:
    """Return how far the level is from `price`; the leader's price counts only on its own side of the market."""
    if isinstance(distance, LeaderDistance):
        if leaders is not None and usable(leaders) and leaders != price and (leaders < price) == below:
            return abs(price - leaders)
        distance = distance.fallback
    if not isinstance(distance, AtrDistance):
        return price * distance.fraction
    if atr is None or not 0 < atr < _LARGEST_ATR:  # false for NaN too
        return None
    # repr of a float is its shortest exact text, so the same event gives the same money everywhere.
    return Decimal(repr(atr)) * distance.multiple
