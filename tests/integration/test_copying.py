"""Copying end to end: leaders outside send signed trades, followers of every kind copy, are halted, paused, resumed.

One run for all tests; they stand in the order of its life. What people do here is done by the commands they would use.
"""

import json
import os
import signal
import time
from collections.abc import Iterator
from decimal import Decimal as D
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner, Result

from cli.exit_codes import ExitCode
from cli.main import cli
from schemas.leaders import LeaderEvent
from schemas.reasons import OutcomeState, RefusalReason
from schemas.status import FanOut, Fill, Outcome, TradeError, VenuePosition
from tests.integration.copying import (
    BTC,
    ETH,
    GENEROUS,
    INSTRUMENTS,
    SOL,
    Watch,
    check_ledger,
    configuration,
    marked,
    outcomes,
    owed,
    positions,
    posted,
)
from tests.integration.runs import Run, until, wakeline

pytestmark = pytest.mark.integration

PRICES = {BTC: "13592", ETH: "39766", SOL: "6337"}
RATE = 200
TOPICS = ("leader-events", "account-events", "orders", "order-status", "outcomes", "alerts", "parked")


def account(name: str, *subscriptions: tuple[str, str, str], balance: int = 1_000_000) -> dict[str, Any]:
    """An account without limits of its own; subscriptions are leader, mode, ratio."""
    follows = [
        {"leader": leader, "ratio": ratio, "settings": {"size": {"kind": mode}}}
        for leader, mode, ratio in subscriptions
    ]
    return {
        "account": name, "initial_balance": balance, "settings": {"max_total_exposure": None}, "subscriptions": follows,
    }  # fmt: skip


ACCOUNTS = [
    account("mia", ("desk", "mirror", "0.1")),
    account("dan", ("desk", "ratio", "0.1")),
    account("pam", ("guru", "mirror", "0.1"), ("coach", "ratio", "0.1"), balance=1),
    account("ria", ("guru", "ratio", "0.1")),
    account("eve"),
    account("ola", ("north", "mirror", "0.5"), ("south", "ratio", "0.5")),
]
LEADERS = ("desk", "guru", "coach", "north", "south")


class Desk(NamedTuple):
    """The run, what stands on its topics, and the hands of leaders and people."""

    run: Run
    watch: Watch
    config: Path

    def told(self, *arguments: str) -> Result:
        """Run a command that decides or looks."""
        place = ["--json", "--data", str(self.run.data_dir), "--config", str(self.config)]
        return CliRunner().invoke(cli, [*arguments, *place])

    def tell(self, *arguments: str) -> Any:
        """Return the JSON of a command that must succeed."""
        told = self.told(*arguments)
        assert told.exit_code == 0, told.output
        return json.loads(told.stdout)

    def send(self, leader: str, trade_id: str, **changes: Any) -> tuple[int, Any]:
        """Send one trade as `leader` does; a field of None is left out."""
        instrument = changes.get("instrument", BTC)
        now_ms = time.time_ns() // 1_000_000
        body = {"id": trade_id, "instrument": instrument, "side": "buy", "price": PRICES.get(instrument, "1")}
        body |= {"time": now_ms, **changes}
        told = self.run.told("trading")
        assert told is not None
        return posted(told.webhook_port, leader, json.dumps({k: v for k, v in body.items() if v is not None}).encode())

    def lead(self, leader: str, trade_id: str, side: str, size: str, instrument: str = BTC) -> dict[str, Outcome]:
        """Trade; return the outcome of every subscription, once the last one is told."""
        status, answer = self.send(leader, trade_id, side=side, size=size, instrument=instrument)
        assert (status, answer["status"]) == (202, "accepted"), answer

        def ended() -> dict[str, Outcome] | None:
            taken = [told for told in self.watch.messages("outcomes", FanOut) if told.cause == trade_id]
            told = {name: one for (event, name), one in outcomes(self.watch).items() if event == taken[0].event_id}
            return told if len(told) == sum(one.active for one in taken) else None

        until(lambda: len(self.fan_outs(trade_id)) == 4, f"{trade_id} reached every partition")
        found: dict[str, Outcome] = until(ended, f"the outcomes of {trade_id}")
        return found

    def fan_outs(self, trade_id: str) -> list[FanOut]:
        return [told for told in self.watch.messages("outcomes", FanOut) if told.cause == trade_id]

    def holds(self, subscription: str, size: str, instrument: str = BTC) -> None:
        """Wait until a subscription's position is told as this."""
        key = (subscription, instrument)
        until(lambda: positions(self.watch).get(key) == D(size), f"{key} holds {size}: {positions(self.watch)}", 60)

    def errors(self, subscription: str) -> list[TradeError]:
        return [one for one in self.watch.messages("outcomes", TradeError) if one.subscription == subscription]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("copying")
    config = configuration(folder, LEADERS, ACCOUNTS, RATE)
    with Run(folder, "--config", str(config)) as run:
        run.wait_running()
        with Watch(run.bootstrap, *TOPICS) as watch:
            until(lambda: marked(watch, INSTRUMENTS), "every instrument has a price in every partition")
            yield Desk(run, watch, config)


def test_a_mirror_of_a_tenth_follows_one_bitcoin_with_a_tenth(desk: Desk) -> None:
    told = desk.lead("desk", "open", "buy", "1.0")
    assert {name: one.state for name, one in told.items()} == dict.fromkeys(("mia/desk", "dan/desk"), "copied")
    desk.holds("mia/desk", "0.1")
    desk.holds("dan/desk", "0.1")
    cost = told["mia/desk"].cost
    assert cost is not None and cost.size == D("0.1") and cost.leader_price == D(PRICES[BTC])
    assert cost.event_ms <= cost.detected_ms <= cost.decided_ms <= cost.submitted_ms <= cost.filled_ms


def test_a_new_ratio_is_of_the_position_in_one_mode_and_of_the_change_in_the_other(desk: Desk) -> None:
    for name in ("mia/desk", "dan/desk"):
        desk.tell("follow", "set", name, "--set", "ratio=0.2")
    told = desk.lead("desk", "more", "buy", "1.0")
    assert {one.state for one in told.values()} == {OutcomeState.COPIED}
    desk.holds("mia/desk", "0.4")
    desk.holds("dan/desk", "0.3")


def test_lack_of_balance_halts_one_subscription_until_it_is_resolved(desk: Desk) -> None:
    told = desk.lead("guru", "too-much", "buy", "1.0")
    assert told["ria/guru"].state is OutcomeState.COPIED
    assert (told["pam/guru"].state, told["pam/guru"].reason) == (OutcomeState.SKIPPED, "insufficient_margin")
    (error,) = desk.errors("pam/guru")
    assert (error.state, error.kind, error.open_errors) == ("open", "insufficient_margin", 1)
    assert "margin" in error.message and error.error_id == told["pam/guru"].error_id

    desk.tell("deposit", "pam", "1000000")
    told = desk.lead("guru", "halted", "buy", "0.5")
    assert told["ria/guru"].state is OutcomeState.COPIED
    assert (told["pam/guru"].state, told["pam/guru"].reason) == (OutcomeState.SKIPPED, RefusalReason.HALTED)
    told = desk.lead("coach", "other-leader", "buy", "1.0", ETH)  # the same account, another subscription
    assert told["pam/coach"].state is OutcomeState.COPIED
    desk.holds("pam/coach", "0.1", ETH)

    halts = until(lambda: desk.tell("halts", "list"), "the halt is stored")
    assert [(halt["error_id"], halt["subscription"]) for halt in halts] == [(error.error_id, "pam/guru")]
    desk.tell("halts", "resolve", error.error_id)
    until(lambda: desk.errors("pam/guru")[-1].state == "resolved", "the error is resolved")
    assert ("pam/guru", BTC) not in positions(desk.watch), "nothing is caught up on without an event"
    told = desk.lead("guru", "goes-on", "buy", "0.5")
    assert {one.state for one in told.values()} == {OutcomeState.COPIED}
    desk.holds("pam/guru", "0.2")
    desk.holds("ria/guru", "0.2")
    assert desk.tell("halts", "list") == [] or until(lambda: desk.tell("halts", "list") == [], "no halt is left")


def test_a_pause_keeps_from_entering_and_what_comes_after_it_follows(desk: Desk) -> None:
    for name in ("mia/desk", "dan/desk"):
        desk.tell("follow", "pause", name)
    told = desk.lead("desk", "unseen", "buy", "1.0", ETH)
    assert {(one.state, one.reason) for one in told.values()} == {(OutcomeState.SKIPPED, RefusalReason.PAUSED)}
    for name in ("mia/desk", "dan/desk"):
        desk.tell("follow", "resume", name)
    told = desk.lead("desk", "seen", "buy", "0.5", ETH)
    assert {one.state for one in told.values()} == {OutcomeState.COPIED}
    desk.holds("mia/desk", "0.3", ETH)
    desk.holds("dan/desk", "0.1", ETH)


def test_two_leaders_of_one_account_against_each_other(desk: Desk) -> None:
    desk.lead("north", "up", "buy", "1.0", SOL)
    desk.lead("south", "down", "sell", "0.6", SOL)
    desk.holds("ola/north", "0.5", SOL)
    desk.holds("ola/south", "-0.3", SOL)

    desk.lead("north", "part", "sell", "0.4", SOL)
    desk.holds("ola/north", "0.3", SOL)  # the venue's net is zero, and each leader's followers hold theirs
    desk.lead("north", "back", "buy", "0.8", SOL)
    desk.holds("ola/north", "0.7", SOL)
    desk.holds("ola/south", "-0.3", SOL)


def test_a_follower_that_comes_later_copies_what_is_there_and_leaves_with_nothing(desk: Desk) -> None:
    settings = ("--set", "size.kind=mirror", "--set", "copy_existing=yes")
    desk.tell("follow", "add", "eve", "desk", "--ratio", "0.05", *settings)
    desk.holds("eve/desk", "0.1")  # of 2.0
    desk.holds("eve/desk", "0.075", ETH)  # of 1.5
    desk.tell("follow", "stop", "eve/desk")
    desk.holds("eve/desk", "0")
    desk.holds("eve/desk", "0", ETH)
    assert "eve/desk" not in desk.lead("desk", "without-eve", "buy", "0.1", ETH)


def test_an_account_leads_with_every_fill_of_its_own(desk: Desk) -> None:
    desk.tell("leaders", "add", "mias", "--kind", "account", "--source", "mia", *(
        option for key, value in GENEROUS.items() for option in ("--set", f"defaults.{key}={json.dumps(value)}")
    ))  # fmt: skip
    desk.tell("follow", "add", "eve", "mias", "--ratio", "0.5", "--set", "size.kind=mirror")
    desk.lead("desk", "through-mia", "buy", "1.0")
    desk.holds("mia/desk", "0.6")
    desk.holds("eve/mias", "0.3")
    refused = desk.told("follow", "add", "mia", "mias")
    assert refused.exit_code == ExitCode.USAGE and "itself" in refused.stderr, refused.output


def test_an_emergency_pause_stops_entries_of_its_scope_and_no_exit(desk: Desk) -> None:
    desk.tell("pause", "leader:guru", "--reason", "looks odd")
    desk.tell("pause", "account:pam")
    told = desk.lead("guru", "while-paused", "buy", "1.0")
    assert {one.state for one in told.values()} == {OutcomeState.SKIPPED}, told
    told = desk.lead("coach", "pam-is-paused", "buy", "1.0", ETH)
    assert (told["pam/coach"].state, told["pam/coach"].reason) == (OutcomeState.SKIPPED, RefusalReason.PAUSED)
    told = desk.lead("guru", "out-while-paused", "sell", "3.0")
    assert {one.state for one in told.values()} == {OutcomeState.COPIED}
    desk.holds("pam/guru", "0")
    desk.holds("ria/guru", "0")
    desk.tell("pause", "leader:guru", "--resume")
    desk.tell("pause", "account:pam", "--resume")
    desk.lead("guru", "after-pause", "buy", "1.0")
    desk.holds("pam/guru", "0.1")
    desk.holds("ria/guru", "0.1")


def test_a_trade_that_cannot_be_believed_or_used_leads_nobody(desk: Desk) -> None:
    def led() -> list[str]:
        return [one.cause for one in desk.watch.messages("account-events", LeaderEvent) if one.leader == "desk"]

    before = led()
    told = desk.run.told("trading")
    assert told is not None
    body = {
        "id": "bad",
        "instrument": BTC,
        "side": "buy",
        "price": "13592",
        "size": "1",
        "time": time.time_ns() // 10**6,
    }
    text, port = json.dumps(body).encode(), told.webhook_port
    hour_ago_ms = time.time_ns() // 1_000_000 - 3_600_000
    for status, field, answered in (
        (401, "X-Wakeline-Signature", posted(port, "desk", text, b"guessed")),
        (401, "X-Wakeline-Timestamp", posted(port, "desk", text, at_ms=hour_ago_ms)),
        (404, "leader", posted(port, "nobody", text)),
        (422, "price", desk.send("desk", "bad", price=None)),
        (422, "price", desk.send("desk", "bad", price="-1")),
        (422, "instrument", desk.send("desk", "bad", instrument="BTC")),
        (409, "id", desk.send("desk", "open", size="7")),
    ):
        assert (answered[0], answered[1]["field"]) == (status, field), answered
        assert answered[1]["error"] and answered[1]["mend"], answered
    told_again = desk.lead("desk", "good", "buy", "0.1", SOL)
    assert len(told_again) == 2
    desk.holds("mia/desk", "0.02", SOL)
    desk.holds("eve/mias", "0.01", SOL)
    assert sorted(led()) == sorted([*before, *["good"] * 4]), "one event in four partitions"
    assert desk.watch.count("parked") == 0


def test_a_killed_worker_goes_on_and_the_venue_holds_the_sum_of_the_subscriptions(desk: Desk) -> None:
    sums: dict[tuple[str, str], D] = {}
    for (name, instrument), size in positions(desk.watch).items():
        key = (name.partition("/")[0], instrument)
        sums[key] = sums.get(key, D(0)) + size
    before, pid = len(desk.watch.messages("account-events", VenuePosition)), desk.run.pids()["trading"]
    os.kill(pid, signal.SIGKILL)
    until(lambda: desk.run.running("trading") and desk.run.pids().get("trading", pid) != pid, "the worker runs again")

    def netted() -> dict[tuple[str, str], D]:
        told = desk.watch.messages("account-events", VenuePosition)[before:]
        return {(one.account, one.instrument): one.size for one in told}

    held = {key: size for key, size in sums.items() if size != 0}
    until(lambda: netted().keys() >= held.keys(), "a worker that begins tells what the venue holds")
    assert netted() == held | {key: size for key, size in netted().items() if size == sums.get(key) == 0}
    assert held["ola", SOL] == D("0.4")
    told = desk.lead("desk", "out-again", "sell", "3.0")
    assert {one.state for one in told.values()} == {OutcomeState.COPIED}
    for name in ("mia/desk", "dan/desk", "eve/mias"):
        desk.holds(name, "0")


def test_the_ledger_is_complete_and_the_same_everywhere(desk: Desk) -> None:
    check_ledger(desk.watch, desk.run.data_dir)
    assert len(owed(desk.watch)) + 2 == len(outcomes(desk.watch)), "eve copied two positions that were there before"
    filled: dict[tuple[str, str], D] = {}
    for fill in {one.fill_id: one for one in desk.watch.messages("order-status", Fill)}.values():
        key, sign = (fill.subscription, fill.instrument), 1 if fill.side == "buy" else -1
        filled[key] = filled.get(key, D(0)) + sign * fill.size
    assert filled == positions(desk.watch)
    skipped = next(one for one in outcomes(desk.watch).values() if one.reason is RefusalReason.HALTED)
    words = "\n".join(desk.tell("outcomes", "explain", skipped.outcome_id)["explanation"])
    assert "pam/guru" in words and "halts" in words
    verified = wakeline("statistics", "--verify", "--data", str(desk.run.data_dir), "--config", str(desk.config))
    assert verified.returncode == 0, verified.stdout + verified.stderr
    # Who was paused or halted drifted; mia held positions before she led, which her first trades told.
    assert {one.kind for one in desk.watch.messages("alerts")} <= {"position_drift", "leader_book_corrected"}
