"""One message of every type the sink stores, and Kafka records made of messages."""

from decimal import Decimal
from typing import Any

from schemas.accounts import Transfer
from schemas.base import Message
from schemas.codec import encode
from schemas.market import Bar
from schemas.orders import CancelOrder, ChangeProtection, Order, Protection
from schemas.reasons import LeaderAction, Leg, OrderState, OutcomeState, RefusalReason, Side, SignalClass
from schemas.signals import Signal
from schemas.statistics import Statistics
from schemas.status import (
    AccountState,
    CopyCost,
    Drift,
    FanOut,
    Fill,
    FollowerState,
    OrderStatus,
    Outcome,
    PositionChanged,
    TradeError,
)
from schemas.system import Alert, Parked
from sinks.clickhouse.rows import Record

START_MS = 1_723_075_200_000  # 2024-08-08
RECORDED_MS = 1_760_000_000_000


def bar(number: int = 0, **changes: Any) -> Bar:
    fields: dict[str, Any] = {
        "now_ms": START_MS + number * 1_000,
        "instrument": "binanceusdm:BTC/USDT:USDT",
        "interval": "1s",
        "start_ms": START_MS + number * 1_000,
        "end_ms": START_MS + number * 1_000 + 1_000,
        "open": Decimal("55000.1"),
        "high": Decimal("55001.5"),
        "low": Decimal("54999.9"),
        "close": Decimal("55000.7"),
        "volume": Decimal("12.345"),
        "trades": 7,
    }
    return Bar(**{**fields, **changes})


def signal(number: int = 0, **changes: Any) -> Signal:
    start_ms = START_MS + number * 1_000
    fields: dict[str, Any] = {
        "now_ms": start_ms + 1_000,
        "signal_id": f"signal-{number}",
        "strategy": "scored",
        "params_hash": "abc",
        "instrument": "binanceusdm:BTC/USDT:USDT",
        "interval": "1s",
        "side": Side.BUY if number % 2 == 0 else Side.SELL,
        "signal_class": SignalClass.STRONG_BUY if number % 2 == 0 else SignalClass.SELL,
        "strength": 0.8,
        "buy_score": 4.0,
        "sell_score": 1.0,
        "reasons": ("rsi_low", "macd_above"),
        "indicators": {"rsi": 27.5, "macd": -1.25},
        "price": Decimal("55000.7"),
        "bar_start_ms": start_ms,
        "bar_end_ms": start_ms + 1_000,
        "bar_open": Decimal("55000.1"),
        "bar_high": Decimal("55001.5"),
        "bar_low": Decimal("54999.9"),
        "bar_close": Decimal("55000.7"),
        "bar_volume": Decimal("12.345"),
        "received_ms": start_ms + 1_001,
    }
    return Signal(**{**fields, **changes})


def order(number: int = 0, **changes: Any) -> Order:
    fields: dict[str, Any] = {
        "now_ms": START_MS + number,
        "order_id": f"order-{number}",
        "account": "demo",
        "venue": "paper",
        "subscription": "demo/scored",
        "leader": "scored",
        "instrument": "binanceusdm:BTC/USDT:USDT",
        "leg": Leg.ENTRY,
        "side": Side.BUY,
        "kind": "market",
        "size": Decimal("0.018"),
        "reference_price": Decimal("55000.7"),
        "leader_price": Decimal("55000.6"),
        "cause": f"event-{number}",
        "event_id": f"event-{number}",
        "event_ms": START_MS + number,
        "not_after_ms": START_MS + number + 5_000,
        "leverage": 10,
        "margin_mode": "isolated",
        "protection": Protection(
            now_ms=START_MS,
            stop_loss=Decimal("53350.6"),
            take_profit=Decimal("58300.7"),
            stop_loss_order_id=f"stop-{number}",
            take_profit_order_id=f"take-{number}",
        ),
    }
    return Order(**{**fields, **changes})


def cancel_order(number: int = 0) -> CancelOrder:
    return CancelOrder(
        now_ms=START_MS + number,
        account="demo",
        venue="paper",
        instrument="binanceusdm:BTC/USDT:USDT",
        order_id=f"order-{number}",
        cause="exit",
    )


def change_protection(number: int = 0, **changes: Any) -> ChangeProtection:
    fields: dict[str, Any] = {
        "now_ms": START_MS + number,
        "account": "demo",
        "venue": "paper",
        "instrument": "binanceusdm:BTC/USDT:USDT",
        "order_id": f"order-{number}",
        "cause": f"event-{number}",
        "stop_loss": Decimal("53400.1"),
    }
    return ChangeProtection(**{**fields, **changes})


def transfer(number: int = 0, **changes: Any) -> Transfer:
    fields: dict[str, Any] = {
        "now_ms": START_MS + number,
        "transfer_id": f"transfer-{number}",
        "account": "demo",
        "amount": Decimal("250.5"),
    }
    return Transfer(**{**fields, **changes})


def order_status(number: int = 0, **changes: Any) -> OrderStatus:
    fields: dict[str, Any] = {
        "now_ms": START_MS + number,
        "account": "demo",
        "order_id": f"order-{number}",
        "subscription": "demo/scored",
        "leader": "scored",
        "instrument": "binanceusdm:BTC/USDT:USDT",
        "leg": Leg.ENTRY,
        "side": Side.BUY,
        "state": OrderState.REFUSED,
        "size": Decimal("0.018"),
        "filled": Decimal(0),
        "cause": f"event-{number}",
        "reason": RefusalReason.MAX_POSITION,
        "numbers": {"notional": "1200.5", "limit": "1000"},
        "message": "too large",
    }
    return OrderStatus(**{**fields, **changes})


def fill(number: int = 0, **changes: Any) -> Fill:
    fields: dict[str, Any] = {
        "now_ms": START_MS + number * 1_000,
        "fill_id": f"fill-{number}",
        "account": "demo",
        "order_id": f"order-{number}",
        "entry_order_id": f"order-{number}",
        "subscription": "demo/scored",
        "leader": "scored",
        "instrument": "binanceusdm:BTC/USDT:USDT",
        "leg": Leg.ENTRY if number % 2 == 0 else Leg.TAKE_PROFIT,
        "side": Side.BUY if number % 2 == 0 else Side.SELL,
        "price": Decimal("55000.7"),
        "size": Decimal("0.018"),
        "fee": Decimal("0.396"),
        "fee_currency": "USDT",
        "realized_pnl": Decimal(0) if number % 2 == 0 else Decimal("12.25"),
        "trade_id": str(number),
        "liquidity": "taker",
        "leader_price": Decimal("55000.6"),
        "event_ms": START_MS + number,
        "venue_ms": START_MS + number,
    }
    return Fill(**{**fields, **changes})


def position(number: int = 0, **changes: Any) -> PositionChanged:
    fields: dict[str, Any] = {
        "now_ms": START_MS + number,
        "account": "demo",
        "subscription": "demo/scored",
        "leader": "scored",
        "instrument": "binanceusdm:BTC/USDT:USDT",
        "size": Decimal("0.018"),
        "entry_price": Decimal("55000.7"),
        "mark_price": Decimal("55010"),
        "unrealized_pnl": Decimal("0.1674"),
        "realized_pnl": Decimal(0),
        "fees": Decimal("0.396"),
        "stop_loss": Decimal("53350.6"),
    }
    return PositionChanged(**{**fields, **changes})


def account_state(number: int = 0, **changes: Any) -> AccountState:
    fields: dict[str, Any] = {
        "now_ms": START_MS + number,
        "account": "demo",
        "balance": Decimal(10_000),
        "equity": Decimal("10000.1674"),
        "unrealized_pnl": Decimal("0.1674"),
        "realized_pnl": Decimal(0),
        "fees": Decimal("0.396"),
        "margin_used": Decimal("99.1"),
        "exposure": Decimal("990.1"),
        "drawdown": Decimal("0.0001"),
        "open_positions": 1,
        "open_orders": 2,
    }
    return AccountState(**{**fields, **changes})


def outcome(number: int = 0, **changes: Any) -> Outcome:
    fields: dict[str, Any] = {
        "now_ms": START_MS + number,
        "outcome_id": f"outcome-{number}",
        "event_id": f"event-{number}",
        "leader": "scored",
        "sequence": number,
        "account": "demo",
        "subscription": "demo/scored",
        "instrument": "binanceusdm:BTC/USDT:USDT",
        "state": OutcomeState.SKIPPED,
        "reason": RefusalReason.POSITION_OPEN,
        "numbers": {"size": "0.018"},
    }
    return Outcome(**{**fields, **changes})


def cost(**changes: Any) -> CopyCost:
    """10 ms to detect, 20 to decide, 30 to submit, 40 to accept, 50 to fill."""
    fields: dict[str, Any] = {
        "leader_price": Decimal(55_000),
        "event_ms": START_MS,
        "detected_ms": START_MS + 10,
        "decided_ms": START_MS + 30,
        "decided_price": Decimal(55_011),
        "submitted_ms": START_MS + 60,
        "accepted_ms": START_MS + 100,
        "filled_ms": START_MS + 150,
        "fill_price": Decimal("55016.5"),
        "size": Decimal("0.018"),
        "drift_bps": Decimal(2),
        "slippage_bps": Decimal(1),
        "total_bps": Decimal(3),
        "fee_bps": Decimal("4.5"),
    }
    return CopyCost(**{**fields, **changes})


def copied(number: int = 0, **changes: Any) -> Outcome:
    return outcome(number, **{"state": OutcomeState.COPIED, "reason": None, "cost": cost(), **changes})


def fan_out(number: int = 0, **changes: Any) -> FanOut:
    fields: dict[str, Any] = {
        "now_ms": START_MS + number,
        "event_id": f"event-{number}",
        "leader": "scored",
        "sequence": number,
        "action": LeaderAction.ENTRY,
        "cause": f"signal-{number}",
        "event_ms": START_MS + number - 12,
        "partition": 0,
        "active": 1,
        "detected_ms": START_MS + number,
        "instrument": "binanceusdm:BTC/USDT:USDT",
        "side": Side.BUY,
        "price": Decimal("55000.6"),
        "size": Decimal("0.18"),
        "blocked": RefusalReason.RATE_LIMITED,
    }
    return FanOut(**{**fields, **changes})


def trade_error(number: int = 0, **changes: Any) -> TradeError:
    fields: dict[str, Any] = {
        "now_ms": START_MS + number,
        "error_id": f"error-{number}",
        "state": "open",
        "kind": "rejected",
        "message": "-2019 Margin is insufficient.",
        "account": "demo",
        "subscription": "demo/scored",
        "leader": "scored",
        "instrument": "binanceusdm:BTC/USDT:USDT",
        "order_id": f"order-{number}",
        "event_id": f"event-{number}",
        "cause": f"signal-{number}",
        "open_errors": 1,
        "numbers": {"size": "0.018"},
    }
    return TradeError(**{**fields, **changes})


def follower_state(number: int = 0, **changes: Any) -> FollowerState:
    fields: dict[str, Any] = {
        "now_ms": START_MS + number,
        "subscription": "demo/scored",
        "account": "demo",
        "leader": "scored",
        "status": "active",
        "halted": False,
        "settings": {"stop_loss": {"kind": "percent", "fraction": "0.02"}, "ratio": "0.1", "tiers": [1, None]},
        "origins": {"ratio": "subscription", "stop_loss": "leader"},
        "group": "careful",
    }
    return FollowerState(**{**fields, **changes})


def drift(number: int = 0, **changes: Any) -> Drift:
    fields: dict[str, Any] = {
        "now_ms": START_MS + number,
        "account": "demo",
        "subscription": "demo/scored",
        "leader": "scored",
        "instrument": "binanceusdm:BTC/USDT:USDT",
        "expected": Decimal("0.1"),
        "actual": Decimal("0.08"),
        "drift": Decimal("-0.02"),
        "policy": "alert",
    }
    return Drift(**{**fields, **changes})


def statistics(number: int = 0, **changes: Any) -> Statistics:
    """Mostly defaults: what is left out on the wire must read as its default."""
    fields: dict[str, Any] = {
        "now_ms": START_MS + number,
        "subject": "leader:scored",
        "kind": "leader",
        "leader": "scored",
        "trades": number,
        "gross_profit": Decimal("31.2"),
        "total_return": 0.25,
        "aum": Decimal(10_000),
        "rank": 1,
    }
    return Statistics(**{**fields, **changes})


def alert(number: int = 0) -> Alert:
    return Alert(now_ms=START_MS + number, kind="feed_gap", severity="warning", source="feed", text="mend it")


def parked(number: int = 0) -> Parked:
    return Parked(
        now_ms=START_MS + number, source="market-data/0/17", reason="not JSON", value="e30=", size=2, sha256="ab"
    )


MAKERS = {
    "bar": bar,
    "signal": signal,
    "order": order,
    "cancel_order": cancel_order,
    "change_protection": change_protection,
    "transfer": transfer,
    "order_status": order_status,
    "fill": fill,
    "position": position,
    "account_state": account_state,
    "outcome": outcome,
    "fan_out": fan_out,
    "trade_error": trade_error,
    "follower_state": follower_state,
    "drift": drift,
    "statistics": statistics,
    "alert": alert,
    "parked": parked,
}


def record(
    offset: int,
    message: Message | bytes | None,
    *,
    stamp: str | None = None,
    source: str = "account@account-events/0",
    started_us: int | None = None,
    recorded_ms: int = RECORDED_MS,
) -> Record:
    headers: list[tuple[str, bytes]] = []
    if stamp is not None:
        headers += [("src", source.encode()), ("st", stamp.encode())]
    if started_us is not None:
        headers.append(("t0", str(started_us).encode()))
    value = encode(message) if isinstance(message, Message) else message
    return (offset, b"key", value, headers, recorded_ms)
