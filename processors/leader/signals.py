"""A strategy's signals as events of a leader.

Entry point: `on_signal`.

1. Weak signals are published by the strategy but never traded: they make no event, and none of the leader's record.
2. A signal has no size and no position; the leader's record is that of a fixed notional per signal (book.py).
"""

from processors.account.money import usable
from processors.leader.book import follow_signal
from processors.leader.events import Draft, known_before, publish
from processors.leader.state import Leader, LeaderState
from processors.protocols import Out
from schemas.codec import BadRecord
from schemas.reasons import LeaderAction, Side, SignalClass
from schemas.signals import Signal

_WEAK = frozenset({SignalClass.WEAK_BUY, SignalClass.WEAK_SELL})
_SIDE = {
    SignalClass.STRONG_BUY: Side.BUY,
    SignalClass.BUY: Side.BUY,
    SignalClass.WEAK_BUY: Side.BUY,
    SignalClass.WEAK_SELL: Side.SELL,
    SignalClass.SELL: Side.SELL,
    SignalClass.STRONG_SELL: Side.SELL,
}


def on_signal(state: LeaderState, signal: Signal, now_ms: int) -> list[Out]:
    """Return what a strategy's signal becomes: an event with its guards' word, nothing if weak or told before.

    Raises:
        BadRecord: the signal contradicts itself, or its leader is none of the strategies.
    """
    _refuse_bad(signal)
    if signal.signal_class in _WEAK:
        return []
    name = signal.strategy
    leader = state.leaders.get(name)
    if leader is not None:
        if leader.kind not in ("", "strategy"):
            raise BadRecord(
                f"signal {signal.signal_id}: leader {name} is of kind {leader.kind}, so no strategy may have its name"
            )
    else:
        leader = state.leaders[name] = Leader()
    leader.kind = "strategy"
    fingerprint = f"{signal.instrument} {signal.side} {signal.signal_class} {signal.price}"
    repeat = known_before(name, leader, signal.signal_id, fingerprint, now_ms)
    if repeat is not None:
        return repeat
    draft = Draft(
        leader=name,
        cause=signal.signal_id,
        event_ms=signal.now_ms,
        detected_ms=signal.received_ms,
        instrument=signal.instrument,
        price=signal.price,
        fields={"signal_class": signal.signal_class, "strength": signal.strength, "atr": signal.atr},
    )
    outs = publish(leader, draft, LeaderAction.ENTRY, signal.side, now_ms)
    follow_signal(leader.signals, leader.record, signal.instrument, signal.side, signal.price)
    return outs


def _refuse_bad(signal: Signal) -> None:
    if not signal.strategy or not signal.signal_id or not signal.instrument:
        raise BadRecord("signal without strategy, signal_id or instrument")
    if not usable(signal.price):
        raise BadRecord(
            f"signal {signal.signal_id}: price must be a finite number above zero, at most 1e12 and with at most 18 "
            f"decimals, not {signal.price}"
        )
    if not 0 <= signal.strength <= 1:  # false for NaN too
        raise BadRecord(f"signal {signal.signal_id}: strength must lie in 0..1, not {signal.strength}")
    if signal.side is not _SIDE[signal.signal_class]:
        raise BadRecord(f"signal {signal.signal_id}: class {signal.signal_class} contradicts side {signal.side}")
    if signal.atr is not None and not 0 <= signal.atr < 1e18:
        raise BadRecord(f"signal {signal.signal_id}: atr must be a finite number of zero or more, not {signal.atr}")
