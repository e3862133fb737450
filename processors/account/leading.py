"""An account that leads: its fills are told to the leader role.

Entry point: `tell_trade`.

1. One LeaderTrade per fill, whatever caused it: an own strategy's order, a copy, a leg that fired. The chain of leaders
   through which it came goes with it, so that two accounts that follow each other do not trade for ever.
2. Size and position are in base units, the position is the account's own: the sum over its subscriptions.
"""

from decimal import Decimal

from processors.account.ledger import value
from processors.account.money import ZERO, tidy
from processors.account.state import Account, Holding, State, Tracked
from processors.account.telling import ROUGH
from processors.protocols import Out
from schemas.leaders import LeaderTrade
from schemas.status import VenueReport


def tell_trade(
    state: State, account: Account, holding: Holding, order: Tracked, report: VenueReport, now_ms: int
) -> list[Out]:
    """Return the account's fill for every leader that it is the source of."""
    leaders = state.leads.get(account.account)
    if not leaders:
        return []
    assert report.price is not None
    position = sum(
        (
            account.holdings[key].size * account.holdings[key].contract_size
            for key in account.open
            if account.holdings[key].instrument == holding.instrument
        ),
        ZERO,
    )
    entry = account.orders.get(order.entry_order_id)
    equity = value(state, account).equity
    outs = []
    for leader in leaders:
        trade = LeaderTrade(
            now_ms=now_ms,
            leader=leader,
            trade_id=f"{holding.instrument}|{report.trade_id}",
            kind="trade",
            instrument=holding.instrument,
            side=order.side,
            price=report.price,
            event_ms=report.venue_ms,
            detected_ms=now_ms,
            size=report.size * holding.contract_size,
            position=position if position != ZERO else Decimal(0),
            equity=tidy(equity, ROUGH),
            stop_loss=None if entry is None else entry.stop_loss,
            take_profit=None if entry is None else entry.take_profit,
            chain=order.chain,
        )
        outs.append(Out("leader-events", leader, trade))
    return outs
