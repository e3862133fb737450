"""Random histories of copying: two leaders with positions, an account that leads, nine followers, a careless venue.

What must hold whatever happens: the ledger of outcomes is complete and unique, no cap is exceeded at the decision,
every fill is booked once and nothing in flight is forgotten; and the log says the same straight, restarted and doubled.
With a venue that only fills, every follower ends where the arithmetic says.
"""

import random
from collections import Counter, defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from processors.account.processor import AccountProcessor
from processors.inbox import InboxCore
from schemas.accounts import Command, GroupChanged, SubscriptionChanged, Transfer
from schemas.codec import BadRecord
from schemas.leaders import LeaderEvent, LeaderStateChanged, LeaderTrade
from schemas.orders import Order
from schemas.reasons import Leg, Side
from schemas.status import FanOut
from schemas.topics import parse_topics
from tests.processors.account.sized import SizedLeader, check_ledger, pause, rich, said
from tests.processors.account.test_random import record
from tests.processors.account.test_random import said as emitted
from tests.processors.account.venue import Venue
from tests.processors.account.world import BTC, START, World, account, clock, instrument, marks

TOPICS = Path(__file__).parents[3] / "topics.yaml"
D = Decimal
ETH = "binanceusdm:ETH/USDT:USDT"
XBT = "paper:XBT-PERP"
LOTS = {BTC: D("0.001"), ETH: D("0.01"), XBT: D(1)}
CONTRACT = {BTC: D(1), ETH: D(1), XBT: D("0.01")}
PRICES = {BTC: D(60000), ETH: D(3000), XBT: D(60000)}
FREE: dict[str, Any] = {"max_position_notional": None, "max_price_drift_bps": None, "max_signal_age_ms": None}
NOW = {"policy": "now", "interval_ms": 2_000}
LEADER_STOP = {"kind": "leader", "fallback": {"kind": "percent", "fraction": "0.1"}}
# name: (account, leader, settings)
SUBSCRIPTIONS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "mirror": ("a", "lead", {"ratio": "0.1", "size": {"kind": "mirror"}, "stop_loss": LEADER_STOP, **FREE}),
    "ratio": (
        "a",
        "lead",
        {
            "ratio": "0.1",
            "size": {"kind": "ratio"},
            **FREE,
            "max_order_notional": "3000",
            "max_position_notional": "5000",
            "max_leader_notional": "7000",
            "max_day_notional": "20000",
            "max_day_orders": 9,
            "max_open_trades": 1,
        },
    ),
    "against": (
        "b",
        "lead",
        {
            "ratio": "0.05",
            "size": {"kind": "inverse", "follows": "position"},
            "order": {"kind": "limit", "offset_bps": "5"},
            "drift": NOW,
            **FREE,
            "max_position_notional": "4000",
        },
    ),
    "kept": (
        "b",
        "lead",
        {"ratio": "0.003", "size": {"kind": "ratio"}, "below_minimum": "accumulate", "halt_on": ["not_closed"], **FREE},
    ),
    "risk": ("b", "duo", {"size": {"kind": "risk_percent"}, "leverage": 2, "drift": NOW, **FREE}),
    "mapped": (
        "a",
        "lead",
        {
            "ratio": "0.02",
            "size": {"kind": "ratio"},
            "symbol_map": {BTC: XBT},
            "below_minimum": "round_up",
            "drift": {"policy": "next_event"},
            **FREE,
        },
    ),
    "ended": (
        "a",
        "duo",
        {
            "ratio": "0.1",
            "size": {"kind": "mirror"},
            "copy_existing": "yes",
            "on_leader_closed": "close",
            "stop_loss_total": "300",
            "max_exit_age_ms": 2_000,
            **FREE,
        },
    ),
    "copies-b": ("a", "boss", {"ratio": "1", "size": {"kind": "ratio"}, **FREE}),
    "itself": ("b", "boss", {"ratio": "1", "size": {"kind": "mirror"}, **FREE}),
}
CAPS = ("max_order_notional", "max_position_notional", "max_leader_notional", "max_day_notional")


class History:
    """Runs a world against the venue and keeps every event given."""

    def __init__(self, seed: int, steps: int, reorder: bool) -> None:
        self.chance = random.Random(seed)
        self.reorder = reorder
        self.venue = Venue(self.chance)
        self.venue.prices, self.venue.lots = dict(PRICES), dict(LOTS)
        self.world = World()
        self.events: list[Any] = []
        self.now_ms = START + 1
        self.leaders = {name: SizedLeader(name) for name in ("lead", "duo", "boss")}
        self.owed: set[tuple[str, str]] = set()
        self.day_entries: dict[str, list[Order]] = defaultdict(list)
        self.filled: set[str] = set()
        self.commands = 0
        self.give(rich("a", report_interval_ms=300))
        self.give(account("b", balance="3000", max_daily_loss=None, max_drawdown=None, max_total_exposure=None))
        for name, lot in LOTS.items():
            least = {"lot": lot, "min_size": lot, "contract_size": CONTRACT[name], "min_notional": D(1)}
            self.give(instrument(name, **least))
            self.mark(name)
        self.give(self.leaders["boss"].state("settings", kind="account", source="b"))
        for name in ("lead", "duo"):
            self.give(self.leaders[name].state("settings"))
        for name in SUBSCRIPTIONS:
            self.subscribe(name, "active")
        for step in range(steps):
            self.one()
            if step % 25 == 0:
                check_ledger(self.world)
        self.drain()

    def give(self, event: Any) -> None:
        """Apply an event, answer its orders, follow the account that leads, and check what was decided."""
        self.events.append(event)
        if isinstance(event, LeaderEvent | LeaderStateChanged):
            for name, subscription in self.world.state.ledger.subscriptions.items():
                if subscription.leader == event.leader and subscription.status in ("active", "paused"):
                    self.owed.add((event.event_id, name))
        before = self.encoded() if isinstance(event, SubscriptionChanged) else b""
        try:
            outs = self.world.give(event)
        except BadRecord:  # its group's or leader's settings cannot be used
            assert self.encoded() == before, "a bad record changed something"
            self.events.pop()  # what is parked names its offset
            return
        self.filled |= {told.order_id for told in self.world.fills(outs)}
        self.check_entries([out.value for out in outs if isinstance(out.value, Order) and out.value.leg is Leg.ENTRY])
        for out in outs:
            if out.topic == "orders":
                self.venue.take(out.value, self.now_ms)
        boss = self.leaders["boss"]
        for told in said(self.world, LeaderTrade, outs):
            signed = told.size if told.side is Side.BUY else -told.size
            for copied in boss.trade(signed, told.instrument, self.now_ms, chain=told.chain, price=str(told.price)):
                self.give(copied)

    def encoded(self) -> bytes:
        return self.world.processor.encode(self.world.state)

    def check_entries(self, orders: list[Order]) -> None:
        """No entry exceeds what its settings allow, counted anew from positions and orders."""
        state = self.world.state
        for order in orders:
            assert order.size % LOTS[order.instrument] == 0 and order.size > 0
            assert state.ledger.subscriptions[order.subscription].status == "active"
            assert order.subscription != "itself", "a leader followed itself"
            self.day_entries[order.subscription].append(order)
        for name in {order.subscription for order in orders}:
            self.check_caps(name, {order.instrument for order in orders if order.subscription == name})
        for name in {order.account for order in orders}:
            owner = state.ledger.accounts[name]
            equity, margin = owner.balance, D(0)
            for held in owner.holdings.values():
                mark = state.ledger.marks[held.instrument]
                price = mark.bid if held.size > 0 else mark.ask
                equity += (held.size * price - held.cost) * held.contract_size
                margin += self.at_risk(name, held.subscription, held.instrument) / self.leverage(held.subscription)
            assert margin <= equity, f"margin {margin} of {equity}"

    def leverage(self, name: str) -> int:
        return int(SUBSCRIPTIONS[name][2].get("leverage", 10))

    def at_risk(self, owner: str, name: str, where: str) -> Decimal:
        known, ledger = self.world.account(owner), self.world.state.ledger
        held = known.holdings.get(f"{name}|{where}")
        if held is None:
            return D(0)
        mark = ledger.marks[where]
        amount = abs(held.size) * (mark.bid if held.size > 0 else mark.ask)
        for order_id in known.working:
            order = known.orders[order_id]
            if order.leg is Leg.ENTRY and (order.subscription, order.instrument) == (name, where):
                amount += (order.size - order.filled) * (order.limit_price or order.reference_price)
        return amount * CONTRACT[where]

    def check_caps(self, name: str, entered: set[str]) -> None:
        owner, _, limits = SUBSCRIPTIONS[name]
        known = self.world.account(owner).orders
        today = [item for item in self.day_entries[name] if item.now_ms // 86_400_000 == self.now_ms // 86_400_000]
        counted = [
            item
            for item in today
            if item.order_id in self.filled or (item.order_id in known and not known[item.order_id].over)
        ]
        spent = [item.size * (item.limit_price or item.reference_price) * CONTRACT[item.instrument] for item in counted]
        positions = [self.at_risk(owner, name, where) for where in LOTS]
        largest = max(self.at_risk(owner, name, where) for where in entered)
        found = (max(spent[-1:], default=D(0)), largest, sum(positions), sum(spent))
        for cap, value in zip(CAPS, found, strict=True):
            assert limits.get(cap) is None or value <= D(limits[cap]), f"{name}: {cap} {value}"
        assert len(counted) <= limits.get("max_day_orders", 1_000)
        assert sum(1 for position in positions if position) <= limits.get("max_open_trades", 3)

    def subscribe(self, name: str, status: Any) -> None:
        owner, leader, values = SUBSCRIPTIONS[name]
        self.give(
            SubscriptionChanged(
                now_ms=self.now_ms,
                subscription=name,
                account=owner,
                leader=leader,
                status=status,
                settings=values,
                group="g" if name in ("mirror", "ended") else "",
            )
        )

    def mark(self, name: str) -> None:
        price = self.venue.prices[name]
        self.give(marks(str(price), str(price + D("0.1")), name, now_ms=self.now_ms))

    def one(self) -> None:
        chance = self.chance
        self.now_ms += chance.randint(0, 400) if chance.random() < 0.99 else 3 * 3_600_000
        pick = chance.random()
        if pick < 0.55:
            told = self.venue.tell(self.reorder)
            if told is not None:
                self.give(told)
        elif pick < 0.72:
            self.lead()
        elif pick < 0.80:
            name = chance.choice(list(LOTS))
            self.venue.prices[name] += self.venue.prices[name] * chance.randint(-80, 80) / 10_000
            self.venue.prices[name] = self.venue.prices[name].quantize(D("0.1"))
            self.mark(name)
        elif pick < 0.85:
            self.venue.trigger(self.now_ms)
        elif pick < 0.90:
            self.give(clock(self.now_ms))
        else:
            self.decide()

    def lead(self) -> None:
        chance = self.chance
        leader = self.leaders[chance.choice(["lead", "lead", "duo"])]
        name = chance.choice([BTC, BTC, ETH])
        held = leader.positions.get(name, D(0))
        if held and chance.random() < 0.15:
            level = (self.venue.prices[name] * chance.randint(90, 110) / 100).quantize(D("0.01"))
            self.give(leader.protect(name, self.now_ms, stop_loss=level, price=str(self.venue.prices[name])))
            return
        change = -held if held and chance.random() < 0.25 else D(chance.randint(-2000, 2000)) / 1000
        for event in leader.trade(change or D(1), name, self.now_ms, price=str(self.venue.prices[name])):
            self.give(event)

    def decide(self) -> None:
        """Something that a person decides."""
        chance, self.commands = self.chance, self.commands + 1
        pick, name = chance.randrange(9), chance.choice(list(SUBSCRIPTIONS))
        leader, paused = chance.choice(["lead", "duo"]), chance.random() < 0.4
        if pick <= 1:
            self.subscribe(name, chance.choice(["active", "active", "active", "paused", "stopped", "closed"]))
        elif pick == 2:
            scope = chance.choice(["*", f"leader:{leader}", "account:a", f"subscription:{name}"])
            self.give(pause(scope, paused, self.now_ms))
        elif pick == 3:
            action, status = ("paused", "paused") if paused else ("resumed", "active")
            self.give(self.leaders[leader].state(action, status, self.now_ms))
        elif pick == 4:
            defaults = chance.choice([{}, {"max_day_orders": 5}, {"max_position_notional": "2000"}, {"ratio": "no"}])
            self.give(self.leaders[leader].state("settings", now_ms=self.now_ms, defaults=defaults))
        elif pick == 5:
            group = chance.choice([{}, {"max_order_notional": "2000"}, {"order_ttl_ms": 0}])
            self.give(GroupChanged(now_ms=self.now_ms, group="g", settings=group))
        elif pick == 6:
            amount = D(chance.randint(-500, 1000))
            name = chance.choice("ab")
            if amount:
                self.give(Transfer(now_ms=self.now_ms, transfer_id=f"t{self.commands}", account=name, amount=amount))
        else:
            for owner in "ab":
                action = chance.choice(["kill", "resume", "resume", "resolve", "resolve", "repair", "copy_existing"])
                mine = [item for item, values in SUBSCRIPTIONS.items() if values[0] == owner]
                subject = chance.choice(mine)
                self.give(
                    Command(
                        now_ms=self.now_ms,
                        command_id=f"c{self.commands}",
                        account=owner,
                        action=action,  # type: ignore[arg-type]
                        reason="chance",
                        subject=subject,
                    )
                )

    def drain(self) -> None:
        """Let everything come to its end."""
        for _ in range(3000):
            self.venue.end_all(self.now_ms)
            told = self.venue.tell(self.reorder)
            if told is None:
                return
            self.give(told)
        raise AssertionError("the venue never fell silent")


def check(history: History) -> None:
    world, venue = history.world, history.venue
    outs = world.outs
    check_ledger(world)
    given = {event_id for event_id, _ in history.owed}
    fan_outs = said(world, FanOut, outs)
    assert sum(told.active for told in fan_outs if told.event_id in given) == len(history.owed)
    terminal = {(item.event_id, item.subscription) for item in world.outcomes(outs) if item.state != "pending"}
    assert {pair for pair in terminal if pair[0] in given} == history.owed
    pending = {(item.event_id, item.subscription) for item in world.outcomes(outs) if item.state == "pending"}
    assert pending <= terminal, "nothing waits for ever"
    ids = Counter(order.order_id for order in world.orders(outs))
    assert not ids or max(ids.values()) == 1
    fills = world.fills(outs)
    assert Counter(booked.trade_id for booked in fills) == Counter(told.trade_id for told in venue.filled)
    for owner in "ab":
        known = world.account(owner)
        assert known.working == []
        assert len(known.orders) < 200
        for key, held in known.holdings.items():
            own = [item for item in fills if f"{item.subscription}|{item.instrument}" == key]
            assert held.size == sum(item.size if item.side is Side.BUY else -item.size for item in own)
            assert held.size == sum(
                size if venue.entries[entry].side is Side.BUY else -size
                for entry, size in venue.open.items()
                if f"{venue.entries[entry].subscription}|{venue.entries[entry].instrument}" == key
            )
            assert (held.closing, held.waiting) == (None, [])
            assert (key in known.open) == (held.size != 0)
    assert [item.text for item in world.alerts(outs) if item.kind == "illegal_position_move"] == []


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 250), reorder=st.booleans())
def test_random_histories_keep_the_invariants(seed: int, steps: int, reorder: bool) -> None:
    check(History(seed, steps, reorder))


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32), every=st.integers(1, 9))
def test_restarts_and_repeats_change_nothing(seed: int, every: int) -> None:
    events = History(seed, 120, reorder=True).events
    core = InboxCore(AccountProcessor(), parse_topics(TOPICS.read_text()).topics)
    straight, restarted, twice = core.new(0), core.new(0), core.new(0)
    expected = emitted(core.apply(straight, [record(events, index, index) for index in range(len(events))]))
    again, doubled = [], []
    for index in range(len(events)):
        again += core.apply(restarted, [record(events, index, index)])
        doubled += core.apply(twice, [record(events, index, 2 * index), record(events, index, 2 * index + 1)])
        if index % every == 0:
            restarted = core.decode(core.encode(restarted))
    assert emitted(again) == emitted(doubled) == expected
    assert core.processor.encode(restarted.state) == core.processor.encode(straight.state)
