"""What reports do: late, twice, out of order, of orders nobody knows; and what time does."""

from decimal import Decimal
from typing import Any

import pytest

from processors.account.trades import KEPT_ORDERS
from schemas.codec import BadRecord
from schemas.ids import derive_id
from schemas.reasons import Leg, OrderState, ReportKind, Side
from tests.processors.account.world import (
    BTC,
    START,
    World,
    account,
    clock,
    fill,
    instrument,
    kill,
    leader_event,
    leg_fill,
    leg_report,
    marks,
    ready,
    report,
    subscription,
)

D = Decimal


def opened(**settings: Any) -> World:
    world = ready(leader_event(1), **settings)
    world.give(fill(world.orders()[0], "60000.1", fee=D("0.48")))
    return world


def test_fills_are_booked_with_fee_and_position() -> None:
    world = opened()
    (booked,) = world.fills()
    (position,) = world.positions()
    assert booked.fill_id == derive_id("fill", "paper", "acc", BTC, "t1")
    assert (booked.leader_price, booked.fee, booked.realized_pnl) == (D(60000), D("0.48"), D(0))
    assert (position.size, position.entry_price, position.mark_price) == (D("0.016"), D("60000.1"), D(60000))
    assert (position.unrealized_pnl, position.fees) == (D("-0.0016"), D("0.48"))
    assert (position.stop_loss, position.take_profit) == (D("58200.1"), D("63600.1"))
    assert world.account().balance == D("9999.52")


def test_a_stop_loss_closes_and_tells_the_leaders_price() -> None:
    world = opened()
    entry = world.orders(world.outs)[0]
    world.give(leg_report(entry, Leg.STOP_LOSS, ReportKind.ACCEPTED), leg_fill(entry, Leg.STOP_LOSS, "58190"))
    (closed,) = world.fills()
    assert (closed.leg, closed.entry_order_id, closed.leader_price) == (Leg.STOP_LOSS, entry.order_id, D(60000))
    assert closed.realized_pnl == D("-28.9616")
    assert [status.state for status in world.statuses()] == [OrderState.ACCEPTED, OrderState.FILLED]
    assert world.statuses()[0].price == D("58200.1")
    assert world.outcomes() == []  # the entry's outcome was told when it filled
    world.give(leg_report(entry, Leg.TAKE_PROFIT, ReportKind.CANCELLED))
    assert world.alerts() == []
    assert (world.holding().state, world.holding().size) == ("flat", 0)


def test_a_repeated_fill_is_booked_once() -> None:
    world = opened()
    state = world.processor.encode(world.state)
    assert world.give(fill(world.orders(world.outs)[0], "60000.1", fee=D("0.48"))) == []
    assert world.processor.encode(world.state) == state


@pytest.mark.parametrize("kind", [ReportKind.SUBMITTED, ReportKind.ACCEPTED, ReportKind.CANCELLED, ReportKind.UNKNOWN])
def test_what_comes_after_the_last_fill_changes_nothing(kind: ReportKind) -> None:
    world = opened()
    assert world.give(report(world.orders(world.outs)[0], kind)) == []
    assert world.holding().size == D("0.016")


def test_a_fill_after_the_cancel_is_booked_and_keeps_its_bracket() -> None:
    world = ready(leader_event(1))
    (order,) = world.orders()
    world.give(report(order, ReportKind.CANCELLED), fill(order, "60000.1", "0.004"))
    assert [alert.kind for alert in world.alerts()] == ["late_fill"]
    assert (world.holding().size, world.holding().state) == (D("0.004"), "open")
    assert len([outcome for outcome in world.outcomes(world.outs) if outcome.state != "pending"]) == 1
    world.give(leader_event(2, Side.SELL))
    (exit_order,) = world.orders()
    assert (exit_order.size, exit_order.closes) == (D("0.004"), order.order_id)


def test_a_leg_that_fills_before_its_entry_is_told_nets_to_nothing() -> None:
    world = ready(leader_event(1))
    (entry,) = world.orders()
    world.give(leg_fill(entry, Leg.TAKE_PROFIT, "63600.1"), fill(entry, "60000.1"))
    assert (world.holding().size, world.holding().state) == (D(0), "flat")
    assert world.account().realized == (D("63600.1") - D("60000.1")) * D("0.016")
    assert [outcome.state for outcome in world.outcomes()] == ["reduced"]


@pytest.mark.parametrize(
    ("first", "then"),
    [(ReportKind.CANCELLED, ReportKind.REJECTED), (ReportKind.REJECTED, ReportKind.CANCELLED)],
)
def test_illegal_moves_are_alarmed_and_change_nothing(first: ReportKind, then: ReportKind) -> None:
    world = ready(leader_event(1))
    (order,) = world.orders()
    world.give(report(order, first))
    before = world.processor.encode(world.state)
    world.give(report(order, then))
    assert [(alert.kind, alert.severity) for alert in world.alerts()] == [("illegal_order_move", "critical")]
    assert world.processor.encode(world.state) == before


def test_more_filled_than_ordered_is_booked_and_alarmed() -> None:
    world = opened()
    world.give(fill(world.orders(world.outs)[0], "60000.1", "0.001", trade="t2"))
    assert [alert.kind for alert in world.alerts()] == ["illegal_order_move"]
    assert world.holding().size == D("0.017")


def test_more_closed_than_open_is_alarmed_as_flipped() -> None:
    world = opened()
    entry = world.orders(world.outs)[0]
    world.give(leg_fill(entry, Leg.STOP_LOSS, "58200", "0.020"))
    assert [alert.kind for alert in world.alerts()] == ["position_flipped"]
    assert world.holding().size == D("-0.004")
    world.give(leader_event(2))  # the opposite of what is held now: closed, though no bracket is open
    (exit_order,) = world.orders()
    assert (exit_order.side, exit_order.size, exit_order.closes) == (Side.BUY, D("0.004"), None)


def test_reports_of_unknown_orders() -> None:
    world = opened()
    stranger = fill(
        world.orders(world.outs)[0], "60000", "0.001", trade="s", order_id="stranger", entry_order_id="stranger"
    )
    world.give(report(world.orders(world.outs)[0], ReportKind.CANCELLED, order_id="nobody", entry_order_id="nobody"))
    assert [(alert.kind, alert.severity) for alert in world.alerts()] == [("report_of_unknown_order", "warning")]
    world.give(stranger)
    assert [(alert.kind, alert.severity) for alert in world.alerts()] == [("report_of_unknown_order", "critical")]
    assert world.holding().size == D("0.017")
    assert len(world.fills()) == 1
    assert world.give(stranger) == []
    elsewhere = World(account("other"), instrument())
    elsewhere.give(stranger)
    assert [alert.kind for alert in elsewhere.alerts()] == ["report_of_unknown_account"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"price": None}, "price"),
        ({"price": D("NaN")}, "price"),
        ({"price": D(-1)}, "price"),
        ({"size": D(0)}, "size"),
        ({"size": D("Infinity")}, "size"),
        ({"trade_id": ""}, "trade_id"),
        ({"fee": D("NaN")}, "fee"),
        ({"side": Side.SELL}, "but the order is"),
        ({"leg": Leg.EXIT}, "but the order is"),
        ({"instrument": "x:Y"}, "but the order is"),
        ({"subscription": "sub2"}, "but the order is"),
    ],
)
def test_reports_that_cannot_be_are_refused_and_change_nothing(fields: dict[str, Any], words: str) -> None:
    world = ready(leader_event(1))
    (order,) = world.orders()
    values: dict[str, Any] = {"price": D("60000"), "trade_id": "t", "fee": D(0), **fields}
    before = world.processor.encode(world.state)
    with pytest.raises(BadRecord, match=words):
        world.give(report(order, ReportKind.FILL, **values))
    assert world.processor.encode(world.state) == before


def test_fees_not_told_are_estimated_and_foreign_ones_alarmed() -> None:
    world = ready(leader_event(1))
    (order,) = world.orders()
    world.give(
        fill(order, "60000", "0.010", fee=None), fill(order, "60000", "0.005", "t2", fee=None, liquidity="maker")
    )
    assert [booked.fee for booked in world.fills()] == [D("0.3"), D("0.06")]  # 5 and 2 basis points
    balance = world.account().balance
    world.give(fill(order, "60000", "0.001", "t3", fee=D("0.0001"), fee_currency="BNB"))
    assert [alert.kind for alert in world.alerts()] == ["fee_not_counted"]
    assert world.account().balance == balance
    assert (world.fills()[0].fee, world.fills()[0].fee_currency) == (D("0.0001"), "BNB")


def test_a_refused_stop_loss_closes_the_position_at_once() -> None:
    world = opened()
    entry = world.orders(world.outs)[0]
    world.give(leg_report(entry, Leg.STOP_LOSS, ReportKind.REJECTED, code="-2021", message="would trigger"))
    assert [(alert.kind, alert.severity) for alert in world.alerts()] == [("stop_loss_lost", "critical")]
    (exit_order,) = world.orders()
    assert (exit_order.leg, exit_order.closes, exit_order.size) == (Leg.EXIT, entry.order_id, D("0.016"))
    assert exit_order.leader_price == D(60000)
    world.give(fill(exit_order, "58000", trade="x"))
    assert world.holding().state == "flat"
    assert world.outcomes() == []


def test_a_refused_stop_loss_only_alarms_if_asked_to() -> None:
    world = opened(on_lost_stop="alert")
    world.give(leg_report(world.orders(world.outs)[0], Leg.STOP_LOSS, ReportKind.REJECTED))
    assert [alert.kind for alert in world.alerts()] == ["stop_loss_lost"]
    assert world.orders() == []


def test_a_stop_loss_cancelled_under_an_open_position_is_told() -> None:
    world = opened()
    world.give(leg_report(world.orders(world.outs)[0], Leg.STOP_LOSS, ReportKind.CANCELLED))
    assert [(alert.kind, alert.severity) for alert in world.alerts()] == [("stop_loss_gone", "warning")]
    assert world.orders() == []


def test_accounts_are_told_at_most_once_per_interval_and_only_if_changed() -> None:
    world = World(account(), instrument(), clock(START + 1), clock(START + 500), clock(START + 5000))
    assert len(world.accounts(world.outs)) == 1
    world.give(subscription(), marks("60000", "60000.1", now_ms=START + 5000), leader_event(1, now_ms=START + 5000))
    world.give(fill(world.orders()[0], "60000.1"))
    told = [len(world.accounts(world.give(clock(START + at)))) for at in (5100, 6000, 6100, 7000, 9000)]
    assert told == [1, 0, 0, 0, 0]  # the first is due at once (the last was at START + 1), then nothing moves
    world.give(marks("61000", "61000.1", now_ms=START + 10100), marks("61000", "61000.1", now_ms=START + 10500))
    assert [(state.equity, state.open_positions) for state in world.accounts()] == [(D("10015.9984"), 1)]
    assert [position.mark_price for position in world.positions()] == [D(61000)]


def test_account_state_adds_up() -> None:
    world = opened()
    world.give(marks("50000", "50000.1", now_ms=START + 2000))
    (told,) = world.accounts()
    assert told.balance == D("9999.52")
    assert told.unrealized_pnl == D("-160.0016")
    assert told.equity == told.balance + told.unrealized_pnl
    assert (told.exposure, told.margin_used) == (D(800), D(80))
    assert told.drawdown == D("0.016048")  # 160.48 of 10,000


def test_marks_that_cannot_be_are_told_and_older_ones_ignored() -> None:
    world = opened()
    world.give(marks("NaN", "1"), marks("2", "1"), marks("0", "1"))
    assert [alert.kind for alert in world.alerts()] == ["bad_mark"] * 3
    world.give(marks("1", "2", now_ms=START - 1))
    assert world.state.ledger.marks[BTC].bid == D(60000)


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (account(leverage=0), "account acc: settings.leverage"),
        (account(max_dayly_loss="0.1"), "settings.max_dayly_loss"),
        (account("new", balance="NaN"), "initial_balance"),
        (subscription(risk_per_trade="2"), "subscription sub: settings.risk_per_trade"),
        (subscription(stop_loss={"kind": "percent", "fraction": "0"}), "settings.stop_loss.percent.fraction"),
        (subscription(account="other"), "belongs to account acc"),
        (instrument(min_notional=D("NaN")), "min_notional"),
        (instrument(max_leverage=0), "max_leverage"),
    ],
)
def test_bad_settings_are_refused_with_their_path_and_change_nothing(event: Any, words: str) -> None:
    world = ready()
    before = world.processor.encode(world.state)
    with pytest.raises(BadRecord, match=words.replace(".", r"\.")):
        world.give(event)
    assert world.processor.encode(world.state) == before


def test_the_balance_counts_once_and_settings_change() -> None:
    world = opened()
    world.give(account(balance="5", leverage=3), kill(action="resume"))
    assert world.account().balance == D("9999.52")
    assert world.state.params_of_account(world.account()).leverage == 3
    with pytest.raises(BadRecord, match="make another account"):
        world.give(
            account().__class__(
                now_ms=START, account="acc", venue="ccxt", currency="USDT", initial_balance=D(1), settings={}
            )
        )


def test_ended_orders_are_forgotten_but_none_of_an_open_bracket() -> None:
    world = ready(subscription("kept"), opposite="close")
    world.give(leader_event(1))
    kept = next(order for order in world.orders() if order.subscription == "kept")
    for order in world.orders():
        world.give(fill(order, "60000.1", trade=order.order_id))
    world.give(subscription("kept", opposite="ignore"))
    for sequence in range(2, 60):
        world.give(leader_event(sequence, Side.SELL if sequence % 2 == 0 else Side.BUY))
        for order in world.orders():
            world.give(fill(order, "60000.1", trade=order.order_id))
    assert len(world.account().orders) <= KEPT_ORDERS + 3
    world.give(leg_fill(kept, Leg.STOP_LOSS, "58200"))
    assert world.alerts() == []
    assert world.holding("kept").size == 0


def test_a_fill_told_again_after_its_order_was_forgotten_is_not_booked() -> None:
    world = ready(leader_event(1))
    first = fill(world.orders()[0], "60000.1", trade="first")
    world.give(first)
    for sequence in range(2, 40):
        world.give(leader_event(sequence, Side.SELL if sequence % 2 == 0 else Side.BUY))
        for order in world.orders():
            world.give(fill(order, "60000.1", trade=order.order_id))
    assert first.order_id not in world.account().orders
    before = world.processor.encode(world.state)
    assert world.give(first) == []
    assert world.processor.encode(world.state) == before


def test_a_leg_that_filled_goes_on_with_its_entry() -> None:
    world = ready(leader_event(1))
    (entry,) = world.orders()
    world.give(
        fill(entry, "60000.1", "0.010"),
        leg_fill(entry, Leg.STOP_LOSS, "58200", "0.010", "x1"),
        fill(entry, "58100", "0.006", "t2"),
        leg_fill(entry, Leg.STOP_LOSS, "58000", "0.006", "x2"),
    )
    assert world.alerts() == []
    assert world.holding().size == 0
    assert world.holding().state == "flat"
    assert [status.filled for status in world.statuses() if status.leg is Leg.STOP_LOSS] == [D("0.010"), D("0.016")]


def test_pausing_one_subscription_leaves_the_others_entries() -> None:
    world = ready(subscription("second"), leader_event(1))
    assert len(world.orders()) == 2
    world.give(subscription("second", status="paused"))
    paused = next(order for order in world.orders(world.outs) if order.subscription == "second")
    assert [cancel.order_id for cancel in world.cancels()] == [paused.order_id]


def test_positions_are_told_again_only_at_another_mark() -> None:
    world = opened()
    world.give(marks("60000", "60000.1", now_ms=START + 5_000), clock(START + 10_000))
    assert world.positions() == []
    world.give(marks("60001", "60001.1", now_ms=START + 15_000))
    assert [position.mark_price for position in world.positions()] == [D(60001)]
