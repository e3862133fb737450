"""What a leader's event becomes: one terminal outcome per follower, with its reason."""

from collections import Counter
from decimal import Decimal
from typing import Any

import pytest

from schemas.codec import BadRecord
from schemas.ids import derive_id
from schemas.reasons import Leg, OrderState, OutcomeState, RefusalReason, ReportKind, Side
from tests.processors.account.world import (
    BTC,
    ETH,
    START,
    World,
    account,
    as_text,
    clock,
    fill,
    instrument,
    kill,
    leader_event,
    leg_fill,
    marks,
    ready,
    report,
    subscription,
)

D = Decimal
SELL = Side.SELL


def opened(**settings: Any) -> World:
    """A long position of 0.016 BTC from event 1, bought at 60000.1."""
    world = ready(leader_event(1), **settings)
    world.give(fill(world.orders()[0], "60000.1"))
    assert world.holding().size == D("0.016")
    return world


def test_an_entry_is_pending_then_copied() -> None:
    world = ready(leader_event(1), max_position_notional=None)
    (order,) = world.orders()
    assert world.outcomes() == [] and order.event_id, "the order says that the event is pending"
    assert (order.side, order.size, order.kind, order.leverage) == (Side.BUY, D("0.111"), "market", 10)
    assert order.order_id == derive_id("order", order.cause, "acc", "sub", BTC, Leg.ENTRY, 0)
    assert order.protection is not None
    assert order.protection.stop_loss_order_id == derive_id("order", order.cause, "acc", "sub", BTC, "stop_loss", 0)
    world.give(fill(order, "60000.1"))
    (copied,) = world.outcomes()
    assert copied.state is OutcomeState.COPIED
    assert copied.numbers == {}
    assert copied.outcome_id == derive_id("outcome", order.event_id, "sub", "terminal")


def test_a_capped_entry_ends_reduced_with_the_limit() -> None:
    world = ready(leader_event(1))
    world.give(fill(world.orders()[0], "60000.1"))
    (reduced,) = world.outcomes()
    assert reduced.state is OutcomeState.REDUCED
    assert reduced.numbers == {
        "wanted": "0.111",
        "size": "0.016",
        "limit": "max_position_notional",
        "limit_value": "1000",
    }


def test_a_partly_filled_entry_ends_reduced() -> None:
    world = ready(leader_event(1), max_position_notional=None)
    (order,) = world.orders()
    world.give(fill(order, "60000.1", "0.05"), report(order, ReportKind.CANCELLED, message="no more liquidity"))
    (reduced,) = world.outcomes()
    assert reduced.state is OutcomeState.REDUCED
    assert reduced.message == "no more liquidity"
    assert reduced.numbers == {"wanted": "0.111", "size": "0.111", "filled": "0.05"}
    assert world.holding().state == "open"


def test_a_rejected_entry_fails_in_the_venues_words() -> None:
    world = ready(leader_event(1))
    world.give(report(world.orders()[0], ReportKind.REJECTED, code="-2019", message="Margin is insufficient."))
    (failed,) = world.outcomes()
    assert (failed.state, failed.message) == (OutcomeState.FAILED, "-2019 Margin is insufficient.")
    assert world.holding().state == "flat"
    assert world.account().working == []


def test_an_expired_entry_is_skipped() -> None:
    world = ready(leader_event(1))
    world.give(report(world.orders()[0], ReportKind.EXPIRED, now_ms=START + 6000))
    (skipped,) = world.outcomes()
    assert (skipped.state, skipped.reason) == (OutcomeState.SKIPPED, RefusalReason.EXPIRED)


def test_unknown_is_pending_and_blocks_a_second_entry() -> None:
    world = ready(leader_event(1))
    (order,) = world.orders()
    world.give(report(order, ReportKind.UNKNOWN))
    assert world.outcomes() == []
    assert world.statuses()[0].state is OrderState.UNKNOWN
    world.give(leader_event(2))
    assert [outcome.reason for outcome in world.outcomes()] == [RefusalReason.ORDER_IN_FLIGHT]
    world.give(report(order, ReportKind.ACCEPTED), fill(order, "60000.1"))
    assert [outcome.state for outcome in world.outcomes()] == [OutcomeState.REDUCED]


@pytest.mark.parametrize(
    ("prepare", "event", "reason"),
    [
        ([subscription(status="paused")], leader_event(1), RefusalReason.PAUSED),
        ([kill()], leader_event(1), RefusalReason.KILL_SWITCH),
        ([kill("acc")], leader_event(1), RefusalReason.KILL_SWITCH),
        ([account(kill_switch=True)], leader_event(1), RefusalReason.KILL_SWITCH),
        ([clock(START + 10_001)], leader_event(1), RefusalReason.STALE_SIGNAL),
        ([marks("60301", "60301.1")], leader_event(1), RefusalReason.PRICE_DRIFT),
        ([], leader_event(1, name=ETH), RefusalReason.UNKNOWN_INSTRUMENT),
        ([instrument(ETH)], leader_event(1, name=ETH), RefusalReason.NO_MARKET),
        ([account(max_total_exposure="900")], leader_event(1), RefusalReason.TOTAL_EXPOSURE),
        ([account(max_position_notional="900")], leader_event(1), RefusalReason.MAX_POSITION),
        ([instrument(min_size=D(1))], leader_event(1), RefusalReason.BELOW_MINIMUM),
        ([subscription(stop_loss={"kind": "atr"})], leader_event(1), RefusalReason.NOT_TRADABLE),
        ([], leader_event(1, action="exit"), RefusalReason.NOTHING_TO_CLOSE),
        ([], leader_event(1, SELL, action="exit"), RefusalReason.NOTHING_TO_CLOSE),
    ],
)
def test_refusals_are_told_twice_with_the_same_numbers(prepare: list[Any], event: Any, reason: RefusalReason) -> None:
    world = ready(*prepare, event)
    outcomes, statuses = world.outcomes(world.outs), world.statuses(world.outs)
    assert [(outcome.state, outcome.reason) for outcome in outcomes] == [(OutcomeState.SKIPPED, reason)]
    assert [(status.state, status.reason) for status in statuses] == [(OrderState.REFUSED, reason)]
    assert outcomes[0].numbers == statuses[0].numbers != {}
    assert outcomes[0].order_id == statuses[0].order_id
    assert world.orders(world.outs) == []


def test_kill_is_lifted_by_resume_and_cancels_what_was_not_filled() -> None:
    world = ready(leader_event(1))
    (order,) = world.orders()
    world.give(kill())
    assert [cancel.order_id for cancel in world.cancels()] == [order.order_id]
    world.give(report(order, ReportKind.CANCELLED))
    assert [(item.state, item.reason) for item in world.outcomes()] == [
        (OutcomeState.SKIPPED, RefusalReason.KILL_SWITCH)
    ]
    world.give(kill(action="resume"), leader_event(2))
    assert len(world.orders()) == 1


def test_a_kill_before_its_account_is_remembered() -> None:
    world = World(kill("acc"), account(), subscription(), instrument(), marks("60000", "60000.1"), leader_event(1))
    assert [outcome.reason for outcome in world.outcomes()] == [RefusalReason.KILL_SWITCH]


def test_kill_lets_exits_go() -> None:
    world = opened()
    world.give(kill(), leader_event(2, SELL))
    assert [order.leg for order in world.orders()] == [Leg.EXIT]


def test_closed_subscriptions_get_no_outcome() -> None:
    assert ready(subscription(status="closed"), leader_event(1)).outcomes() == []


def test_a_subscription_waits_for_its_account_and_its_leader() -> None:
    world = World(subscription(), instrument(), marks("60000", "60000.1"), leader_event(1))
    assert [outcome.reason for outcome in world.outcomes(world.outs)] == [RefusalReason.UNKNOWN_ACCOUNT]
    world.give(account(), leader_event(2))
    assert len(world.orders()) == 1


def test_no_second_entry_unless_allowed() -> None:
    world = opened()
    world.give(leader_event(2))
    assert [outcome.reason for outcome in world.outcomes()] == [RefusalReason.POSITION_OPEN]
    world = opened()
    world.give(subscription(allow_second_entry=True, max_position_notional="2000"), leader_event(2))
    assert [order.size for order in world.orders()] == [D("0.017")]  # to 2,000 with the 960 that are held
    world.give(leader_event(3))
    assert [outcome.reason for outcome in world.outcomes()] == [RefusalReason.MAX_POSITION]


def test_second_entries_are_closed_bracket_by_bracket() -> None:
    world = ready(subscription("sub", allow_second_entry=True, max_position_notional="2000", risk_per_trade="0.002"))
    entries = []
    for sequence in (1, 2):
        world.give(leader_event(sequence))
        entries += world.orders()
        world.give(fill(entries[-1], "60000.1", trade=f"e{sequence}"))
    world.give(leader_event(3, SELL))
    exits = world.orders()
    assert [(order.closes, order.size) for order in exits] == [(entry.order_id, entry.size) for entry in entries]
    assert len({order.order_id for order in exits}) == 2
    world.give(fill(exits[0], "60001", trade="a"))
    assert world.outcomes() == []
    world.give(fill(exits[1], "60001", trade="b"))
    assert [outcome.state for outcome in world.outcomes()] == [OutcomeState.COPIED]
    assert world.holding().size == 0


def test_opposite_closes() -> None:
    world = opened()
    world.give(leader_event(2, SELL, now_ms=START + 1000))
    (exit_order,) = world.orders()
    (entry,) = world.orders(world.outs)[:1]
    assert (exit_order.side, exit_order.size, exit_order.reduce_only, exit_order.closes) == (
        SELL,
        D("0.016"),
        True,
        entry.order_id,
    )
    assert world.holding().state == "closing"
    world.give(leader_event(3), leader_event(4, SELL))
    assert [outcome.reason for outcome in world.outcomes()] == [RefusalReason.ORDER_IN_FLIGHT] * 2
    world.give(fill(exit_order, "60100", trade="x"))
    assert [outcome.state for outcome in world.outcomes()] == [OutcomeState.COPIED]
    assert world.holding().state == "flat"
    assert world.fills()[0].realized_pnl == D("1.5984")


def test_opposite_is_ignored() -> None:
    world = opened(opposite="ignore")
    world.give(leader_event(2, SELL))
    assert [outcome.reason for outcome in world.outcomes()] == [RefusalReason.OPPOSITE_IGNORED]
    assert world.orders() == []


def test_opposite_reverses_with_one_outcome() -> None:
    world = opened(opposite="reverse")
    world.give(leader_event(2, SELL))
    (exit_order,) = world.orders()
    world.give(fill(exit_order, "60000", trade="x"))
    (entry,) = world.orders()
    assert (entry.leg, entry.side) == (Leg.ENTRY, SELL)
    world.give(fill(entry, "60000", trade="y"))
    assert world.holding().size < 0
    told = [outcome.state for outcome in world.outcomes(world.outs) if outcome.sequence == 2]
    assert told == [OutcomeState.REDUCED]


def test_a_reverse_that_is_refused_after_its_exit_is_reduced() -> None:
    world = opened(opposite="reverse")
    world.give(leader_event(2, SELL))
    world.give(kill(), fill(world.orders(world.outs)[1], "60000", trade="x"))
    (ended,) = world.outcomes()
    assert (ended.state, ended.reason) == (OutcomeState.REDUCED, RefusalReason.KILL_SWITCH)


def test_an_opposite_event_waits_for_the_entry_in_flight() -> None:
    world = ready(leader_event(1))
    (entry,) = world.orders()
    world.give(fill(entry, "60000.1", "0.010"), leader_event(2, SELL))
    assert world.orders() == []
    assert [cancel.order_id for cancel in world.cancels()] == [entry.order_id]
    world.give(fill(entry, "60000.2", "0.002", trade="t2"), report(entry, ReportKind.CANCELLED))
    (exit_order,) = world.orders()
    assert exit_order.size == D("0.012")  # all that filled, also while the cancel was on its way
    assert [(item.sequence, item.state) for item in world.outcomes()] == [(1, OutcomeState.REDUCED)]
    world.give(fill(exit_order, "60000", trade="x"))
    assert [(item.sequence, item.state) for item in world.outcomes()] == [(2, OutcomeState.COPIED)]


def test_an_opposite_event_while_nothing_filled_closes_nothing() -> None:
    world = ready(leader_event(1))
    (entry,) = world.orders()
    world.give(leader_event(2, SELL), report(entry, ReportKind.CANCELLED))
    told = {item.sequence: item for item in world.outcomes() if item.state is not OutcomeState.PENDING}
    assert told[1].state is OutcomeState.FAILED
    assert "turned" in told[1].message
    assert (told[2].state, told[2].reason) == (OutcomeState.SKIPPED, RefusalReason.NOTHING_TO_CLOSE)
    assert world.holding().state == "flat"
    assert world.holding().closing is None


def test_an_exit_that_fails_is_alarmed_and_the_next_one_goes() -> None:
    world = opened()
    world.give(leader_event(2, SELL))
    world.give(report(world.orders()[0], ReportKind.REJECTED, code="-1001", message="down"))
    assert [(outcome.state, outcome.message) for outcome in world.outcomes()] == [(OutcomeState.FAILED, "-1001 down")]
    assert [(alert.kind, alert.severity) for alert in world.alerts()] == [("position_not_closed", "critical")]
    assert world.holding().state == "open"
    world.give(leader_event(3, SELL))
    assert [order.leg for order in world.orders()] == [Leg.EXIT]


def test_a_leg_that_closes_before_the_exit_leaves_nothing_to_close() -> None:
    world = opened()
    entry = world.orders(world.outs)[0]
    world.give(leader_event(2, SELL))
    (exit_order,) = world.orders()
    world.give(leg_fill(entry, Leg.STOP_LOSS, "58200"), report(exit_order, ReportKind.REJECTED, message="no position"))
    (ended,) = world.outcomes()
    assert (ended.state, ended.reason) == (OutcomeState.SKIPPED, RefusalReason.NOTHING_TO_CLOSE)
    assert world.holding().state == "flat"


def test_a_leaders_exit_closes_even_while_paused() -> None:
    world = opened()
    world.give(subscription(status="paused"), leader_event(2, SELL, action="exit"))
    assert [order.leg for order in world.orders()] == [Leg.EXIT]
    world = opened()
    world.give(leader_event(2, Side.BUY, action="exit"))  # the leader bought back a short; we are long
    assert [outcome.reason for outcome in world.outcomes()] == [RefusalReason.NOTHING_TO_CLOSE]


def test_the_same_event_again_is_not_followed() -> None:
    world = ready(leader_event(1), leader_event(1))
    assert len(world.orders(world.outs)) == 1
    assert [alert.kind for alert in world.alerts(world.outs)] == ["leader_event_out_of_order"]
    assert world.outcomes(world.outs) == []


def test_a_cause_told_again_as_another_event_is_a_duplicate() -> None:
    world = opened(allow_second_entry=True)
    world.give(leader_event(2, cause="signal-lead-1", event_id="other"))
    (outcome,) = world.outcomes()
    assert outcome.reason is RefusalReason.DUPLICATE
    assert outcome.numbers == {"sequence": "2", "first_sequence": "1"}


def test_missing_leader_events_are_alarmed_and_the_next_is_followed() -> None:
    world = ready(leader_event(4), leader_event(7))
    assert [alert.kind for alert in world.alerts()] == ["leader_events_missing"]
    assert "5 to 6" in world.alerts()[0].text
    assert [outcome.sequence for outcome in world.outcomes()] == [7], "the order of event 4 is in flight"


def test_cool_down_after_a_close() -> None:
    world = opened(cool_down_ms=5_000)
    entry = world.orders(world.outs)[0]
    world.give(leg_fill(entry, Leg.STOP_LOSS, "58200", now_ms=START + 1000))
    world.give(leader_event(2, now_ms=START + 5_999))
    assert [outcome.reason for outcome in world.outcomes()] == [RefusalReason.COOL_DOWN]
    world.give(leader_event(3, now_ms=START + 6_000))
    assert len(world.orders()) == 1


def test_daily_loss_and_drawdown_count_what_is_open_and_forget_at_midnight() -> None:
    world = ready(account(max_daily_loss="0.001", max_drawdown=None), leader_event(1))
    world.give(fill(world.orders()[0], "60000.1"), marks("59000", "59000.1"))  # 16 of 10,000 lost on paper
    world.give(subscription("other"), leader_event(2, price="59000"))
    assert RefusalReason.DAILY_LOSS in {outcome.reason for outcome in world.outcomes()}
    tomorrow = START + 86_400_000
    world.give(marks("59000", "59000.1", now_ms=tomorrow), leader_event(3, price="59000", now_ms=tomorrow))
    assert [order.subscription for order in world.orders()] == ["other"]
    world.give(account(max_daily_loss=None, max_drawdown="0.001"), subscription("third"))
    world.give(leader_event(4, price="59000", now_ms=tomorrow))
    assert RefusalReason.DRAWDOWN in {outcome.reason for outcome in world.outcomes()}


def test_limits_count_entries_in_flight() -> None:
    subscriptions = [subscription(f"s{number}") for number in range(4)]
    world = World(account(max_open_orders=2), *subscriptions, instrument(), marks("60000", "60000.1"), leader_event(4))
    assert Counter(outcome.reason for outcome in world.outcomes()) == {RefusalReason.OPEN_ORDERS: 2}
    world = World(
        account(max_total_exposure="2500"), *subscriptions, instrument(), marks("60000", "60000.1"), leader_event(4)
    )
    assert Counter(outcome.reason for outcome in world.outcomes()) == {RefusalReason.TOTAL_EXPOSURE: 2}
    world = World(
        account(balance="200"),
        *[subscription(f"s{number}", risk_per_trade="0.9") for number in range(4)],
        instrument(),
        marks("60000", "60000.1"),
        leader_event(4),
    )
    sizes = [order.size for order in world.orders()]
    assert sum(sizes) * 60000 / 10 <= 200
    assert RefusalReason.INSUFFICIENT_MARGIN in {outcome.reason for outcome in world.outcomes()}


def test_the_walk_starts_at_another_follower_each_time() -> None:
    names = [f"s{number}" for number in range(3)]
    world = World(account(), *[subscription(name) for name in reversed(names)], instrument())
    firsts = [world.give(leader_event(sequence)) and world.outcomes()[0].subscription for sequence in range(1, 7)]
    assert firsts == ["s1", "s2", "s0", "s1", "s2", "s0"]


def test_a_ratio_multiplies_the_risk() -> None:
    world = ready(
        subscription("half", ratio="0.5", max_position_notional=None), subscription(max_position_notional=None)
    )
    world.give(leader_event(1))
    assert {order.subscription: order.size for order in world.orders()} == {"sub": D("0.111"), "half": D("0.055")}


def test_limit_entries_rest_and_are_cancelled_when_their_time_is_over() -> None:
    world = ready(leader_event(1), order={"kind": "limit", "offset_bps": "-10"})
    (order,) = world.orders()
    assert (order.kind, order.limit_price) == ("limit", D("59940.0"))  # 59940.0999 rounded down: never worse than asked
    world.give(clock(order.not_after_ms))
    assert world.cancels() == []
    world.give(clock(order.not_after_ms + 1), clock(order.not_after_ms + 2))
    assert [cancel.order_id for cancel in world.cancels()] == [order.order_id]
    world.give(report(order, ReportKind.CANCELLED))
    assert [(outcome.state, outcome.reason) for outcome in world.outcomes()] == [
        (OutcomeState.SKIPPED, RefusalReason.EXPIRED)
    ]


@pytest.mark.parametrize("price", ["NaN", "0", "-1", "Infinity", "1e13"])
def test_bad_leader_prices_are_refused_and_change_nothing(price: str) -> None:
    world = ready()
    before = world.processor.encode(world.state)
    with pytest.raises(BadRecord, match="price"):
        world.give(leader_event(1, price=price))
    assert world.processor.encode(world.state) == before


def test_outputs_do_not_depend_on_the_order_in_which_things_were_made() -> None:
    made = [account("a"), account("b"), subscription("x", "a"), subscription("y", "b"), subscription("z", "a")]
    rest = [instrument(), marks("60000", "60000.1"), leader_event(1), clock(START + 2000)]
    one, two = World(*made, *rest), World(*made[1::-1], *made[:1:-1], *rest)
    assert sorted(as_text(one.outs)) == sorted(as_text(two.outs))
    assert as_text(one.give(leader_event(2))) == as_text(two.give(leader_event(2)))
    assert one.processor.encode(one.state) == two.processor.encode(two.state)


@pytest.mark.parametrize(
    ("stop", "reason"),
    [
        (account(kill_switch=True), RefusalReason.KILL_SWITCH),
        (subscription(status="paused"), RefusalReason.PAUSED),
        (subscription(status="closed"), RefusalReason.PAUSED),
    ],
)
def test_stopping_cancels_entries_in_flight(stop: Any, reason: RefusalReason) -> None:
    world = ready(subscription("bystander", "other"), account("other"), leader_event(1))
    order = next(order for order in world.orders() if order.account == "acc")
    world.give(stop)
    assert [cancel.order_id for cancel in world.cancels()] == [order.order_id]
    world.give(report(order, ReportKind.CANCELLED))
    assert [(outcome.state, outcome.reason) for outcome in world.outcomes()] == [(OutcomeState.SKIPPED, reason)]


def test_a_reverse_paused_meanwhile_closes_only() -> None:
    world = opened(opposite="reverse")
    world.give(leader_event(2, SELL))
    exit_order = world.orders()[0]
    world.give(subscription(status="paused"), fill(exit_order, "60000", trade="x"))
    assert [(outcome.state, outcome.reason) for outcome in world.outcomes()] == [
        (OutcomeState.REDUCED, RefusalReason.PAUSED)
    ]


def test_a_peak_seen_at_an_entry_counts_for_the_drawdown() -> None:
    world = ready(account(max_drawdown="0.001", report_interval_ms=10_000_000), leader_event(1))
    world.give(fill(world.orders()[0], "60000.1"), marks("61000", "61000.1"), subscription("other"))
    world.give(leader_event(2, price="61000"))  # equity is 16 higher now, and somebody looks
    world.give(marks("60300", "60300.1"), subscription("third"), leader_event(3, price="60300"))
    refused = next(outcome for outcome in world.outcomes() if outcome.reason is RefusalReason.DRAWDOWN)
    assert D(refused.numbers["peak_equity"]) == D("10015.9984")
