"""What happens because time passed: accounts and positions are told again, limit entries end, a new day begins.

Entry points: `sweep`, `begin_day`, `tell_worth`.

1. Driven by Clock and Marks alone; between two, nothing moves.
2. An account is told at most once per `report_interval_ms` of log time, and only if something of it changed.
3. The peak of equity is looked at here and at each entry, not at every mark: a spike between is not a peak anybody
   could have taken.
"""

from decimal import Decimal

from processors.account import telling
from processors.account.catch_up import watch
from processors.account.following import close_all
from processors.account.ledger import mark_price, profit_of, unrealized, value
from processors.account.money import ZERO, shown, tidy
from processors.account.state import DAY_MS, NEVER, Account, State, Subscription
from processors.account.trades import ask_cancel
from processors.protocols import Out
from schemas.ids import derive_id
from schemas.statistics import FollowerEquity
from schemas.status import AccountState

EQUITY_MS = 4 * 3_600_000
"""Log time between two tellings of what subscriptions are worth."""
_MOST_TOLD = Decimal(1_000_000)
_FRACTION = Decimal("0.000001")


def begin_day(state: State, now_ms: int) -> None:
    """On the first clock, marks or leader event of a UTC day (log time), note every account's equity."""
    day = now_ms // DAY_MS
    if day == state.ledger.day:
        return
    state.ledger.day = day
    for account in state.ledger.accounts.values():
        account.day_equity = value(state, account).equity


def sweep(state: State, partition: int, now_ms: int) -> list[Out]:
    """Cancel limit entries whose time is over and tell the accounts that are due."""
    outs: list[Out] = []
    resting = state.ledger.resting
    while resting and resting[0][0] < now_ms:
        _, name, order_id = resting.pop(0)
        account = state.ledger.accounts[name]
        order = account.orders.get(order_id)
        if order is not None and not order.over:
            outs += ask_cancel(account, order, "ttl", order_id, now_ms)
    if now_ms >= state.ledger.equity_due_ms:
        outs += _worth(state, now_ms)
    if now_ms < state.ledger.report_due_ms:
        return outs
    due_ms = NEVER
    for name in state.account_ids:
        account = state.ledger.accounts[name]
        if not account.changed and not account.open:
            continue
        interval_ms = state.params_of_account(account).report_interval_ms
        if now_ms - account.told_ms >= interval_ms:
            outs += _tell(state, account, now_ms)
            outs += _look_after(state, account, partition, now_ms)
        if account.changed or account.open:
            due_ms = min(due_ms, account.told_ms + interval_ms)
    state.ledger.report_due_ms = due_ms
    return outs


def _drawdown(peak: Decimal, equity: Decimal) -> Decimal:
    """Return the fall from the peak as a fraction of it."""
    if peak <= ZERO or equity >= peak:
        return ZERO
    return min((peak - equity) / peak, _MOST_TOLD).quantize(_FRACTION)


def _tell(state: State, account: Account, now_ms: int) -> list[Out]:
    outs: list[Out] = []
    worth = value(state, account)
    account.peak_equity = max(account.peak_equity, worth.equity)
    for key in account.open:
        holding = account.holdings[key]
        if mark_price(state, holding) != holding.told_mark:
            outs.append(telling.position_changed(state, account, holding, now_ms))
    if account.changed or worth.equity != account.told_equity:
        step = telling.ROUGH
        told = AccountState(
            now_ms=now_ms,
            account=account.account,
            balance=tidy(account.balance, step),
            equity=tidy(worth.equity, step),
            unrealized_pnl=tidy(worth.unrealized, step),
            realized_pnl=tidy(account.realized, step),
            fees=tidy(account.fees, step),
            margin_used=tidy(worth.margin, step),
            exposure=tidy(worth.exposure, step),
            drawdown=_drawdown(account.peak_equity, worth.equity),
            open_positions=len(account.open),
            open_orders=len(account.working),
        )
        outs.append(Out("order-status", account.account, told))
    account.changed = False
    account.told_ms = now_ms
    account.told_equity = worth.equity
    return outs


def _look_after(state: State, account: Account, partition: int, now_ms: int) -> list[Out]:
    """Look at the totals of the account's subscriptions, and at the drift of their positions."""
    outs: list[Out] = []
    for name in state.of_account.get(account.account, ()):
        subscription = state.ledger.subscriptions[name]
        if subscription.status in ("active", "paused"):
            outs += _totals(state, subscription, now_ms)
    for key in sorted(account.holdings):
        holding = account.holdings[key]
        if holding.size == holding.expected:
            continue
        subscription_or_none = state.ledger.subscriptions.get(holding.subscription)
        leader = state.ledger.leaders.get(holding.leader)
        # Without a position of the leader there is none to mirror: signals have brackets, not positions.
        if subscription_or_none is not None and leader is not None and leader.kind != "strategy":
            outs += watch(state, account, subscription_or_none, holding, partition, now_ms)
    return outs


def _totals(state: State, subscription: Subscription, now_ms: int) -> list[Out]:
    """End a subscription whose P&L reached its stop-loss or take-profit over all."""
    params = state.params_of(subscription)
    if params.stop_loss_total is None and params.take_profit_total is None:
        return []
    profit = profit_of(state, subscription) - subscription.base
    lost = params.stop_loss_total is not None and profit <= -params.stop_loss_total
    won = params.take_profit_total is not None and profit >= params.take_profit_total
    if not lost and not won:
        return []
    subscription.status = "stopped"
    limit = params.stop_loss_total if lost else params.take_profit_total
    text = (
        f"{subscription.subscription} is stopped and its positions are being closed: its P&L {shown(profit)} reached "
        f"{'stop_loss_total' if lost else 'take_profit_total'} {limit}"
    )
    outs = [telling.alert(subscription.account, "subscription_ended", "warning", text, now_ms)]
    outs += close_all(state, subscription, derive_id("total", subscription.subscription, now_ms), now_ms)
    return outs + telling.follower_state(state, subscription, now_ms)


def _worth(state: State, now_ms: int) -> list[Out]:
    """Tell what every subscription counts as its capital, for the statistics (AUM)."""
    state.ledger.equity_due_ms = now_ms + EQUITY_MS
    outs: list[Out] = []
    for name in sorted(state.ledger.subscriptions):
        outs += tell_worth(state, state.ledger.subscriptions[name], now_ms)
    return outs


def tell_worth(state: State, subscription: Subscription, now_ms: int) -> list[Out]:
    """Tell what one subscription counts as its capital; nothing if it has ended, or its account is not known yet."""
    account = state.ledger.accounts.get(subscription.account)
    if account is None or subscription.status not in ("active", "paused"):
        return []
    params, floating = state.params_of(subscription), ZERO
    for key in account.open:
        holding = account.holdings[key]
        if holding.subscription == subscription.subscription:
            floating += unrealized(state, holding)
    told = FollowerEquity(
        now_ms=now_ms,
        subscription=subscription.subscription,
        account=subscription.account,
        leader=subscription.leader,
        capital=tidy(value(state, account).equity if params.capital is None else params.capital, telling.ROUGH),
        unrealized_pnl=tidy(floating, telling.ROUGH),
    )
    return [Out("copy-results", subscription.leader, told)]
