"""What happens because time passed: accounts and positions are told again, limit entries end, a new day begins.

Entry points: `sweep`, `begin_day`.

1. Driven by Clock and Marks alone; between two, nothing moves.
2. An account is told at most once per `report_interval_ms` of log time, and only if something of it changed.
3. The peak of equity is looked at here and at each entry, not at every mark: a spike between is not a peak anybody
   could have taken.
"""

from decimal import Decimal

from processors.account import telling
from processors.account.ledger import mark_price, value
from processors.account.money import ZERO, tidy
from processors.account.state import NEVER, Account, State
from processors.account.trades import ask_cancel
from processors.protocols import Out
from schemas.status import AccountState

_MOST_TOLD = Decimal(1_000_000)
_FRACTION = Decimal("0.000001")
DAY_MS = 86_400_000


def begin_day(state: State, now_ms: int) -> None:
    """On the first clock, marks or leader event of a UTC day (log time), note every account's equity."""
    day = now_ms // DAY_MS
    if day == state.ledger.day:
        return
    state.ledger.day = day
    for account in state.ledger.accounts.values():
        account.day_equity = value(state, account).equity


def sweep(state: State, now_ms: int) -> list[Out]:
    """Cancel limit entries whose time is over and tell the accounts that are due."""
    outs: list[Out] = []
    resting = state.ledger.resting
    while resting and resting[0][0] < now_ms:
        _, name, order_id = resting.pop(0)
        account = state.ledger.accounts[name]
        order = account.orders.get(order_id)
        if order is not None and not order.over:
            outs += ask_cancel(account, order, "ttl", order_id, now_ms)
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
