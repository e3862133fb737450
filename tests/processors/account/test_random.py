"""Random histories: leader events, marks, commands and a careless venue; what must hold whatever happens.

A history is made once (the venue answers what the account says), then replayed through the inbox core straight, with
restarts, and with every record twice: the outputs must be the same.
"""

import random
from collections import Counter, defaultdict
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from processors.account.processor import AccountProcessor
from processors.inbox import Emit, InboxCore, Record
from schemas.codec import encode
from schemas.reasons import Leg, OutcomeState, Side
from schemas.topics import parse_topics
from tests.processors.account.venue import LOT, Venue
from tests.processors.account.world import (
    BTC,
    START,
    World,
    account,
    clock,
    instrument,
    kill,
    leader_event,
    marks,
    subscription,
)

TOPICS = Path(__file__).parents[3] / "topics.yaml"
CAP = Decimal(3000)
SUBSCRIPTIONS = {
    "close": {"opposite": "close"},
    "ignore": {"opposite": "ignore"},
    "reverse": {"opposite": "reverse", "on_lost_stop": "alert"},
    "second": {"opposite": "close", "allow_second_entry": True},
    "turning": {"opposite": "reverse", "allow_second_entry": True, "order": {"kind": "limit", "offset_bps": "5"}},
    "resting": {"order": {"kind": "limit", "offset_bps": "-5"}, "cool_down_ms": 500},
}
# Two accounts, so that their money cannot mix unseen.
OWNER = {name: "acc" if index % 2 == 0 else "other" for index, name in enumerate(SUBSCRIPTIONS)}


class History:
    """Runs a world against the venue and keeps every event given."""

    def __init__(self, seed: int, steps: int, reorder: bool) -> None:
        self.chance = random.Random(seed)
        self.venue = Venue(self.chance)
        self.world = World()
        self.events: list[Any] = []
        self.now_ms = START
        self.sequence = 0
        self.expected: set[tuple[str, str]] = set()  # (event, subscription) that must end in one outcome
        self.status = dict.fromkeys(SUBSCRIPTIONS, "active")
        self.give(account(max_open_orders=4, max_daily_loss="0.3"))
        self.give(account("other", max_daily_loss=None, max_drawdown=None))
        self.give(instrument())
        self.give(marks("60000", "60000.1"))
        for name in SUBSCRIPTIONS:
            self.subscribe(name, "active")
        for _ in range(steps):
            self.one(reorder)
        self.drain(reorder)

    def give(self, event: Any) -> None:
        self.events.append(event)
        world = self.world
        before = {
            name: world.account(OWNER[name]).holdings
            for name in SUBSCRIPTIONS
            if OWNER[name] in world.state.ledger.accounts
        }
        sizes = {name: held[f"{name}|{BTC}"].size for name, held in before.items() if f"{name}|{BTC}" in held}
        for out in world.give(event):
            if out.topic == "orders":
                self.check_order(out.value, sizes)
                self.venue.take(out.value, self.now_ms)

    def check_order(self, order: Any, sizes: dict[str, Decimal]) -> None:
        if getattr(order, "leg", None) is None:
            return
        assert order.size % LOT == 0
        if order.leg is Leg.EXIT:
            return
        price = order.reference_price if order.limit_price is None else order.limit_price
        assert order.size * price <= CAP
        settings_of = SUBSCRIPTIONS[order.subscription]
        if not settings_of.get("allow_second_entry") and settings_of.get("opposite") != "reverse":
            assert sizes.get(order.subscription, Decimal(0)) == 0
        assert order.protection is not None
        sign = 1 if order.side is Side.BUY else -1
        assert (order.protection.stop_loss - price) * sign < 0 < (order.protection.take_profit - price) * sign

    def subscribe(self, name: str, status: str) -> None:
        self.status[name] = status
        self.give(
            subscription(
                name,
                OWNER[name],
                status=status,
                now_ms=self.now_ms,
                max_position_notional=CAP,
                max_price_drift_bps="300",
                **SUBSCRIPTIONS[name],
            )
        )

    def one(self, reorder: bool) -> None:
        chance, self.now_ms = self.chance, self.now_ms + self.chance.randint(0, 400)
        pick = chance.random()
        if pick < 0.55:
            told = self.venue.tell(reorder)
            if told is not None:
                self.give(told)
        elif pick < 0.72:
            self.sequence += 1
            side, action = chance.choice(list(Side)), chance.choice(["entry"] * 6 + ["exit"])
            event = leader_event(self.sequence, side, str(self.venue.price), now_ms=self.now_ms, action=action)
            self.expected |= {(event.event_id, name) for name, status in self.status.items() if status != "closed"}
            self.give(event)
        elif pick < 0.84:
            self.venue.price += chance.randint(-600, 600)
            self.give(marks(str(self.venue.price), str(self.venue.price + 1), now_ms=self.now_ms))
        elif pick < 0.92:
            self.venue.trigger(self.now_ms)
        elif pick < 0.96:
            self.give(clock(self.now_ms))
        elif pick < 0.98:
            self.give(kill(chance.choice(["*", "acc"]), chance.choice(["kill", "resume", "resume"]), self.now_ms))
        else:
            self.subscribe(chance.choice(list(SUBSCRIPTIONS)), chance.choice(["active", "active", "paused", "closed"]))

    def drain(self, reorder: bool) -> None:
        """Let everything come to its end."""
        for _ in range(2000):
            self.venue.end_all(self.now_ms)
            told = self.venue.tell(reorder)
            if told is None:
                return
            self.give(told)
        raise AssertionError("the venue never fell silent")


def check(history: History) -> None:
    world, venue = history.world, history.venue
    outs = world.outs
    # One terminal outcome per event and subscription, at most one pending, and pending first.
    stages: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for outcome in world.outcomes(outs):
        stages[outcome.event_id, outcome.subscription].append(outcome.state is OutcomeState.PENDING)
    assert set(stages) == history.expected
    assert all(stage in ([False], [True, False]) for stage in stages.values())
    assert len({outcome.outcome_id for outcome in world.outcomes(outs)}) == len(world.outcomes(outs))
    # No order id is given twice, no fill is booked twice or not at all.
    ids = Counter(order.order_id for order in world.orders(outs))
    assert not ids or max(ids.values()) == 1
    fills = world.fills(outs)
    assert Counter(booked.trade_id for booked in fills) == Counter(told.trade_id for told in venue.filled)
    # Positions are the sums of their fills, and agree with what the venue holds; P&L is what was paid and received.
    for name in SUBSCRIPTIONS:
        own = [booked for booked in fills if booked.subscription == name]
        held = world.account(OWNER[name]).holdings.get(f"{name}|{BTC}")
        if held is None:
            assert own == []
            continue
        assert held.size == sum(booked.size if booked.side is Side.BUY else -booked.size for booked in own)
        at_venue = sum(
            (size if venue.entries[entry].side is Side.BUY else -size)
            for entry, size in venue.open.items()
            if venue.entries[entry].subscription == name
        )
        assert held.size == at_venue
        cash = -sum(Fraction(booked.price * booked.size) * (1 if booked.side is Side.BUY else -1) for booked in own)
        assert abs(Fraction(held.realized) - (cash + Fraction(held.cost))) < Fraction(1, 10**9)
        assert held.realized == sum(booked.realized_pnl for booked in own)
        assert held.fees == sum(booked.fee for booked in own)
        assert (held.state == "flat") == (held.size == 0)
        assert held.closing is None
        assert (f"{name}|{BTC}" in world.account(OWNER[name]).open) == (held.size != 0)
    for name in ("acc", "other"):
        owned = world.account(name)
        own = [booked for booked in fills if booked.account == name]
        assert owned.balance == 10000 + sum(booked.realized_pnl - booked.fee for booked in own)
        assert owned.working == []
    assert [alert.text for alert in world.alerts(outs) if alert.kind == "illegal_position_move"] == []


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 150), reorder=st.booleans())
def test_random_histories_keep_the_invariants(seed: int, steps: int, reorder: bool) -> None:
    check(History(seed, steps, reorder))


def record(events: list[Any], index: int, offset: int) -> Record:
    stamps = [("src", b"test@input/0"), ("st", b"%d.0" % index)]
    if index > 0:
        stamps.append(("pv", b"%d.0" % (index - 1)))
    return Record(offset, encode(events[index]), tuple(stamps))


def said(emits: list[Emit]) -> list[tuple[str, int, bytes, bytes]]:
    return [(emit.topic, emit.partition, emit.key, emit.value) for emit in emits]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), every=st.integers(1, 9))
def test_restarts_and_repeats_change_nothing(seed: int, every: int) -> None:
    events = History(seed, 80, reorder=True).events
    core = InboxCore(AccountProcessor(), parse_topics(TOPICS.read_text()).topics)
    straight, restarted, twice = core.new(0), core.new(0), core.new(0)
    expected = said(core.apply(straight, [record(events, index, index) for index in range(len(events))]))
    assert expected
    again: list[Emit] = []
    for index in range(len(events)):
        again += core.apply(restarted, [record(events, index, index)])
        if index % every == 0:
            restarted = core.decode(core.encode(restarted))
    assert said(again) == expected
    assert core.processor.encode(restarted.state) == core.processor.encode(straight.state)
    doubled: list[Emit] = []
    for index in range(len(events)):
        doubled += core.apply(twice, [record(events, index, 2 * index), record(events, index, 2 * index + 1)])
    assert said(doubled) == expected
    assert twice.repeats == len(events)


def test_the_same_seed_gives_the_same_history() -> None:
    one, two = History(7, 100, True), History(7, 100, True)
    assert [encode(event) for event in one.events] == [encode(event) for event in two.events]
