"""Any sequence of inputs: restarts and repeats change nothing, nothing is lost, and the guards keep their word."""

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from processors.inbox import InboxCore, Record
from processors.leader.book import position_of
from processors.protocols import ALL, Meta, Out
from schemas.codec import BadRecord, encode
from schemas.leaders import FollowerReport, LeaderChanged, LeaderEvent, LeaderStateChanged
from schemas.system import ControlState
from streams.topics_admin import load_catalogue
from tests.processors.leader.world import BTC, ETH, PROCESSOR, made, pause, reported, sells, signal, trade

LIMIT = {"events": 3, "per_ms": 40}
GUARDS: dict[str, Any] = {
    "rate_limit": LIMIT,
    "breaker": {"window_ms": 100, "min_attempts": 4, "max_failure_rate": "0.4", "open_ms": 10, "settle_ms": 2},
    "suspicion": {
        "flips": 2,
        "flips_window_ms": 300,
        "size_factor": "3",
        "wash_ms": 60,
        "wash_count": 2,
    },
}
KINDS = {"s1": "strategy", "desk": "account", "tv": "feed"}
LEADERS = tuple(KINDS)
TOPICS = load_catalogue().topics


def guards(leader: str) -> dict[str, Any]:
    """Suspicion only tells for the desk and pauses the feed; the strategy has none."""
    action = {"desk": "alert", "tv": "pause"}.get(leader)
    return {**GUARDS, "suspicion": None if action is None else {**GUARDS["suspicion"], "action": action}}


def _step(dice: Random) -> tuple[Any, int]:
    """One input, and how much log time passes before it; ("report", back, failed) is of the back-th last event told."""
    pick = dice.choice
    name, number = pick(LEADERS), dice.randrange(300)
    said = {"price": pick([Decimal(90), Decimal(100), Decimal("110.5")]), "instrument": pick([BTC, ETH])}
    what = pick(["signal", "signal", "trade", "trade", "trade", "change", "pause", "report", "of event", "of event"])
    item: Any
    if what == "signal":
        item = pick([signal, sells])(number, **said)
    elif what == "trade":
        size = pick([None, "0.5", "1", "2", "40"])
        position = pick([None, None, "-2", "-1", "0", "0.5", "1", "3"])
        kind = pick(["trade"] * 5 + ["protection"])
        item = trade(number, pick(["buy", "sell"]), size, position, leader=name, kind=kind, **said)
    elif what == "change":
        status = pick(["active"] * 10 + ["paused"] * 2 + ["closed"])
        settings_of = {**guards(name), "title": pick(["", "The desk"])}
        item = made(name, KINDS[name], status, settings=settings_of, now_ms=dice.randrange(1000, 1500))
    elif what == "pause":
        scope = pick(["*", "leader:desk", "leader:s1", "leader:tv", "account:main", "leader:nobody"])
        item = pause(f"c{number}", scope, pick([True, False, False]))
    elif what == "report":
        item = reported(dice.randrange(6), dice.randrange(4), pick([*LEADERS, "*"]))
    else:
        item = ("report", dice.randrange(1, 5), pick([0, 0, 0, 0, 1]))
    return item, dice.randrange(15)


def _sequence(seed: int, length: int) -> list[tuple[Any, int]]:
    dice = Random(seed)
    return [_step(dice) for _ in range(length)]


inputs = st.builds(_sequence, st.integers(0, 1 << 32), st.integers(0, 120))  # shrinks to the shortest that fails

FIRST = [(made(name, kind, settings=guards(name)), 0) for name, kind in KINDS.items()]


class Run:
    """Inputs through the processor; `steps` are those that were taken, each with what came of it."""

    def __init__(self, items: Sequence[tuple[Any, int]], restart_every: int = 0) -> None:
        self.state = PROCESSOR.initial(0)
        self.steps: list[tuple[Any, Meta, list[Out]]] = []
        self.controls: dict[str, bool] = {}
        self._told: list[LeaderEvent] = []
        now_ms = 1000
        for offset, (item, later_ms) in enumerate([*FIRST, *items]):
            now_ms += later_ms
            self._take(self._filled(item), Meta(now_ms, 0, offset))
            if restart_every and offset % restart_every == 0:
                self.state = PROCESSOR.decode(PROCESSOR.encode(self.state))

    def _filled(self, item: Any) -> Any:
        if not isinstance(item, tuple):
            return item
        _, back, failed = item
        if len(self._told) < back:
            return reported(1, failed)
        event = self._told[-back]
        return reported(1, failed, event.leader, event.event_id)

    def _take(self, item: Any, meta: Meta) -> None:
        before = PROCESSOR.encode(self.state)
        try:
            outs = list(PROCESSOR.step(self.state, item, meta))
        except BadRecord:
            assert PROCESSOR.encode(self.state) == before, "a refused record changes nothing"
            return
        self.steps.append((item, meta, outs))
        self._told += [out.value for out in outs if isinstance(out.value, LeaderEvent) and out.partition == ALL]
        self.controls |= {o.value.scope: o.value.paused for o in outs if isinstance(o.value, ControlState)}
        for name, leader in self.state.leaders.items():
            assert self.controls.get(f"leader:{name}", False) == leader.pauses.paused, "what was told last holds"

    @property
    def outs(self) -> list[Out]:
        return [out for _, _, outs in self.steps for out in outs]

    @property
    def events(self) -> list[LeaderEvent]:
        return self._told


@settings(max_examples=60)
@given(inputs, st.integers(1, 7))
def test_restarts_change_nothing(items: list[tuple[Any, int]], every: int) -> None:
    straight, restarted = Run(items), Run(items, every)
    assert straight.steps == restarted.steps
    assert PROCESSOR.encode(straight.state) == PROCESSOR.encode(restarted.state)


@settings(max_examples=60)
@given(inputs, st.data())
def test_repeats_say_nothing(items: list[tuple[Any, int]], data: st.DataObject) -> None:
    """Signals, trades and commands at any later time; a leader's settings at once. Reports have no id (see below)."""
    taken = [(item, meta) for item, meta, _ in Run(items).steps]
    state = PROCESSOR.initial(0)
    again: list[Any] = []
    for item, meta in taken:
        PROCESSOR.step(state, item, meta)
        if isinstance(item, LeaderChanged):
            assert list(PROCESSOR.step(state, item, meta)) == []
        elif not isinstance(item, FollowerReport):
            again.append(item)
        if again and data.draw(st.booleans()):
            repeat = data.draw(st.sampled_from(again))
            before = PROCESSOR.encode(state)
            assert [out for out in PROCESSOR.step(state, repeat, meta) if out.topic != "alerts"] == []
            assert PROCESSOR.encode(state) == before
    assert PROCESSOR.encode(state) == PROCESSOR.encode(Run(items).state)


@settings(max_examples=20)
@given(inputs, st.integers(1, 5))
def test_through_the_inbox_every_record_may_come_twice_and_restarts_are_free(
    items: list[tuple[Any, int]], every: int
) -> None:
    values = [encode(item) for item, _, _ in Run(items).steps]
    core = InboxCore(PROCESSOR, TOPICS)
    plain, troubled = core.new(0), core.new(0)
    said = core.apply(plain, [_record(offset, offset, value) for offset, value in enumerate(values)])
    heard = []
    for number, value in enumerate(values):
        heard += core.apply(troubled, [_record(2 * number + copy, number, value) for copy in (0, 1)])
        if number % every == 0:
            troubled = core.decode(core.encode(troubled))
    assert [(e.topic, e.partition, e.key, e.value) for e in said] == [
        (e.topic, e.partition, e.key, e.value) for e in heard
    ]


def _record(offset: int, number: int, value: bytes) -> Record:
    before = [("pv", b"%d.0" % (number - 1))] if number else []
    return Record(offset, value, [("src", b"outbox"), ("st", b"%d.0" % number), *before])


@settings(max_examples=60)
@given(inputs)
def test_sequences_have_no_holes_and_ids_are_unique(items: list[tuple[Any, int]]) -> None:
    run = Run(items)
    told: dict[str, list[Any]] = defaultdict(list)
    counted: dict[str, list[Any]] = defaultdict(list)
    for out in run.outs:
        if isinstance(out.value, LeaderEvent | LeaderStateChanged):
            (told if out.partition == ALL else counted)[out.value.leader].append(out.value)
    assert told == counted, "accounts and statistics are told the same"
    for messages in told.values():
        assert [message.sequence for message in messages] == list(range(1, len(messages) + 1))
    every = [message.event_id for messages in told.values() for message in messages]
    assert len(every) == len(set(every))


@settings(max_examples=60)
@given(inputs)
def test_what_makes_a_position_smaller_is_never_blocked(items: list[tuple[Any, int]]) -> None:
    for event in Run(items).events:
        assert event.action in ("entry", "increase") or event.blocked is None
        assert (event.blocked is None) == (event.blocked_by == {})


@settings(max_examples=60)
@given(inputs)
def test_nothing_is_lost(items: list[tuple[Any, int]]) -> None:
    """Every new signal or trade that was taken makes an event, or corrects a book that was wrong."""
    seen: set[tuple[str, str]] = set()
    for item, _, outs in Run(items).steps:
        name = getattr(item, "strategy", None) or getattr(item, "leader", "")
        cause = getattr(item, "signal_id", None) or getattr(item, "trade_id", None)
        if cause is None:
            continue
        made_of = [out.value for out in outs if isinstance(out.value, LeaderEvent)]
        corrected = any(getattr(out.value, "kind", "") == "leader_book_corrected" for out in outs)
        assert (made_of != [] or corrected) == ((name, cause) not in seen)
        assert {event.cause for event in made_of} <= {cause}
        seen.add((name, cause))


@settings(max_examples=60)
@given(inputs)
def test_positions_follow_each_other(items: list[tuple[Any, int]]) -> None:
    run = Run(items)
    last: dict[tuple[str, str], Decimal] = {}
    for event in run.events:
        if event.position is None:
            continue
        before = last.get((event.leader, event.instrument), Decimal(0))
        last[event.leader, event.instrument] = event.position
        if event.action == "entry":
            assert before == 0
        if event.action == "exit":
            assert event.position == 0
            assert abs(before) == event.size
        if event.action == "increase":
            assert abs(event.position) > abs(before) > 0
    for (name, instrument), position in last.items():
        assert position_of(run.state.leaders[name].book, instrument) == position


@settings(max_examples=60)
@given(inputs)
def test_no_window_passes_more_than_the_rate_limit(items: list[tuple[Any, int]]) -> None:
    passed: dict[str, list[int]] = defaultdict(list)
    for event in Run(items).events:
        if event.action in ("entry", "increase") and event.blocked is None:
            passed[event.leader].append(event.now_ms)
    for times in passed.values():
        for at_ms in times:
            assert sum(at_ms <= other < at_ms + LIMIT["per_ms"] for other in times) <= LIMIT["events"]


def test_the_sequences_above_reach_every_guard() -> None:
    """Chance must meet what the properties speak of, else they say nothing."""
    reached: set[Any] = set()

    for seed in range(30):
        run = Run(_sequence(seed, 120))
        reached.update(event.blocked for event in run.events)
        reached.update(event.action for event in run.events)
        reached.update(getattr(out.value, "kind", None) for out in run.outs)
    wanted = {
        "leader_paused",
        "leader_closed",
        "suspicious",
        "rate_limited",
        "breaker_open",
        "entry",
        "increase",
        "reduce",
        "exit",
        "protection",
        "leader_book_corrected",
        "leader_suspicious",
        "breaker_opened",
        "breaker_closed",
        "leader_event_repeated_with_other_fields",
    }
    assert wanted - reached == set()
