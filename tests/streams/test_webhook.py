"""The webhook: signed trades of external leaders, and everything that is refused."""

import json
import logging
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer

from schemas.codec import decode
from schemas.leaders import LeaderTrade
from streams.copying_settings import LeaderSettings, WebhookSettings
from streams.decisions import DecisionStore
from streams.settings import load_settings
from streams.webhook import MAX_BODY, SIGNATURE, TIMESTAMP, Webhook, signature

WALL = 1_760_000_000_000
LOG = 1_723_075_200_000
SECRET = "a-secret-of-tv"
FILE = """
strategies: [{name: demo, interval: 1s}]
leaders: [{name: tv, kind: feed}, {name: plain/one, kind: feed}, {name: mute, kind: feed}, {name: gone, kind: feed}]
accounts: [{account: main}]
"""
TRADE: dict[str, Any] = {
    "id": "42", "instrument": "binanceusdm:BTC/USDT:USDT", "side": "buy", "price": 60000.1, "time": WALL - 1_500,
    "size": "0.5", "position": -2,
}  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DecisionStore]:
    opened = DecisionStore(f"sqlite:///{tmp_path / 'decisions.db'}", {"account-events": 2, "leader-events": 2})
    file = tmp_path / "wakeline.yaml"
    file.write_text(FILE)
    opened.decide(load_settings(file, {}, {}), (), LOG)
    opened.move("leader", "gone", "close", LOG)
    opened.sent(opened.rows(1_000)[-1].number)
    yield opened
    opened.close()


class Hooks:
    """A client of a webhook whose clock stands."""

    def __init__(self, client: TestClient[Any, Any], store: DecisionStore) -> None:
        self.client, self.store = client, store
        self.woken = 0

    async def send(
        self,
        body: Any = TRADE,
        leader: str = "tv",
        *,
        secret: str | None = SECRET,
        at: int | str = WALL,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, dict[str, Any]]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {} if secret is None else {TIMESTAMP: str(at), SIGNATURE: signature(secret.encode(), str(at), data)}
        async with self.client.post(f"/hooks/{leader}", data=data, headers=sent | (headers or {})) as answer:
            assert answer.content_type == "application/json"
            return answer.status, await answer.json()

    async def refused(self, status: int, field: str, word: str, *args: Any, **options: Any) -> None:
        """Expect an error that names the field, and that nothing was taken."""
        got, answer = await self.send(*args, **options)
        assert (got, answer["field"]) == (status, field), answer
        assert word in answer["error"]
        assert set(answer) == {"error", "field", "mend"}
        assert answer["mend"]
        assert SECRET not in json.dumps(answer)
        assert self.taken() == []

    def taken(self) -> list[LeaderTrade]:
        rows = self.store.rows(1_000)
        if rows:
            self.store.sent(rows[-1].number)
        return [decode(row.value) for row in rows]


@pytest.fixture
async def hooks(store: DecisionStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Hooks]:
    monkeypatch.setenv("WAKELINE_WEBHOOK_SECRET_TV", SECRET)
    monkeypatch.setenv("WAKELINE_WEBHOOK_SECRET_GONE", SECRET)
    (tmp_path / "secret").write_text("from-a-file\n")
    leaders = {
        "plain/one": LeaderSettings(
            name="plain/one", kind="feed", secret_file=tmp_path / "secret", allow_plain_secret=True
        )
    }
    made: list[Hooks] = []
    hook = Webhook(
        store,
        leaders,
        WebhookSettings(rate_per_s=1, burst=50),
        lambda: LOG,
        wake=lambda: setattr(made[0], "woken", made[0].woken + 1),
        wall_ms=lambda: WALL,
    )
    async with TestClient(TestServer(hook.app)) as client:
        made.append(Hooks(client, store))
        yield made[0]


async def test_a_signed_trade_is_committed_for_its_leader(hooks: Hooks) -> None:
    status, answer = await hooks.send()
    assert (status, answer["status"]) == (202, "accepted")
    assert hooks.woken == 1
    (row,) = hooks.store.rows()
    assert (row.topic, row.key, row.number) == ("leader-events", b"tv", answer["decision"])
    (trade,) = hooks.taken()
    assert trade == LeaderTrade(
        now_ms=LOG, leader="tv", trade_id="42", kind="trade", instrument="binanceusdm:BTC/USDT:USDT", side="buy",
        price=Decimal("60000.1"), event_ms=LOG - 1_500, detected_ms=LOG, size=Decimal("0.5"), position=Decimal(-2),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "field", "expected"),
    [
        ({"price": "60000.10"}, "price", Decimal("60000.10")),
        ({"price": 0.1}, "price", Decimal("0.1")),
        ({"side": "SELL"}, "side", "sell"),
        ({"id": 7}, "trade_id", "7"),
        ({"time": "2025-10-09T08:53:19Z"}, "event_ms", LOG - 1_000),
        ({"time": "2025-10-09T10:53:19+02:00"}, "event_ms", LOG - 1_000),
        ({"time": str(WALL - 7)}, "event_ms", LOG - 7),
        ({"time": WALL + 50}, "event_ms", LOG),
        ({"kind": "protection", "stop_loss": 5}, "stop_loss", Decimal(5)),
        ({"position": 0}, "position", Decimal(0)),
        ({"leverage": 10}, "leverage", 10),
    ],
)
async def test_ways_to_say_it(hooks: Hooks, change: dict[str, Any], field: str, expected: Any) -> None:
    assert (await hooks.send(TRADE | change))[0] == 202
    assert getattr(hooks.taken()[0], field) == expected


async def test_a_repeat_is_answered_and_other_content_is_refused(hooks: Hooks) -> None:
    _, first = await hooks.send()
    status, again = await hooks.send(at=WALL + 1_000)
    assert (status, again) == (200, {"status": "exists", "decision": first["decision"]})
    assert len(hooks.taken()) == 1
    await hooks.refused(409, "id", "used before", TRADE | {"price": 1})


@pytest.mark.parametrize("late", [-30_001, 30_001, -(10**9)])
async def test_an_old_or_early_timestamp_is_refused(hooks: Hooks, late: int) -> None:
    await hooks.refused(401, TIMESTAMP, "old" if late < 0 else "ahead", at=WALL + late)


@pytest.mark.parametrize("late", [-30_000, 30_000])
async def test_a_timestamp_within_the_limit_is_taken(hooks: Hooks, late: int) -> None:
    assert (await hooks.send(at=WALL + late))[0] == 202


async def test_wrong_signatures_are_refused(hooks: Hooks) -> None:
    body = json.dumps(TRADE).encode()
    await hooks.refused(401, SIGNATURE, "wrong", secret="other")
    await hooks.refused(401, SIGNATURE, "not signed", secret=None)
    await hooks.refused(
        401, TIMESTAMP, "missing", secret=None, headers={SIGNATURE: signature(SECRET.encode(), "", body)}
    )
    await hooks.refused(401, SIGNATURE, "missing", secret=None, headers={TIMESTAMP: str(WALL)})
    for stamp in ("now", "-1", "1e12", "9" * 30):
        await hooks.refused(401, TIMESTAMP, "not a number", at=stamp)
    good = signature(SECRET.encode(), str(WALL), body)
    for wrong in (good.removeprefix("sha256="), good.upper(), good[:-1], good + "0", "sha256=", "sha256=é"):
        headers = {TIMESTAMP: str(WALL), SIGNATURE: wrong}
        await hooks.refused(401, SIGNATURE, "wrong", body, secret=None, headers=headers)
    tampered = body.replace(b"60000.1", b"60000.2")
    await hooks.refused(401, SIGNATURE, "wrong", tampered, secret=None, headers={TIMESTAMP: str(WALL), SIGNATURE: good})
    later = {TIMESTAMP: str(WALL + 1), SIGNATURE: good}
    await hooks.refused(401, SIGNATURE, "wrong", body, secret=None, headers=later)


async def test_a_secret_in_the_body_only_where_it_is_allowed(hooks: Hooks) -> None:
    with_secret = TRADE | {"secret": SECRET}
    await hooks.refused(401, "secret", "not allowed", with_secret, secret=None)
    await hooks.refused(401, "secret", "wrong", with_secret, "plain/one", secret=None)
    await hooks.refused(401, "secret", "wrong", TRADE | {"secret": 5}, "plain/one", secret=None)
    await hooks.refused(401, SIGNATURE, "not signed", TRADE, "plain/one", secret=None)
    await hooks.refused(422, "secret", "unknown key", with_secret)
    assert (await hooks.send(TRADE | {"secret": "from-a-file"}, "plain/one", secret=None))[0] == 202
    assert (await hooks.send(TRADE | {"id": "43"}, "plain/one", secret="from-a-file"))[0] == 202
    for trade in hooks.taken():
        assert b"from-a-file" not in repr(trade).encode()


async def test_leaders_that_take_nothing(hooks: Hooks) -> None:
    for leader in ("nobody", "demo", "main"):
        await hooks.refused(404, "leader", "kind feed", leader=leader)
    await hooks.refused(409, "leader", "closed", leader="gone")
    await hooks.refused(503, "secret", "no secret", leader="mute")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        *(({"price": value}, "price") for value in (None, 0, -1, "x", "", True, [1], "1e30")),
        *(({"price": value}, "price") for value in (float("nan"), float("inf"), "NaN")),
        *(({"size": value}, "size") for value in (0, -1, "NaN", False)),
        *(({"position": value}, "position") for value in ("NaN", "-Infinity", True)),
        *(({"side": value}, "side") for value in (None, "long", 1)),
        *(({"time": value}, "time") for value in (None, 0, -5, "yesterday", "2025-10-09T08:53:19", WALL + 30_001)),
        *(({"time": value}, "time") for value in (WALL * 1_000, True)),
        *(({"instrument": value}, "instrument") for value in (None, "BTCUSDT", "", "a:", ":b", "paper: x", 5)),
        *(({"id": value}, "id") for value in (None, "", "x" * 201, True)),
        ({"kind": "gift"}, "kind"), ({"leverage": 0}, "leverage"), ({"stop_loss": -1}, "stop_loss"),
        ({"prize": 1}, "prize"), ({"equity": 0}, "equity"),
    ],
)  # fmt: skip
async def test_a_wrong_field_is_named(hooks: Hooks, change: dict[str, Any], field: str) -> None:
    got, answer = await hooks.send(TRADE | change)
    assert (got, answer["field"]) == (422, field), answer
    assert hooks.taken() == []


@pytest.mark.parametrize("field", ["id", "instrument", "side", "price", "time"])
async def test_a_missing_field_is_named(hooks: Hooks, field: str) -> None:
    await hooks.refused(422, field, "is missing", {name: value for name, value in TRADE.items() if name != field})


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"", "not JSON"), (b"{", "not JSON"), (b"\xff\xfe", "not JSON"), (b"[" * 50_000, "not JSON"),
        (b"[]", "not a JSON object"), (b"null", "not a JSON object"), (b'"x"', "not a JSON object"),
    ],
)  # fmt: skip
async def test_what_is_no_object_is_refused(hooks: Hooks, body: bytes, word: str) -> None:
    await hooks.refused(400, "", word, body)


async def test_a_field_given_twice_is_refused(hooks: Hooks) -> None:
    await hooks.refused(400, "price", "twice", json.dumps(TRADE).replace("{", '{"price": 1, ').encode())


async def test_too_large_a_body_is_refused(hooks: Hooks) -> None:
    await hooks.refused(413, "", "larger than 64 KiB", b"x" * (MAX_BODY + 1))


async def test_other_paths_and_methods_are_told_as_json(hooks: Hooks) -> None:
    for method, path, status in (("GET", "/hooks/tv", 405), ("POST", "/", 404), ("POST", "/hooks/", 404)):
        async with hooks.client.request(method, path) as answer:
            assert answer.status == status
            assert set(await answer.json()) == {"error", "field", "mend"}


async def test_the_rate_of_a_leader_is_limited_and_others_go_on(hooks: Hooks) -> None:
    for number in range(50):
        assert (await hooks.send(TRADE | {"id": str(number)}))[0] == 202
    assert len(hooks.taken()) == 50
    await hooks.refused(429, "leader", "more than 1 trades per second", TRADE | {"id": "more"})
    assert (await hooks.send(leader="plain/one", secret="from-a-file"))[0] == 202


async def test_a_request_that_is_not_signed_spends_nothing(hooks: Hooks) -> None:
    for _ in range(60):
        assert (await hooks.send(secret="guess"))[0] == 401
    assert (await hooks.send())[0] == 202


async def test_no_secret_is_logged_or_stored(hooks: Hooks, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level(logging.DEBUG)
    await hooks.send(TRADE | {"secret": "from-a-file"}, "plain/one", secret=None)
    await hooks.send(TRADE | {"secret": "from-a-fool"}, "plain/one", secret=None)
    await hooks.send()
    assert "from-a-" not in caplog.text
    assert SECRET not in caplog.text
    hooks.store.close()
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("decisions.db*"))
    assert b"42" in stored
    assert b"from-a-" not in stored
    assert SECRET.encode() not in stored


async def test_a_store_that_fails_is_told_as_503(hooks: Hooks, monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlalchemy.exc import OperationalError

    def broken(trade: LeaderTrade) -> None:
        raise OperationalError("INSERT", {}, Exception("disk full"))

    monkeypatch.setattr(hooks.store, "leader_trade", broken)
    await hooks.refused(503, "", "could not be stored")


async def test_the_role_listens_and_tells_its_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from streams.topics_admin import load_catalogue
    from streams.webhook import start

    monkeypatch.setenv("WAKELINE_WEBHOOK_SECRET_TV", SECRET)
    file = tmp_path / "wakeline.yaml"
    file.write_text(FILE)
    settings = load_settings(file, {"data_dir": str(tmp_path / "d")}, {})
    port, close = await start(settings, load_catalogue(), lambda: LOG, lambda: None)
    taken = load_settings(file, {"data_dir": str(tmp_path / "d"), "webhook.port": port}, {})
    with pytest.raises(OSError, match=f"webhook port 127.0.0.1:{port} cannot be opened"):
        await start(taken, load_catalogue(), lambda: LOG, lambda: None)
    async with aiohttp.ClientSession() as http, http.post(f"http://127.0.0.1:{port}/hooks/tv", data=b"{}") as answer:
        assert answer.status == 404, "nothing was decided yet"
    await close()
