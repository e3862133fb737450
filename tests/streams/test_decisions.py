"""The decision store: what the file changes, what commands decide, rules, numbers, other processes, older files."""

import asyncio
import itertools
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml

from processors.inbox import partition_of
from schemas.accounts import AccountChanged, Command, GroupChanged, SubscriptionChanged, Transfer
from schemas.codec import decode, encode
from schemas.leaders import LeaderChanged, LeaderTrade, PauseRequest
from schemas.reasons import Side
from streams import decision_tables
from streams.decisions import DecisionError, DecisionStore, pause_request
from streams.outbox import Relay
from streams.settings import Settings, SettingsError, load_settings
from tests.executors.conftest import postgres  # noqa: F401 (a fixture)

ROOT = Path(__file__).parents[2]
PARTITIONS = {"account-events": 4, "leader-events": 3}
NOW = 1_723_075_200_000
FILE = """
strategies: [{name: demo, interval: 1s}]
leaders:
  - {name: desk, kind: account, source: main, settings: {title: Desk, defaults: {max_day_orders: 7}}}
  - {name: tv, kind: feed, settings: {max_followers: 2}}
groups: [{name: careful, settings: {max_order_notional: 500, max_day_loss: 0.1}}]
accounts:
  - {account: main, subscriptions: [{leader: demo}]}
  - account: alice
    subscriptions:
      - {leader: desk, group: careful, ratio: 0.5, settings: {max_open_trades: 3}}
      - {leader: tv, name: tv-copy}
"""


def settings(tmp_path: Path, text: str = FILE) -> Settings:
    file = tmp_path / "wakeline.yaml"
    file.write_text(text)
    return load_settings(file, {"data_dir": str(tmp_path / "data")}, {})


@pytest.fixture(params=["sqlite", "postgresql"])
def dsn(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'decisions.db'}"
    return str(request.getfixturevalue("postgres")())


@pytest.fixture
def store(dsn: str) -> Iterator[DecisionStore]:
    opened = DecisionStore(dsn, PARTITIONS)
    yield opened
    opened.close()


@pytest.fixture
def filled(store: DecisionStore, tmp_path: Path) -> DecisionStore:
    store.decide(settings(tmp_path), (), NOW)
    drain(store)
    return store


def drain(store: DecisionStore) -> list[Any]:
    """Take what is to be sent, as the relay does; check numbers and chains on the way."""
    rows = store.rows(10_000)
    if rows:
        store.sent(rows[-1].number)
    numbers = [row.number for row in rows]
    assert numbers == sorted(set(numbers))
    return [(row.topic, row.partition, row.key.decode(), decode(row.value)) for row in rows]


def said(store: DecisionStore) -> list[Any]:
    return [message for _, _, _, message in drain(store)]


def refused(call: Callable[[], Any]) -> DecisionError:
    with pytest.raises(DecisionError) as caught:
        call()
    return caught.value


def subscription(name: str = "bob/tv", **changes: Any) -> SubscriptionChanged:
    fields: dict[str, Any] = {
        "now_ms": NOW, "subscription": name, "account": "main", "leader": "tv", "status": "active", "settings": {},
    }  # fmt: skip
    return SubscriptionChanged(**fields | changes)


def leader(name: str = "x", **changes: Any) -> LeaderChanged:
    fields: dict[str, Any] = {"now_ms": NOW, "leader": name, "kind": "feed", "status": "active", "settings": {}}
    return LeaderChanged(**fields | changes)


def trade(**changes: Any) -> LeaderTrade:
    fields: dict[str, Any] = {
        "now_ms": NOW, "leader": "tv", "trade_id": "1", "kind": "trade", "instrument": "paper:X", "side": Side.BUY,
        "price": Decimal("1.5"), "event_ms": NOW, "detected_ms": NOW,
    }  # fmt: skip
    return LeaderTrade(**fields | changes)


# -- the file
def test_a_file_is_told_once_each_to_its_topic_and_key(store: DecisionStore, tmp_path: Path) -> None:
    asked = settings(tmp_path)
    assert store.decide(asked, (), NOW) == 2 + 2 + 1 + 3
    records = drain(store)
    for topic, partition, key, message in records:
        if isinstance(message, LeaderChanged):
            assert (topic, key) == ("leader-events", message.leader)
        elif isinstance(message, GroupChanged):
            assert topic == "account-events"
            continue
        else:
            assert (topic, key) == ("account-events", message.account)
        assert partition == partition_of(key.encode(), PARTITIONS[topic])
    groups = [partition for _, partition, _, message in records if isinstance(message, GroupChanged)]
    assert groups == [0, 1, 2, 3]
    assert {m.leader for *_, m in records if isinstance(m, LeaderChanged)} == {"desk", "tv"}, "demo is only known"
    (alice,) = [m for *_, m in records if isinstance(m, SubscriptionChanged) and m.subscription == "alice/desk"]
    assert alice.settings == {"ratio": "0.5", "max_open_trades": 3}, "a part: the rest is inherited"
    assert alice.group == "careful"
    assert store.decide(asked, (), NOW + 5) == 0
    assert drain(store) == []


def test_chains_are_per_topic_and_partition(store: DecisionStore, tmp_path: Path) -> None:
    store.decide(settings(tmp_path), (), NOW)
    store.put_leader(leader())
    store.renew_generation()
    store.put_leader(leader("y"))
    store.put_leader(leader("z"))
    heads: dict[tuple[int, str, int], int] = {}
    rows = store.rows(1_000)
    for row in rows:
        chain = (row.generation, row.topic, row.partition)
        before = heads.get(chain)
        assert row.previous == (None if before is None else (row.generation, before))
        heads[chain] = row.number
    assert {generation for generation, *_ in heads} == {1, 2}


def test_what_left_the_file_is_closed_and_what_came_back_is_told(filled: DecisionStore, tmp_path: Path) -> None:
    tree = yaml.safe_load(FILE)
    tree["accounts"][1]["subscriptions"].pop()
    tree["leaders"].pop()
    tree["accounts"].pop(0)
    tree["leaders"].pop(0)
    tree["accounts"][0]["subscriptions"] = []
    tree["groups"] = []
    filled.decide(settings(tmp_path, yaml.safe_dump(tree)), (), NOW + 1)
    gone = said(filled)
    assert {getattr(m, "subscription", m.leader): m.status for m in gone} == {
        "main/demo": "closed", "alice/desk": "closed", "tv-copy": "closed", "desk": "paused", "tv": "paused",
    }, "accounts and groups keep what they have"  # fmt: skip
    filled.decide(settings(tmp_path), (), NOW + 2)
    back = said(filled)
    assert {m.status for m in back} == {"active"}
    assert len(back) == 5


def test_a_decision_by_command_survives_a_restart_with_the_same_file(filled: DecisionStore, tmp_path: Path) -> None:
    filled.move("subscription", "alice/desk", "pause", NOW)
    filled.edit("subscription", "alice/desk", {"max_day_loss": 25}, NOW, unset=["ratio"])
    filled.edit("leader", "desk", {"title": "Other"}, NOW)
    filled.put_subscription(subscription())
    drain(filled)
    assert filled.decide(settings(tmp_path), (), NOW + 1) == 0
    # Only what the file changes acts; the pause and the other settings stay.
    changed = FILE.replace("max_open_trades: 3", "max_open_trades: 4").replace("title: Desk", "title: Desk, tags: [a]")
    assert filled.decide(settings(tmp_path, changed), (), NOW + 2) == 2
    by_type = {type(message): message for message in said(filled)}
    held = by_type[SubscriptionChanged]
    assert (held.status, held.settings) == ("paused", {"max_open_trades": 4, "max_day_loss": "25"})
    assert by_type[LeaderChanged].settings["title"] == "Other"
    assert by_type[LeaderChanged].settings["tags"] == ["a"]
    resumed = changed.replace("group: careful,", "group: careful, status: paused,")
    assert filled.decide(settings(tmp_path, resumed), (), NOW + 3) == 0, "it is so already"
    assert filled.decide(settings(tmp_path, changed), (), NOW + 4) == 1
    assert [m.status for m in said(filled)] == ["active"]


def test_the_file_never_closes_what_a_command_made(filled: DecisionStore, tmp_path: Path) -> None:
    filled.put_leader(leader())
    filled.put_subscription(subscription("mine", leader="x"))
    drain(filled)
    assert filled.decide(settings(tmp_path), (), NOW) == 0
    known = filled.known()
    assert known.subscriptions["mine"].status == known.leaders["x"].status == "active"


def test_a_strategy_is_a_leader_that_can_be_changed(filled: DecisionStore, tmp_path: Path) -> None:
    assert filled.known().leaders["demo"].kind == "strategy"
    filled.edit("leader", "demo", {"defaults": {"max_open_trades": 2}}, NOW)
    (told,) = said(filled)
    assert (told.leader, told.kind, told.settings["defaults"]) == ("demo", "strategy", {"max_open_trades": 2})
    assert filled.decide(settings(tmp_path), (), NOW) == 0


# -- older files
def test_an_older_store_is_migrated(tmp_path: Path) -> None:
    path = tmp_path / "decisions.db"
    account = AccountChanged(
        now_ms=1, account="old", venue="paper", currency="USDT", initial_balance=Decimal(1), settings={}
    )
    with sqlite3.connect(path) as old:
        old.executescript(
            "CREATE TABLE decision_meta (generation INTEGER NOT NULL PRIMARY KEY);"
            "CREATE TABLE decided (name VARCHAR NOT NULL PRIMARY KEY, value BLOB NOT NULL);"
            "CREATE TABLE decision_outbox (number INTEGER NOT NULL PRIMARY KEY, generation INTEGER NOT NULL,"
            " partition INTEGER NOT NULL, previous INTEGER, key VARCHAR NOT NULL, value BLOB NOT NULL,"
            " sent BOOLEAN NOT NULL);"
            "INSERT INTO decision_meta VALUES (3);"
        )
        partition = partition_of(b"old", 4)
        old.execute("INSERT INTO decided VALUES ('account/old', ?)", (encode(account),))
        for number, before, sent in ((0, None, 1), (1, 0, 0)):
            values = (number, 3, partition, before, "old", encode(account), sent)
            old.execute("INSERT INTO decision_outbox VALUES (?, ?, ?, ?, ?, ?, ?)", values)
    for _ in range(2):
        store = DecisionStore(f"sqlite:///{path}", PARTITIONS)
        (row,) = store.rows()
        assert (row.topic, row.number, row.previous, row.generation) == ("account-events", 1, (3, 0), 3)
        store.close()
    store = DecisionStore(f"sqlite:///{path}", PARTITIONS)
    store.transfer(Transfer(now_ms=1, transfer_id="t", account="old", amount=Decimal(1)))
    assert store.rows()[-1].previous == (3, 1), "the chain goes on"
    asked = settings(tmp_path, "accounts: [{account: old, initial_balance: 1}]")
    assert store.decide(asked, (), 5) == 1, "the file asks for other settings than it did"
    assert store.decide(asked, (), 6) == 0
    store.close()


def test_a_decision_before_the_first_start_gets_the_time_of_the_start(filled: DecisionStore, tmp_path: Path) -> None:
    filled.command(Command(now_ms=0, command_id="c", account="main", action="kill"))
    filled.decide(settings(tmp_path), (), NOW + 9)
    assert [m.now_ms for m in said(filled)] == [NOW + 9]


# -- rules
@pytest.mark.parametrize(
    ("changes", "field", "text"),
    [
        ({"leader": "dsk"}, "leader", "no leader 'dsk'; did you mean 'desk'?"),
        ({"account": "mian"}, "account", "did you mean 'main'?"),
        ({"group": "carefull"}, "group", "did you mean 'careful'?"),
        ({"leader": "desk"}, "leader", "would follow itself"),
        ({"leader": "demo", "settings": {"size": {"kind": "ratio"}}}, "settings.size", "needs the leader's size"),
        ({"leader": "demo", "settings": {"instruments": {"paper:X": {"size": {"kind": "ratio"}}}}},
         "settings.instruments.paper:X.size", "needs the leader's size"),
        ({"settings": {"rato": 1}}, "settings.rato", "did you mean 'ratio'?"),
        ({"settings": {"ratio": -1}}, "settings.ratio", "greater than 0"),
        ({"settings": {"ratio": 0}}, "settings.ratio", "greater than 0"),
        ({"settings": {"ratio": "NaN"}}, "settings.ratio", "finite"),
        ({"settings": {"ratio": 1e9}}, "settings.ratio", "less than or equal to 1000"),
        ({"settings": {"max_order_notional": 2000}}, "settings", "above max_position_notional"),
        ({"group": "careful", "settings": {"max_position_notional": 400}}, "settings",
         "max_order_notional from the group"),
    ],
)  # fmt: skip
def test_a_subscription_that_cannot_be_is_refused(
    filled: DecisionStore, changes: dict[str, Any], field: str, text: str
) -> None:
    error = refused(lambda: filled.put_subscription(subscription(**changes)))
    assert error.field == field
    assert text in error.text
    assert drain(filled) == []
    assert "bob/tv" not in filled.known().subscriptions


def test_a_full_leader_takes_nobody_more_and_loses_nobody(filled: DecisionStore) -> None:
    filled.put_subscription(subscription())
    error = refused(lambda: filled.put_subscription(subscription("third", account="alice")))
    assert (error.field, error.text) == ("leader", "'tv' is full: it takes 2 followers")
    filled.edit("leader", "tv", {"max_followers": 1}, NOW)
    filled.edit("subscription", "bob/tv", {"max_open_trades": 1}, NOW)
    filled.move("subscription", "tv-copy", "stop", NOW)
    filled.move("subscription", "bob/tv", "close", NOW)
    filled.put_subscription(subscription("third", account="alice"))


def test_least_investment_counts_capital_or_balance(filled: DecisionStore) -> None:
    filled.edit("leader", "tv", {"min_investment": 20_000}, NOW)
    error = refused(lambda: filled.put_subscription(subscription()))
    assert error.field == "account"
    assert "10000" in error.text
    error = refused(lambda: filled.put_subscription(subscription(settings={"capital": 19_999})))
    assert error.field == "settings.capital"
    filled.put_subscription(subscription(settings={"capital": 20_000}))


def test_invitation(filled: DecisionStore) -> None:
    filled.edit("leader", "tv", {"visibility": "invite", "invite_code": "s3same"}, NOW)
    for code, word in ((None, "is missing"), ("open", "is not the right one")):
        error = refused(lambda code=code: filled.put_subscription(subscription(), invite_code=code))
        assert error.field == "invite_code"
        assert word in error.text
    filled.put_subscription(subscription(), invite_code="s3same")
    filled.edit("subscription", "bob/tv", {"max_open_trades": 1}, NOW)  # who is in needs no invitation again


def test_a_closed_leader_takes_nobody_and_stays_closed(filled: DecisionStore) -> None:
    filled.move("leader", "tv", "close", NOW)
    assert "closed" in refused(lambda: filled.put_subscription(subscription())).text
    assert refused(lambda: filled.move("leader", "tv", "resume", NOW)).field == "status"
    assert refused(lambda: filled.leader_trade(trade())).why == "closed"


def test_circles_of_leaders_are_refused(filled: DecisionStore) -> None:
    # alice follows desk, which main leads.
    filled.put_leader(leader("back", kind="account", source="alice"))
    error = refused(lambda: filled.put_subscription(subscription("circle", account="main", leader="back")))
    assert error.field == "leader"
    assert "main -> alice -> main" in error.text
    filled.move("subscription", "alice/desk", "close", NOW)
    filled.put_subscription(subscription("circle", account="main", leader="back"))
    error = refused(lambda: filled.put_subscription(subscription("alice/desk", account="alice", leader="desk")))
    assert "alice -> main -> alice" in error.text


def test_what_a_leader_is_never_changes(filled: DecisionStore, tmp_path: Path) -> None:
    for changes, field in (({"kind": "account", "source": "alice"}, "source"), ({"kind": "feed"}, "kind")):
        error = refused(lambda changes=changes: filled.put_leader(leader("desk", **changes)))
        assert error.field == field
        assert "cannot change" in error.text
    with pytest.raises(DecisionError, match="led by account 'main', which cannot change"):
        filled.decide(
            settings(tmp_path, FILE.replace("source: main", "source: third") + "  - {account: third}"), (), NOW
        )
    assert drain(filled) == []


def test_a_closed_leader_does_not_open_again(filled: DecisionStore, tmp_path: Path) -> None:
    filled.move("leader", "desk", "close", NOW)
    drain(filled)
    assert "final" in refused(lambda: filled.put_leader(leader("desk", kind="account", source="main"))).text
    assert "final" in refused(lambda: filled.edit("leader", "desk", {"title": "x"}, NOW)).text
    changed = settings(tmp_path, FILE.replace("title: Desk", "title: Other"))
    assert [filled.decide(changed, (), NOW), filled.decide(changed, (), NOW)] == [0, 0]
    assert filled.known().leaders["desk"].status == "closed"


def test_a_strategy_that_left_and_came_back_makes_no_record(filled: DecisionStore, tmp_path: Path) -> None:
    tree = yaml.safe_load(FILE)
    tree["strategies"][0]["name"] = "other"
    tree["accounts"][0]["subscriptions"] = []
    filled.decide(settings(tmp_path, yaml.safe_dump(tree)), (), NOW)
    assert [type(message) for message in said(filled)] == [SubscriptionChanged]
    filled.decide(settings(tmp_path), (), NOW)
    assert [type(message) for message in said(filled)] == [SubscriptionChanged]


@pytest.mark.parametrize(
    ("changes", "field", "text"),
    [
        ({"kind": "account"}, "source", "is missing"),
        ({"kind": "account", "source": "alcie"}, "source", "did you mean 'alice'?"),
        ({"source": "alice"}, "source", "only a leader of kind account"),
        ({"leader": "nodemo", "kind": "strategy"}, "name", "did you mean 'demo'?"),
        ({"leader": "demo"}, "kind", "of kind strategy already"),
        ({"settings": {"max_folowers": 1}}, "settings.max_folowers", "did you mean 'max_followers'?"),
        ({"settings": {"max_followers": 0}}, "settings.max_followers", ""),
        ({"settings": {"defaults": {"rato": 1}}}, "settings.defaults.rato", "did you mean 'ratio'?"),
    ],
)
def test_a_leader_that_cannot_be_is_refused(
    filled: DecisionStore, changes: dict[str, Any], field: str, text: str
) -> None:
    wrong = leader(changes.get("leader", "x"), **{key: value for key, value in changes.items() if key != "leader"})
    error = refused(lambda: filled.put_leader(wrong))
    assert error.field == field
    assert text in error.text


@pytest.mark.parametrize(
    ("status", "event", "after"),
    [
        ("active", "pause", "paused"), ("paused", "pause", "paused"), ("paused", "resume", "active"),
        ("active", "resume", "active"), ("active", "stop", "stopped"), ("stopped", "close", "closed"),
        ("stopped", "resume", None), ("closed", "resume", None), ("closed", "pause", None),
        ("closed", "close", "closed"),
        ("closed", "stop", None),
    ],
)  # fmt: skip
def test_moves_of_a_subscription(filled: DecisionStore, status: str, event: str, after: str | None) -> None:
    filled.put_subscription(subscription("tv-copy", account="alice", status=status))
    drain(filled)
    if after is None:
        error = refused(lambda: filled.move("subscription", "tv-copy", event, NOW))
        assert (error.field, error.why) == ("status", "closed")
        assert drain(filled) == []
    else:
        taken = filled.move("subscription", "tv-copy", event, NOW)
        assert taken.status == ("unchanged" if status == after else "new")
        assert [m.status for m in said(filled)] == [after] * (status != after)


def test_unknown_names_are_told_with_the_nearest(filled: DecisionStore) -> None:
    calls: list[tuple[str, Callable[[], Any]]] = [
        ("name", lambda: filled.move("leader", "dask", "pause", NOW)),
        ("name", lambda: filled.edit("subscription", "alice/dask", {}, NOW)),
        ("account", lambda: filled.transfer(Transfer(now_ms=1, transfer_id="t", account="man", amount=Decimal(1)))),
        ("account", lambda: filled.command(Command(now_ms=1, command_id="c", account="man", action="kill"))),
        ("subject", lambda: filled.command(
            Command(now_ms=1, command_id="c", account="main", action="repair", subject="tv-cpy"))),
        ("scope", lambda: filled.pause(pause_request("account:man", True, "", "c", 1))),
    ]  # fmt: skip
    for field, call in calls:
        error = refused(call)
        assert error.field == field
        assert error.why == "unknown"
        assert "did you mean" in error.text
    for scope in ("everything", "", "leader", "group:careful", ":x"):
        assert refused(lambda scope=scope: filled.pause(pause_request(scope, True, "", "c", 1))).field == "scope"
    for amount in ("0", "NaN", "Infinity", "1e18"):
        wrong = Transfer(now_ms=1, transfer_id="t", account="main", amount=Decimal(amount))
        assert refused(lambda wrong=wrong: filled.transfer(wrong)).field == "amount"
    assert drain(filled) == []


# -- commands
def test_commands_reach_the_right_partitions(filled: DecisionStore) -> None:
    filled.command(Command(now_ms=NOW, command_id="a", account="*", action="kill"))
    filled.command(Command(now_ms=NOW, command_id="b", account="alice", action="resolve", subject="e"))
    filled.transfer(Transfer(now_ms=NOW, transfer_id="c", account="alice", amount=Decimal(5)))
    everywhere, alice = drain(filled)[:4], drain(filled)
    assert [(topic, partition, key) for topic, partition, key, _ in everywhere] == [
        ("account-events", partition, "*") for partition in range(4)
    ]
    assert alice == []


@pytest.mark.parametrize(
    ("scope", "key"), [("*", "*"), ("leader:tv", "tv"), ("account:alice", "*"), ("subscription:alice/desk", "*")]
)
def test_a_pause_goes_to_its_leader_or_to_all_and_is_always_told(filled: DecisionStore, scope: str, key: str) -> None:
    for number in range(2):
        taken = filled.pause(pause_request(scope, True, "why", f"c{number}", NOW))
        assert taken.status == "new"
        ((topic, partition, told_key, message),) = drain(filled)
        assert (topic, told_key, partition) == ("leader-events", key, partition_of(key.encode(), 3))
        assert isinstance(message, PauseRequest)
        assert (message.scope, message.leader, message.paused, message.reason) == (scope, key, True, "why")
    assert [(p.scope, p.paused) for p in filled.pauses()] == [(scope, True)]


def test_repeats_are_answered_and_other_content_is_refused(filled: DecisionStore) -> None:
    first = filled.leader_trade(trade())
    again = filled.leader_trade(trade(now_ms=NOW + 50, detected_ms=NOW + 50))
    assert (first.status, again.status, again.number) == ("new", "exists", first.number)
    error = refused(lambda: filled.leader_trade(trade(price=Decimal("1.6"))))
    assert (error.field, error.why) == ("id", "conflict")
    filled.put_leader(leader("tv2"))
    assert filled.leader_trade(trade(leader="tv2")).status == "new", "ids are per leader"
    paid = Transfer(now_ms=NOW, transfer_id="t", account="main", amount=Decimal(1))
    assert [filled.transfer(paid).status for _ in range(2)] == ["new", "exists"]
    assert [filled.put_subscription(subscription(), request_id="r").status for _ in range(2)] == ["new", "exists"]
    assert refused(lambda: filled.put_subscription(subscription(leader="demo"), request_id="r")).why == "conflict"
    assert filled.put_subscription(subscription()).status == "unchanged"
    assert len(said(filled)) == 5


def test_only_feeds_send_trades(filled: DecisionStore) -> None:
    for name in ("desk", "demo", "nobody"):
        error = refused(lambda name=name: filled.leader_trade(trade(leader=name)))
        assert (error.field, error.why) == ("leader", "unknown")


def test_sent_is_told_by_number(filled: DecisionStore) -> None:
    taken = filled.put_leader(leader())
    assert taken.number is not None
    assert not filled.is_sent(taken.number)
    drain(filled)
    assert filled.is_sent(taken.number)


def test_old_rows_are_forgotten_and_chains_go_on(
    filled: DecisionStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decision_tables, "KEPT", 3)
    for number in range(20):
        filled.leader_trade(trade(trade_id=str(number)))
    last = filled.rows(1_000)[-1]
    drain(filled)
    filled.decide(settings(tmp_path), (), NOW)
    with filled._engine.connect() as tx:
        left = tx.execute(sa.select(sa.func.count()).select_from(decision_tables.outbox)).scalar_one()
    assert left <= 4 + 4 + 3
    assert filled.is_sent(0)
    filled.leader_trade(trade(trade_id="new"))
    (row,) = filled.rows()
    assert (row.number, row.previous) == (last.number + 1, (last.generation, last.number))


async def test_the_relay_notices_rows_of_another_process(filled: DecisionStore, dsn: str) -> None:
    published: list[Any] = []

    class Log:
        async def publish(self, emits: Any, origin_us: Any = None) -> None:
            published.extend(emits)

    async def rows() -> Any:
        return await asyncio.to_thread(filled.rows)

    async def sent(number: int) -> None:
        await asyncio.to_thread(filled.sent, number)

    relay: Any = Relay(filled.source, rows, sent, Log(), look_s=0.01)  # type: ignore[arg-type]
    task = asyncio.create_task(relay.run())
    other = DecisionStore(dsn, PARTITIONS)
    number = other.pause(pause_request("*", True, "", "c", NOW)).number
    while not other.is_sent(number or 0):
        await asyncio.sleep(0.005)
    task.cancel()
    other.close()
    ((topic, headers),) = [(emit.topic, dict(emit.headers)) for emit in published]
    assert (topic, headers["src"], headers["st"]) == ("leader-events", b"outbox", b"1.%d" % (number or 0))


# -- several processes
WRITER = """
import sys
from decimal import Decimal
from schemas.accounts import Transfer
from streams.decisions import DecisionStore
store = DecisionStore(sys.argv[1], {"account-events": 4, "leader-events": 3})
for number in range(40):
    store.transfer(Transfer(now_ms=1, transfer_id=f"{sys.argv[2]}-{number}", account="main", amount=Decimal(1)))
"""


def test_processes_that_write_at_once_share_one_chain(dsn: str, tmp_path: Path) -> None:
    store = DecisionStore(dsn, PARTITIONS)
    store.decide(settings(tmp_path), (), NOW)
    drain(store)
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, dsn, str(n)], cwd=ROOT) for n in range(3)]
    seen: list[Any] = []
    while any(writer.poll() is None for writer in writers):
        seen += drain(store)
    seen += drain(store)
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert len(seen) == len({message.transfer_id for *_, message in seen}) == 120, "none lost, none twice"
    with store._engine.connect() as tx:
        rows = tx.execute(sa.select(decision_tables.outbox).order_by(decision_tables.outbox.c.number)).all()
    mains = [row for row in rows if row.topic == "account-events" and row.partition == partition_of(b"main", 4)]
    for before, row in itertools.pairwise(mains):
        assert row.previous == before.number
    store.close()


def test_two_processes_may_make_the_tables_at_once(dsn: str) -> None:
    code = WRITER.partition("for ")[0]
    makers = [subprocess.Popen([sys.executable, "-c", code, dsn], cwd=ROOT) for _ in range(3)]
    assert [maker.wait() for maker in makers] == [0, 0, 0]


# -- the whole file
@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("ratio: 0.5", "ratio: -0.5", "a.1.s.0.ratio: Input should be greater than 0"),
        ("ratio: 0.5", "ratio: .nan", "a.1.s.0.ratio: Input should be a finite number"),
        ("ratio: 0.5", "ratio: 1000000000", "a.1.s.0.ratio: Input should be less than or equal"),
        ("ratio: 0.5, settings: {", "ratio: 0.5, settings: {ratio: 1, ", "a.1.s.0: ratio is given twice"),
        ("max_open_trades: 3", "max_open_trade: 3",
         "a.1.s.0.settings.max_open_trade: unknown key; did you mean 'max_open_trades'?"),
        ("max_order_notional: 500", "max_order_notional: -5", "groups.0.settings.max_order_notional: Input should be"),
        ("max_order_notional: 500", "max_order_notional: 5000",
         "a.1.s.0.settings: max_order_notional"),
        ("group: careful", "group: carful", "a.1.s.0.group: no group 'carful'; did you mean 'careful'?"),
        ("leader: desk", "leader: dask", "a.1.s.0.leader: no leader 'dask'; did you mean 'desk'?"),
        ("source: main", "source: alice", "a.1.s.0.leader: account 'alice' would follow itself"),
        ("source: main", "source: mian", "leaders.0.source: no account 'mian'; did you mean 'main'?"),
        ("name: tv, kind: feed", "name: tv, kind: feed, status: closed", "a.1.s.1.leader: 'tv' is closed"),
        ("max_followers: 2", "min_investment: 99999", "a.1.s.1.account: the initial balance"),
        ("max_followers: 2", "visibility: invite, invite_code: abcdef", "a.1.s.1.invite_code: is missing"),
        ("max_followers: 2", "max_follower: 2", "did you mean 'max_followers'?"),
        ("max_day_orders: 7", "max_day_order: 7", "leaders.0.settings.defaults.max_day_order: unknown key"),
        ("[{leader: demo}]", "[{leader: demo, settings: {size: {kind: ratio}}}]",
         "a.0.s.0.settings.size: mode ratio needs the leader's size"),
        ("name: tv, kind", "name: desk, kind", "leaders: the name 'desk' is used twice"),
        ("name: tv-copy", "name: alice/desk", "accounts.*.subscriptions: the name 'alice/desk' is used twice"),
        ("name: tv, kind", "name: demo, kind", "leaders.1.name: a strategy leads as 'demo'"),
    ],
)  # fmt: skip
def test_every_mistake_of_a_file_names_its_field(tmp_path: Path, old: str, new: str, told: str) -> None:
    told = re.sub(r"^a\.(\d)\.s\.", r"accounts.\1.subscriptions.", told)
    assert FILE.count(old) == 1
    with pytest.raises(SettingsError) as caught:
        settings(tmp_path, FILE.replace(old, new))
    assert any(told in problem for problem in caught.value.problems), caught.value


def test_circles_and_full_leaders_of_a_file(tmp_path: Path) -> None:
    text = FILE.replace("groups:", "  - {name: back, kind: account, source: alice}\ngroups:")
    with pytest.raises(
        SettingsError, match=r"accounts\.0\.subscriptions\.1\.leader: a circle of leaders: main -> alice"
    ):
        settings(tmp_path, text.replace("[{leader: demo}]", "[{leader: demo}, {leader: back}]"))
    with pytest.raises(SettingsError, match="'tv' is full: it takes 2 followers"):
        settings(tmp_path, FILE.replace("[{leader: demo}]", "[{leader: tv, name: a}, {leader: tv, name: b}]"))


def test_parts_stay_parts_through_the_file_of_the_workers(tmp_path: Path) -> None:
    from cli.session import write_effective

    asked = settings(tmp_path)
    again = load_settings(write_effective(asked, tmp_path), {}, {})
    assert again == asked
    assert again.accounts[1].subscriptions[0].settings == {"max_open_trades": 3}
