"""Examples of the messages of copying: one per type, for the reference and for tests (see schemas/examples.py)."""

from decimal import Decimal
from typing import Final

from schemas import accounts, leaders, orders, statistics, status
from schemas.base import Message
from schemas.reasons import LeaderAction, RefusalReason, Side

_NOW: Final = 1_723_075_200_000
_BTC: Final = "binanceusdm:BTC/USDT:USDT"
_PRICE: Final = Decimal("60000.1")
_SIZE: Final = Decimal("0.016")
_EVENT: Final = "b2c3d4e5f60718293a4b5c6d7e8f90a1"
_ORDER: Final = "c3d4e5f60718293a4b5c6d7e8f90a1b2"
_COMMAND: Final = "d4e5f60718293a4b5c6d7e8f90a1b2c3"

COPYING_EXAMPLES: Final[tuple[Message, ...]] = (
    leaders.LeaderStateChanged(
        now_ms=_NOW,
        event_id=_EVENT,
        leader="desk",
        sequence=3,
        action=LeaderAction.PAUSED,
        cause=_COMMAND,
        event_ms=_NOW,
        kind="account",
        status="paused",
        reason="holiday",
        source="main",
        defaults={"stop_loss": {"kind": "percent", "fraction": "0.02"}},
    ),
    leaders.LeaderTrade(
        now_ms=_NOW,
        leader="desk",
        trade_id="paper-42-1",
        kind="trade",
        instrument=_BTC,
        side=Side.BUY,
        price=_PRICE,
        event_ms=_NOW - 12,
        detected_ms=_NOW,
        size=_SIZE,
        position=_SIZE,
        equity=Decimal(10_000),
        leverage=10,
    ),
    leaders.LeaderChanged(
        now_ms=_NOW,
        leader="desk",
        kind="account",
        status="active",
        settings={"title": "The desk", "max_followers": 100},
        source="main",
    ),
    leaders.PauseRequest(
        now_ms=_NOW, command_id=_COMMAND, leader="*", scope="account:main", paused=True, reason="maintenance"
    ),
    leaders.FollowerReport(now_ms=_NOW, leader="desk", of="desk", event_id=_EVENT, attempted=250),
    accounts.GroupChanged(now_ms=_NOW, group="careful", settings={"max_order_notional": "200"}),
    accounts.Transfer(now_ms=_NOW, transfer_id=_COMMAND, account="main", amount=Decimal(500)),
    orders.ChangeProtection(
        now_ms=_NOW,
        account="main",
        venue="paper",
        instrument=_BTC,
        order_id=_ORDER,
        cause=_EVENT,
        stop_loss=Decimal("58800.0"),
    ),
    status.VenuePosition(now_ms=_NOW, account="main", venue="paper", instrument=_BTC, size=Decimal("-0.016")),
    status.FanOut(
        now_ms=_NOW,
        event_id=_EVENT,
        leader="desk",
        sequence=17,
        action=LeaderAction.ENTRY,
        cause="paper-42-1",
        event_ms=_NOW - 12,
        partition=2,
        active=250,
        detected_ms=_NOW,
        instrument=_BTC,
        side=Side.BUY,
        price=_PRICE,
        size=_SIZE,
        position=_SIZE,
        blocked=RefusalReason.RATE_LIMITED,
    ),
    status.TradeError(
        now_ms=_NOW,
        error_id=_COMMAND,
        state="open",
        kind="rejected",
        message="-2019 Margin is insufficient.",
        account="main",
        subscription="main/desk",
        leader="desk",
        instrument=_BTC,
        order_id=_ORDER,
        event_id=_EVENT,
        cause="paper-42-1",
        open_errors=1,
        numbers={"size": "0.016"},
    ),
    status.FollowerState(
        now_ms=_NOW,
        subscription="main/desk",
        account="main",
        leader="desk",
        status="active",
        halted=False,
        settings={"ratio": "0.1"},
        origins={"ratio": "subscription", "stop_loss": "leader", "take_profit": "product"},
        group="careful",
    ),
    status.Drift(
        now_ms=_NOW,
        account="main",
        subscription="main/desk",
        leader="desk",
        instrument=_BTC,
        expected=Decimal("0.1"),
        actual=Decimal("0.08"),
        drift=Decimal("-0.02"),
        policy="alert",
    ),
    statistics.FollowerEquity(
        now_ms=_NOW,
        subscription="main/desk",
        account="main",
        leader="desk",
        capital=Decimal(10_000),
        unrealized_pnl=Decimal("-12.5"),
    ),
    statistics.Statistics(
        now_ms=_NOW,
        subject="subscription:main/desk",
        kind="subscription",
        leader="desk",
        subscription="main/desk",
        account="main",
        trades=3,
        wins=2,
        gross_profit=Decimal("31.2"),
        gross_loss=Decimal("10.1"),
        fees=Decimal("2.4"),
        realized_pnl=Decimal("21.1"),
        capital=Decimal(10_000),
        total_return=0.00187,
        win_rate=0.6667,
        copied=6,
        skipped=2,
        success_rate=1.0,
        measured=6,
        delay_ms=18.5,
        cost_bps=1.2,
    ),
)
