"""Leaders that tell size and position, for tests of copying: one call is one trade of the leader."""

from decimal import Decimal
from typing import Any

from processors.account.money import money_context
from processors.leader.moves import complete
from schemas.accounts import Command
from schemas.ids import derive_id
from schemas.leaders import LeaderEvent, LeaderStateChanged
from schemas.orders import ChangeProtection, Order
from schemas.reasons import LeaderAction, Leg, OutcomeState, Side
from schemas.status import Drift, FanOut, FollowerState, Outcome, TradeError
from schemas.system import ControlState
from tests.processors.account.world import BTC, START, World, account, fill, instrument, leader_event, marks

MIRROR = {"size": {"kind": "mirror"}}
RATIO = {"size": {"kind": "ratio"}}
FREE = {"max_position_notional": None, "max_price_drift_bps": None, "max_signal_age_ms": None}
"""Caps and guards that are on by default, off."""


class SizedLeader:
    """A leader of kind `feed` with positions; every trade is made of the events that the leader role would make."""

    def __init__(self, name: str = "lead", price: str = "60000") -> None:
        self.name, self.price, self.sequence = name, price, 0
        self.positions: dict[str, Decimal] = {}

    def trade(self, change: str | Decimal, name: str = BTC, now_ms: int = START, **fields: Any) -> list[LeaderEvent]:
        """Buy (above zero) or sell; through zero it is an exit and an entry of one cause."""
        signed = Decimal(change)
        side = Side.BUY if signed > 0 else Side.SELL
        with money_context():
            moves = complete(self.positions.get(name, Decimal(0)), side, abs(signed), None).moves
        cause = f"trade-{self.name}-{self.sequence}"
        events = []
        for index, move in enumerate(moves):
            self.positions[name] = move.position
            events.append(self._event(move.action, side, name, now_ms, cause, index, move.size, fields))
        return events

    def protect(self, name: str = BTC, now_ms: int = START, **levels: Any) -> LeaderEvent:
        """Move the leader's own stop-loss and take-profit."""
        side = Side.BUY if self.positions[name] > 0 else Side.SELL
        return self._event(LeaderAction.PROTECTION, side, name, now_ms, f"protect-{self.sequence}", 0, None, {**levels})

    def state(self, action: str, status: str = "active", now_ms: int = START, **fields: Any) -> LeaderStateChanged:
        """Pause, resume, close, or change what followers inherit."""
        self.sequence += 1
        values: dict[str, Any] = {"kind": "feed", "cause": "person", "event_ms": now_ms, **fields}
        return LeaderStateChanged(
            now_ms=now_ms,
            event_id=derive_id("leader-state", self.name, self.sequence),
            leader=self.name,
            sequence=self.sequence,
            action=LeaderAction(action),
            status=status,  # type: ignore[arg-type]
            **values,
        )

    def _event(
        self,
        action: LeaderAction,
        side: Side,
        name: str,
        now_ms: int,
        cause: str,
        index: int,
        size: Decimal | None,
        fields: dict[str, Any],
    ) -> LeaderEvent:
        self.sequence += 1
        parts: tuple[Any, ...] = (
            ("leader-event", self.name, cause, index)
            if index
            else (
                "leader-event",
                self.name,
                cause,
            )
        )
        values: dict[str, Any] = {"event_ms": now_ms, "detected_ms": now_ms, "price": self.price, **fields}
        return leader_event(
            self.sequence,
            side,
            name=name,
            now_ms=now_ms,
            leader=self.name,
            action=action,
            cause=cause,
            event_id=derive_id(*parts),
            signal_class=None,
            strength=None,
            size=size,
            position=self.positions[name],
            **values,
        )


def rich(name: str = "acc", **settings: Any) -> Any:
    """An account whose own limits do not matter."""
    limits: dict[str, Any] = {
        "max_total_exposure": None,
        "max_daily_loss": None,
        "max_drawdown": None,
        "max_open_orders": None,
    }
    return account(name, balance="1000000", **{**limits, **settings})


def market(*events: Any) -> World:
    """A rich account, BTC at 60000/60000.1, and what is given."""
    return World(rich(), instrument(), marks("60000", "60000.1"), *events)


def fill_all(world: World, price: str = "60000") -> None:
    """Fill every order given last, and what follows from that, until nothing more is ordered."""
    orders = world.orders()
    while orders:
        outs = []
        for order in orders:
            outs += world.give(fill(order, price, trade=f"t-{order.order_id}", now_ms=world.now_ms))
        orders = world.orders(outs)
        world.last = outs


def follow(world: World, events: list[LeaderEvent]) -> list[Order]:
    """Give a leader's events and fill all that comes of them; return the orders."""
    first = len(world.outs)
    for event in events:
        world.give(event)
        fill_all(world)
    return world.orders(world.outs[first:])


def said(world: World, kind: type, outs: Any = None) -> list[Any]:
    """What of a kind was said (not counting what goes to the statistics)."""
    found = world.last if outs is None else outs
    return [out.value for out in found if isinstance(out.value, kind) and out.topic != "copy-results"]


def errors(world: World, outs: Any = None) -> list[TradeError]:
    return said(world, TradeError, outs)


def drifts(world: World, outs: Any = None) -> list[Drift]:
    return said(world, Drift, outs)


def followers(world: World, outs: Any = None) -> list[FollowerState]:
    return said(world, FollowerState, outs)


def protections(world: World, outs: Any = None) -> list[ChangeProtection]:
    return said(world, ChangeProtection, outs)


def command(action: Any, subject: str = "sub", account: str = "acc", now_ms: int = START) -> Command:
    return Command(now_ms=now_ms, command_id=f"{action}-{subject}", account=account, action=action, subject=subject)


def pause(scope: str, paused: bool = True, now_ms: int = START) -> ControlState:
    return ControlState(now_ms=now_ms, scope=scope, paused=paused, reason="test")


def exits(world: World, outs: Any = None) -> list[Order]:
    return [order for order in world.orders(outs) if order.leg is Leg.EXIT]


def entries(world: World, outs: Any = None) -> list[Order]:
    return [order for order in world.orders(outs) if order.leg is Leg.ENTRY]


def check_ledger(world: World, outs: Any = None) -> None:
    """Every (event, subscription) that owes an outcome has exactly one terminal one, or something that is pending."""
    found = world.outs if outs is None else outs
    owed = sum(told.active for told in said(world, FanOut, found))
    told = said(world, Outcome, found)
    terminal = [(item.event_id, item.subscription) for item in told if item.state is not OutcomeState.PENDING]
    waiting = [(item.event_id, item.subscription) for item in told if item.state is OutcomeState.PENDING]
    assert len(set(terminal)) == len(terminal), "two terminal outcomes of one event"
    assert len(set(waiting)) == len(waiting), "two pending outcomes of one event"
    ordered = {(order.event_id, order.subscription) for order in said(world, Order, found) if order.event_id}
    assert owed == len(set(terminal) | set(waiting) | ordered), "the ledger is not balanced"
    assert len({item.outcome_id for item in told}) == len(told)
