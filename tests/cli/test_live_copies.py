"""What became of leaders' events: the rows of leaders and followers, the ledger, the words for reasons."""

import itertools
import random
from decimal import Decimal as D
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.live import copies as module
from cli.live.before import errors_of, followers_of
from cli.live.copies import Copies, FollowerRow, Ledger
from cli.live.words import _FORMS, how, last_reason, why
from schemas.reasons import LeaderAction, OutcomeState, RefusalReason
from schemas.system import ControlState
from tests.cli import sample

ENDS = [OutcomeState.COPIED, OutcomeState.REDUCED, OutcomeState.SKIPPED, OutcomeState.FAILED]


def taken(*messages: Any) -> Copies:
    copies = Copies()
    for message in messages:
        copies.take(message)
    return copies


def only(copies: Copies) -> FollowerRow:
    (row,) = copies.followers()
    return row


def control(scope: str, paused: bool = True, reason: str = "") -> ControlState:
    return ControlState(now_ms=1, scope=scope, paused=paused, reason=reason)


@pytest.mark.parametrize("swapped", [False, True])
def test_an_order_is_pending_until_its_outcome_whichever_is_read_first(swapped: bool) -> None:
    fan_out, order, end = sample.fan_out(1, 1), sample.order(1), sample.outcome(1, OutcomeState.COPIED)
    before = taken(fan_out, order)
    assert (before.pending, only(before).pending, before.ledger()) == (1, {"e1"}, Ledger(1, 1, 0))
    after = taken(fan_out, *((end, order) if swapped else (order, end)))
    assert (after.pending, after.outcomes, after.ledger()) == (0, {"copied": 1}, Ledger(1, 1, 0))


def test_a_pending_outcome_and_a_second_order_of_one_event_are_one_copy() -> None:
    copies = taken(sample.fan_out(1, 1), sample.outcome(1, OutcomeState.PENDING), sample.order(1), sample.order(1))
    assert (copies.pending, copies.ledger()) == (1, Ledger(1, 1, 0))


def test_an_outcome_told_twice_counts_once() -> None:
    copies = taken(sample.fan_out(1, 1), *[sample.outcome(1, OutcomeState.COPIED)] * 2)
    assert (copies.outcomes, copies.ledger(), only(copies).counts["copied"]) == ({"copied": 1}, Ledger(1, 1, 0), 1)


def test_what_nobody_owed_makes_up_for_nothing_that_is_missing() -> None:
    copies = taken(
        sample.fan_out(1, 2),
        sample.fan_out(2, 0),
        sample.outcome(1, OutcomeState.COPIED),
        sample.outcome(2, OutcomeState.COPIED),
        sample.outcome(9, OutcomeState.COPIED),  # of an earlier run: its fan-out was then
    )
    assert copies.ledger() == Ledger(owed=2, told=2, missing=1)
    assert copies.outcomes == {"copied": 3}


events = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 3), st.sampled_from(ENDS)), max_size=40)


@given(events, st.integers(0, 3), st.randoms(use_true_random=False))
def test_the_ledger_agrees_with_counting_pairs(
    told: list[tuple[int, int, OutcomeState]], fewer: int, order: random.Random
) -> None:
    """In whatever order partitions are read, and with few events kept."""
    pairs = {(number, f"a{who}/demo"): state for number, who, state in told}
    owed = {number: sum(1 for pair in pairs if pair[0] == number) + fewer for number, _ in pairs}
    fan_outs = [sample.fan_out(number, active) for number, active in owed.items()]
    ends = [sample.outcome(number, state, name) for (number, name), state in pairs.items()]
    messages = [*fan_outs, *ends]
    order.shuffle(messages)
    copies = taken(*messages)
    assert copies.ledger() == Ledger(sum(owed.values()), len(pairs), fewer * len(owed))
    assert sum(copies.outcomes.values()) == len(pairs)
    counted = [sum(row.counts.values()) for row in copies.followers()]
    assert sum(counted) == len(pairs)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_EVENTS", 10)
    monkeypatch.setattr(module, "KEPT_PAIRS", 10)
    copies = Copies()
    for number in range(100):
        copies.take(sample.fan_out(number, 2))
        copies.take(sample.order(number))
        copies.take(sample.outcome(number, OutcomeState.COPIED))
        copies.take(sample.trade_error(number))
        copies.take(sample.trade_error(number, state="resolved"))
    assert len(copies._events) == len(copies._ended) == len(copies._resolved) == 10
    assert copies.ledger() == Ledger(owed=200, told=100, missing=100)
    assert copies.pending == 0
    assert copies.errors == {}


def test_an_event_that_two_partitions_take_is_one_event_that_owes_both() -> None:
    blocked = {"blocked": RefusalReason.SUSPICIOUS}
    copies = taken(
        sample.fan_out(1, 2, partition=0),
        sample.fan_out(1, 3, partition=1),
        *(sample.fan_out(2, 1, partition=number, **blocked) for number in (0, 1)),
        sample.fan_out(3, 1, action=LeaderAction.PAUSED),
    )
    (leader,) = copies.leaders()
    assert (leader.events, leader.blocked, leader.status) == (2, 1, "paused")
    assert copies.ledger().owed == 8


def test_the_state_of_a_leader_is_the_last_in_its_order() -> None:
    told = [LeaderAction.PAUSED, LeaderAction.RESUMED, LeaderAction.SETTINGS]
    states = [sample.fan_out(number, 0, action=action) for number, action in enumerate(told, start=1)]
    for messages in itertools.permutations(states):
        assert taken(*messages).leaders()[0].status == "active"


@pytest.mark.parametrize(
    ("reason", "paused", "breaker", "status"),
    [
        ("breaker: 5 of 9 copies failed", True, "open", "breaker: leader"),
        ("breaker half open: the next entries are tried", False, "half open", "active"),
        ("breaker switched off", False, "closed", "active"),
        ("holiday", True, "closed", "paused: leader"),
    ],
)
def test_the_breaker_of_a_leader(reason: str, paused: bool, breaker: str, status: str) -> None:
    copies = taken(sample.follower("a/demo"), control("leader:demo", paused, reason))
    assert (copies.leaders()[0].breaker, copies.status(only(copies))) == (breaker, status)


@pytest.mark.parametrize(
    ("messages", "status"),
    [
        ([], "active"),
        ([sample.follower("a/demo", "paused"), control("*")], "paused"),
        ([sample.follower("a/demo", "stopped"), sample.trade_error(1, "a/demo")], "stopped"),
        ([control("account:a")], "paused: account"),
        ([control("subscription:a/demo")], "paused"),
        ([control("*"), control("account:b")], "paused: all"),
        ([control("*"), control("*", paused=False)], "active"),
        ([control("account:b"), control("leader:other")], "active"),
        ([sample.trade_error(1, "a/demo"), control("*")], "halted"),
        ([sample.trade_error(1, "a/demo"), sample.trade_error(1, "a/demo", "resolved")], "active"),
        ([sample.follower("a/demo", halted=True)], "halted"),
        ([sample.fan_out(1, 1, action=LeaderAction.PAUSED)], "paused: leader"),
    ],
)
def test_the_status_of_a_follower(messages: list[Any], status: str) -> None:
    copies = taken(sample.follower("a/demo"), *messages)
    assert copies.status(only(copies)) == status


def test_those_that_ended_are_no_followers_and_come_last() -> None:
    copies = taken(sample.follower("a/demo", "closed"), sample.follower("c/demo"), sample.follower("b/demo", "paused"))
    assert [row.subscription for row in copies.followers()] == ["b/demo", "c/demo", "a/demo"]
    assert copies.leaders()[0].followers == 2


def test_means_are_over_what_was_measured() -> None:
    ends = [
        sample.outcome(1, OutcomeState.COPIED, cost=sample.cost(30, "-0.5")),
        sample.outcome(2, OutcomeState.REDUCED, cost=sample.cost(40, "1.5")),
        sample.outcome(3, OutcomeState.COPIED),
        sample.outcome(4, OutcomeState.SKIPPED),
    ]
    row = only(taken(*ends))
    assert (row.mean_delay_ms, row.mean_cost_bps) == (35, D("0.5"))
    empty = only(taken(ends[2]))
    assert (empty.mean_delay_ms, empty.mean_cost_bps) == (None, None)


def test_what_this_run_told_holds_against_what_earlier_runs_left() -> None:
    copies = taken(sample.follower("a/demo", "paused"), sample.trade_error(2, "a/demo", "resolved"))
    copies.know(
        [sample.follower("a/demo"), sample.follower("b/demo")],
        [sample.trade_error(2, "a/demo"), sample.trade_error(3, "b/demo")],
    )
    assert [copies.status(row) for row in copies.followers()] == ["paused", "halted"]
    assert list(copies.errors) == ["error3"]


def test_rows_of_clickhouse_become_the_messages_they_came_from() -> None:
    at = "2024-08-08 12:00:00.000"
    row = {"log_time": at, "subscription": "a/demo", "account": "a", "leader": "demo", "status": "active"}
    row |= {"group": "", "existing": ""}
    settings = '{"ratio":"0.5"}'
    found = followers_of([{**row, "halted": False, "origins": {"ratio": "subscription"}, "settings": settings}])
    assert found == [sample.follower("a/demo", ratio="0.5")]
    error = sample.trade_error(0, "a/demo")
    fields = {name: getattr(error, name) for name in error.__struct_fields__ if name != "now_ms"}
    assert errors_of([{**fields, "log_time": at}]) == [error]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "risk 2%"),
        ({"risk_per_trade": "0.005", "ratio": "0.5"}, "risk 0.5% x0.5"),
        ({"size": {"kind": "ratio"}}, "ratio x1"),
        ({"size": {"kind": "mirror"}, "ratio": "0.10"}, "mirror x0.1"),
        ({"size": {"kind": "inverse"}}, "inverse x1"),
        ({"size": {"kind": "inverse", "follows": "position"}, "ratio": "2"}, "inverse mirror x2"),
        ({"size": {"kind": "fixed_quantity", "quantity": "0.01"}}, "fixed size 0.01"),
        ({"size": {"kind": "fixed_notional", "notional": "250"}, "ratio": "3"}, "fixed 250 x3"),
        ({"size": {"kind": "balance_percent", "fraction": "0.5"}}, "50% of balance"),
        ({"size": {"kind": "equity_proportional"}}, "by equity"),
        ({"size": {"kind": "tiers", "tiers": [{"up_to": "100", "multiplier": "1"}, {"multiplier": "2"}]}}, "2 tiers"),
        ({"size": {"kind": "signal_only"}}, "signal only"),
        ({"notify_only": True, "ratio": "2"}, "notify only"),
        ({"opposite": "reverse", "condition": {"sides": "long"}}, "risk 2%, reverse, long only"),
        ({"whitelist": [sample.BTC, sample.ETH]}, "risk 2%, BTC+ETH only"),
        ({"max_order_notional": "400", "max_day_orders": 20}, "risk 2%, max 400, 20 a day"),
        ({"entry_slippage": {"bps": "0.50"}}, "risk 2%, slippage 0.5 bps"),
        ({"of": "a newer build"}, "?"),
    ],
)
def test_how_a_follower_copies(settings: dict[str, Any], words: str) -> None:
    assert how(sample.follower("a/demo", **settings)) == words


R = RefusalReason


@pytest.mark.parametrize(
    ("reason", "numbers", "words"),
    [
        (R.SLIPPAGE, {"slippage_bps": "0.8312", "max_slippage_bps": "0.5"}, "slippage 0.8312 > 0.5 bps"),
        (R.SLIPPAGE, {}, "slippage"),
        (R.DAY_ORDERS, {"day_orders": "20", "max_day_orders": "20"}, "20 of 20 orders a day"),
        (R.CONDITION, {"side": "short", "sides": "long", "condition": "sides"}, "condition short, long only"),
        (R.NOT_LISTED, {"instrument": sample.ETH, "list": "whitelist"}, "not listed ETH/USDT"),
        (R.BELOW_MINIMUM, {"notional": "4.123456789", "min_notional": "1E+2"}, "below minimum 4.12346 < 100"),
        (R.HALTED, {"open_errors": "NaN"}, "halted, NaN open errors"),
        (R.NOTIFY_ONLY, {"x": "1"}, "notify only"),
        (R.PAUSED, {"paused_by": "*: maintenance"}, "paused all: maintenance"),
        (R.PAUSED, {"paused_by": "account:a: his wish"}, "paused account:a: his wish"),
    ],
)
def test_why_a_copy_was_skipped(reason: RefusalReason, numbers: dict[str, str], words: str) -> None:
    assert why(sample.outcome(1, OutcomeState.SKIPPED, reason=reason, numbers=numbers)) == words


@pytest.mark.parametrize("reason", list(RefusalReason))
def test_every_reason_has_words_without_its_numbers(reason: RefusalReason) -> None:
    assert why(sample.outcome(1, OutcomeState.SKIPPED, reason=reason)) == reason.value.replace("_", " ")
    assert all("{" in form for form in _FORMS.get(reason, ()))


def test_why_a_copy_was_cut_or_failed() -> None:
    cut = {"wanted": "0.0170", "size": "0.006", "limit": "max_order_notional", "limit_value": "400"}
    assert why(sample.outcome(1, OutcomeState.REDUCED, numbers=cut)) == "0.006 of 0.017: max order 400"
    partly = {"wanted": "2", "size": "2", "filled": "1"}
    late = sample.outcome(1, OutcomeState.REDUCED, numbers=partly, reason=R.EXPIRED)
    assert why(late) == "1 of 2: expired"
    assert why(sample.outcome(1, OutcomeState.FAILED, message="-2019 no margin")) == "failed -2019 no margin"


def test_an_open_error_is_the_reason_until_it_is_resolved() -> None:
    skip = sample.outcome(1, OutcomeState.SKIPPED, reason=R.HALTED)
    errors = [sample.trade_error(1, kind="not_closed", message=""), sample.trade_error(2)]
    copies = taken(skip, *errors)
    assert last_reason(only(copies)) == "2 errors, last rejected -2019 Margin is insufficient."
    copies.take(sample.trade_error(2, state="resolved"))
    assert last_reason(only(copies)) == "not closed"
    copies.take(sample.trade_error(1, state="resolved"))
    assert last_reason(only(copies)) == "halted"
    assert last_reason(only(taken(sample.follower("a/demo")))) == ""


def test_the_worst_come_first_as_soon_as_they_are() -> None:
    """What is kept between two looks follows every change."""
    names = ["a/demo", "b/demo", "c/demo", "d/other"]
    copies = taken(*map(sample.follower, names))

    def order() -> str:
        return "".join(row.account for row in copies.worst_first())

    assert order() == "abcd"
    copies.take(control("account:c"))
    assert order() == "cabd"
    copies.take(sample.trade_error(1, "b/demo"))
    assert order() == "bcad"
    copies.take(sample.fan_out(1, 1, "other", action=LeaderAction.PAUSED))
    assert order() == "bcda"
    copies.take(sample.trade_error(1, "b/demo", "resolved"))
    assert order() == "cdab"
    copies.take(sample.follower("c/demo", "closed"))
    assert order() == "dabc"
    copies.take(control("account:c", paused=False))
    copies.know([sample.follower("e/demo", halted=True)], [])
    assert order() == "edabc"
    assert [leader.followers for leader in copies.leaders()] == [3, 1]
    copies.take(sample.outcome(1, OutcomeState.COPIED, "f/other"))
    assert order() == "edfabc", "its leader is paused"
    assert [leader.followers for leader in copies.leaders()] == [3, 2]
