"""How large an entry may be.

Entry point: `size_entry`.

1. Wanted = equity x risk per trade x ratio / loss per unit at the stop-loss.
2. Then the caps: the subscription's position limit, then the margin that is left; the smallest wins and is named.
3. Rounded DOWN to the lot; what falls below the instrument's minimum is refused, never rounded up.
"""

from decimal import Decimal
from typing import NamedTuple

from processors.account.ledger import Valuation
from processors.account.money import ONE, ZERO, floor_to, shown
from processors.account.params import AccountParams
from processors.account.risk import Finding
from processors.copying.params import SubscriptionParams
from schemas.accounts import InstrumentChanged
from schemas.reasons import RefusalReason


class Sized(NamedTuple):
    """A size in lots and its notional; `numbers` is empty unless a cap made it smaller than the risk allows."""

    size: Decimal
    notional: Decimal
    numbers: dict[str, str]


def size_entry(
    worth: Valuation,
    held: Decimal,
    price: Decimal,
    stop_loss: Decimal,
    ratio: Decimal,
    account_params: AccountParams,
    params: SubscriptionParams,
    rules: InstrumentChanged,
) -> Sized | Finding:
    """Return the size of an entry at `price`, or why there is none.

    `held` is the notional that this subscription has in this instrument already, entries in flight included.
    """
    if worth.equity <= ZERO:
        return RefusalReason.NO_EQUITY, {"equity": shown(worth.equity)}
    unit = price * rules.contract_size
    loss_per_unit = abs(price - stop_loss) * rules.contract_size
    wanted = floor_to(worth.equity * params.risk_per_trade * ratio / loss_per_unit, rules.lot)
    size, limit, limit_value = wanted, "", ZERO
    if params.max_position_notional is not None:
        room = max(params.max_position_notional - held, ZERO)
        capped = floor_to(room / unit, rules.lot)
        if capped < size:
            size, limit, limit_value = capped, "max_position_notional", params.max_position_notional
    margin_free = max(worth.equity - worth.margin, ZERO)
    capped = floor_to(margin_free / (unit * margin_rate(account_params, rules)), rules.lot)
    if capped < size:
        size, limit, limit_value = capped, "margin", margin_free
    numbers: dict[str, str] = {}
    if limit:
        numbers = {"wanted": str(wanted), "size": str(size), "limit": limit, "limit_value": shown(limit_value)}
    notional = size * unit
    if size < rules.min_size or notional < rules.min_notional or size <= ZERO:
        return _too_small(size, notional, limit, held, numbers, rules)
    return Sized(size, notional, numbers)


def leverage_of(account_params: AccountParams, rules: InstrumentChanged) -> int:
    """Return the leverage that applies: the account's, at most the instrument's."""
    return min(account_params.leverage, rules.max_leverage)


def margin_rate(account_params: AccountParams, rules: InstrumentChanged) -> Decimal:
    """Return the margin per notional, with taker fees for the way in and out."""
    return ONE / leverage_of(account_params, rules) + 2 * account_params.taker_fee_rate


def _too_small(
    size: Decimal, notional: Decimal, limit: str, held: Decimal, numbers: dict[str, str], rules: InstrumentChanged
) -> Finding:
    reason = RefusalReason.BELOW_MINIMUM
    if limit == "margin":
        reason = RefusalReason.INSUFFICIENT_MARGIN
    elif limit and held > ZERO:
        reason = RefusalReason.MAX_POSITION
    return reason, {
        **numbers,
        "size": str(size),
        "min_size": str(rules.min_size),
        "notional": shown(notional),
        "min_notional": str(rules.min_notional),
        "held": shown(held),
    }
