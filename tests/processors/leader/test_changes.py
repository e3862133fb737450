"""What people decide about a leader, and what followers are told of it."""

from typing import Any

import pytest

from processors.protocols import ALL, BY_KEY, Meta
from schemas.codec import BadRecord
from schemas.reasons import LeaderAction, RefusalReason
from tests.processors.leader.world import PROCESSOR, World, events, made, pause, sells, signal, states, trade

HALF = {"defaults": {"ratio": "0.5"}}


def actions(outs: Any) -> list[str]:
    return [state.action.value for state in states(outs)]


def test_the_first_word_tells_the_settings_to_every_partition_and_the_statistics() -> None:
    broadcast, counted = World(made(settings=HALF)).outs
    assert (broadcast.topic, broadcast.partition) == ("account-events", ALL)
    assert (counted.topic, counted.key, counted.partition) == ("copy-results", "desk", BY_KEY)
    told = broadcast.value
    assert told == counted.value
    assert (told.action, told.sequence, told.kind, told.status, told.source) == (
        LeaderAction.SETTINGS,
        1,
        "account",
        "active",
        "main",
    )
    assert told.defaults == {"ratio": "0.5"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([made(), made(now_ms=2000)], ["settings"]),
        ([made(), made(status="paused")], ["settings", "paused"]),
        ([made(), made(status="paused"), made()], ["settings", "paused", "resumed"]),
        ([made(), made(status="closed")], ["settings", "closed"]),
        ([made(), made(status="closed"), made(status="closed")], ["settings", "closed"]),
        ([made(), made(settings=HALF)], ["settings", "settings"]),
        ([made(), made(settings={"title": "The desk"})], ["settings", "settings"]),
        ([made(), made(status="paused", settings=HALF)], ["settings", "paused", "settings"]),
        ([made(status="paused")], ["paused", "settings"]),
        ([made(settings={"max_followers": None})], ["settings"]),
        ([made(settings={}), made(settings={"max_followers": None})], ["settings"]),
    ],
)
def test_what_changed_is_told_and_nothing_else(words: list[Any], told: list[str]) -> None:
    world = World(*words)
    assert actions(world.outs) == told
    assert [state.sequence for state in states(world.outs)] == list(range(1, len(told) + 1))
    assert len({state.event_id for state in states(world.outs)}) == len(told)
    assert states(world.outs)[-1].status == words[-1].status


def test_a_strategy_needs_no_word_and_takes_one() -> None:
    world = World(signal(1), made("s1", "strategy", settings=HALF), signal(2))
    assert actions(world.outs) == ["settings"]
    assert [event.sequence for event in events(world.outs)] == [1, 3]


def test_events_of_a_paused_leader_are_told_and_blocked_but_never_exits() -> None:
    world = World(made(), trade(1, "buy", "2"), made(status="paused"))
    world.run([trade(2, "buy", "1"), trade(3, "sell", "1"), trade(4, "buy", kind="protection"), trade(5, "sell", "4")])
    assert [(event.action.value, event.blocked) for event in events(world.outs)] == [
        ("entry", None),
        ("increase", RefusalReason.LEADER_PAUSED),
        ("reduce", None),
        ("protection", None),
        ("exit", None),
        ("entry", RefusalReason.LEADER_PAUSED),
    ]
    assert events(world.outs)[1].blocked_by == {"status": "paused"}
    world.step(made())
    assert [event.blocked for event in events(world.step(trade(6, "sell", "1")))] == [None]


def test_signals_of_a_closed_strategy_are_told_and_blocked() -> None:
    world = World(signal(1), made("s1", "strategy", "closed"))
    assert actions(world.outs) == ["closed", "settings"]
    (event,) = events(world.step(sells(2)))
    assert (event.blocked, event.blocked_by) == (RefusalReason.LEADER_CLOSED, {"status": "closed"})


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (made("new", settings={"max_followers": 0}), "leader new: settings.max_followers"),
        (made("new", settings={"defaults": {"ratio": "NaN"}}), "leader new: settings.defaults"),
        (made("new", settings={"rate_limit": {"events": 10**9}}), "settings.rate_limit.events"),
        (made("new", source=""), "source"),
        (made("new", "feed", source="main"), "source"),
        (made(""), "no name"),
        (made("*"), "no name"),
        (made("desk", "feed"), "cannot become feed"),
        (made("desk", source="other"), "cannot become other"),
        (made("s1"), "cannot become account"),
        (made("gone"), "final"),
        (made("gone", status="closed", settings=HALF), "final"),
    ],
)
def test_bad_words_are_refused_and_change_nothing(told: Any, words: str) -> None:
    world = World(made(), signal(1), made("gone"), made("gone", status="closed"), pause("c1"))
    before = PROCESSOR.encode(world.state)
    with pytest.raises(BadRecord, match=words):
        PROCESSOR.step(world.state, told, Meta(9000, 0, 1))
    assert PROCESSOR.encode(world.state) == before
