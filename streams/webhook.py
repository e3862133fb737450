"""The role `webhook`: trades of external leaders come in over HTTP and go out through the decisions' outbox.

Entry points: `start(...)` (the role), `Webhook` (the handler), `signature`.

POST /hooks/LEADER with a JSON object: id, instrument, side, price, time (ms since the epoch, or ISO 8601), and if known
size, position, equity, stop_loss, take_profit, leverage, margin_mode, kind (trade | protection).

1. Signed: X-Wakeline-Timestamp (ms) and X-Wakeline-Signature `sha256=HEX`, HEX = HMAC-SHA256(secret, timestamp + "." +
   body). A source that cannot sign may send the secret in the body's `secret`, where its leader allows that.
2. Nothing of a body is believed before its signature; secrets come from the environment or a file, and are never
   stored, logged or told.
3. 202 means committed: the trade will reach the log. The same id again is answered 200 `exists`, with other
   content 409.
4. Every error is {"error", "field", "mend"}. `time` is wall time; it is put into log time by its age.
"""

import asyncio
import contextlib
import hashlib
import hmac
import json
import logging
import os
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from decimal import Decimal
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal

from aiohttp import web
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from sqlalchemy.exc import SQLAlchemyError

from schemas.leaders import LeaderTrade
from schemas.reasons import Side
from streams.copying_settings import LeaderSettings, WebhookSettings
from streams.decisions import DecisionError, DecisionStore, open_decisions
from streams.problems import validated

log = logging.getLogger(__name__)

MAX_BODY: Final = 64 * 1024
TIMESTAMP: Final = "X-Wakeline-Timestamp"
SIGNATURE: Final = "X-Wakeline-Signature"
_STATUS: Final = {
    "wrong": HTTPStatus.UNPROCESSABLE_ENTITY,
    "unknown": HTTPStatus.NOT_FOUND,
    "closed": HTTPStatus.CONFLICT,
    "conflict": HTTPStatus.CONFLICT,
}
_MENDS: Final = {
    "unknown": "make it by `wakeline leaders add NAME --kind feed`, or in the section `leaders`",
    "closed": "send to another leader: a closed one stays closed",
    "conflict": "give every trade an id of its own",
    "wrong": "send the field as documented in docs/copying.md",
}


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number, not a truth value")
    return value


def _milliseconds(value: Any) -> Any:
    if isinstance(value, str) and not value.isdigit():
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError("must be milliseconds since the epoch, or ISO 8601") from None
        if moment.tzinfo is None:
            raise ValueError("needs a time zone, e.g. 2026-01-31T12:00:00Z")
        return round(moment.timestamp() * 1000)
    return _number(value)


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Amount = Annotated[Decimal, BeforeValidator(_number), Field(gt=0, lt=Decimal(10) ** 18, allow_inf_nan=False)]
Signed = Annotated[
    Decimal, BeforeValidator(_number), Field(gt=-(Decimal(10) ** 18), lt=Decimal(10) ** 18, allow_inf_nan=False)
]


class TradeBody(BaseModel):
    """What a source sends."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, BeforeValidator(_text), Field(min_length=1, max_length=200)]
    instrument: Annotated[str, Field(max_length=200)]
    side: Annotated[Literal["buy", "sell"], BeforeValidator(_lower)]
    price: Amount
    time: Annotated[int, BeforeValidator(_milliseconds), Field(gt=0, lt=1 << 47)]
    kind: Literal["trade", "protection"] = "trade"
    size: Amount | None = None
    position: Signed | None = None
    equity: Amount | None = None
    leverage: Annotated[int, BeforeValidator(_number), Field(ge=1, le=1_000)] | None = None
    margin_mode: Literal["cross", "isolated"] | None = None
    stop_loss: Amount | None = None
    take_profit: Amount | None = None


class Refused(Exception):
    """The request is answered with an error."""

    def __init__(self, status: int, error: str, field: str = "", mend: str = "") -> None:
        super().__init__(error)
        self.status, self.answer = int(status), {"error": error, "field": field, "mend": mend}


class Webhook:
    """Takes trades for the leaders of kind feed; `now_ms` is log time, `wall_ms` that of the sources."""

    def __init__(
        self,
        store: DecisionStore,
        leaders: Mapping[str, LeaderSettings],
        params: WebhookSettings,
        now_ms: Callable[[], int],
        *,
        wake: Callable[[], None] = lambda: None,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._store, self._leaders, self._params = store, leaders, params
        self._now_ms, self._wall_ms, self._wake = now_ms, wall_ms, wake
        self._allowance: dict[str, tuple[float, int]] = {}  # leader -> (trades it may still send, at wall ms)
        self.app = web.Application(client_max_size=MAX_BODY, middlewares=[_as_json])
        self.app.router.add_post("/hooks/{leader:.+}", self.take)

    async def take(self, request: web.Request) -> web.Response:
        """Answer one POST."""
        name = request.match_info["leader"]
        body = await request.read()
        leader = await asyncio.to_thread(self._store.leader, name)
        if leader is None or leader.kind != "feed":
            raise Refused(HTTPStatus.NOT_FOUND, f"no leader {name!r} of kind feed", "leader", _MENDS["unknown"])
        signed = SIGNATURE in request.headers or TIMESTAMP in request.headers
        if signed:
            self._check_signature(name, request.headers, body)
        content = _parsed(body, trusted=signed)
        if not signed:
            self._check_plain_secret(name, content.pop("secret", None))
        self._spend(name)
        trade = self._trade(name, content)
        try:
            taken = await asyncio.to_thread(self._store.leader_trade, trade)
        except DecisionError as error:
            raise Refused(_STATUS[error.why], error.text, error.field, _MENDS[error.why]) from None
        if taken.status == "exists":
            return web.json_response({"status": "exists", "decision": taken.number})
        self._wake()
        return web.json_response({"status": "accepted", "decision": taken.number}, status=HTTPStatus.ACCEPTED)

    def _secret(self, name: str) -> bytes:
        settings = self._leaders.get(name)
        if settings is not None and settings.secret_file is not None:
            with contextlib.suppress(OSError):
                secret = settings.secret_file.read_bytes().strip()
                if secret:
                    return secret
            where = f"the file {settings.secret_file}"
        else:
            variable = secret_variable(name, settings)
            if secret := os.environ.get(variable, "").encode():
                return secret
            where = f"the environment variable {variable}"
        raise Refused(
            HTTPStatus.SERVICE_UNAVAILABLE, f"leader {name!r} has no secret", "secret", f"put one into {where}"
        )

    def _check_signature(self, name: str, headers: Mapping[str, str], body: bytes) -> None:
        stamp = headers.get(TIMESTAMP, "")
        given = headers.get(SIGNATURE, "")
        if not re.fullmatch(r"[0-9]{1,15}", stamp):
            error = "is missing" if not stamp else "is not a number of milliseconds since the epoch"
            raise Refused(HTTPStatus.UNAUTHORIZED, f"{TIMESTAMP} {error}", TIMESTAMP, "send the time of signing")
        off_ms = self._wall_ms() - int(stamp)
        if abs(off_ms) > self._params.max_age_ms:
            how = "old" if off_ms > 0 else "ahead"
            raise Refused(
                HTTPStatus.UNAUTHORIZED,
                f"the timestamp is {abs(off_ms)} ms {how}, at most {self._params.max_age_ms} ms are taken",
                TIMESTAMP,
                "sign when sending, and set both clocks by NTP",
            )
        expected = signature(self._secret(name), stamp, body)
        if not hmac.compare_digest(expected.encode(), given.encode("utf-8", "surrogateescape")):
            raise Refused(
                HTTPStatus.UNAUTHORIZED,
                "the signature is missing" if not given else "the signature is wrong",
                SIGNATURE,
                "send sha256=HEX of HMAC-SHA256(secret, timestamp + '.' + body), over the very bytes of the body",
            )

    def _check_plain_secret(self, name: str, given: Any) -> None:
        settings = self._leaders.get(name)
        allowed = settings is not None and settings.allow_plain_secret
        if given is None or not allowed:
            why = "the request is not signed" if given is None else "a secret in the body is not allowed"
            mend = f"send {TIMESTAMP} and {SIGNATURE}"
            if not allowed:
                mend += ", or set allow_plain_secret for this leader if its source cannot sign"
            raise Refused(HTTPStatus.UNAUTHORIZED, why, SIGNATURE if given is None else "secret", mend)
        text = given.encode() if isinstance(given, str) else b""
        if not hmac.compare_digest(self._secret(name), text):
            raise Refused(HTTPStatus.UNAUTHORIZED, "the secret is wrong", "secret", "send the secret of this leader")

    def _spend(self, name: str) -> None:
        """Take one trade off the leader's allowance, which grows by `rate_per_s` up to `burst`."""
        now_ms = self._wall_ms()
        left, at_ms = self._allowance.get(name, (float(self._params.burst), now_ms))
        left = min(float(self._params.burst), left + max(0, now_ms - at_ms) / 1000 * self._params.rate_per_s)
        self._allowance[name] = (left - 1 if left >= 1 else left, now_ms)
        if left < 1:
            raise Refused(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"leader {name!r} sends more than {self._params.rate_per_s:g} trades per second",
                "leader",
                "wait a second and send it again; webhook.rate_per_s and webhook.burst are the limits",
            )

    def _trade(self, name: str, content: dict[str, Any]) -> LeaderTrade:
        body, problems = validated(TradeBody, content, "")
        if body is None:
            problem = problems[0]
            text = "; ".join(map(str, problems))
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, text, problem.field, _MENDS["wrong"])
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*:[^\s:]\S*", body.instrument):
            raise Refused(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                f"instrument: {body.instrument!r} is not venue:SYMBOL",
                "instrument",
                "name it as the feed does, e.g. binanceusdm:BTC/USDT:USDT",
            )
        age_ms = self._wall_ms() - body.time
        if age_ms < -self._params.max_age_ms:
            raise Refused(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                f"time: lies {-age_ms} ms ahead",
                "time",
                "send milliseconds since the epoch (not seconds, not microseconds), and set the clock by NTP",
            )
        now_ms = self._now_ms()
        return LeaderTrade(
            now_ms=now_ms,
            leader=name,
            trade_id=body.id,
            kind=body.kind,
            instrument=body.instrument,
            side=Side(body.side),
            price=body.price,
            event_ms=max(0, now_ms - max(0, age_ms)),
            detected_ms=now_ms,
            size=body.size,
            position=body.position,
            equity=body.equity,
            leverage=body.leverage,
            margin_mode=body.margin_mode,
            stop_loss=body.stop_loss,
            take_profit=body.take_profit,
        )


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    """Return what X-Wakeline-Signature must say."""
    return "sha256=" + hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def secret_variable(name: str, settings: LeaderSettings | None) -> str:
    """Return the environment variable that holds a leader's secret."""
    if settings is not None and settings.secret_env is not None:
        return settings.secret_env
    return "WAKELINE_WEBHOOK_SECRET_" + re.sub(r"[^A-Z0-9]", "_", name.upper())


def _parsed(body: bytes, *, trusted: bool) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        for name in names:
            if names.count(name) > 1:
                raise Refused(HTTPStatus.BAD_REQUEST, f"{name} is given twice", name, "give every field once")
        return dict(pairs)

    def refuse(word: str) -> Any:
        # Told by its field below, where the body is one: a NaN price is a wrong price.
        return Decimal(word.replace("Infinity", "inf"))

    try:
        content = json.loads(body, parse_float=Decimal, parse_constant=refuse, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        why = f": {error}" if trusted else ""
        raise Refused(HTTPStatus.BAD_REQUEST, f"the body is not JSON{why}", "", "send one JSON object") from None
    if not isinstance(content, dict):
        raise Refused(HTTPStatus.BAD_REQUEST, "the body is not a JSON object", "", "send one JSON object")
    return content


@web.middleware
async def _as_json(request: web.Request, handler: Callable[[web.Request], Awaitable[Any]]) -> web.StreamResponse:
    """Answer every error as JSON."""
    try:
        answer: web.StreamResponse = await handler(request)
        return answer
    except Refused as error:
        return web.json_response(error.answer, status=error.status)
    except web.HTTPRequestEntityTooLarge:
        text = f"the body is larger than {MAX_BODY // 1024} KiB"
        return _error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text, "send one trade per request")
    except web.HTTPException as error:
        return _error(error.status, error.reason, "POST /hooks/LEADER is all there is")
    except SQLAlchemyError as error:
        log.error("a trade was not stored: %s", error)
        return _error(HTTPStatus.SERVICE_UNAVAILABLE, "the trade could not be stored", "send it again with the same id")


def _error(status: int, text: str, mend: str) -> web.Response:
    return web.json_response({"error": text, "field": "", "mend": mend}, status=int(status))


async def start(
    settings: Any, catalogue: Any, now_ms: Callable[[], int], wake: Callable[[], None]
) -> tuple[int, Callable[[], Awaitable[None]]]:
    """Listen; return the port, and what ends it.

    Raises:
        OSError: the port is taken.
    """
    store = await asyncio.to_thread(open_decisions, settings, catalogue)
    leaders = {leader.name: leader for leader in settings.leaders}
    runner = web.AppRunner(Webhook(store, leaders, settings.webhook, now_ms, wake=wake).app, access_log=None)

    async def close() -> None:
        await runner.cleanup()
        store.close()

    await runner.setup()
    host, port = settings.webhook.host, settings.webhook.port
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        await close()
        raise OSError(error.errno, f"webhook port {host}:{port} cannot be opened: {error.strerror}") from error
    return runner.addresses[0][1], close
