"""Rate limit, breakers and pauses: what is stamped, what is told, and when it ends."""

from typing import Any

import pytest

from processors.leader.breaker import BREAKER, BreakerEvent, BreakerState
from processors.leader.params import GLOBAL_BREAKER
from processors.protocols import Meta
from schemas.codec import BadRecord
from schemas.leaders import LeaderEvent
from schemas.reasons import RefusalReason
from tests.processors.leader.world import (
    PROCESSOR,
    D,
    World,
    alerts,
    controls,
    events,
    made,
    pause,
    reported,
    states,
    trade,
)

BREAK = {
    "window_ms": 1000,
    "min_attempts": 10,
    "max_failure_rate": "0.5",
    "open_ms": 5000,
    "probes": 2,
    "settle_ms": 500,
}
SETTINGS: dict[str, Any] = {"rate_limit": None, "suspicion": None, "breaker": BREAK}


class Buyer(World):
    """A leader that buys whenever it is asked to."""

    def buy(self, at_ms: int) -> LeaderEvent:
        (event,) = events(self.step(trade(self.steps, "buy", "1"), at_ms))
        return event

    def blocked(self, at_ms: int) -> RefusalReason | None:
        return self.buy(at_ms).blocked


def buyer(**settings: Any) -> Buyer:
    return Buyer(made(settings={**SETTINGS, **settings}))


# rate limit


def test_the_rate_limit_is_a_sliding_window_of_what_passed() -> None:
    world = buyer(rate_limit={"events": 2, "per_ms": 100})
    limited = RefusalReason.RATE_LIMITED
    assert [world.blocked(at) for at in (5000, 5050, 5060, 5099)] == [None, None, limited, limited]
    assert [world.blocked(at) for at in (5100, 5149, 5150)] == [None, limited, None]
    event = world.buy(5151)
    assert event.blocked_by == {"events": "2", "per_ms": "100"}
    assert len(world.state.leaders["desk"].passed) == 2


def test_reductions_and_exits_neither_count_nor_wait() -> None:
    world = buyer(rate_limit={"events": 2, "per_ms": 100})
    world.buy(5000)
    for _ in range(3):
        (event,) = events(world.step(trade(world.steps, "sell", "0.1"), 5001))
        assert event.blocked is None
    assert world.blocked(5002) is None
    (out, back) = events(world.step(trade(world.steps, "sell", "9"), 5003))
    assert (out.blocked, back.blocked) == (None, RefusalReason.RATE_LIMITED)


def test_a_smaller_limit_counts_at_once_and_a_paused_leader_uses_none_of_it() -> None:
    world = buyer(rate_limit={"events": 5, "per_ms": 1000})
    for at in (5000, 5001, 5002):
        world.buy(at)
    world.step(made(settings={**SETTINGS, "rate_limit": {"events": 2, "per_ms": 1000}}))
    assert world.blocked(5003) is RefusalReason.RATE_LIMITED
    world.step(pause("c1"))
    assert world.blocked(6500) is RefusalReason.LEADER_PAUSED
    world.step(pause("c2", paused=False))
    assert [world.blocked(at) for at in (6501, 6502, 6503)] == [None, None, RefusalReason.RATE_LIMITED]


# breaker of a leader


def test_the_table_of_the_breaker_is_whole() -> None:
    assert set(BREAKER) == set(BreakerState)
    assert {event for row in BREAKER.values() for event in row} == set(BreakerEvent)
    assert all(row[BreakerEvent.RESET] is BreakerState.CLOSED for row in BREAKER.values())


@pytest.mark.parametrize(
    ("told", "opens"),
    [
        ([(9, 0), (0, 9)], False),  # too few attempts
        ([(10, 0), (0, 5)], False),  # exactly the rate
        ([(10, 0), (0, 6)], True),
        ([(10, 6)], True),
        ([(0, 6), (10, 0)], True),  # failures may be told first
        ([(100, 0), (0, 6)], False),
    ],
)
def test_it_opens_above_the_rate_of_failures(told: list[tuple[int, int]], opens: bool) -> None:
    world = buyer()
    outs = [out for counts in told for out in world.step(reported(*counts), 5000)]
    assert controls(outs) == ([("leader:desk", True)] if opens else [])
    assert [(alert.kind, alert.severity) for alert in alerts(outs)] == (
        [("breaker_opened", "critical")] if opens else []
    )
    assert world.blocked(5001) is (RefusalReason.BREAKER_OPEN if opens else None)


def test_what_left_the_window_does_not_count() -> None:
    world = buyer()
    world.step(reported(10, 5), 5000)
    assert world.step(reported(0, 5), 6100) == []
    assert world.step(reported(10, 0), 6100) == []
    assert len(world.state.leaders["desk"].pauses.breaker.sums) <= 10


def opened() -> Buyer:
    world = buyer()
    world.step(reported(10, 10), 5000)
    return world


def test_open_blocks_until_its_time_and_exits_pass() -> None:
    world = opened()
    event = world.buy(9999)
    assert (event.blocked, event.blocked_by["breaker"], event.blocked_by["failed"]) == (
        RefusalReason.BREAKER_OPEN,
        "open",
        "10",
    )
    assert [event.blocked for event in events(world.step(trade(77, "sell", "1"), 10_000))] == [None]
    assert world.step(reported(10, 10), 9999) == [], "of copies made before"


def test_half_open_is_told_before_the_first_probe_and_closes_when_the_probes_went_well() -> None:
    world = opened()
    outs = world.step(trade(50, "buy", "1"), 10_000)
    assert controls(outs[:2]) == [("leader:desk", False)]
    (first,) = events(outs[2:])
    second = world.buy(10_010)
    third = world.buy(10_020)
    assert (first.blocked, second.blocked, third.blocked) == (None, None, RefusalReason.BREAKER_OPEN)
    assert third.blocked_by["breaker"] == "half_open"
    world.step(reported(5, event_id=first.event_id), 10_030)
    assert world.blocked(10_509) is RefusalReason.BREAKER_OPEN, "failures may still be told"
    outs = world.step(trade(51, "buy", "1"), 10_510)
    assert [event.blocked for event in events(outs)] == [None]
    assert [alert.kind for alert in alerts(outs)] == ["breaker_closed"]
    assert [world.blocked(10_511) for _ in range(5)] == [None] * 5


def test_one_failed_probe_opens_it_again() -> None:
    world = opened()
    probe = world.buy(10_000)
    assert world.step(reported(0, 3, event_id="older"), 10_001) == []
    outs = world.step(reported(0, 1, event_id=probe.event_id, error="no margin"), 10_002)
    assert controls(outs) == [("leader:desk", True)]
    assert "no margin" in alerts(outs)[0].text
    assert world.blocked(15_001) is RefusalReason.BREAKER_OPEN
    assert world.blocked(15_002) is None


def test_probes_that_nobody_copied_prove_nothing_and_are_tried_again() -> None:
    world = opened()
    assert [world.blocked(at) for at in (10_000, 10_001)] == [None, None]
    assert [world.blocked(at) for at in (10_501, 10_502, 10_503)] == [None, None, RefusalReason.BREAKER_OPEN]
    assert world.state.leaders["desk"].pauses.breaker.state is BreakerState.HALF_OPEN


def test_a_resume_closes_it_and_so_does_switching_it_off() -> None:
    world = opened()
    assert controls(world.step(pause("c1", paused=False))) == [("leader:desk", False)]
    assert world.blocked(5001) is None
    world = opened()
    assert controls(world.step(made(settings={**SETTINGS, "breaker": None}))) == [("leader:desk", False)]
    assert world.blocked(5001) is None
    assert world.step(reported(10, 10), 5002) == []


# breaker of all


def test_the_breaker_of_all_waits_for_a_person() -> None:
    world = World()
    assert world.step(reported(GLOBAL_BREAKER.min_attempts - 1, 99, leader="*"), 5000) == []
    outs = world.step(reported(1, 0, leader="*"), 5000)
    assert controls(outs) == [("*", True)]
    assert "wakeline pause all --resume" in alerts(outs)[0].text
    assert world.step(reported(500, 500, leader="*"), 900_000) == []
    assert controls(world.step(pause("c1", "*", False))) == [("*", False)]
    assert controls(world.step(reported(500, 500, leader="*"), 900_001)) == [("*", True)]


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (reported(-1), "out of range"),
        (reported(1, -1), "out of range"),
        (reported(10**9), "out of range"),
        (reported(1, of="other"), "under the key"),
    ],
)
def test_bad_reports_are_refused(told: Any, words: str) -> None:
    world = World(made())
    before = PROCESSOR.encode(world.state)
    with pytest.raises(BadRecord, match=words):
        PROCESSOR.step(world.state, told, Meta(9000, 0, 1))
    assert PROCESSOR.encode(world.state) == before


def test_a_report_on_a_leader_that_is_not_known_makes_none() -> None:
    world = World(reported(100, 100, leader="nobody"))
    assert (world.outs, world.state.leaders) == ([], {})


# pauses by people


@pytest.mark.parametrize("scope", ["*", "leader:desk", "account:main", "subscription:main/desk"])
def test_a_pause_is_told_at_once_and_a_repeat_does_nothing(scope: str) -> None:
    world = World()
    assert controls(world.step(pause("c1", scope, reason="holiday"))) == [(scope, True)]
    assert {out.value.reason for out in world.outs} == {"holiday"}
    assert controls(world.step(pause("c2", scope, paused=False))) == [(scope, False)]
    assert world.step(pause("c1", scope)) == []


def test_a_paused_leader_is_stamped_and_other_scopes_are_not_its_business() -> None:
    world = buyer()
    world.run([pause("c0", "*"), pause("c1", "account:main"), pause("c2", "subscription:main/desk")])
    assert world.blocked(5000) is None
    world.step(pause("c3", reason="news"))
    event = world.buy(5001)
    assert (event.blocked, event.blocked_by) == (RefusalReason.LEADER_PAUSED, {"command": "c3", "reason": "news"})
    assert states(world.outs)[1:] == [], "a pause of a scope is told on control"
    world.step(pause("c4", paused=False))
    assert world.blocked(5002) is None


def test_a_request_and_an_open_breaker_are_two_reasons() -> None:
    world = opened()
    assert controls(world.step(pause("c1"))) == [("leader:desk", True)]
    outs = world.step(trade(50, "buy", "1"), 20_000)
    assert controls(outs) == [], "the breaker is not tried while a person holds the leader"
    assert events(outs)[0].blocked is RefusalReason.LEADER_PAUSED
    assert controls(world.step(pause("c2", paused=False))) == [("leader:desk", False)]
    assert world.blocked(20_001) is None


def test_a_resume_does_not_lift_the_status() -> None:
    world = World(made(status="paused"), pause("c1", paused=False))
    (event,) = events(world.step(trade(1, "buy", "1")))
    assert event.blocked is RefusalReason.LEADER_PAUSED


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (pause("c9", "planet:earth"), "scope"),
        (pause("c9", "leader:"), "scope"),
        (pause("c9", "account:"), "scope"),
        (pause("c9", ""), "scope"),
        (pause("c9", "leader:desk", leader="*"), "key"),
        (pause("c9", "account:main", leader="main"), "key"),
        (pause(""), "command_id"),
        (pause("c1", paused=False), "already"),
    ],
)
def test_bad_requests_are_refused_and_change_nothing(told: Any, words: str) -> None:
    world = World(made(), pause("c1"))
    before = PROCESSOR.encode(world.state)
    with pytest.raises(BadRecord, match=words):
        PROCESSOR.step(world.state, told, Meta(9000, 0, 1))
    assert PROCESSOR.encode(world.state) == before


# suspicious patterns


def watched(**suspicion: Any) -> Buyer:
    return buyer(suspicion={"flips": None, "size_factor": None, "wash_ms": None, "wash_count": None, **suspicion})


def turn(number: int) -> Any:
    return trade(number, "buy", position=1) if number % 2 else trade(number, "sell", position=-1)


def test_a_burst_of_flips_is_told_once_with_its_numbers() -> None:
    world = watched(flips=3, flips_window_ms=1000)
    told = [alerts(world.step(turn(number), 5000 + number)) for number in range(1, 9)]
    found = [number for number, item in enumerate(told, 1) if item]
    assert found == [4, 7], "the first is no flip, three are a burst, then it counts anew"
    (alert,) = told[3]
    assert (alert.kind, alert.severity, alert.numbers["flips"]) == ("leader_suspicious", "warning", "3")


def test_slow_turns_are_no_burst() -> None:
    world = watched(flips=3, flips_window_ms=1000)
    for number in range(1, 9):
        assert alerts(world.step(turn(number), 5000 + 500 * number)) == []


@pytest.mark.parametrize(("size", "found"), [("10", False), ("10.1", True)])
def test_a_size_far_off_the_history(size: str, found: bool) -> None:
    world = watched(size_factor="10")
    for _ in range(12):
        assert world.blocked(5000) is None
    outs = world.step(trade(999, "buy", size), 5001)
    assert [alert.numbers.get("median") for alert in alerts(outs)] == (["100"] if found else [])
    assert events(outs)[0].blocked is None, "told only"


def test_a_size_is_nothing_unusual_without_history() -> None:
    world = watched(size_factor="10")
    world.buy(5000)
    assert alerts(world.step(trade(999, "buy", "1000"), 5001)) == []


@pytest.mark.parametrize(("held_ms", "found"), [(100, True), (101, False)])
def test_in_and_out_again(held_ms: int, found: bool) -> None:
    world = watched(wash_ms=100, wash_count=2, flips_window_ms=10_000)
    outs = []
    for number in (1, 2):
        world.step(trade(10 * number, "buy", "1"), 5000 + 1000 * number)
        outs += world.step(trade(10 * number + 1, "sell", "1"), 5000 + 1000 * number + held_ms)
    assert [alert.numbers.get("washes") for alert in alerts(outs)] == (["2"] if found else [])


def suspended() -> Buyer:
    world = watched(size_factor="10", action="pause")
    for _ in range(12):
        world.buy(5000)
    outs = world.step(trade(999, "buy", "50"), 5001)
    (state,), (event,) = states(outs), events(outs)
    assert (state.action, state.status, state.reason[:11]) == ("paused", "paused", "suspicious:")
    assert (event.blocked, event.sequence) == (RefusalReason.SUSPICIOUS, state.sequence + 1)
    return world


def test_a_suspicious_leader_is_paused_from_that_very_event_on_and_may_leave() -> None:
    world = suspended()
    event = world.buy(5002)
    assert (event.blocked, event.blocked_by["since_ms"]) == (RefusalReason.SUSPICIOUS, "5001")
    assert [event.blocked for event in events(world.step(trade(5000, "sell", "60"), 5003))] == [None]
    outs = world.step(trade(5001, "buy", "500"), 5004)
    assert (len(alerts(outs)), states(outs)) == (1, []), "paused once"


def test_a_person_lifts_the_suspicion() -> None:
    world = suspended()
    outs = world.step(pause("c1", paused=False, now_ms=5005))
    assert [(state.action, state.status) for state in states(outs)] == [("resumed", "active")]
    assert world.blocked(5006) is None
    world = suspended()
    old = made(settings={"suspicion": None, "rate_limit": None}, now_ms=5001)
    assert [(state.action, state.status) for state in states(world.step(old))] == [("settings", "paused")]
    newer = made(settings={"suspicion": None, "rate_limit": None}, now_ms=5002)
    assert [(state.action, state.status) for state in states(world.step(newer))] == [("resumed", "active")]
    assert world.blocked(5006) is None


def test_what_is_kept_to_see_patterns_is_bounded() -> None:
    world = watched(flips=1000, wash_ms=1, wash_count=1000, size_factor="1000000", flips_window_ms=31_536_000_000)
    for number in range(1500):
        world.step(trade(2 * number, "buy", "1", instrument=f"x:{number % 1100}"))
        world.step(trade(2 * number + 1, "sell", "1", instrument=f"x:{number % 1100}"))
    watch = world.state.leaders["desk"].watch
    assert len(watch.sides.order) == len(watch.sides.known) == 1000
    assert watch.opened.order == []
    assert max(len(watch.flips), len(watch.washes)) <= 1000
    assert len(watch.notionals) == 30
    assert D(100) in watch.notionals
