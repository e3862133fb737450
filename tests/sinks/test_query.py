"""Questions from outside: they read, and only read."""

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from clickhouse_connect.driver.exceptions import DatabaseError

from sinks.clickhouse.errors import SinkUnavailable
from sinks.clickhouse.params import ClickHouseParams
from sinks.clickhouse.query import ask, routes, run_query
from sinks.clickhouse.reader import QueryRefused, check_reading
from sinks.clickhouse.sink import ClickHouseSink
from tests.sinks import samples
from tests.sinks.samples import record

OpenSink = Callable[..., ClickHouseSink]

WRITING = [
    "INSERT INTO fills_rows (account) VALUES ('x')",
    "DROP TABLE fills_rows",
    "TRUNCATE TABLE fills_rows",
    "ALTER TABLE fills_rows DELETE WHERE 1",
    "DELETE FROM fills_rows WHERE 1",
    "CREATE TABLE mine (a Int8) ENGINE = Memory",
    "ATTACH TABLE fills_rows",
    "SYSTEM STOP MERGES",
    "OPTIMIZE TABLE fills_rows FINAL",
    "KILL QUERY WHERE 1",
    "SET readonly = 0",
    "USE default",
    "SELECT 1; DROP TABLE fills_rows",
    "WITH 1 AS a INSERT INTO fills_rows (account) SELECT toString(a)",
    "SELECT 1 SETTINGS readonly = 0",
    "SELECT 1 INTO OUTFILE '{folder}/stolen'",
    "SELECT 1 INTO/**/OUTFILE '{folder}/stolen'",
    "SELECT 1 -- '\n INTO OUTFILE '{folder}/stolen'",
    "SELECT file('/etc/hostname')",
    "SELECT `file` ('/etc/hostname')",
    "SELECT \"fi\\le\"('/etc/hostname')",
    "SELECT * FROM file('/etc/hostname', 'LineAsString')",
    "SELECT * FROM url('http://127.0.0.1:9/', 'LineAsString')",
    "SELECT * FROM s3('http://127.0.0.1:9/bucket/x', 'CSV', 'a Int8')",
    "SELECT * FROM remote('127.0.0.1:9', system.one)",
    "SELECT * FROM executable('id', 'TSV', 'a String')",
    "SELECT * FROM mysql('127.0.0.1:9', 'a', 'b', 'c', 'd')",
    "EXPLAIN SELECT 1 INTO OUTFILE '{folder}/stolen'",
    "",
    "   ;",
    "-- nothing but a comment",
]


def test_what_does_not_only_read_is_refused(sink: ClickHouseSink, tmp_path: Path) -> None:
    sink.append("order-status", 0, [record(0, samples.fill())])
    sink.flush()
    for sql in WRITING:
        with pytest.raises(QueryRefused):
            pytest.fail(f"answered {sql!r}: {sink.query(sql.replace('{folder}', str(tmp_path)))!r}")
        assert not (tmp_path / "stolen").exists(), sql
        assert sink.counts()["fills"] == 1, sql


def test_clickhouse_itself_refuses_writing(sink: ClickHouseSink) -> None:
    """The look at the words is not the only guard."""
    reader = sink._query_reader
    assert reader is not None
    for sql in WRITING:
        if sql.startswith(("INSERT", "DROP", "ALTER", "TRUNCATE", "SET", "CREATE", "DELETE", "OPTIMIZE")):
            with pytest.raises(DatabaseError, match="readonly"):
                reader._ask(lambda client, sql=sql: client.command(sql))


READING = [
    "SELECT 1",
    " select count() from fills ;",
    "(SELECT 1)",
    "WITH 1 AS a SELECT a",
    "SHOW TABLES",
    "DESCRIBE TABLE fills",
    "EXPLAIN SELECT * FROM fills",
    "EXISTS TABLE fills",
    "SELECT 'INTO OUTFILE', ';', 'it''s; DROP TABLE x', 'file(' -- ; file(",
    "SELECT account AS file FROM fills",
    "/* INSERT */ SELECT 1",
]


def test_what_reads_is_answered(sink: ClickHouseSink) -> None:
    for sql in READING:
        assert json.loads(sink.query(sql))["meta"], sql


def test_limits_are_told_in_clickhouses_words(open_sink: OpenSink) -> None:
    sink = open_sink(query_rows=100)
    assert json.loads(sink.query("SELECT * FROM numbers(100)"))["rows"] == 100
    with pytest.raises(QueryRefused, match="Limit for result exceeded"):
        sink.query("SELECT * FROM numbers(101)")
    with pytest.raises(QueryRefused, match="leave FORMAT out"):
        sink.query("SELECT 1 FORMAT CSV")
    with pytest.raises(QueryRefused, match="no_such_column"):
        sink.query("SELECT no_such_column FROM fills")
    with pytest.raises(QueryRefused, match="not the name of a format"):
        sink.query("SELECT 1", "JSON; DROP TABLE x")


def test_a_refused_question_leaves_the_next_one_unharmed(sink: ClickHouseSink) -> None:
    with pytest.raises(QueryRefused):
        sink.query("SELECT throwIf(1)")
    assert json.loads(sink.query("SELECT 2 AS a"))["data"] == [{"a": 2}]


def test_broken_statements_are_refused_not_crashed_on(sink: ClickHouseSink) -> None:
    for sql in ["SELECT 'open", 'SELECT "open', "SELECT /* open", "SELECT $$open", "((((", "SELECT \\"]:
        with pytest.raises(QueryRefused):
            sink.query(sql)


def test_long_texts_are_looked_through_in_good_time() -> None:
    check_reading("SELECT '" + "x''" * 100_000 + "'")
    with pytest.raises(QueryRefused):
        check_reading("/*" * 50_000)


@pytest.fixture
async def client(sink: ClickHouseSink) -> AsyncIterator[TestClient[Any, Any]]:
    sink.append("order-status", 0, [record(n, samples.fill(n)) for n in range(2)])
    sink.flush()
    application = web.Application()
    application.add_routes(routes(sink))
    async with TestClient(TestServer(application)) as test_client:
        yield test_client


async def test_answers_in_three_forms(client: TestClient[Any, Any]) -> None:
    url = str(client.make_url("/"))
    sql = "SELECT fill_id, realized_pnl FROM fills ORDER BY fill_id"
    answer = json.loads(await asyncio.to_thread(run_query, url, sql, "json"))
    assert answer["data"] == [
        {"fill_id": "fill-0", "realized_pnl": "0"},
        {"fill_id": "fill-1", "realized_pnl": "12.25"},
    ]
    rows = list(csv.reader(io.StringIO(await asyncio.to_thread(run_query, url, sql, "csv"))))
    assert rows == [["fill_id", "realized_pnl"], ["fill-0", "0"], ["fill-1", "12.25"]]
    table = await asyncio.to_thread(run_query, url, sql, "table")
    assert "fill-1" in table
    assert "\x1b[" not in table
    with pytest.raises(QueryRefused, match=r"Code: 47.*UNKNOWN_IDENTIFIER"):
        await asyncio.to_thread(run_query, url, "SELECT nothing", "table")
    with pytest.raises(QueryRefused, match="unknown format 'xml'"):
        await asyncio.to_thread(run_query, url, sql, "xml")


@pytest.mark.parametrize(
    ("body", "content_type", "status", "words"),
    [
        (b'{"sql": "SELECT 1"}', "text/plain", 415, "application/json"),
        (b"{", "application/json", 400, "body must be"),
        (b'{"sql": 1}', "application/json", 400, "body must be"),
        (b'{"sql": "SELECT 1", "formt": "csv"}', "application/json", 400, "formt"),
        (b'{"sql": "SELECT 1", "format": "xml"}', "application/json", 400, "choose table, json, csv"),
        (b'{"sql": "DROP TABLE fills_rows"}', "application/json", 400, "only statements that read"),
        (b'{"sql": "SELECT ' + b"1" * 100_001 + b'"}', "application/json", 400, "longer than"),
    ],
)
async def test_wrong_requests_are_told_what_is_wrong(
    client: TestClient[Any, Any], body: bytes, content_type: str, status: int, words: str
) -> None:
    answer = await client.post("/query", data=body, headers={"Content-Type": content_type})
    assert answer.status == status
    assert words in (await answer.json())["error"]


def test_asking_where_nothing_runs(open_sink: OpenSink, tmp_path: Path) -> None:
    params = ClickHouseParams()
    with pytest.raises(QueryRefused, match="nothing was stored"):
        ask(params, tmp_path / "elsewhere", None, "SELECT 1")
    with pytest.raises(QueryRefused, match="is `wakeline up` running"):
        ask(params, tmp_path, "http://127.0.0.1:9", "SELECT 1")
    sink = open_sink()
    sink.append("order-status", 0, [record(0, samples.fill())])
    sink.flush()
    sink.close()
    assert "fill-0" in ask(params, tmp_path, None, "SELECT fill_id FROM fills")


async def test_a_clickhouse_that_is_away_is_told_as_such() -> None:
    class Away:
        def query(self, sql: str, fmt: str = "JSON") -> bytes:
            raise SinkUnavailable("ClickHouse cannot be reached: refused")

    application = web.Application()
    application.add_routes(routes(Away()))
    async with TestClient(TestServer(application)) as test_client:
        answer = await test_client.post("/query", json={"sql": "SELECT 1"})
        assert (answer.status, await answer.json()) == (503, {"error": "ClickHouse cannot be reached: refused"})
