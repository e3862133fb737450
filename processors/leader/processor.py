"""The leader role: puts each leader's events in one order and broadcasts them to the accounts' inbox.

Entry point: `LeaderProcessor`.

1. One LeaderEvent per signal, numbered per leader from 1 without holes, in the order of the inbox.
2. The same signal id never makes two events (the last `REMEMBERED` ids of each leader are known); a repeat with other
   fields is told by an Alert and makes none either.
3. Weak signals are published by the strategy but never traded: they make no event.
4. An event goes once to every partition of `account-events`: followers are state there, not messages here.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from processors.protocols import ALL, Meta, Out
from schemas.codec import BadRecord
from schemas.ids import derive_id
from schemas.leaders import LeaderEvent
from schemas.reasons import LeaderAction, Side, SignalClass
from schemas.signals import Signal
from schemas.system import Alert

REMEMBERED = 1024
"""Signal ids kept per leader: far more than the outputs of one strategy between two snapshots."""

_WEAK = frozenset({SignalClass.WEAK_BUY, SignalClass.WEAK_SELL})
_SIDE = {
    SignalClass.STRONG_BUY: Side.BUY,
    SignalClass.BUY: Side.BUY,
    SignalClass.WEAK_BUY: Side.BUY,
    SignalClass.WEAK_SELL: Side.SELL,
    SignalClass.SELL: Side.SELL,
    SignalClass.STRONG_SELL: Side.SELL,
}


class Leader(msgspec.Struct):
    """What is known of one leader: its last sequence, and recent signal ids (oldest first) with their fingerprint."""

    sequence: int = 0
    recent: dict[str, str] = {}


class LeaderState(msgspec.Struct):
    """State of one partition of `leader-events`."""

    leaders: dict[str, Leader] = {}


class _LeaderOnDisk(msgspec.Struct, array_like=True):
    name: str
    sequence: int
    recent: list[tuple[str, str]]  # a list, since the order of a dict is lost when its keys are sorted


_decoder = msgspec.msgpack.Decoder(list[_LeaderOnDisk])


class LeaderProcessor:
    """Signals in, ordered LeaderEvents out (see the module header)."""

    name = "leader"
    inbox = "leader-events"
    state_schema = 1
    config_hash = derive_id("config", "leader", REMEMBERED)

    def initial(self, partition: int) -> LeaderState:
        """Return the state of a partition that has seen nothing."""
        return LeaderState()

    def step(self, state: LeaderState, event: Any, meta: Meta) -> Sequence[Out]:
        """Return one broadcast LeaderEvent for a new tradable signal, nothing for a weak or repeated one.

        Raises:
            BadRecord: not a signal, or one that contradicts itself; the state is untouched.
        """
        if not isinstance(event, Signal):
            raise BadRecord(f"the leader role reads signals, not {type(event).__name__}")
        _refuse_bad(event)
        if event.signal_class in _WEAK:
            return ()
        leader = state.leaders.get(event.strategy)
        if leader is None:
            leader = state.leaders[event.strategy] = Leader()
        fingerprint = _fingerprint(event)
        known = leader.recent.get(event.signal_id)
        if known == fingerprint:
            return ()
        if known is not None:
            return (_changed_repeat(event, known, fingerprint, meta),)
        leader.recent[event.signal_id] = fingerprint
        if len(leader.recent) > REMEMBERED:
            del leader.recent[next(iter(leader.recent))]
        leader.sequence += 1
        return (Out("account-events", event.strategy, _leader_event(event, leader.sequence, meta), ALL),)

    def encode(self, state: LeaderState) -> bytes:
        """Return the state as msgpack, leaders sorted by name."""
        return msgspec.msgpack.encode(
            [
                _LeaderOnDisk(name, leader.sequence, list(leader.recent.items()))
                for name, leader in sorted(state.leaders.items())
            ]
        )

    def decode(self, data: bytes) -> LeaderState:
        """Inverse of `encode`."""
        return LeaderState({item.name: Leader(item.sequence, dict(item.recent)) for item in _decoder.decode(data)})


def _refuse_bad(signal: Signal) -> None:
    if not signal.strategy or not signal.signal_id or not signal.instrument:
        raise BadRecord("signal without strategy, signal_id or instrument")
    if not signal.price.is_finite() or signal.price <= 0:
        raise BadRecord(f"signal {signal.signal_id}: price must be a finite number above zero, not {signal.price}")
    if not 0 <= signal.strength <= 1:  # false for NaN too
        raise BadRecord(f"signal {signal.signal_id}: strength must lie in 0..1, not {signal.strength}")
    if signal.side is not _SIDE[signal.signal_class]:
        raise BadRecord(f"signal {signal.signal_id}: class {signal.signal_class} contradicts side {signal.side}")
    if signal.atr is not None and not 0 <= signal.atr < 1e18:
        raise BadRecord(f"signal {signal.signal_id}: atr must be a finite number of zero or more, not {signal.atr}")


def _fingerprint(signal: Signal) -> str:
    return f"{signal.instrument} {signal.side} {signal.signal_class} {signal.price}"


def _leader_event(signal: Signal, sequence: int, meta: Meta) -> LeaderEvent:
    return LeaderEvent(
        now_ms=meta.now_ms,
        event_id=derive_id("leader-event", signal.strategy, signal.signal_id),
        leader=signal.strategy,
        sequence=sequence,
        action=LeaderAction.ENTRY,
        instrument=signal.instrument,
        side=signal.side,
        signal_class=signal.signal_class,
        strength=signal.strength,
        price=signal.price,
        cause=signal.signal_id,
        event_ms=signal.now_ms,
        atr=signal.atr,
    )


def _changed_repeat(signal: Signal, known: str, fingerprint: str, meta: Meta) -> Out:
    alert = Alert(
        now_ms=meta.now_ms,
        kind="signal_repeated_with_other_fields",
        severity="critical",
        source="leader",
        text=(
            f"Signal {signal.signal_id} of {signal.strategy} came again as '{fingerprint}' after '{known}'; the first "
            "one stands. Look for two strategies of one name and parameters on different data."
        ),
    )
    return Out("alerts", alert.source, alert)
