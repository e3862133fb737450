"""The leader role: puts what each leader does in one order, says what may be copied, and broadcasts it to the accounts.

Entry point: `LeaderProcessor`.

1. One sequence per leader, from 1 without holes, over its events and its states, in the order of the inbox
   (signals.py, trades.py, changes.py).
2. An event goes once to every partition of `account-events`: followers are state there, not messages here. The same
   event goes once to `copy-results`, by leader.
3. What must not be copied is told all the same, stamped with the reason and its numbers (guards.py). Exits, reductions
   and protection are never blocked.
4. Pauses and breakers (pauses.py, breaker.py) go to `control` and, broadcast, to `account-events`.
5. A record that cannot be used leaves the state untouched and is parked.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from decimal import ROUND_HALF_EVEN, Context, DivisionByZero, InvalidOperation, Overflow, localcontext
from typing import Any

from processors.leader import book, breaker, state, suspicion
from processors.leader.changes import on_changed
from processors.leader.params import GLOBAL_BREAKER, LeaderParams
from processors.leader.pauses import on_pause, on_report
from processors.leader.signals import on_signal
from processors.leader.state import REMEMBERED, LeaderState
from processors.leader.trades import on_trade
from processors.protocols import Meta, Out
from schemas.codec import BadRecord
from schemas.ids import derive_id
from schemas.leaders import FollowerReport, LeaderChanged, LeaderTrade, PauseRequest
from schemas.signals import Signal

# Products of a price and a size of the largest range, rounded to the finest step, have more digits than money.py's.
_CONTEXT = Context(prec=60, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, DivisionByZero, Overflow])


def leader_context() -> AbstractContextManager[Context]:
    """Return the context manager under which leaders' books are computed."""
    return localcontext(_CONTEXT)


class LeaderProcessor:
    """What leaders do in, ordered events, states and controls out (see the module header)."""

    name = "leader"
    inbox = "leader-events"
    state_schema = 2
    config_hash = derive_id(
        "config",
        "leader",
        REMEMBERED,
        book.UNIT,
        book.MOST_POSITIONS,
        breaker.BUCKETS,
        suspicion.HISTORY,
        suspicion.ENOUGH,
        suspicion.INSTRUMENTS,
        LeaderParams().model_dump_json(),
        GLOBAL_BREAKER.model_dump_json(),
    )

    def initial(self, partition: int) -> LeaderState:
        """Return the state of a partition that has seen nothing."""
        return LeaderState()

    def step(self, state: LeaderState, event: Any, meta: Meta) -> Sequence[Out]:
        """Apply one input (see the module header).

        Raises:
            BadRecord: not an input of this role, or one that contradicts itself; the state is untouched.
        """
        with leader_context():
            match event:
                case Signal():
                    return on_signal(state, event, meta.now_ms)
                case LeaderTrade():
                    return on_trade(state, event, meta.now_ms)
                case FollowerReport():
                    return on_report(state, event, meta.now_ms)
                case LeaderChanged():
                    return on_changed(state, event, meta.now_ms)
                case PauseRequest():
                    return on_pause(state, event, meta.now_ms)
        raise BadRecord(f"the leader role does not read {type(event).__name__}")

    def encode(self, value: LeaderState) -> bytes:
        """Return the state as bytes; equal states give equal bytes."""
        return state.encode(value)

    def decode(self, data: bytes) -> LeaderState:
        """Inverse of `encode`."""
        return state.decode(data)
