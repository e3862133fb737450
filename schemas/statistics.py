"""How leaders and subscriptions do, as told on `statistics`."""

from decimal import Decimal
from typing import Literal

from schemas.base import Message


class FollowerEquity(Message, frozen=True, kw_only=True, tag="follower_equity"):
    """What a subscription is worth, told by the account role on a timer and with each change of its positions.

    `capital`: what counts as its equity for sizing (AUM is the sum of it). `unrealized_pnl` at the marks.
    """

    subscription: str
    account: str
    leader: str
    capital: Decimal
    unrealized_pnl: Decimal


class Statistics(Message, frozen=True, kw_only=True, tag="statistics"):
    """Statistics of one leader or subscription since it began; formulas in docs/statistics.md.

    `subject`: "leader:NAME" or "subscription:NAME" (the record's key). Money in the account's currency, ratios as
    fractions; None where there is too little to tell. For a leader the first block is its own record at its own prices
    without fees (for signals per notional of 1000), `copiers_*` and all from `followers` on is that of its followers.

    Sums over closed trades, after fees: trades, wins, gross_profit, gross_loss (above zero). fees, realized_pnl (before
    fees): of all fills. capital: average of its samples. total_return: net P&L over capital. sharpe, sortino: of daily
    net P&L, annualised by sqrt(365), from two days on. max_drawdown: largest fall of net P&L below its highest so far,
    in money; max_drawdown_fraction: of capital plus that highest.
    followers: that neither stopped nor closed (of a subscription 1 or 0); aum: sum of their latest sampled capital.
    rank: of leaders by total_return; found on reading, None on the topic.
    copied, reduced, skipped, failed: terminal outcomes; success_rate: (copied + reduced) / all but skipped.
    measured: outcomes with a known fill, of which delay_ms is the mean from the leader's event to the fill and cost_bps
    that of CopyCost.total_bps.
    """

    subject: str
    kind: Literal["leader", "subscription"]
    leader: str
    subscription: str = ""
    account: str = ""
    trades: int = 0
    wins: int = 0
    gross_profit: Decimal = Decimal(0)
    gross_loss: Decimal = Decimal(0)
    fees: Decimal = Decimal(0)
    realized_pnl: Decimal = Decimal(0)
    capital: Decimal | None = None
    total_return: float | None = None
    win_rate: float | None = None
    profit_factor: float | None = None
    sharpe: float | None = None
    sortino: float | None = None
    max_drawdown: Decimal = Decimal(0)
    max_drawdown_fraction: float | None = None
    followers: int = 0
    aum: Decimal | None = None
    rank: int | None = None
    copiers_realized_pnl: Decimal = Decimal(0)
    copiers_fees: Decimal = Decimal(0)
    copied: int = 0
    reduced: int = 0
    skipped: int = 0
    failed: int = 0
    success_rate: float | None = None
    measured: int = 0
    delay_ms: float | None = None
    cost_bps: float | None = None
