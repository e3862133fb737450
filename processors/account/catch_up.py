"""Events that the account role makes for one subscription: positions the leader held before, repairs, drift.

Entry points: `copy_existing`, `answer`, `repair`, `watch`.

1. A catch-up is a LeaderEvent of its own id with a `FanOut` of one, so that the ledger of outcomes stays balanced; it
   goes through the same gate as any other.
2. Drift is looked at when nothing is in flight. Beyond the tolerance it is told, or repaired, at most once per
   interval. A repair goes to the expected position and never past a cap.
3. What one's own stop-loss or take-profit closed is not expected any more (reports.py), so it is not repaired.
"""

from decimal import Decimal

import msgspec

from processors.account import telling
from processors.account.copying import bring
from processors.account.following import fan_out, follow_one
from processors.account.gate import touch
from processors.account.halts import tried
from processors.account.money import ZERO
from processors.account.state import Account, Holding, State, Subscription
from processors.protocols import Out
from schemas.ids import derive_id
from schemas.leaders import LeaderEvent
from schemas.reasons import LeaderAction, Side


def copy_existing(state: State, subscription: Subscription, partition: int, now_ms: int) -> list[Out]:
    """Decide about positions the leader holds when a subscription begins, by its setting."""
    leader = state.ledger.leaders.get(subscription.leader)
    if leader is None or not leader.positions:
        return []
    choice = state.params_of(subscription).copy_existing
    if choice == "no":
        subscription.existing = "ignored"
        return []
    if choice == "yes":
        return answer(state, subscription, True, partition, now_ms)
    subscription.existing = "asked"
    held = ", ".join(f"{name} {leader.positions[name].position}" for name in sorted(leader.positions))
    text = (
        f"{subscription.subscription}: leader {subscription.leader} holds {held}. Say `wakeline follow existing "
        f"{subscription.subscription} --accept` to copy it at the price of now, or --ignore"
    )
    return [telling.alert(subscription.account, "copy_existing", "info", text, now_ms)]


def answer(state: State, subscription: Subscription, accept: bool, partition: int, now_ms: int) -> list[Out]:
    """Copy the positions that the leader holds now at the price of now, or leave them alone."""
    if subscription.existing == "copied":
        text = f"{subscription.subscription} has copied the positions of {subscription.leader} already: say repair"
        return [telling.alert(subscription.account, "copied_already", "warning", text, now_ms)]
    subscription.existing = "copied" if accept else "ignored"
    leader = state.ledger.leaders.get(subscription.leader)
    outs = telling.follower_state(state, subscription, now_ms)
    if not accept or leader is None:
        return outs
    for name in sorted(leader.positions):
        last = leader.positions[name]
        assert last.position is not None
        side = Side.BUY if last.position > ZERO else Side.SELL
        event = _event(state, subscription, last, "existing", side, abs(last.position), now_ms)
        outs.append(fan_out(event, partition, 1, now_ms))
        made = follow_one(state, subscription, event, now_ms)
        outs += made + tried(event, made, now_ms)
    return outs


def repair(
    state: State, account: Account, subscription: Subscription, holding: Holding, partition: int, now_ms: int
) -> list[Out]:
    """Bring a holding to its expected position now."""
    leader = state.ledger.leaders.get(subscription.leader)
    last = None if leader is None else leader.positions.get(_leaders_name(state, subscription, holding))
    if _busy(account, holding) or holding.size == holding.expected:
        return []
    side = Side.BUY if holding.expected > holding.size else Side.SELL
    size = abs(holding.expected - holding.size)
    event = _event(state, subscription, last, f"repair-{holding.instrument}", side, size, now_ms, holding)
    holding.drift_ms = now_ms
    made = bring(state, account, subscription, holding, event, holding.expected, now_ms)
    return [fan_out(event, partition, 1, now_ms), *made, *tried(event, made, now_ms)]


def watch(
    state: State, account: Account, subscription: Subscription, holding: Holding, partition: int, now_ms: int
) -> list[Out]:
    """Tell or repair the drift of a holding, as its settings say."""
    params = state.params_of(subscription, holding.instrument).drift
    if params.policy == "off" or subscription.status not in ("active", "paused") or _busy(account, holding):
        return []
    away = abs(holding.size - holding.expected)
    rules = state.ledger.instruments.get(holding.instrument)
    least = ZERO if rules is None else rules.lot  # less than a lot is rounding, and cannot be traded
    if away == ZERO or away < least or away <= params.tolerance * abs(holding.expected):
        return []
    if holding.drift_ms and now_ms - holding.drift_ms < params.interval_ms:
        return []
    holding.drift_ms = now_ms
    outs = [telling.drift(subscription, holding, params.policy, now_ms)]
    if params.policy == "now" and subscription.status == "active" and not subscription.errors:
        return outs + repair(state, account, subscription, holding, partition, now_ms)
    text = (
        f"{subscription.subscription} holds {holding.size} {holding.instrument}, expected {holding.expected}; say "
        f"`wakeline follow repair {subscription.subscription}` to bring it in line"
    )
    return [*outs, telling.alert(account.account, "position_drift", "warning", text, now_ms)]


def _busy(account: Account, holding: Holding) -> bool:
    if holding.closing is not None or holding.waiting:
        return True
    return any(not account.orders[item].over for item in holding.entries)


def _leaders_name(state: State, subscription: Subscription, holding: Holding) -> str:
    """Return the leader's name of an own instrument."""
    for leaders, own in state.params_of(subscription).symbol_map.items():
        if own == holding.instrument:
            return leaders
    return holding.instrument


def _event(
    state: State,
    subscription: Subscription,
    last: LeaderEvent | None,
    kind: str,
    side: Side,
    size: Decimal,
    now_ms: int,
    holding: Holding | None = None,
) -> LeaderEvent:
    """Return the catch-up event at the price of now."""
    instrument = "" if holding is None else _leaders_name(state, subscription, holding)
    instrument = instrument if last is None else last.instrument
    own = state.params_of(subscription).symbol_map.get(instrument, instrument)
    mark = state.ledger.marks.get(own)
    known = Decimal(1) if last is None else last.price
    leader = state.leader(subscription.leader)
    state.ledger.catch_ups += 1
    cause = derive_id("catch-up", subscription.subscription, kind, instrument, now_ms, state.ledger.catch_ups)
    event = LeaderEvent(
        now_ms=now_ms,
        event_id=derive_id("leader-event", subscription.leader, cause),
        leader=subscription.leader,
        sequence=leader.sequence,
        action=LeaderAction.ENTRY,
        instrument=instrument,
        side=side,
        price=known if mark is None else touch(mark, side),
        cause=cause,
        event_ms=now_ms,
        detected_ms=now_ms,
        size=size,
        position=size if side is Side.BUY else -size,
    )
    if last is None:
        return event
    return msgspec.structs.replace(
        event,
        equity=last.equity,
        leverage=last.leverage,
        margin_mode=last.margin_mode,
        stop_loss=last.stop_loss,
        take_profit=last.take_profit,
        atr=last.atr,
        realized_pnl=last.realized_pnl,
        trades=last.trades,
        wins=last.wins,
        chain=last.chain,
    )
