"""Messages of a short run, as the topics would carry them, for tests of the model and the view."""

from decimal import Decimal as D
from typing import Any, Literal

from cli.live.model import RunModel
from cli.live.render import Child, Screen
from schemas.base import Message
from schemas.orders import Order, Protection
from schemas.reasons import LeaderAction, Leg, OrderState, OutcomeState, RefusalReason, Side, SignalClass
from schemas.signals import Signal
from schemas.status import (
    AccountState,
    CopyCost,
    FanOut,
    Fill,
    FollowerState,
    OrderStatus,
    Outcome,
    PositionChanged,
    TradeError,
)
from schemas.system import Alert

NOW_MS = 1_723_118_400_000
BTC, ETH = "binanceusdm:BTC/USDT:USDT", "binanceusdm:ETH/USDT:USDT"


def signal(number: int, side: Side = Side.BUY, instrument: str = BTC) -> Signal:
    now_ms = NOW_MS + number * 1_000
    return Signal(
        now_ms=now_ms,
        signal_id=f"s{number}",
        strategy="demo",
        params_hash="p",
        instrument=instrument,
        interval="1s",
        side=side,
        signal_class=SignalClass.STRONG_BUY if side is Side.BUY else SignalClass.SELL,
        strength=0.71 + number % 3 / 10,
        buy_score=5.0 if side is Side.BUY else 1.0,
        sell_score=1.0 if side is Side.BUY else 4.0,
        reasons=(
            f"{side.value} +2: RSI 28.4 is below 30",
            f"{side.value} +1: MACD is above its signal line",
            f"{side.opposite.value} +1: SMA 20 is below SMA 50",
        ),
        indicators={"rsi": 28.4},
        price=D("57213.40") if instrument == BTC else D("2456.71"),
        bar_start_ms=now_ms - 1_000,
        bar_end_ms=now_ms,
        bar_open=D(1),
        bar_high=D(1),
        bar_low=D(1),
        bar_close=D(1),
        bar_volume=D(1),
        received_ms=now_ms,
    )


def order(number: int, side: Side = Side.BUY, leg: Leg = Leg.ENTRY, instrument: str = BTC) -> Order:
    entry = leg is Leg.ENTRY
    return Order(
        now_ms=NOW_MS + number * 1_000,
        order_id=f"o{number}",
        account="demo",
        venue="paper",
        subscription="demo/demo",
        leader="demo",
        instrument=instrument,
        leg=leg,
        side=side,
        kind="market",
        size=D("0.017") if instrument == BTC else D("0.400"),
        reference_price=D("57213.40") if instrument == BTC else D("2456.71"),
        leader_price=D("57213.40"),
        cause=f"s{number}",
        event_id=f"e{number}",
        event_ms=NOW_MS,
        not_after_ms=NOW_MS + 60_000,
        protection=Protection(
            now_ms=NOW_MS,
            stop_loss=D("57156.1"),
            take_profit=D("57327.9"),
            stop_loss_order_id=f"o{number}sl",
            take_profit_order_id=f"o{number}tp",
        )
        if entry
        else None,
        closes=None if entry else f"o{number - 1}",
    )


def status(number: int, state: OrderState, reason: RefusalReason | None = None) -> OrderStatus:
    return OrderStatus(
        now_ms=NOW_MS + number * 1_000,
        account="demo",
        order_id=f"o{number}",
        subscription="demo/demo",
        leader="demo",
        instrument=BTC,
        leg=Leg.ENTRY,
        side=Side.BUY,
        state=state,
        size=D("0.017"),
        filled=D("0.017") if state is OrderState.FILLED else D(0),
        average_price=D("57214.10") if state is OrderState.FILLED else None,
        cause=f"s{number}",
        reason=reason,
    )


def fill(number: int, leg: Leg, realized: str = "0") -> Fill:
    return Fill(
        now_ms=NOW_MS + number * 1_000,
        fill_id=f"f{number}{leg}",
        account="demo",
        order_id=f"o{number}",
        entry_order_id=f"o{number}",
        subscription="demo/demo",
        leader="demo",
        instrument=BTC,
        leg=leg,
        side=Side.BUY if leg is Leg.ENTRY else Side.SELL,
        price=D("57214.10"),
        size=D("0.017"),
        fee=D("0.389"),
        fee_currency="USDT",
        realized_pnl=D(realized),
        trade_id=f"t{number}",
        liquidity="taker",
        leader_price=D("57213.40"),
        event_ms=NOW_MS,
        venue_ms=NOW_MS,
    )


def position(size: str, instrument: str = BTC, unrealized: str = "1.23") -> PositionChanged:
    return PositionChanged(
        now_ms=NOW_MS,
        account="demo",
        subscription="demo/demo",
        leader="demo",
        instrument=instrument,
        size=D(size),
        entry_price=D("57214.10"),
        mark_price=D("57286.20"),
        unrealized_pnl=D(unrealized),
        realized_pnl=D("-4.10"),
        fees=D("1.2"),
    )


def account_state() -> AccountState:
    return AccountState(
        now_ms=NOW_MS,
        account="demo",
        balance=D("9996.1"),
        equity=D("9997.33"),
        unrealized_pnl=D("1.23"),
        realized_pnl=D("-4.1"),
        fees=D("1.2"),
        margin_used=D("97.2"),
        exposure=D("972"),
        drawdown=D("0.0004"),
        open_positions=1,
        open_orders=2,
    )


def outcome(number: int, state: OutcomeState, subscription: str = "demo/demo", **more: Any) -> Outcome:
    return Outcome(
        now_ms=NOW_MS + number,
        outcome_id=f"oc{number}-{subscription}",
        event_id=f"e{number}",
        leader=subscription.partition("/")[2],
        sequence=number,
        account=subscription.partition("/")[0],
        subscription=subscription,
        instrument=BTC,
        state=state,
        **more,
    )


def cost(delay_ms: int, bps: str) -> CopyCost:
    return CopyCost(
        leader_price=D("57213.40"),
        event_ms=NOW_MS,
        detected_ms=NOW_MS,
        decided_ms=NOW_MS,
        decided_price=D("57214.10"),
        filled_ms=NOW_MS + delay_ms,
        total_bps=D(bps),
    )


def fan_out(number: int, active: int, leader: str = "demo", partition: int = 0, **more: Any) -> FanOut:
    return FanOut(
        now_ms=NOW_MS + number,
        event_id=f"e{number}",
        leader=leader,
        sequence=number,
        cause=f"s{number}",
        event_ms=NOW_MS,
        partition=partition,
        active=active,
        **{"action": LeaderAction.ENTRY, **more},
    )


def follower(subscription: str, status: str = "active", *, halted: bool = False, **settings: Any) -> FollowerState:
    account, _, leader = subscription.partition("/")
    return FollowerState(
        now_ms=NOW_MS,
        subscription=subscription,
        account=account,
        leader=leader,
        status=status,
        halted=halted,
        settings=settings,
        origins=dict.fromkeys(settings, "subscription"),
    )


def trade_error(
    number: int, subscription: str = "demo/demo", state: Literal["open", "resolved"] = "open", **more: Any
) -> TradeError:
    account, _, leader = subscription.partition("/")
    return TradeError(
        now_ms=NOW_MS + number,
        error_id=f"error{number}",
        state=state,
        account=account,
        subscription=subscription,
        leader=leader,
        instrument=BTC,
        order_id=f"o{number}",
        event_id=f"e{number}",
        cause=f"s{number}",
        **{"kind": "rejected", "message": "-2019 Margin is insufficient.", "open_errors": 1, **more},
    )


def copying() -> list[tuple[str, Message]]:
    """Two leaders and six followers, an outcome of each kind, one of them halted."""
    slow = {"slippage_bps": "0.83", "max_slippage_bps": "0.5", "price": "57214", "leader_price": "57209"}
    cut = {"wanted": "0.017", "size": "0.006", "limit": "max_order_notional", "limit_value": "400"}
    told: list[Message] = [
        follower("demo/demo"),
        follower("bob/demo", ratio="0.5", opposite="reverse"),
        follower("carol/demo", size={"kind": "fixed_notional", "notional": "250"}, whitelist=[BTC]),
        follower("dave/demo", entry_slippage={"bps": "0.5", "ticks": None}, condition={"sides": "long"}),
        follower("erin/demo", notify_only=True),
        follower("frank/alice-desk", "paused", size={"kind": "mirror"}, ratio="0.5"),
        *(fan_out(number, 5) for number in range(1, 5)),
        fan_out(21, 1, "alice-desk", blocked=RefusalReason.RATE_LIMITED),
        outcome(1, OutcomeState.COPIED, cost=cost(35, "0.4")),
        outcome(2, OutcomeState.SKIPPED, "dave/demo", reason=RefusalReason.SLIPPAGE, numbers=slow),
        outcome(2, OutcomeState.REDUCED, "bob/demo", numbers=cut, cost=cost(45, "1.2")),
        outcome(3, OutcomeState.FAILED, "carol/demo", message="-2019 Margin is insufficient."),
        trade_error(3, "carol/demo"),
        outcome(3, OutcomeState.SKIPPED, "erin/demo", reason=RefusalReason.NOTIFY_ONLY),
    ]
    return [("outcomes", message) for message in told]


def alert(text: str = "strategy restarted") -> Alert:
    return Alert(now_ms=NOW_MS, kind="demo", severity="warning", source="strategy", text=text)


def feed(model: RunModel, records: list[tuple[str, Message]], t0_before_ms: int = 7) -> None:
    """Apply records with rising stamps of one source per topic, each `t0_before_ms` old when it was published."""
    for index, (topic, message) in enumerate(records, start=1):
        wall_ms = 1_800_000_000_000 + index
        headers = {"src": f"{topic}-writer@x/0", "st": f"{index}.0", "t0": str((wall_ms - t0_before_ms) * 1000)}
        model.apply(topic, 0, wall_ms, headers, message)


def busy_model() -> RunModel:
    """A run with something in every section."""
    model = RunModel()
    model.observe(
        0.0,
        {
            "market-data": 100,
            "bars": 0,
            "signals": 0,
            "orders": 0,
            "order-status": 0,
            "outcomes": 0,
            "leader-events": 0,
            "account-events": 3,
            "parked": 0,
            "alerts": 0,
            "snapshots-strategy": 4,
        },
    )
    records: list[tuple[str, Message]] = []
    for number in range(1, 21):
        side = Side.SELL if number % 4 == 0 else Side.BUY
        instrument = ETH if number % 3 == 0 else BTC
        records.append(("signals", signal(number, side, instrument)))
        if number % 2:
            records.append(("orders", order(number, side, instrument=instrument)))
            records.append(("order-status", status(number, OrderState.FILLED)))
            records.append(("order-status", fill(number, Leg.ENTRY)))
            if number % 5 == 0:
                records.append(("order-status", fill(number, Leg.STOP_LOSS, "-0.97")))
            elif number < 15:
                records.append(("order-status", fill(number, Leg.TAKE_PROFIT, "1.94")))
        else:
            records.append(("order-status", status(number, OrderState.REFUSED, RefusalReason.POSITION_OPEN)))
    records.append(("order-status", status(30, OrderState.REFUSED, RefusalReason.COOL_DOWN)))
    records += [("order-status", position("0.017")), ("order-status", position("-0.4", ETH, "-0.31"))]
    records += [("order-status", account_state()), *copying(), ("alerts", alert())]
    feed(model, records)
    model.observe(
        4.0,
        {
            "market-data": 52_100,
            "bars": 240,
            "signals": 20,
            "orders": 10,
            "order-status": 41,
            "outcomes": 20,
            "leader-events": 20,
            "account-events": 903,
            "parked": 0,
            "alerts": 1,
            "snapshots-strategy": 9,
        },
    )
    model.set_lag({"strategy": 3, "leader": 0, "account": 12, "sink": 140})
    return model


def screen(notice: str = "") -> Screen:
    return Screen(
        seconds=75.2,
        speed="10",
        broker="127.0.0.1:19092",
        children=(
            Child("broker", "running"),
            Child("roles", "running", 1, "http 127.0.0.1:41923"),
            Child("sink", "running", 0, "http 127.0.0.1:33121"),
        ),
        remaining_s=15,
        notice=notice,
        recent=("10:00:01 worker roles started",),
    )
