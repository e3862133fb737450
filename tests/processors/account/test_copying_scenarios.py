"""Copying end to end in one partition: the scenarios of issue 4, and what followers with other settings do."""

from typing import Any

import pytest

from schemas.accounts import GroupChanged, Transfer
from schemas.leaders import LeaderTrade
from schemas.reasons import Leg, OutcomeState, RefusalReason, ReportKind, Side
from schemas.status import FanOut
from tests.processors.account.sized import (
    FREE,
    MIRROR,
    RATIO,
    SizedLeader,
    check_ledger,
    command,
    entries,
    errors,
    exits,
    fill_all,
    follow,
    followers,
    market,
    pause,
    protections,
    rich,
    said,
)
from tests.processors.account.world import (
    BTC,
    ETH,
    START,
    D,
    World,
    account,
    clock,
    fill,
    instrument,
    leader_event,
    leg_fill,
    marks,
    report,
    subscription,
)

BUY, SELL = Side.BUY, Side.SELL
Ended, R = OutcomeState, RefusalReason


def feed(*events: Any) -> tuple[SizedLeader, World]:
    leader = SizedLeader()
    return leader, market(leader.state("settings"), *events)


def sub(name: str = "sub", ratio: str = "0.1", mode: dict[str, Any] = MIRROR, **settings: Any) -> Any:
    fields = {key: settings.pop(key) for key in ("account", "leader", "status") if key in settings}
    return subscription(name, ratio=ratio, **fields, **{**FREE, **mode, **settings})


def reasons(world: World) -> list[RefusalReason | None]:
    return [item.reason for item in world.outcomes() if item.state is not Ended.PENDING]


# The four scenarios of the issue


def test_one_mirror_follows_a_tenth() -> None:
    leader, world = feed(sub())
    (order,) = follow(world, leader.trade("1.0"))
    assert (order.side, order.size, world.holding().size) == (BUY, D("0.1"), D("0.1"))
    (outcome,) = [item for item in world.outcomes(world.outs) if item.sequence == 2]
    assert (outcome.state, outcome.numbers) == (Ended.COPIED, {})
    assert outcome.cost is not None and outcome.cost.size == D("0.1")
    check_ledger(world)


@pytest.mark.parametrize(("mode", "size"), [(MIRROR, "0.4"), (RATIO, "0.3")])
def test_two_a_new_ratio_counts_for_the_position_or_for_the_change(mode: dict[str, Any], size: str) -> None:
    leader, world = feed(sub(mode=mode))
    follow(world, leader.trade("1.0"))
    world.give(sub(ratio="0.2", mode=mode))
    assert world.orders() == []
    follow(world, leader.trade("1.0"))
    assert world.holding().size == D(size)
    check_ledger(world)


@pytest.mark.parametrize("mode", [MIRROR, RATIO])
@pytest.mark.parametrize("by", ["venue", "gate", "nothing_there"])
def test_three_a_failure_halts_one_until_it_is_resolved(mode: dict[str, Any], by: str) -> None:
    balance = {"venue": 100_000, "gate": 1, "nothing_there": 0}[by]
    poor = account("poor", balance=str(balance), max_total_exposure=None, max_daily_loss=None)
    leader, world = feed(poor, sub("poor-sub", account="poor", mode=mode), sub(mode=mode))
    world.give(*leader.trade("1"))
    for order in world.orders():
        if order.account == "acc":
            world.give(fill(order, "60000", trade="f"))
        else:
            world.give(report(order, ReportKind.REJECTED, code="-2019", message="Margin is insufficient."))
    (error,) = errors(world, world.outs)
    assert error.kind == ("rejected" if by == "venue" else "insufficient_margin")
    assert (error.state, error.subscription, error.open_errors) == ("open", "poor-sub", 1)
    told = next(item for item in world.outcomes(world.outs) if item.subscription == "poor-sub" and item.sequence == 2)
    assert told.error_id == error.error_id
    if by == "venue":
        assert (told.state, told.message) == (Ended.FAILED, "-2019 Margin is insufficient.")
    world.give(*leader.trade("1"))
    fill_all(world)
    assert world.holding().size == D("0.2"), "others go on"
    assert R.HALTED in {item.reason for item in world.outcomes(world.outs)}
    assert world.orders() == []
    top_up = Transfer(now_ms=START, transfer_id="t1", account="poor", amount=D(100_000))
    world.give(top_up, top_up)
    assert world.account("poor").balance == balance + 100_000
    world.give(command("resolve", error.error_id, "poor"))
    assert [(item.state, item.open_errors) for item in errors(world)] == [("resolved", 0)]
    assert [item.halted for item in followers(world)] == [False]
    world.give(*leader.trade("1"))
    fill_all(world)
    assert world.holding("poor-sub").size == (D("0.3") if mode is MIRROR else D("0.1"))
    check_ledger(world)


@pytest.mark.parametrize(("mode", "size"), [(MIRROR, "0.15"), (RATIO, "0.05")])
@pytest.mark.parametrize("how", ["status", "account:acc", "leader:lead", "subscription:sub", "*"])
def test_four_who_was_inactive_follows_the_next_change(mode: dict[str, Any], size: str, how: str) -> None:
    leader, world = feed(sub(mode=mode))
    world.give(sub(mode=mode, status="paused") if how == "status" else pause(how))
    world.give(*leader.trade("1"))
    assert world.orders() == []
    assert reasons(world) == [R.PAUSED]
    world.give(sub(mode=mode) if how == "status" else pause(how, False))
    assert world.orders() == [], "nothing happens before the leader acts"
    follow(world, leader.trade("0.5"))
    assert world.holding().size == D(size)
    check_ledger(world)


# Several leaders, instruments, settings


def test_two_leaders_in_opposite_directions_on_one_account() -> None:
    one, two = SizedLeader("one"), SizedLeader("two")
    world = market(sub("a", leader="one"), sub("b", leader="two", mode=RATIO))
    follow(world, one.trade("1"))
    follow(world, two.trade("-3"))
    assert (world.holding("a").size, world.holding("b").size) == (D("0.1"), D("-0.3"))
    assert sum(held.size for held in world.account().holdings.values()) == D("-0.2")
    follow(world, one.trade("-1"))
    assert (world.holding("a").size, world.holding("b").size) == (0, D("-0.3"))
    assert [order.subscription for order in exits(world, world.outs)] == ["a"]
    check_ledger(world)


def test_the_symbol_map_and_an_instruments_own_settings() -> None:
    own = "paper:XBT-PERP"
    leader, world = feed(
        instrument(own, lot=D("1"), min_size=D("1"), contract_size=D("0.01")),
        marks("60000", "60000.1", own),
        sub(symbol_map={BTC: own}, instruments={own: {"ratio": "0.2"}}),
    )
    (order,) = follow(world, leader.trade("1.07"))
    assert (order.instrument, order.size) == (own, D(21)), "0.214 BTC are 21 contracts of 0.01"
    assert world.holding(instrument=own).size == D(21)
    assert BTC not in {held.instrument for held in world.account().holdings.values()}
    follow(world, leader.trade("-0.5"))
    assert world.holding(instrument=own).size == D(12), "11.4 are wanted: it sells what it can, not more"
    follow(world, leader.trade("-0.57"))
    assert world.holding(instrument=own).size == 0
    check_ledger(world)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"blacklist": [BTC]}, R.NOT_LISTED),
        ({"whitelist": [ETH]}, R.NOT_LISTED),
        ({"notify_only": True}, R.NOTIFY_ONLY),
        ({"condition": {"sides": "short"}}, R.CONDITION),
        ({"condition": {"min_leader_pnl": "1"}}, R.CONDITION),
        ({"condition": {"from_hour": 5, "to_hour": 6}}, R.CONDITION),
        ({"entry_slippage": {"ticks": 0}}, R.SLIPPAGE),
        ({"max_price_drift_bps": "0"}, R.PRICE_DRIFT),
        ({"max_order_notional": "1"}, R.MAX_ORDER),
        ({"max_position_notional": "1"}, R.MAX_POSITION),
        ({"max_leader_notional": "1"}, R.MAX_LEADER),
        ({"max_day_notional": "1"}, R.DAY_AMOUNT),
        ({"size": {"kind": "signal_only"}}, R.SIGNAL_ONLY),
        ({"size": {"kind": "equity_proportional"}}, R.NO_LEADER_EQUITY),
        ({"ratio": "0.000001"}, R.BELOW_MINIMUM),
        ({"ratio": "0.000001", "below_minimum": "accumulate"}, R.ACCUMULATED),
    ],
)
def test_each_guard_through_the_whole_step(settings: dict[str, Any], reason: RefusalReason) -> None:
    leader, world = feed(sub(**{"mode": RATIO, **settings}))
    world.give(*leader.trade("1"))
    assert (world.orders(), reasons(world)) == ([], [reason])
    check_ledger(world)


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        ({"kind": "ratio"}, "0.1"),
        ({"kind": "fixed_quantity", "quantity": "0.5"}, "0.05"),
        ({"kind": "fixed_notional", "notional": "60000.1"}, "0.1"),
        ({"kind": "equity_proportional"}, "0.2"),
        ({"kind": "balance_percent", "fraction": "0.060001"}, "0.1"),
        ({"kind": "tiers", "tiers": [{"up_to": "60000", "multiplier": "3"}, {"multiplier": "1"}]}, "0.3"),
        ({"kind": "mirror"}, "0.1"),
        ({"kind": "inverse"}, "-0.1"),
        ({"kind": "inverse", "follows": "position"}, "-0.1"),
        ({"kind": "risk_percent"}, "1.111"),
    ],
)
def test_each_mode_enters_reduces_and_leaves(size: dict[str, Any], wanted: str) -> None:
    leader, world = feed(sub(mode={"size": size}))
    follow(world, leader.trade("1", equity=D(500_000)))
    assert world.holding().size == D(wanted)
    sign = 1 if D(wanted) > 0 else -1
    follow(world, leader.trade("-0.5", equity=D(500_000)))
    assert 0 < world.holding().size * sign < abs(D(wanted))
    assert abs(world.holding().size - D(wanted) / 2) <= D("0.001") or size["kind"] == "tiers"
    follow(world, leader.trade("-0.5", equity=D(500_000)))
    assert (world.holding().size, world.holding().expected) == (0, 0)
    check_ledger(world)


def test_limits_of_a_day_end_at_midnight() -> None:
    leader, world = feed(sub(mode=RATIO, max_day_orders=1), sub("money", mode=RATIO, max_day_notional="6001"))
    follow(world, leader.trade("1"))
    follow(world, leader.trade("1"))
    assert world.holding().size == world.holding("money").size == D("0.1")
    told = {item.reason for item in world.outcomes(world.outs) if item.sequence == 3}
    assert told == {R.DAY_ORDERS, R.DAY_AMOUNT}
    tomorrow = START + 86_400_000
    world.give(clock(tomorrow))
    follow(world, leader.trade("1", now_ms=tomorrow))
    assert world.holding().size == world.holding("money").size == D("0.2")


def test_adding_where_an_entry_is_in_flight_is_no_other_trade() -> None:
    leader, world = feed(sub(mode=RATIO, max_open_trades=1), instrument(ETH), marks("3000", "3000.1", ETH))
    world.give(*leader.trade("1"))
    world.give(*leader.trade("1"))
    assert len(world.orders()) == 1
    world.give(*leader.trade("1", ETH, price="3000"))
    assert reasons(world) == [R.OPEN_TRADES]


@pytest.mark.parametrize(
    ("below", "sizes"),
    [("skip", ["0", "0", "0"]), ("round_up", ["0.001", "0.002", "0.003"]), ("accumulate", ["0", "0", "0.001"])],
)
def test_what_is_below_the_minimum(below: str, sizes: list[str]) -> None:
    leader, world = feed(sub(mode=RATIO, below_minimum=below))
    for size in sizes:
        follow(world, leader.trade("0.004"))
        held = world.account().holdings.get(f"sub|{BTC}")
        assert (D(0) if held is None else held.size) == D(size)
        world.restart()
    check_ledger(world)


def test_a_mirror_that_rounds_up_holds_the_minimum_and_stays() -> None:
    leader, world = feed(sub(below_minimum="round_up"))
    for change in ("0.004", "0.001", "0.001", "-0.002"):
        follow(world, leader.trade(change))
        assert world.holding().size == D("0.001"), change
    follow(world, leader.trade("1"))
    assert world.holding().size == D("0.100"), "0.1004 rounded down"
    follow(world, leader.trade("-1.004"))
    assert world.holding().size == 0
    check_ledger(world)


def test_a_mirror_below_the_minimum_says_so() -> None:
    leader, world = feed(sub())
    world.give(*leader.trade("0.004"))
    assert reasons(world) == [R.BELOW_MINIMUM]


# Existing positions


@pytest.mark.parametrize(("choice", "held"), [("no", None), ("yes", "0.1"), ("ask", None)])
@pytest.mark.parametrize("mode", [MIRROR, RATIO])
def test_positions_the_leader_held_before(choice: str, held: str | None, mode: dict[str, Any]) -> None:
    leader, world = feed()
    world.give(*leader.trade("1"), marks("61000", "61000.1"))
    world.give(sub(mode=mode, copy_existing=choice))
    assert len(entries(world)) == (choice == "yes")
    fill_all(world)
    assert [item.kind for item in world.alerts(world.outs)].count("copy_existing") == (choice == "ask")
    if choice == "ask":
        world.restart()
        world.give(command("ignore_existing"))
        assert (world.orders(), followers(world)[0].existing) == ([], "ignored")
        world.give(command("copy_existing"))
        (order,) = world.orders()
        assert (order.size, order.leader_price) == (D("0.1"), D("61000.1")), "at the price of now"
        fill_all(world)
        held = "0.1"
    holding = world.account().holdings.get(f"sub|{BTC}")
    assert (None if holding is None else holding.size) == (None if held is None else D(held))
    check_ledger(world)


# Inheritance


def test_who_says_what_and_contradictions() -> None:
    leader, world = feed(sub(mode=RATIO))
    world.give(leader.state("settings", defaults={"max_order_notional": "3000"}))
    assert [(item.origins["max_order_notional"]) for item in followers(world)] == ["leader"]
    world.give(*leader.trade("1"))
    assert [order.size for order in world.orders()] == [D("0.049")]
    fill_all(world)
    world.give(GroupChanged(now_ms=START, group="g", settings={"max_position_notional": "100"}))
    grouped = subscription("two", ratio="0.1", max_price_drift_bps=None, **RATIO)
    with pytest.raises(ValueError, match="max_order_notional"):
        world.give(type(grouped)(**{**{f: getattr(grouped, f) for f in grouped.__struct_fields__}, "group": "g"}))
    assert "two" not in world.state.ledger.subscriptions
    world.give(GroupChanged(now_ms=START, group="g", settings={"max_position_notional": "4000"}))
    world.give(type(grouped)(**{**{f: getattr(grouped, f) for f in grouped.__struct_fields__}, "group": "g"}))
    before = world.state.ledger.subscriptions["two"].levels
    world.give(GroupChanged(now_ms=START, group="g", settings={"max_position_notional": "100"}))
    assert [item.kind for item in world.alerts()] == ["settings_not_inherited"]
    assert world.state.ledger.subscriptions["two"].levels == before, "it keeps what it had"
    world.restart()
    world.give(leader.state("settings", defaults={"max_order_notional": "5000"}))
    told = {item.subscription: item.reason for item in world.outcomes()}
    assert told == {"sub": None, "two": R.BAD_SETTINGS}
    assert world.state.ledger.subscriptions["two"].levels == before
    check_ledger(world)


def test_a_subscription_waits_for_its_account() -> None:
    leader = SizedLeader()
    world = World(instrument(), marks("60000", "60000.1"), sub(), leader.state("settings"), *leader.trade("1"))
    assert reasons(world)[-1] is R.UNKNOWN_ACCOUNT
    world.give(sub(status="stopped"), sub())
    world.restart()
    world.give(rich())
    follow(world, leader.trade("1"))
    assert world.holding().size == D("0.2")
    check_ledger(world)


# Protection


def test_the_leaders_protection_moves_ours() -> None:
    levels = {"stop_loss": {"kind": "leader", "fallback": {"kind": "percent", "fraction": "0.1"}}}
    leader, world = feed(sub(**levels), sub("own"), sub("deaf", follow_protection=False, **levels))
    world.give(*leader.trade("1", stop_loss=D(59000)))
    stops = {order.subscription: order.protection.stop_loss for order in world.orders() if order.protection}
    assert stops == {"sub": D(59000), "own": D("58200.1"), "deaf": D(59000)}
    fill_all(world)
    world.restart()
    world.give(leader.protect(stop_loss=D("59500.03"), take_profit=D(70000)))
    (change,) = protections(world)
    assert (change.stop_loss, change.take_profit) == (D("59500.1"), None), "towards the price, and not its own target"
    told = {item.subscription: (item.state, item.reason) for item in world.outcomes()}
    assert told == {
        "sub": (Ended.COPIED, None),
        "own": (Ended.SKIPPED, R.NO_PROTECTION_CHANGE),
        "deaf": (Ended.SKIPPED, R.NO_PROTECTION_CHANGE),
    }
    world.give(leader.protect(stop_loss=D(60001)))
    assert protections(world) == [], "the market is there already"
    check_ledger(world)


# In flight


def test_a_mirror_counts_what_is_in_flight() -> None:
    leader, world = feed(sub())
    world.give(*leader.trade("1"), *leader.trade("1"))
    first, second = world.orders()
    assert (first.size, second.size) == (D("0.1"), D("0.1"))
    world.give(*leader.trade("-1.5"))
    assert world.orders() == [] and world.cancels() == [], "market entries in flight are waited for"
    world.give(fill(second, "60000", trade="b"), fill(first, "60000", trade="a"))
    fill_all(world)
    assert world.holding().size == D("0.05")
    check_ledger(world)


def test_an_exit_cancels_what_is_in_flight_and_closes_what_filled() -> None:
    leader, world = feed(sub(mode=RATIO))
    world.give(*leader.trade("1"))
    (entry,) = world.orders()
    world.give(*leader.trade("-1"))
    assert [item.order_id for item in world.cancels()] == [entry.order_id]
    world.restart()
    world.give(fill(entry, "60000", "0.03", trade="p"), report(entry, ReportKind.CANCELLED))
    fill_all(world)
    assert (world.holding().size, world.holding().closing) == (0, None)
    check_ledger(world)


@pytest.mark.parametrize(("mode", "final"), [(MIRROR, "0.1"), (RATIO, "0.1")])
def test_everything_at_once_comes_to_the_leaders_position(mode: dict[str, Any], final: str) -> None:
    leader, world = feed(sub(mode=mode))
    follow(world, leader.trade("1"))
    world.give(*leader.trade("-0.5"))
    orders = list(world.orders())
    for change in ("-0.5", "2", "-3", "-1", "3"):
        world.give(*leader.trade(change))
        world.restart()
        orders += world.orders()
    assert len(orders) == 1, "everything waits behind the first reduction"
    world.give(fill(orders[0], "60000", trade="first"))
    fill_all(world)
    assert leader.positions[BTC] == 1
    assert world.holding().size == D(final)
    assert world.holding().waiting == []
    check_ledger(world)


# Leaders that are accounts


def test_an_account_that_leads_tells_each_fill() -> None:
    leads = SizedLeader("boss")
    source, world = feed(leads.state("settings", kind="account", source="acc"), sub(mode=RATIO))
    world.give(*source.trade("1"))
    (order,) = world.orders()
    told = []
    for trade, size in (("a", "0.04"), ("b", "0.06")):
        world.give(fill(order, "60000", size, trade=trade))
        told += said(world, LeaderTrade)
    assert [(item.leader, item.side, item.size, item.position, item.chain) for item in told] == [
        ("boss", BUY, D("0.04"), D("0.04"), ("lead",)),
        ("boss", BUY, D("0.06"), D("0.1"), ("lead",)),
    ]
    world.restart()
    world.give(leg_fill(order, Leg.STOP_LOSS, "58000", "0.1"))
    (stopped,) = said(world, LeaderTrade)
    assert (stopped.side, stopped.size, stopped.position) == (SELL, D("0.1"), 0)


def test_two_accounts_that_follow_each_other_come_to_an_end() -> None:
    ping, pong = SizedLeader("ping"), SizedLeader("pong")
    world = market(
        rich("other"),
        ping.state("settings", kind="account", source="acc"),
        pong.state("settings", kind="account", source="other"),
        sub("follows-ping", account="other", leader="ping", mode=RATIO, ratio="1"),
        sub("follows-pong", account="acc", leader="pong", mode=RATIO, ratio="1"),
        sub("start", leader="lead", mode=RATIO, ratio="1"),
    )
    world.give(*SizedLeader().trade("0.1"))
    rounds = 0
    while world.orders() or said(world, LeaderTrade):
        rounds += 1
        assert rounds < 10
        outs = list(world.last)
        given = [fill(order, "60000", trade=order.order_id) for order in world.orders(outs)]
        for told in said(world, LeaderTrade, outs):
            source = ping if told.leader == "ping" else pong
            given += source.trade(told.size if told.side is BUY else -told.size, chain=told.chain)
        world.give(*given)
    assert world.holding("start").size == world.holding("follows-ping").size == D("0.1")
    assert f"follows-pong|{BTC}" not in world.account().holdings
    assert R.CYCLE in {item.reason for item in world.outcomes(world.outs)}
    check_ledger(world)


# The end


@pytest.mark.parametrize(
    ("settings", "price", "ends"),
    [
        ({"stop_loss_total": "100"}, "58999", True),
        ({"stop_loss_total": "100"}, "59002", False),
        ({"take_profit_total": "100"}, "61001", True),
        ({"take_profit_total": "100"}, "60990", False),
    ],
)
def test_totals_close_and_end(settings: dict[str, Any], price: str, ends: bool) -> None:
    leader, world = feed(sub(mode=RATIO, **settings))
    follow(world, leader.trade("1"))
    world.give(marks(price, str(D(price) + 1), now_ms=START + 5_000))
    assert [order.leg for order in world.orders()] == [Leg.EXIT] * ends
    fill_all(world, price)
    assert (world.holding().size == 0) is ends
    world.give(*leader.trade("1"))
    assert [item.active for item in said(world, FanOut)] == [0 if ends else 1]
    if ends:
        world.give(sub(mode=RATIO, **settings), clock(START + 10_000))
        assert world.state.ledger.subscriptions["sub"].status == "active", "what was lost before does not count"
    check_ledger(world)


@pytest.mark.parametrize(("setting", "size"), [("keep", "0.1"), ("close", "0")])
def test_when_the_leader_is_closed(setting: str, size: str) -> None:
    leader, world = feed(sub(on_leader_closed=setting))
    follow(world, leader.trade("1"))
    world.give(leader.state("closed", "closed"))
    fill_all(world)
    assert world.holding().size == D(size)
    check_ledger(world)


def test_a_signal_and_a_position_in_one_account_do_not_mix() -> None:
    leader, world = feed(sub(), subscription("signals", leader="strategy", max_position_notional="600"))
    follow(world, leader.trade("1"))
    world.give(leader_event(1, leader="strategy"))
    fill_all(world)
    world.give(leader_event(2, SELL, leader="strategy"))
    fill_all(world)
    assert (world.holding().size, world.holding("signals").size) == (D("0.1"), 0)
    check_ledger(world)


def test_an_entry_that_fills_after_its_end_counts_for_the_day_again() -> None:
    leader, world = feed(sub(mode=RATIO, max_day_notional="6001", max_day_orders=1))
    world.give(*leader.trade("1"))
    (order,) = world.orders()
    world.give(report(order, ReportKind.EXPIRED))
    assert world.state.ledger.subscriptions["sub"].use.orders == 0
    world.give(fill(order, "60000", trade="late"))
    world.give(*leader.trade("1"))
    assert reasons(world) == [R.DAY_ORDERS]
