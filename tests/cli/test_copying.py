"""leaders, follow, halts, pause, deposit, outcomes as a user runs them, on a data folder where nothing runs."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli import deciding, ledger
from cli.exit_codes import ExitCode
from cli.main import cli
from schemas.accounts import Command, SubscriptionChanged, Transfer
from schemas.codec import decode
from schemas.leaders import LeaderChanged, PauseRequest
from streams import runtime
from streams.decisions import DecisionStore, open_decisions
from streams.settings import load_settings
from streams.topics_admin import load_catalogue

NOW = 1_723_075_200_000
FILE = """
strategies: [{name: demo, interval: 1s}]
leaders: [{name: desk, kind: account, source: main, settings: {defaults: {max_day_orders: 7}}}]
groups: [{name: careful, settings: {max_order_notional: 500}}]
accounts:
  - {account: main, subscriptions: [{leader: demo}]}
  - {account: alice, subscriptions: [{leader: desk, group: careful, ratio: 0.5}]}
"""


class Desk:
    """A configuration and a data folder, decided once."""

    def __init__(self, folder: Path) -> None:
        self.file, self.data = folder / "wakeline.yaml", folder / "data"
        self.file.write_text(FILE)
        self.settings = load_settings(self.file, {"data_dir": str(self.data)}, {})
        store = self.store()
        store.decide(self.settings, (), NOW)
        self.drain(store)

    def store(self) -> DecisionStore:
        return open_decisions(self.settings, load_catalogue())

    def run(self, *arguments: str) -> Result:
        where = ("--config", str(self.file), "--data", str(self.data))
        return CliRunner().invoke(cli, [*arguments, *where])

    def done(self, *arguments: str) -> str:
        result = self.run(*arguments)
        assert result.exit_code == ExitCode.OK, result.output
        return result.stdout

    def refused(self, *arguments: str, code: ExitCode = ExitCode.USAGE) -> str:
        result = self.run(*arguments)
        assert result.exit_code == code, result.output
        assert result.stdout == ""
        assert self.said() == [], "nothing was changed"
        return result.stderr

    def json(self, *arguments: str) -> Any:
        return json.loads(self.done(*arguments, "--json"))

    @staticmethod
    def drain(store: DecisionStore) -> list[Any]:
        rows = store.rows(1_000)
        if rows:
            store.sent(rows[-1].number)
        store.close()
        return [decode(row.value) for row in rows]

    def said(self) -> list[Any]:
        return self.drain(self.store())


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


# -- leaders
def test_leaders_are_listed_shown_and_made(desk: Desk) -> None:
    assert [(one["leader"], one["kind"], one["followers"]) for one in desk.json("leaders", "list")] == [
        ("demo", "strategy", 1), ("desk", "account", 1),
    ]  # fmt: skip
    told = desk.done("leaders", "add", "tv", "--kind", "feed", "--set", "max_followers=3", "--set", "title=The TV")
    assert "leader tv added: decision" in told
    assert "sent at the next start" in told
    (made,) = desk.said()
    assert isinstance(made, LeaderChanged)
    assert (made.leader, made.kind, made.settings["max_followers"], made.settings["title"]) == (
        "tv",
        "feed",
        3,
        "The TV",
    )
    shown = desk.json("leaders", "show", "tv")
    assert shown["url"].endswith("/hooks/tv")
    assert "WAKELINE_WEBHOOK_SECRET_TV" in shown["secret"]
    assert "tv" in desk.done("leaders", "list")
    assert "max_followers" in desk.done("leaders", "show", "tv")


def test_a_leader_is_changed_in_part(desk: Desk) -> None:
    desk.done("leaders", "set", "desk", "--set", "defaults.stop_loss={kind: percent, fraction: 0.02}")
    desk.done(
        "leaders", "set", "desk", "--set", "defaults.stop_loss.fraction=0.01", "--unset", "defaults.max_day_orders"
    )
    assert desk.said()[-1].settings["defaults"] == {"stop_loss": {"kind": "percent", "fraction": "0.01"}}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("add", "desk", "--kind", "feed"), "there is a leader 'desk' already"),
        (("add", "x", "--kind", "account"), "source: is missing"),
        (("add", "x", "--kind", "account", "--source", "alcie"), "source: no account 'alcie'; did you mean 'alice'?"),
        (("add", "x", "--kind", "feed", "--set", "max_folowers=1"), "did you mean 'max_followers'?"),
        (
            ("add", "x", "--kind", "feed", "--set", "defaults.rato=1"),
            "settings.defaults.rato: unknown key; did you mean",
        ),
        (("add", "x", "--kind", "bot"), "'bot' is not one of"),
        (("set", "dask", "--set", "title=x"), "no leader 'dask'; did you mean 'desk'?"),
        (("set", "desk"), "nothing to change"),
        (("set", "desk", "--set", "title"), "is not PATH=VALUE"),
        (("pause", "dask"), "did you mean 'desk'?"),
        (("show", "dask"), "did you mean 'desk'?"),
    ],
)
def test_wrong_leaders_are_refused(desk: Desk, arguments: tuple[str, ...], told: str) -> None:
    assert told in desk.refused("leaders", *arguments)


def test_a_leaders_life(desk: Desk) -> None:
    for event, status in (("pause", "paused"), ("resume", "active"), ("close", "closed")):
        assert desk.json("leaders", event, "desk")["status"] == "new"
        assert desk.said()[0].status == status
    assert "it is so already" in desk.done("leaders", "close", "desk")
    assert "cannot resume" in desk.refused("leaders", "resume", "desk")


# -- follow
def test_subscriptions_are_listed_and_shown_with_origins(desk: Desk) -> None:
    assert [one["subscription"] for one in desk.json("follow", "list")] == ["alice/desk", "main/demo"]
    assert [one["account"] for one in desk.json("follow", "list", "--leader", "desk")] == ["alice"]
    settings = desk.json("follow", "show", "alice/desk")["settings"]
    assert settings["ratio"] == {"value": "0.5", "from": "subscription"}
    assert settings["max_order_notional"] == {"value": "500", "from": "group"}
    assert settings["max_day_orders"] == {"value": 7, "from": "leader"}
    assert settings["max_position_notional"] == {"value": "1000", "from": "product"}
    text = desk.done("follow", "show", "alice/desk")
    assert "max_order_notional     group" in text


def test_a_subscription_is_made_and_changed(desk: Desk) -> None:
    desk.done("leaders", "add", "tv", "--kind", "feed")
    desk.said()
    desk.done("follow", "add", "main", "tv", "--name", "copy", "--ratio", "0.1", "--set", "size.kind=ratio", "--paused")
    (made,) = desk.said()
    assert isinstance(made, SubscriptionChanged)
    assert (made.status, made.settings) == ("paused", {"ratio": "0.1", "size": {"kind": "ratio"}})
    desk.done("follow", "set", "copy", "--set", "stop_loss.fraction=0.01", "--unset", "ratio", "--group", "careful")
    (changed,) = desk.said()
    assert changed.settings == {"size": {"kind": "ratio"}, "stop_loss": {"kind": "percent", "fraction": "0.01"}}
    assert changed.group == "careful"
    for event, status in (("resume", "active"), ("pause", "paused"), ("stop", "stopped"), ("close", "closed")):
        desk.done("follow", event, "copy")
        assert desk.said()[0].status == status
    desk.done("follow", "add", "main", "tv", "--name", "copy")
    assert desk.said()[0].settings == {}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("add", "alice", "desk"), "there is a subscription 'alice/desk' already"),
        (("add", "alice", "dask"), "leader: no leader 'dask'; did you mean 'desk'?"),
        (("add", "alcie", "demo"), "account: no account 'alcie'; did you mean 'alice'?"),
        (("add", "main", "desk"), "leader: account 'main' would follow itself"),
        (("add", "alice", "demo", "--ratio", "-1"), "settings.ratio: Input should be greater than 0"),
        (("add", "alice", "demo", "--ratio", "0"), "settings.ratio: Input should be greater than 0"),
        (("add", "alice", "demo", "--ratio", "nan"), "settings.ratio: Input should be a finite number"),
        (("add", "alice", "demo", "--ratio", "1e9"), "settings.ratio: Input should be less than or equal to 1000"),
        (("add", "alice", "demo", "--ratio", "much"), "settings.ratio: "),
        (("add", "alice", "demo", "--set", "size.kind=ratio"), "settings.size: mode ratio needs the leader's size"),
        (("add", "alice", "demo", "--set", "size.kind=ration"), "settings.size"),
        (("add", "alice", "demo", "--set", "max_order_notional=2000"), "is above max_position_notional"),
        (("add", "alice", "demo", "--group", "carefull"), "group: no group 'carefull'; did you mean 'careful'?"),
        (("set", "alice/desk", "--set", "rato=1"), "settings.rato: unknown key; did you mean 'ratio'?"),
        (("set", "alice/desk", "--unset", "rato"), "unknown key; did you mean 'ratio'?"),
        (("set", "alice/dask", "--set", "ratio=1"), "did you mean 'alice/desk'?"),
        (("set", "alice/desk"), "nothing to change"),
        (("existing", "alice/desk"), "give --accept or --ignore"),
        (("repair", "alice/dask"), "did you mean 'alice/desk'?"),
    ],
)  # fmt: skip
def test_wrong_subscriptions_are_refused(desk: Desk, arguments: tuple[str, ...], told: str) -> None:
    assert told in desk.refused("follow", *arguments)


@pytest.mark.parametrize(
    ("arguments", "action"),
    [
        (("existing", "alice/desk", "--accept"), "copy_existing"),
        (("existing", "alice/desk", "--ignore"), "ignore_existing"),
        (("repair", "alice/desk"), "repair"),
    ],
)
def test_commands_about_a_subscription(desk: Desk, arguments: tuple[str, ...], action: str) -> None:
    desk.done("follow", *arguments)
    (command,) = desk.said()
    assert isinstance(command, Command)
    assert (command.action, command.account, command.subject) == (action, "alice", "alice/desk")


# -- pause, deposit, resolve
@pytest.mark.parametrize("scope", ["all", "leader:desk", "account:alice", "subscription:alice/desk"])
def test_pause_and_resume_of_a_scope(desk: Desk, scope: str) -> None:
    desk.done("pause", scope, "--reason", "fire")
    assert desk.json("pause", scope, "--resume")["paused"] is False
    paused, resumed = desk.said()
    assert isinstance(paused, PauseRequest)
    assert [(one.scope, one.paused, one.reason) for one in (paused, resumed)] == [
        (scope.replace("all", "*") if scope == "all" else scope, True, "fire"),
        ("*" if scope == "all" else scope, False, ""),
    ]


def test_a_pause_is_shown_where_it_acts(desk: Desk) -> None:
    desk.done("pause", "account:alice")
    assert desk.json("follow", "show", "alice/desk")["paused_by_hand"] == ["account:alice"]
    assert desk.json("follow", "show", "main/demo")["paused_by_hand"] == []


@pytest.mark.parametrize("scope", ["everything", "leader:dask", "account:", "group:careful"])
def test_a_scope_that_is_none_is_refused(desk: Desk, scope: str) -> None:
    assert "scope: " in desk.refused("pause", scope)


def test_deposits_count_once_by_id(desk: Desk) -> None:
    desk.done("deposit", "alice", "100.5", "--id", "wire-1")
    assert "was taken before" in desk.done("deposit", "alice", "100.5", "--id", "wire-1")
    assert "other content" in desk.run("deposit", "alice", "5", "--id", "wire-1").stderr
    desk.done("deposit", "alice", "-3")
    first, second = desk.said()
    assert isinstance(first, Transfer)
    assert [str(first.amount), first.transfer_id, str(second.amount)] == ["100.5", "wire-1", "-3"]


@pytest.mark.parametrize("amount", ["0", "nan", "inf", "much", "1e30"])
def test_no_amount_is_refused(desk: Desk, amount: str) -> None:
    desk.refused("deposit", "alice", amount)


def test_halts_are_resolved_by_account(desk: Desk) -> None:
    desk.done("halts", "resolve", "e1", "e2", "--account", "alice", "--reason", "topped up")
    assert [(one.action, one.subject, one.reason) for one in desk.said()] == [
        ("resolve", "e1", "topped up"), ("resolve", "e2", "topped up"),
    ]  # fmt: skip


# -- reading ClickHouse
ROW: dict[str, Any] = {
    "log_time": "2024-08-08 00:00:00.123", "outcome_id": "o", "event_id": "e", "leader": "desk", "sequence": 7,
    "account": "alice", "subscription": "alice/desk", "instrument": "paper:A/USD", "state": "skipped",
    "reason": "stale_signal", "order_id": "", "message": "", "numbers": {"age_ms": "5", "max_signal_age_ms": "4"},
}  # fmt: skip


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, list[dict[str, Any]]]]:
    """What ClickHouse answers, by the table that is asked."""
    found: dict[str, list[dict[str, Any]]] = {"outcomes": [], "leader_events": [], "trade_errors": []}

    def rows(self: ledger.Ledger, sql: str) -> list[dict[str, Any]]:
        return next(rows for table, rows in found.items() if f"FROM {table}" in sql)

    monkeypatch.setattr(ledger.Ledger, "rows", rows)
    yield found


def test_an_outcome_is_explained(desk: Desk, answers: dict[str, list[dict[str, Any]]]) -> None:
    assert "no outcome has this id" in desk.refused("outcomes", "explain", "o", code=ExitCode.FAILURE)
    answers["outcomes"] = [ROW]
    assert "was 5 ms old; at most 4 ms" in desk.done("outcomes", "explain", "o")
    assert desk.json("outcomes", "explain", "o")["explanation"][0] == "Not copied."
    answers["outcomes"] = [ROW, ROW | {"subscription": "bob/desk"}]
    assert "alice/desk, bob/desk. Choose by --subscription" in desk.refused("outcomes", "explain", "e")
    assert "stale_signal" in desk.done("outcomes", "list")
    assert len(desk.json("outcomes", "list", "--state", "skipped")) == 2


def test_halts_are_shown_and_resolved_by_what_is_stored(desk: Desk, answers: dict[str, list[dict[str, Any]]]) -> None:
    assert "no trade error 'e1'" in desk.refused("halts", "resolve", "e1", code=ExitCode.FAILURE)
    answers["trade_errors"] = [
        {
            "error_id": "e1", "now": "open", "error": "rejected", "of_account": "alice",
            "of_subscription": "alice/desk",
            "of_leader": "desk", "in_instrument": "paper:A/USD", "of_order": "o", "of_event": "e", "words": "no money",
            "told": {}, "opened": "2024-08-08 00:00:00.123",
        }
    ]  # fmt: skip
    assert "no money" in desk.done("halts", "list")
    (halt,) = desk.json("halts", "list", "--all")
    assert (halt["state"], halt["kind"], halt["account"], halt["message"]) == ("open", "rejected", "alice", "no money")
    assert "kind: rejected" in desk.done("halts", "show", "e1")
    desk.done("halts", "resolve", "e1")
    assert [(one.account, one.subject) for one in desk.said()] == [("alice", "e1")]


def test_nothing_stored_is_told(desk: Desk) -> None:
    for arguments in (("outcomes", "list"), ("outcomes", "explain", "x"), ("halts", "list"), ("halts", "show", "x")):
        assert "nothing was stored" in desk.refused(*arguments, code=ExitCode.FAILURE)


# -- the relay, and folders without one
def test_a_command_waits_until_the_relay_has_sent(desk: Desk) -> None:
    runtime.announce(desk.data.absolute(), "trading", roles=("outbox",), state="running")
    stop = threading.Event()

    def relay() -> None:
        while not stop.wait(0.01):
            desk.drain(desk.store())

    thread = threading.Thread(target=relay)
    thread.start()
    try:
        assert "on the log" in desk.done("pause", "all")
        assert desk.json("deposit", "alice", "1")["sent"] is True
    finally:
        stop.set()
        thread.join()


def test_a_relay_that_does_not_send_is_told(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deciding, "WAIT_S", 0.1)
    runtime.announce(desk.data.absolute(), "trading", roles=("outbox",), state="running")
    assert "has not reached the broker" in desk.done("pause", "all")


def test_a_new_folder_tells_that_nothing_was_decided(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["follow", "add", "alice", "demo", "--data", str(tmp_path / "new")])
    assert result.exit_code == ExitCode.USAGE
    assert "start `wakeline up` once" in result.stderr


def test_the_quotes_of_an_id_cannot_leave_the_query() -> None:
    assert ledger.quoted("a' OR 1=1 --\\") == "'a\\' OR 1=1 --\\\\'"
