"""What tests of the leader role share: messages with their usual fields, and a run through the processor."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from processors.leader.processor import LeaderProcessor, LeaderState
from processors.protocols import ALL, Meta, Out
from schemas.leaders import FollowerReport, LeaderChanged, LeaderEvent, LeaderStateChanged, LeaderTrade, PauseRequest
from schemas.reasons import Side, SignalClass
from schemas.signals import Signal
from schemas.system import Alert, ControlState

BTC, ETH = "binanceusdm:BTC/USDT:USDT", "binanceusdm:ETH/USDT:USDT"
PROCESSOR = LeaderProcessor()
D = Decimal


def signal(number: int, strategy: str = "s1", **fields: Any) -> Signal:
    values: dict[str, Any] = {
        "now_ms": 1000 + number,
        "signal_id": f"id{number}",
        "strategy": strategy,
        "params_hash": "p",
        "instrument": BTC,
        "interval": "1s",
        "side": Side.BUY,
        "signal_class": SignalClass.BUY,
        "strength": 0.7,
        "buy_score": 3.0,
        "sell_score": 1.0,
        "reasons": ("rsi",),
        "indicators": {"rsi": 29.0},
        "price": Decimal("60000.1"),
        "bar_start_ms": 0,
        "bar_end_ms": 1000,
        "bar_open": Decimal(1),
        "bar_high": Decimal(1),
        "bar_low": Decimal(1),
        "bar_close": Decimal(1),
        "bar_volume": Decimal(1),
        "received_ms": 990 + number,
        "atr": 12.5,
    }
    return Signal(**{**values, **fields})


def sells(number: int, strategy: str = "s1", **fields: Any) -> Signal:
    return signal(number, strategy, side=Side.SELL, signal_class=SignalClass.SELL, **fields)


def trade(number: int, side: str, size: Any = None, position: Any = None, **fields: Any) -> LeaderTrade:
    values: dict[str, Any] = {
        "leader": "desk",
        "trade_id": f"t{number}",
        "kind": "trade",
        "instrument": BTC,
        "side": Side(side),
        "price": D(100),
        "event_ms": 1990 + number,
        "detected_ms": 1995 + number,
        "now_ms": 2000 + number,
        "size": None if size is None else D(size),
        "position": None if position is None else D(position),
    }
    return LeaderTrade(**{**values, **fields})


def made(leader: str = "desk", kind: str = "account", status: str = "active", **fields: Any) -> LeaderChanged:
    values: dict[str, Any] = {
        "leader": leader,
        "kind": kind,
        "status": status,
        "settings": {},
        "source": "main" if kind == "account" else "",
        "now_ms": 1000,
    }
    return LeaderChanged(**{**values, **fields})


def pause(command: str, scope: str = "leader:desk", paused: bool = True, **fields: Any) -> PauseRequest:
    key = scope.removeprefix("leader:") if scope.startswith("leader:") else "*"
    values: dict[str, Any] = {"command_id": command, "leader": key, "scope": scope, "paused": paused, "now_ms": 1000}
    return PauseRequest(**{**values, **fields})


def reported(tried: int, failed: int = 0, leader: str = "desk", event_id: str = "e", **fields: Any) -> FollowerReport:
    values: dict[str, Any] = {
        "leader": leader,
        "of": "desk" if leader == "*" else leader,
        "event_id": event_id,
        "attempted": tried,
        "failed": failed,
        "now_ms": 1000,
    }
    return FollowerReport(**{**values, **fields})


class World:
    """One partition of the leader role, what it said, and its log time."""

    def __init__(self, *before: Any, restart_every: int = 0) -> None:
        self.state: LeaderState = PROCESSOR.initial(0)
        self.outs: list[Out] = []
        self.now_ms = self.steps = 0
        self._every = restart_every
        self.run(before)

    def run(self, items: Sequence[Any]) -> "World":
        for item in items:
            self.step(item)
        return self

    def step(self, item: Any, at_ms: int | None = None) -> list[Out]:
        """Apply one message; `at_ms` moves log time on before it."""
        self.now_ms = max(self.now_ms, item.now_ms, at_ms or 0)
        outs = list(PROCESSOR.step(self.state, item, Meta(self.now_ms, 0, self.steps)))
        self.steps += 1
        if self._every and self.steps % self._every == 0:
            self.state = PROCESSOR.decode(PROCESSOR.encode(self.state))
        self.outs += outs
        return outs


def events(outs: Sequence[Out]) -> list[LeaderEvent]:
    return [out.value for out in outs if isinstance(out.value, LeaderEvent) and out.partition == ALL]


def states(outs: Sequence[Out]) -> list[LeaderStateChanged]:
    return [out.value for out in outs if isinstance(out.value, LeaderStateChanged) and out.partition == ALL]


def alerts(outs: Sequence[Out]) -> list[Alert]:
    return [out.value for out in outs if isinstance(out.value, Alert)]


def controls(outs: Sequence[Out]) -> list[tuple[str, bool]]:
    told = [out.value for out in outs if isinstance(out.value, ControlState) and out.topic == "control"]
    broadcast = [out.value for out in outs if isinstance(out.value, ControlState) and out.partition == ALL]
    assert told == broadcast, "executors and accounts are told the same"
    return [(state.scope, state.paused) for state in told]
