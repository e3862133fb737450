"""One record into the sums: the only place where results are counted, live and in the recount.

Entry points: `apply`, `Changed`.

1. A trade of a subscription is what one closing order made: the realised P&L of its fills (consecutive ones of the same
   order and instrument), less their fees, less the entry fees of the part it closed.
2. Only terminal outcomes count. Delay and cost are those of outcomes that were filled.
3. Capital is sampled: of each subscription the first FollowerEquity of every interval of log time counts.
4. A leader's event or state that is not above its last sequence is a repeat.
5. A record that changes nothing that is told returns nothing.
"""

from decimal import Decimal
from typing import Any, NamedTuple

from processors.account.money import FINEST, ZERO
from processors.statistics.own import lead
from processors.statistics.state import Leader, Open, State, Subscription
from processors.statistics.sums import exact
from schemas.codec import BadRecord
from schemas.leaders import LeaderEvent, LeaderStateChanged
from schemas.reasons import Leg, OutcomeState
from schemas.statistics import FollowerEquity
from schemas.status import Fill, FollowerState, Outcome


class Changed(NamedTuple):
    """What a record changed: a leader, and the subscription to it ("" if it was the leader's own record)."""

    leader: str
    subscription: str = ""


def apply(state: State, event: Any, capital_every_ms: int) -> Changed | None:
    """Add one record to the sums; return what changed.

    Raises:
        BadRecord: the record cannot be used; the state is untouched.
    """
    if not getattr(event, "leader", ""):
        raise BadRecord(f"{type(event).__name__} without leader: statistics are kept by leader")
    if isinstance(event, LeaderEvent | LeaderStateChanged):
        leader = state.get(event.leader) or Leader()
        if event.sequence <= leader.sequence:
            return None
        if isinstance(event, LeaderEvent):
            lead(leader, event, capital_every_ms)
        leader.sequence = event.sequence
        state[event.leader] = leader
        return Changed(event.leader)
    if not getattr(event, "subscription", ""):
        raise BadRecord(f"{type(event).__name__} without subscription: statistics are kept by subscription")
    leader = state.get(event.leader) or Leader()
    subscription = leader.subscriptions.get(event.subscription) or Subscription(event.account)
    if not _apply(leader, subscription, event, capital_every_ms):
        return None
    leader.subscriptions[event.subscription] = subscription
    state[event.leader] = leader
    return Changed(event.leader, event.subscription)


def _apply(leader: Leader, subscription: Subscription, event: Any, capital_every_ms: int) -> bool:
    if isinstance(event, Fill):
        _fill(leader, subscription, event)
        return True
    if isinstance(event, Outcome):
        return _outcome(leader, subscription, event)
    if isinstance(event, FollowerState):
        return _follows(leader, subscription, event.status)
    if isinstance(event, FollowerEquity):
        return _equity(leader, subscription, event, capital_every_ms)
    raise BadRecord(f"the statistics role does not read {type(event).__name__}")


def _fill(leader: Leader, subscription: Subscription, fill: Fill) -> None:
    realized = exact(fill.realized_pnl, "realized_pnl", fill.fill_id)
    fee, size = exact(fill.fee, "fee", fill.fill_id), exact(fill.size, "size", fill.fill_id)
    if size <= ZERO:
        raise BadRecord(f"fill {fill.fill_id}: size must be above zero, not {size}")
    subscription.money.book(realized, fee, fill.now_ms)
    leader.copiers_realized += realized
    leader.copiers_fees += fee
    held = subscription.open.get(fill.instrument, Open())
    if fill.leg is Leg.ENTRY:
        held.size += size
        held.fees += fee
    else:
        _close(subscription, held, fill, size, realized - fee)
    if held.size == ZERO:
        subscription.open.pop(fill.instrument, None)
    else:
        subscription.open[fill.instrument] = held


def _close(subscription: Subscription, held: Open, fill: Fill, size: Decimal, net: Decimal) -> None:
    part = min(size, held.size)
    fees = held.fees if part == held.size else (held.fees * part / held.size).quantize(FINEST)
    held.size -= part
    held.fees -= fees
    net -= fees
    before = held.closing_net if held.closing_order == fill.order_id else None
    if before is not None:
        net += before
    held.closing_order, held.closing_net = fill.order_id, net
    subscription.money.trade(net, before)


def _outcome(leader: Leader, subscription: Subscription, outcome: Outcome) -> bool:
    if outcome.state is OutcomeState.PENDING:
        return False
    measure = None
    cost = outcome.cost
    if cost is not None and cost.filled_ms is not None and cost.total_bps is not None:
        bps = exact(cost.total_bps, "total_bps", outcome.outcome_id)
        measure = cost.filled_ms - cost.event_ms, bps
    for copies in (subscription.copies, leader.copies):
        copies.count(outcome.state.value, measure)
    return True


def _follows(leader: Leader, subscription: Subscription, status: str) -> bool:
    """Take a new status; a change of settings alone is told too often to be worth a record."""
    if status == subscription.status:
        return False
    _count(leader, subscription, -1)
    subscription.status = status
    _count(leader, subscription, 1)
    return True


def _equity(leader: Leader, subscription: Subscription, event: FollowerEquity, capital_every_ms: int) -> bool:
    amount = exact(event.capital, "capital", event.subscription)
    if not subscription.capital.due(event.now_ms, capital_every_ms):
        return False
    _count(leader, subscription, -1)
    subscription.capital.sample(amount, event.now_ms, capital_every_ms)
    _count(leader, subscription, 1)
    return True


def _count(leader: Leader, subscription: Subscription, sign: int) -> None:
    """Take the subscription into the leader's followers and their capital, or out of them."""
    if not subscription.follows:
        return
    leader.followers += sign
    if subscription.capital.samples:
        leader.sampled += sign
        leader.aum += sign * subscription.capital.latest
