"""How large an entry may be: from the wish of a sizing mode to lots.

Entry points: `size_entry`, `least_size`, `leverage_of`, `margin_rate`.

1. The wish is rounded DOWN to the lot, then the caps make it smaller; the smallest cap is named with its value.
2. What falls below the instrument's minimum is skipped, or rounded up to it where no cap forbids that, or kept back for
   the subscription's next event (`below_minimum`).
"""

from decimal import Decimal
from typing import NamedTuple

from processors.account.money import ONE, ZERO, ceil_to, floor_to, shown
from processors.account.params import AccountParams
from processors.account.risk import Finding
from processors.copying.caps import CapRequest
from processors.copying.sizing import smallest_room
from schemas.accounts import InstrumentChanged
from schemas.leaders import LeaderEvent
from schemas.reasons import RefusalReason


class Sized(NamedTuple):
    """A size in lots and its notional; `numbers` say why it is another than wished, `kept_back` what is left for
    later."""

    size: Decimal
    notional: Decimal
    numbers: dict[str, str]
    kept_back: Decimal


def size_entry(
    wish: Decimal, kept_back: Decimal, price: Decimal, rules: InstrumentChanged, request: CapRequest
) -> Sized | Finding:
    """Return the size of an entry at `price`, or why there is none; `wish` and `kept_back` are exact, in own units."""
    unit = price * rules.contract_size
    exact = wish + kept_back
    wanted = floor_to(exact, rules.lot)
    least = least_size(rules, unit)
    size, limit, value, refusal = wanted, "", ZERO, RefusalReason.BELOW_MINIMUM
    most: Decimal | None = None
    found = smallest_room(request)
    if found is not None:
        cap, room = found
        most = floor_to(room.notional / unit, rules.lot)
        if most < size:
            size, limit, value, refusal = most, cap.name, room.limit, cap.refusal
    below = request.params.below_minimum
    if wanted < least and below == "round_up" and (most is None or least <= most):
        size, limit, value = least, "minimum", least
    if size < least or size <= ZERO:
        return _too_small(wish, kept_back, size, unit, least, (limit, value, refusal), request, rules)
    numbers: dict[str, str] = {}
    if limit:
        shown_wish = str(wanted) if limit != "minimum" else shown(exact)
        numbers = {"wanted": shown_wish, "size": str(size), "limit": limit, "limit_value": shown(value)}
    rest = exact - wanted if below == "accumulate" and not limit else ZERO
    return Sized(size, size * unit, numbers, rest)


def least_size(rules: InstrumentChanged, unit: Decimal) -> Decimal:
    """Return the smallest size that may be ordered where one own unit costs `unit`."""
    return max(ceil_to(rules.min_size, rules.lot), ceil_to(rules.min_notional / unit, rules.lot))


def leverage_of(account: AccountParams, rules: InstrumentChanged, wanted: int | str | None, event: LeaderEvent) -> int:
    """Return the leverage that applies: what is wanted or the leader's, at most the account's and the instrument's."""
    most = min(account.leverage, rules.max_leverage)
    if wanted == "leader":
        wanted = event.leverage
    return most if not isinstance(wanted, int) or wanted < 1 else min(wanted, most)


def margin_rate(leverage: int, taker_fee_rate: Decimal) -> Decimal:
    """Return the margin per notional, with taker fees for the way in and out."""
    return ONE / leverage + 2 * taker_fee_rate


def _too_small(
    wish: Decimal,
    kept_back: Decimal,
    size: Decimal,
    unit: Decimal,
    least: Decimal,
    limit: tuple[str, Decimal, RefusalReason],
    request: CapRequest,
    rules: InstrumentChanged,
) -> Finding:
    name, value, refusal = limit
    exact = wish + kept_back
    if floor_to(exact, rules.lot) < least:
        accumulate = request.params.below_minimum == "accumulate"
        refusal = RefusalReason.ACCUMULATED if accumulate else RefusalReason.BELOW_MINIMUM
    numbers = {"wanted": str(floor_to(exact, rules.lot))}
    if name:
        numbers |= {"limit": name, "limit_value": shown(value)}
    if refusal is RefusalReason.ACCUMULATED:
        numbers["kept_back"] = shown(exact)
    return refusal, {
        **numbers,
        "size": str(size),
        "min_size": str(rules.min_size),
        "notional": shown(size * unit),
        "min_notional": str(rules.min_notional),
        "held": shown(request.held),
    }
