"""Records about leaders and their followers, by hand and at random."""

from decimal import Decimal as D
from typing import Any

from hypothesis import strategies as st

from processors.account.money import money_context
from processors.statistics.apply import apply
from processors.statistics.figures import leader_statistics, subscription_statistics
from processors.statistics.processor import CAPITAL_EVERY_MS
from processors.statistics.state import State
from schemas.base import Message
from schemas.leaders import LeaderEvent
from schemas.reasons import LeaderAction, Leg, OutcomeState, Side
from schemas.statistics import FollowerEquity, Statistics
from schemas.status import CopyCost, Fill, FollowerState, Outcome

NOW_MS = 1_723_075_200_000  # 2024-08-08 00:00 UTC
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
BTC, ETH = "binanceusdm:BTC/USDT:USDT", "binanceusdm:ETH/USDT:USDT"
ACTION = LeaderAction


def fill(
    number: int,
    leg: Leg = Leg.EXIT,
    realized: str = "0",
    fee: str = "0",
    *,
    size: str = "1",
    order: str = "",
    at: int = 0,
    subscription: str = "ann/lead",
    leader: str = "lead",
    instrument: str = BTC,
) -> Fill:
    account = subscription.partition("/")[0]
    return Fill(
        now_ms=NOW_MS + at,
        fill_id=f"{subscription}-f{number}",
        account=account,
        order_id=order or f"o{number}",
        entry_order_id="e",
        subscription=subscription,
        leader=leader,
        instrument=instrument,
        leg=leg,
        side=Side.BUY if leg is Leg.ENTRY else Side.SELL,
        price=D(100),
        size=D(size),
        fee=D(fee),
        fee_currency="USDT",
        realized_pnl=D(realized),
        trade_id=f"t{number}",
        liquidity="taker",
        leader_price=D(100),
        event_ms=NOW_MS + at,
        venue_ms=NOW_MS + at,
    )


def outcome(
    number: int,
    state: OutcomeState = OutcomeState.COPIED,
    delay_ms: int | None = None,
    bps: str | None = None,
    *,
    at: int = 0,
    subscription: str = "ann/lead",
    leader: str = "lead",
) -> Outcome:
    event_ms = NOW_MS + at
    cost = CopyCost(
        leader_price=D(100),
        event_ms=event_ms,
        detected_ms=event_ms,
        decided_ms=event_ms,
        decided_price=D(100),
        filled_ms=None if delay_ms is None else event_ms + delay_ms,
        total_bps=None if bps is None else D(bps),
    )
    return Outcome(
        now_ms=NOW_MS + at,
        outcome_id=f"{subscription}-c{number}-{state is OutcomeState.PENDING}",
        event_id=f"e{number}",
        leader=leader,
        sequence=number,
        account=subscription.partition("/")[0],
        subscription=subscription,
        instrument=BTC,
        state=state,
        cost=None if delay_ms is None and bps is None else cost,
    )


def follows(status: str = "active", *, at: int = 0, subscription: str = "ann/lead", leader: str = "lead") -> Message:
    return FollowerState(
        now_ms=NOW_MS + at,
        subscription=subscription,
        account=subscription.partition("/")[0],
        leader=leader,
        status=status,
        halted=False,
        settings={},
        origins={},
    )


def equity(capital: str, *, at: int = 0, subscription: str = "ann/lead", leader: str = "lead") -> FollowerEquity:
    return FollowerEquity(
        now_ms=NOW_MS + at,
        subscription=subscription,
        account=subscription.partition("/")[0],
        leader=leader,
        capital=D(capital),
        unrealized_pnl=D(0),
    )


def leads(
    sequence: int,
    action: LeaderAction,
    side: Side,
    price: str,
    size: str | None = None,
    position: str | None = None,
    *,
    at: int = 0,
    leader: str = "lead",
    instrument: str = BTC,
    equity: str | None = None,
) -> LeaderEvent:
    return LeaderEvent(
        now_ms=NOW_MS + at,
        event_id=f"{leader}-e{sequence}",
        leader=leader,
        sequence=sequence,
        action=action,
        instrument=instrument,
        side=side,
        price=D(price),
        cause=f"c{sequence}",
        event_ms=NOW_MS + at,
        size=None if size is None else D(size),
        position=None if position is None else D(position),
        equity=None if equity is None else D(equity),
    )


def counted(records: list[Any]) -> dict[str, Statistics]:
    """The statistics after the records, straight from the sums."""
    state: State = {}
    found: dict[str, Statistics] = {}
    with money_context():
        for record in records:
            apply(state, record, CAPITAL_EVERY_MS)
        for name, leader in state.items():
            found[f"leader:{name}"] = leader_statistics(name, leader, 0)
            for subscription, one in leader.subscriptions.items():
                found[f"subscription:{subscription}"] = subscription_statistics(subscription, name, one, 0)
    return found


def statistics_of(records: list[Any], subject: str = "subscription:ann/lead") -> Statistics:
    return counted(records)[subject]


amounts = st.decimals(-10_000, 10_000, allow_nan=False, allow_infinity=False, places=6).map(str)
sizes = st.decimals("0.001", 10, places=3).map(str)


@st.composite
def subscription_stories(draw: st.DrawFn, subscription: str, leader: str) -> list[Any]:
    """One subscription's records in the order of its account; log time rises, sometimes by days."""
    records: list[Any] = []
    at = 0
    for number in range(draw(st.integers(0, 12))):
        at += draw(st.sampled_from([0, 7, HOUR_MS, DAY_MS, 3 * DAY_MS]))
        kind = draw(st.sampled_from(["entry", "exit", "exit", "outcome", "pending", "state", "equity"]))
        where = {"at": at, "subscription": subscription, "leader": leader}
        if kind in ("entry", "exit"):
            leg = Leg.ENTRY if kind == "entry" else draw(st.sampled_from([Leg.EXIT, Leg.STOP_LOSS]))
            realized = "0" if kind == "entry" else draw(amounts)
            fee, size = draw(amounts), draw(sizes)
            order = draw(st.sampled_from(["", "same"]))
            instrument = draw(st.sampled_from([BTC, ETH]))
            records.append(fill(number, leg, realized, fee, size=size, order=order, instrument=instrument, **where))
        elif kind == "outcome":
            state = draw(st.sampled_from([state for state in OutcomeState if state is not OutcomeState.PENDING]))
            records.append(outcome(number, state, draw(st.none() | st.integers(0, 900)), draw(amounts), **where))
        elif kind == "pending":
            records.append(outcome(number, OutcomeState.PENDING, **where))
        elif kind == "state":
            records.append(follows(draw(st.sampled_from(["active", "paused", "stopped", "closed"])), **where))
        else:
            records.append(equity(draw(amounts), **where))
    return records


@st.composite
def leader_stories(draw: st.DrawFn, leader: str) -> list[LeaderEvent]:
    """One leader's events in sequence."""
    records: list[LeaderEvent] = []
    at, position = 0, D(0)
    signals = draw(st.booleans())
    for number in range(draw(st.integers(0, 8))):
        at += draw(st.sampled_from([0, 11, HOUR_MS, 2 * DAY_MS]))
        side, price = draw(st.sampled_from(list(Side))), draw(st.integers(50, 150).map(str))
        if signals:
            action = draw(st.sampled_from([ACTION.ENTRY, ACTION.ENTRY, ACTION.EXIT, ACTION.PROTECTION]))
            records.append(leads(number + 1, action, side, price, at=at, leader=leader))
            continue
        size = D(draw(sizes))
        position += size if side is Side.BUY else -size
        records.append(
            leads(
                number + 1, ACTION.INCREASE, side, price, str(size), str(position), at=at, leader=leader, equity="500"
            )
        )
    return records


@st.composite
def interleaved(draw: st.DrawFn, streams: list[list[Any]]) -> list[Any]:
    """The streams in one order, each keeping its own."""
    left = [list(stream) for stream in streams if stream]
    merged: list[Any] = []
    while left:
        stream = draw(st.sampled_from(left))
        merged.append(stream.pop(0))
        left = [stream for stream in left if stream]
    return merged


@st.composite
def worlds(draw: st.DrawFn) -> list[list[Any]]:
    """Streams of two leaders and five subscriptions of three accounts."""
    followed = {"ann/lead": "lead", "bob/lead": "lead", "cid/lead": "lead", "ann/other": "other", "bob/other": "other"}
    return [
        *(draw(leader_stories(leader)) for leader in ("lead", "other")),
        *(draw(subscription_stories(subscription, leader)) for subscription, leader in followed.items()),
    ]
