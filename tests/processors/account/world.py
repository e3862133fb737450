"""Events for tests of the account processor, with plain defaults, and a world that applies them."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from processors.account.processor import AccountProcessor
from processors.account.state import Account, Holding, State, holding_key
from processors.protocols import Meta, Out
from schemas.accounts import AccountChanged, Command, InstrumentChanged, SubscriptionChanged
from schemas.codec import encode
from schemas.ids import derive_id
from schemas.leaders import LeaderEvent
from schemas.market import Clock, Mark, Marks
from schemas.orders import CancelOrder, Order
from schemas.reasons import LeaderAction, Leg, ReportKind, Side, SignalClass
from schemas.status import AccountState, Fill, OrderStatus, Outcome, PositionChanged, VenueReport
from schemas.system import Alert

BTC = "binanceusdm:BTC/USDT:USDT"
ETH = "binanceusdm:ETH/USDT:USDT"
START = 1_723_075_200_000  # 2024-08-08 00:00 UTC
D = Decimal


def account(name: str = "acc", balance: str = "10000", now_ms: int = START, **settings: Any) -> AccountChanged:
    return AccountChanged(
        now_ms=now_ms, account=name, venue="paper", currency="USDT", initial_balance=D(balance), settings=settings
    )


def subscription(
    name: str = "sub",
    account: str = "acc",
    leader: str = "lead",
    status: Any = "active",
    ratio: str = "1",
    now_ms: int = START,
    **settings: Any,
) -> SubscriptionChanged:
    return SubscriptionChanged(
        now_ms=now_ms,
        subscription=name,
        account=account,
        leader=leader,
        status=status,
        ratio=D(ratio),
        settings=settings,
    )


def instrument(name: str = BTC, **fields: Any) -> InstrumentChanged:
    rules: dict[str, Any] = {"tick": D("0.1"), "lot": D("0.001"), "min_size": D("0.001"), "min_notional": D("5")}
    return InstrumentChanged(now_ms=START, instrument=name, **{**rules, **fields})


def marks(bid: str, ask: str, name: str = BTC, now_ms: int = START) -> Marks:
    return Marks(now_ms=now_ms, marks=(Mark(now_ms=now_ms, instrument=name, bid=D(bid), ask=D(ask)),))


def clock(now_ms: int) -> Clock:
    return Clock(now_ms=now_ms)


def kill(account: str = "*", action: Any = "kill", now_ms: int = START) -> Command:
    return Command(now_ms=now_ms, command_id="c1", account=account, action=action, reason="test")


def leader_event(
    sequence: int,
    side: Side = Side.BUY,
    price: str = "60000",
    name: str = BTC,
    now_ms: int = START,
    leader: str = "lead",
    **fields: Any,
) -> LeaderEvent:
    cause = fields.pop("cause", f"signal-{leader}-{sequence}")
    values: dict[str, Any] = {
        "event_id": derive_id("leader-event", leader, cause),
        "action": LeaderAction.ENTRY,
        "signal_class": SignalClass.BUY if side is Side.BUY else SignalClass.SELL,
        "strength": 0.8,
        "event_ms": now_ms,
    }
    values["action"] = LeaderAction(fields.pop("action", values["action"]))
    return LeaderEvent(
        now_ms=now_ms,
        leader=leader,
        sequence=sequence,
        instrument=name,
        side=side,
        price=D(price),
        cause=cause,
        **{**values, **fields},
    )


def report(order: Order, kind: ReportKind, now_ms: int = START, **fields: Any) -> VenueReport:
    """A report on an order itself (not on its legs)."""
    values: dict[str, Any] = {
        "order_id": order.order_id,
        "entry_order_id": order.order_id if order.leg is Leg.ENTRY else (order.closes or ""),
        "leg": order.leg,
        "side": order.side,
        "size": order.size,
        "venue_ms": now_ms,
        "venue_order_id": f"v-{order.order_id[:6]}",
        "subscription": order.subscription,
        "instrument": order.instrument,
    }
    return VenueReport(now_ms=now_ms, account=order.account, venue=order.venue, kind=kind, **{**values, **fields})


def fill(
    order: Order, price: str, size: str | None = None, trade: str = "t1", now_ms: int = START, **fields: Any
) -> VenueReport:
    """A fill of an order itself; all of it unless `size` says less."""
    values: dict[str, Any] = {"fee": D("0"), "fee_currency": "USDT", "liquidity": "taker"}
    return report(
        order,
        ReportKind.FILL,
        now_ms,
        price=D(price),
        size=order.size if size is None else D(size),
        trade_id=trade,
        **{**values, **fields},
    )


def leg_report(entry: Order, leg: Leg, kind: ReportKind, now_ms: int = START, **fields: Any) -> VenueReport:
    """A report on a protective leg of an entry."""
    assert entry.protection is not None
    protection = entry.protection
    order_id = protection.stop_loss_order_id if leg is Leg.STOP_LOSS else protection.take_profit_order_id
    values = {"order_id": order_id, "entry_order_id": entry.order_id, "leg": leg, "side": entry.side.opposite}
    return report(entry, kind, now_ms, **{**values, **fields})


def leg_fill(
    entry: Order, leg: Leg, price: str, size: str | None = None, trade: str = "x1", now_ms: int = START
) -> VenueReport:
    """A fill of a protective leg."""
    return leg_report(
        entry,
        leg,
        ReportKind.FILL,
        now_ms,
        price=D(price),
        size=entry.size if size is None else D(size),
        trade_id=trade,
        fee=D("0"),
        fee_currency="USDT",
    )


class World:
    """One partition of the account role; keeps every output."""

    def __init__(self, *events: Any) -> None:
        self.processor = AccountProcessor()
        self.state: State = self.processor.initial(0)
        self.now_ms = 0
        self.offset = 0
        self.outs: list[Out] = []
        self.last: list[Out] = []
        self.give(*events)

    def give(self, *events: Any) -> list[Out]:
        """Apply events; return (and keep as `last`) what they caused."""
        self.last = []
        for event in events:
            self.now_ms = max(self.now_ms, event.now_ms)
            outs = self.processor.step(self.state, event, Meta(self.now_ms, 0, self.offset))
            self.offset += 1
            self.last += outs
        self.outs += self.last
        return self.last

    def restart(self) -> None:
        """Go on from the encoded state."""
        data = self.processor.encode(self.state)
        self.state = self.processor.decode(data)
        assert self.processor.encode(self.state) == data

    def _said(self, kind: type, outs: Sequence[Out] | None) -> list[Any]:
        found = self.last if outs is None else outs  # what goes to the statistics is said elsewhere too
        return [out.value for out in found if isinstance(out.value, kind) and out.topic != "copy-results"]

    def orders(self, outs: Sequence[Out] | None = None) -> list[Order]:
        return self._said(Order, outs)

    def cancels(self, outs: Sequence[Out] | None = None) -> list[CancelOrder]:
        return self._said(CancelOrder, outs)

    def statuses(self, outs: Sequence[Out] | None = None) -> list[OrderStatus]:
        return self._said(OrderStatus, outs)

    def outcomes(self, outs: Sequence[Out] | None = None) -> list[Outcome]:
        return self._said(Outcome, outs)

    def fills(self, outs: Sequence[Out] | None = None) -> list[Fill]:
        return self._said(Fill, outs)

    def positions(self, outs: Sequence[Out] | None = None) -> list[PositionChanged]:
        return self._said(PositionChanged, outs)

    def accounts(self, outs: Sequence[Out] | None = None) -> list[AccountState]:
        return self._said(AccountState, outs)

    def alerts(self, outs: Sequence[Out] | None = None) -> list[Alert]:
        return self._said(Alert, outs)

    def account(self, name: str = "acc") -> Account:
        return self.state.ledger.accounts[name]

    def holding(self, subscription: str = "sub", instrument: str = BTC) -> Holding:
        account = self.account(self.state.ledger.subscriptions[subscription].account)
        return account.holdings[holding_key(subscription, instrument)]


def ready(*events: Any, **settings: Any) -> World:
    """A world with one account, one subscription (with these settings), BTC and its mark at 60000/60000.1."""
    return World(account(), subscription(**settings), instrument(), marks("60000", "60000.1"), *events)


def as_text(outs: Sequence[Out]) -> list[str]:
    """Outputs as they stand on the log."""
    return [f"{out.topic} {out.key} {out.partition} {encode(out.value).decode()}" for out in outs]
