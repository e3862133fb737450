"""What became of leaders' events: a row per leader, a row per follower, the ledger. Pure.

Entry points: `Copies.take` (one decoded message), `.leaders`, `.followers`, `.ledger`, `.know` (of earlier runs).

1. A follower's copy is pending from its first order or `pending` outcome until its terminal outcome; topics are read
   side by side, so the terminal one may be seen before its order.
2. The ledger counts events whose fan-out came in this run: what earlier runs owed was theirs. Per event, so that what
   nobody owed makes up for nothing that is missing.
3. Memory is bounded: latest events and latest pairs only; a row per leader and follower.
"""

import collections
import dataclasses
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from schemas.orders import Order
from schemas.reasons import LeaderAction, OutcomeState
from schemas.status import FanOut, FollowerState, Outcome, TradeError
from schemas.system import ControlState, scopes_of

KEPT_EVENTS = 2_000
KEPT_PAIRS = 50_000
ENDED = tuple(state.value for state in OutcomeState if state is not OutcomeState.PENDING)
GONE = ("stopped", "closed")
_STATUS_BY_ACTION = {
    LeaderAction.PAUSED: "paused",
    LeaderAction.RESUMED: "active",
    LeaderAction.CLOSED: "closed",
    LeaderAction.SETTINGS: "",
}
_ALL = "*"
_BREAKER = "breaker"  # what the leader role's reasons begin with where a breaker speaks


@dataclasses.dataclass(slots=True)
class LeaderRow:
    """A leader as shown; `breaker` is closed, open or half open."""

    leader: str
    status: str = "active"
    events: int = 0
    blocked: int = 0
    followers: int = 0
    breaker: str = "closed"
    sequence: int = -1


@dataclasses.dataclass(slots=True)
class FollowerRow:
    """A subscription as shown: what it was told to do, and what became of its copies in this run."""

    subscription: str
    account: str
    leader: str
    told: FollowerState | None = None
    counts: dict[str, int] = dataclasses.field(default_factory=lambda: dict.fromkeys(ENDED, 0))
    pending: set[str] = dataclasses.field(default_factory=set)
    why: Outcome | None = None
    errors: dict[str, TradeError] = dataclasses.field(default_factory=dict)
    delay_ms: int = 0
    delays: int = 0
    cost_bps: Decimal = Decimal(0)
    costs: int = 0

    @property
    def mean_delay_ms(self) -> float | None:
        """The mean time from the leader's event to the last fill, in log time."""
        return self.delay_ms / self.delays if self.delays else None

    @property
    def mean_cost_bps(self) -> Decimal | None:
        """The mean cost against the leader's price; above zero is worse for the follower."""
        return self.cost_bps / self.costs if self.costs else None

    @property
    def following(self) -> bool:
        """Whether it neither stopped nor closed."""
        return self.told is None or self.told.status not in GONE

    @property
    def halted(self) -> bool:
        """Whether a trade error is open."""
        return bool(self.errors) or (self.told is not None and self.told.halted)

    def end(self, outcome: Outcome) -> None:
        """Take a terminal outcome in."""
        self.counts[outcome.state.value] += 1
        if outcome.state is not OutcomeState.COPIED:
            self.why = outcome
        cost = outcome.cost
        if cost is not None and cost.filled_ms is not None:
            self.delay_ms += cost.filled_ms - cost.event_ms
            self.delays += 1
        if cost is not None and cost.total_bps is not None:
            self.cost_bps += cost.total_bps
            self.costs += 1


@dataclasses.dataclass(slots=True)
class _Event:
    """Outcomes owed and told of one leader event; `taken` once a fan-out of it was seen."""

    taken: bool = False
    owed: int = 0
    told: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Ledger:
    """Outcomes owed and told; `missing` summed over the events that lack some."""

    owed: int
    told: int
    missing: int


class Copies:
    """Everything the live view and the summary tell about copying."""

    def __init__(self) -> None:
        self.outcomes: collections.Counter[str] = collections.Counter()
        self.errors: dict[str, TradeError] = {}
        self._followers: dict[str, FollowerRow] = {}
        self._leaders: dict[str, LeaderRow] = {}
        self._scopes: dict[str, ControlState] = {}
        self._events: collections.OrderedDict[str, _Event] = collections.OrderedDict()
        self._ended: collections.OrderedDict[tuple[str, str], None] = collections.OrderedDict()
        self._resolved: collections.OrderedDict[str, None] = collections.OrderedDict()
        self._past = Ledger(0, 0, 0)
        # What is derived from all followers: emptied whenever one of them changes its state, not with each outcome.
        self._sorted: list[FollowerRow] = []
        self._worst_first: list[FollowerRow] = []
        self._following: collections.Counter[str] = collections.Counter()

    def take(self, message: Any) -> None:
        """Take one message in; others than those about copying change nothing."""
        handler = _HANDLERS.get(type(message))
        if handler is not None:
            handler(self, message)

    def know(self, followers: Iterable[FollowerState], errors: Iterable[TradeError]) -> None:
        """Take in what earlier runs left; what this run told already holds."""
        for told in followers:
            row = self._follower(told.subscription, told.account, told.leader)
            row.told = row.told or told
        self._changed()
        for error in errors:
            if error.error_id not in self.errors and error.error_id not in self._resolved:
                self._error(error)

    @property
    def pending(self) -> int:
        """How many copies are under way."""
        return sum(len(row.pending) for row in self._followers.values())

    def followers(self) -> list[FollowerRow]:
        """Return the subscriptions by leader and name, those that ended last."""
        if not self._sorted:
            self._sorted = sorted(
                self._followers.values(), key=lambda row: (not row.following, row.leader, row.subscription, row.account)
            )
        return self._sorted

    def worst_first(self) -> list[FollowerRow]:
        """Return the same, but the halted first, then those that something else holds back."""
        if not self._worst_first:
            self._worst_first = sorted(self.followers(), key=self._trouble)
        return self._worst_first

    def leaders(self) -> list[LeaderRow]:
        """Return the leaders by name."""
        if not self._following:
            self._following = collections.Counter(row.leader for row in self._followers.values() if row.following)
        return [
            dataclasses.replace(
                self._leaders.get(name) or LeaderRow(name), followers=self._following[name], breaker=self._breaker(name)
            )
            for name in sorted(self._leaders.keys() | self._following.keys())
        ]

    def status(self, row: FollowerRow) -> str:
        """Return whether copies of this subscription are made; `paused: SCOPE` where another scope stops them."""
        own = "active" if row.told is None else row.told.status
        if own in GONE:
            return own
        if row.halted:
            return "halted"
        if own != "active":
            return own
        scopes = scopes_of(row.leader, row.account, row.subscription)
        for scope in reversed(scopes):
            state = self._scopes.get(scope)
            if state is not None and state.paused:
                what = "breaker" if state.reason.startswith(_BREAKER) else "paused"
                return what if scope == scopes[-1] else f"{what}: {'all' if scope == _ALL else scope.partition(':')[0]}"
        leader = self._leaders.get(row.leader)
        return own if leader is None or leader.status == "active" else "paused: leader"

    def everything(self) -> str:
        """Return what stops all entries, nothing where none does."""
        state = self._scopes.get(_ALL)
        return "" if state is None or not state.paused else state.reason or "paused"

    def ledger(self) -> Ledger:
        """Return outcomes owed and told in this run."""
        ledger = self._past
        for event in self._events.values():
            ledger = _added(ledger, event)
        return ledger

    def _trouble(self, row: FollowerRow) -> int:
        if not row.following:
            return 3
        return 0 if row.halted else 1 if self.status(row) != "active" else 2

    def _changed(self) -> None:
        self._sorted, self._worst_first, self._following = [], [], collections.Counter()

    def _breaker(self, leader: str) -> str:
        state = self._scopes.get(f"leader:{leader}")
        if state is None or not state.reason.startswith(_BREAKER):
            return "closed"
        return "open" if state.paused else "half open" if "half open" in state.reason else "closed"

    def _follower(self, subscription: str, account: str, leader: str) -> FollowerRow:
        row = self._followers.get(subscription)
        if row is None:
            row = self._followers[subscription] = FollowerRow(subscription, account, leader)
            self._changed()
        return row

    def _event(self, event_id: str) -> _Event:
        event = self._events.get(event_id)
        if event is None:
            event = self._events[event_id] = _Event()
            if len(self._events) > KEPT_EVENTS:
                self._past = _added(self._past, self._events.popitem(last=False)[1])
        return event

    def _order(self, order: Order) -> None:
        if order.event_id:  # without one it answers no leader's event: a stop, a person's command
            self._begin(self._follower(order.subscription, order.account, order.leader), order.event_id)

    def _begin(self, row: FollowerRow, event_id: str) -> None:
        if event_id in row.pending or (event_id, row.subscription) in self._ended:
            return
        row.pending.add(event_id)
        self._event(event_id).told += 1

    def _outcome(self, outcome: Outcome) -> None:
        row = self._follower(outcome.subscription, outcome.account, outcome.leader)
        if outcome.state is OutcomeState.PENDING:
            self._begin(row, outcome.event_id)
            return
        pair = (outcome.event_id, outcome.subscription)
        if pair in self._ended:
            return
        self._ended[pair] = None
        if len(self._ended) > KEPT_PAIRS:
            self._ended.popitem(last=False)
        if outcome.event_id in row.pending:
            row.pending.remove(outcome.event_id)
        else:
            self._event(outcome.event_id).told += 1
        self.outcomes[outcome.state.value] += 1
        row.end(outcome)

    def _fan_out(self, told: FanOut) -> None:
        event = self._event(told.event_id)
        leader = self._leaders.setdefault(told.leader, LeaderRow(told.leader))
        status = _STATUS_BY_ACTION.get(told.action)
        if status is None and not event.taken:  # each partition tells its own
            leader.events += 1
            leader.blocked += told.blocked is not None
        elif status and told.sequence > leader.sequence:
            leader.status, leader.sequence = status, told.sequence
            self._changed()
        event.taken = True
        event.owed += told.active

    def _error(self, error: TradeError) -> None:
        row = self._follower(error.subscription, error.account, error.leader)
        self._changed()
        if error.state == "open":
            self.errors[error.error_id] = row.errors[error.error_id] = error
            return
        self.errors.pop(error.error_id, None)
        row.errors.pop(error.error_id, None)
        self._resolved[error.error_id] = None
        if len(self._resolved) > KEPT_PAIRS:
            self._resolved.popitem(last=False)

    def _told(self, told: FollowerState) -> None:
        row = self._follower(told.subscription, told.account, told.leader)
        row.told, row.account, row.leader = told, told.account, told.leader
        self._changed()

    def _control(self, state: ControlState) -> None:
        self._scopes[state.scope] = state
        self._changed()


_HANDLERS: dict[type, Any] = {
    Order: Copies._order,
    Outcome: Copies._outcome,
    FanOut: Copies._fan_out,
    TradeError: Copies._error,
    FollowerState: Copies._told,
    ControlState: Copies._control,
}


def _added(ledger: Ledger, event: _Event) -> Ledger:
    if not event.taken:
        return ledger
    missing = max(0, event.owed - event.told)
    return Ledger(ledger.owed + event.owed, ledger.told + event.told, ledger.missing + missing)
