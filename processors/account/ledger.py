"""Books fills into positions and money, and values them at marks.

Entry points: `book`, `exposure_of`, `profit_of`, `mark_price`, `unrealized`, `value`, `Valuation`.

1. A position is the sum of its signed fills; its cost is kept, not its average price, so that a position that went
   from flat to flat has realised exactly what its fills paid and received.
2. A partial close takes cost out in proportion, rounded once (`FINEST`) and in step with the P&L it books, so that
   rounding never adds up.
3. A long position is worth what the bid pays, a short one what the ask costs: equity is never better than closing now.
4. Gross, not net: two subscriptions in opposite directions both count for exposure and margin, each at its own
   leverage (at the account's where it takes the leader's).
"""

from decimal import Decimal
from typing import NamedTuple

from processors.account.money import FINEST, ZERO
from processors.account.state import Account, Holding, State, Subscription
from schemas.reasons import Leg, Side


def book(holding: Holding, side: Side, price: Decimal, size: Decimal) -> Decimal:
    """Book a fill of `size` above zero; return the P&L it realised, without fee."""
    signed = size if side is Side.BUY else -size
    before = holding.size
    if before == ZERO or (before > ZERO) == (signed > ZERO):
        holding.size = before + signed
        holding.cost += signed * price
        return ZERO
    closing = min(size, abs(before))
    part = closing if before > ZERO else -closing
    proceeds = part * price
    if closing == abs(before):
        gross = proceeds - holding.cost
        holding.cost = ZERO
    else:
        gross = (proceeds - holding.cost * part / before).quantize(FINEST)
        holding.cost -= proceeds - gross
    rest = signed + part  # what is left of the fill opens the other side
    holding.size = before + signed
    holding.cost += rest * price
    realized = gross * holding.contract_size
    holding.realized += realized
    return realized


def mark_price(state: State, holding: Holding) -> Decimal | None:
    """Return the price at which the position could be closed now; None while no mark is known."""
    mark = state.ledger.marks.get(holding.instrument)
    if mark is None:
        return None
    return mark.ask if holding.size < ZERO else mark.bid


def unrealized(state: State, holding: Holding) -> Decimal:
    """Return the P&L of closing now, without fees; zero while no mark is known."""
    price = mark_price(state, holding)
    if price is None:
        return ZERO
    return (price * holding.size - holding.cost) * holding.contract_size


def profit_of(state: State, subscription: Subscription) -> Decimal:
    """Return realised and unrealised P&L of a subscription after fees, since it began."""
    account = state.ledger.accounts.get(subscription.account)
    total = ZERO
    if account is not None:
        for holding in account.holdings.values():
            if holding.subscription == subscription.subscription:
                total += holding.realized - holding.fees + unrealized(state, holding)
    return total


def exposure_of(account: Account, holding: Holding) -> Decimal:
    """Return the signed size of a holding with its entries in flight."""
    size = holding.size
    for order_id in holding.entries:
        order = account.orders[order_id]
        if not order.over:
            rest = order.size - order.filled
            size += rest if order.side is Side.BUY else -rest
    return size


class Valuation(NamedTuple):
    """An account at the marks, in its currency. Exposure and margin count entries in flight too.

    by_instrument: gross exposure by instrument; by_holding: of one subscription in one instrument.
    """

    equity: Decimal
    unrealized: Decimal
    exposure: Decimal
    margin: Decimal
    by_instrument: dict[str, Decimal]
    by_holding: dict[tuple[str, str], Decimal]


def value(state: State, account: Account) -> Valuation:
    """Return what the account is worth and what it has at risk."""
    if not account.open and not account.working:
        return Valuation(account.balance, ZERO, ZERO, ZERO, {}, {})
    profit = exposure = margin = ZERO
    by_instrument: dict[str, Decimal] = {}
    by_holding: dict[tuple[str, str], Decimal] = {}
    leverage = state.params_of_account(account).leverage
    at_risk: list[tuple[str, str, Decimal]] = []
    for key in account.open:
        holding = account.holdings[key]
        profit += unrealized(state, holding)
        price = mark_price(state, holding)
        amount = abs(holding.cost) if price is None else abs(holding.size) * price
        at_risk.append((holding.subscription, holding.instrument, amount * holding.contract_size))
    for order_id in account.working:
        order = account.orders[order_id]
        if order.leg is Leg.ENTRY:
            rules = state.ledger.instruments[order.instrument]
            price = order.reference_price if order.limit_price is None else order.limit_price
            amount = max(order.size - order.filled, ZERO) * price * rules.contract_size
            at_risk.append((order.subscription, order.instrument, amount))
    for subscription, instrument, amount in at_risk:
        exposure += amount
        by_instrument[instrument] = by_instrument.get(instrument, ZERO) + amount
        by_holding[subscription, instrument] = by_holding.get((subscription, instrument), ZERO) + amount
        rules_or_none, owner = state.ledger.instruments.get(instrument), state.ledger.subscriptions.get(subscription)
        most = leverage if rules_or_none is None else min(leverage, rules_or_none.max_leverage)
        own = None if owner is None else state.params_of(owner, instrument).leverage
        margin += amount / (min(most, own) if isinstance(own, int) else most)
    return Valuation(account.balance + profit, profit, exposure, margin, by_instrument, by_holding)
