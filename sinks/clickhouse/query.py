"""Questions from outside: HTTP on the process that holds the sink, and the client of `wakeline query`.

Entry points: `routes(sink)` (POST /query), `run_query(url, sql, fmt)`, `ask(params, data_dir, url, sql, fmt)`.

`fmt` is `table`, `json` (an object with `meta`, `data`, `rows`) or `csv` (with names); money is text in JSON.
"""

import asyncio
import json
import urllib.error
import urllib.request
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
from aiohttp import web
from clickhouse_connect.driver.exceptions import ClickHouseError

from sinks.clickhouse.errors import SinkBroken, SinkUnavailable
from sinks.clickhouse.params import ClickHouseParams
from sinks.clickhouse.reader import QueryReader, QueryRefused

FORMATS: Final = {
    "table": ("PrettyCompactMonoBlock", "text/plain"),
    "json": ("JSON", "application/json"),
    "csv": ("CSVWithNames", "text/csv"),
}
_LONGEST_QUERY = 100_000


class Answers(Protocol):
    """What `routes` needs of a sink."""

    def query(self, sql: str, fmt: str = "JSON") -> bytes:
        """See ClickHouseSink.query."""
        ...


class _Question(msgspec.Struct, forbid_unknown_fields=True):
    sql: str
    format: str = "json"


_question = msgspec.json.Decoder(_Question)


def _format(name: str) -> tuple[str, str]:
    try:
        return FORMATS[name]
    except KeyError:
        raise QueryRefused(f"unknown format {name!r}: choose {', '.join(FORMATS)}") from None


def _refusal(text: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> web.Response:
    return web.json_response({"error": text}, status=status)


def routes(sink: Answers) -> list[web.RouteDef]:
    """Return the routes of the process that holds the sink: POST /query, body `{"sql": "...", "format": "json"}`.

    200 with the answer; 400 `{"error": "..."}` in ClickHouse's words; 503 while there is no ClickHouse to ask; 415
    unless the body is declared as JSON, which keeps pages of other origins from asking through a browser.
    """

    async def query(request: web.Request) -> web.Response:
        if request.content_type != "application/json":
            return _refusal("send the body as application/json", HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
        body = await request.read()
        try:
            question = _question.decode(body)
            if len(question.sql) > _LONGEST_QUERY:
                raise QueryRefused(f"the statement is longer than {_LONGEST_QUERY} characters")
            clickhouse_format, content_type = _format(question.format)
            answer = await asyncio.to_thread(sink.query, question.sql, clickhouse_format)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return _refusal(f'the body must be {{"sql": "...", "format": "json"}}: {error}')
        except QueryRefused as error:
            return _refusal(str(error))
        except (SinkBroken, SinkUnavailable) as error:
            return _refusal(str(error), HTTPStatus.SERVICE_UNAVAILABLE)
        return web.Response(body=answer, content_type=content_type, charset="utf-8")

    return [web.post("/query", query)]


def run_query(url: str, sql: str, fmt: str = "table", *, timeout_s: float = 60.0) -> str:
    """Ask the process at `url` (`http://127.0.0.1:PORT`).

    Raises:
        QueryRefused: it does not answer, or refused; the text says why.
    """
    _format(fmt)
    request = urllib.request.Request(
        url.rstrip("/") + "/query",
        data=json.dumps({"sql": sql, "format": fmt}).encode(),
        headers={"Content-Type": "application/json"},
    )
    # A proxy of the environment must not stand between two processes of one machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=timeout_s) as answer:
            text: str = answer.read().decode()
            return text
    except urllib.error.HTTPError as error:
        raise QueryRefused(_words(error.read())) from None
    except OSError as error:
        raise QueryRefused(f"no answer from {url}: {error}; is `wakeline up` running?") from error


def _words(body: bytes) -> str:
    try:
        found: Any = json.loads(body)
        return str(found["error"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")


def ask(params: ClickHouseParams, data_dir: Path, url: str | None, sql: str, fmt: str = "table") -> str:
    """Answer `sql` the way the DSN allows: a server directly; an embedded one through the process at `url`.

    `url` is None when no process runs on the data folder: then the folder is opened here, for this one statement.

    Raises:
        QueryRefused: with one clear reason.
        SinkBroken, SinkUnavailable: ClickHouse cannot be opened or reached.
    """
    clickhouse_format, _ = _format(fmt)
    if params.embedded and url is not None:
        return run_query(url, sql, fmt)
    if params.dsn is None and not (data_dir / "clickhouse").is_dir():
        raise QueryRefused(f"nothing was stored under {data_dir} yet: run `wakeline up` first")
    try:
        reader = QueryReader(params, data_dir)
    except ClickHouseError as error:
        raise SinkBroken(f"ClickHouse cannot be asked: {error}") from error
    try:
        return reader.raw(sql, clickhouse_format).decode()
    finally:
        reader.close()
