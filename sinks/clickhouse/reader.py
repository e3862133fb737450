"""Reading only: the connection that `wakeline query` and the live view ask.

Entry points: `QueryReader(params, data_dir)`, `.raw`, `.rows`; `QueryRefused`; `check_reading(sql)`.

1. ClickHouse enforces it (`readonly = 1`, with limits on rows, seconds and memory), on a connection of its own.
2. Three things that `readonly` lets pass are refused before: writing files (INTO OUTFILE), functions that read files
   or other machines (`file(...)`, `s3(...)`), and statements that only look like reading (KILL).
"""

import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from sinks.clickhouse.client import connect
from sinks.clickhouse.errors import Action, SinkBroken, SinkUnavailable, decide
from sinks.clickhouse.params import ClickHouseParams

FIRST_WORDS: Final = ("SELECT", "WITH", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "EXISTS")
_OUTSIDE: Final = frozenset(
    """
    file filecluster url urlcluster s3 s3cluster gcs oss cosn azureblobstorage azureblobstoragecluster hdfs hdfscluster
    remote remotesecure cluster clusterallreplicas mysql postgresql mongodb redis sqlite odbc jdbc executable input
    iceberg icebergs3 iceberglocal icebergazure deltalake deltalakelocal hudi paimon python ytsaurus arrowflight
    catboostevaluate
    """.split()  # noqa: SIM905 (a list of words is easier to read so)
)
_TOKEN: Final = re.compile(
    r"""
    (?P<comment> --[^\n]* | \#[!\ ][^\n]* | /\*.*?\*/ )
  | (?P<text> '(?:[^'\\]|\\.|'')*' | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$ )
  | (?P<quoted> `(?:[^`\\]|\\.|``)*` | "(?:[^"\\]|\\.|"")*" )
  | (?P<word> [A-Za-z_][A-Za-z0-9_]* )
  | (?P<space> \s+ )
  | (?P<other> . )
    """,
    re.VERBOSE | re.DOTALL,
)


_Answer = TypeVar("_Answer")


class QueryRefused(ValueError):
    """The statement was not run, or ClickHouse refused it; the text says why."""


def _tokens(sql: str) -> list[str]:
    """Return words, identifiers and signs in lower case, without texts and comments."""
    found = []
    for match in _TOKEN.finditer(sql):
        if match["word"]:
            found.append(match["word"].lower())
        elif match["quoted"]:
            found.append(re.sub(r"\\(.)", r"\1", match["quoted"][1:-1]).lower())
        elif match["text"]:
            found.append("'")
        elif match["other"]:
            found.append(match["other"])
    return found


def check_reading(sql: str) -> None:
    """Raise QueryRefused unless `sql` is one statement that reads, from ClickHouse alone."""
    tokens = _tokens(sql)
    while tokens and tokens[0] == "(":
        del tokens[0]
    while tokens and tokens[-1] == ";":
        del tokens[-1]
    if not tokens or tokens[0].upper() not in FIRST_WORDS:
        raise QueryRefused(f"only statements that read are answered: {', '.join(FIRST_WORDS)}")
    if ";" in tokens:
        raise QueryRefused("one statement at a time, please: there is more after the `;`")
    if len(tokens) > 2 and tokens[-2] == "format":
        raise QueryRefused("leave FORMAT out of the statement: the format is chosen beside it")
    for here, after in zip(tokens, [*tokens[1:], ""], strict=True):
        if here == "into" and after == "outfile":
            raise QueryRefused("INTO OUTFILE writes a file where ClickHouse runs: redirect the output instead")
        if here in _OUTSIDE and after == "(":
            raise QueryRefused(f"function {here} reaches outside ClickHouse and is not answered here")


class QueryReader:
    """A connection that only reads; calls from several threads wait for each other."""

    def __init__(self, params: ClickHouseParams, data_dir: Path) -> None:
        self._limits = {
            "max_result_rows": params.query_rows,
            "max_execution_time": params.query_seconds,
            "max_memory_usage": params.query_memory_bytes,
            "output_format_json_quote_decimals": 1,
            "output_format_pretty_color": 0,
            "readonly": 1,
        }
        self._params = params
        self._data_dir = data_dir
        self._lock = threading.Lock()
        self._client: Client | None = self._connect()

    def raw(self, sql: str, fmt: str) -> bytes:
        """Return the answer to `sql` in ClickHouse's format `fmt`.

        Raises:
            QueryRefused: not a reading statement, or ClickHouse refused it.
            SinkUnavailable, SinkBroken: there is no ClickHouse to ask.
        """
        check_reading(sql)
        if re.fullmatch(r"[A-Za-z]+", fmt) is None:
            raise QueryRefused(f"{fmt!r} is not the name of a format")
        try:
            return self._ask(
                lambda client: client.raw_query(sql.strip().rstrip(";"), fmt=fmt, settings=self._settings())
            )
        except ClickHouseError as error:
            raise QueryRefused(str(error).strip()) from error

    def rows(self, sql: str) -> Sequence[Sequence[Any]]:
        """Return the rows of a statement of our own.

        Raises:
            SinkUnavailable, SinkBroken: with one clear line.
        """
        try:
            return self._ask(lambda client: client.query(sql, settings=self._settings()).result_rows)
        except (ClickHouseError, OSError) as error:
            verdict = decide(error)
            raise (SinkUnavailable if verdict.action is Action.RETRY else SinkBroken)(verdict.line) from error

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            if self._client is not None:
                self._client.close()
            self._client = None

    def _connect(self) -> Client:
        client = connect(self._params, self._data_dir, self._params.database)
        if self._params.embedded:
            # Settings of one connection; from `readonly` on none can be changed, so it comes last.
            for name, value in self._limits.items():
                client.command(f"SET {name} = {value}")
        return client

    def _ask(self, question: Callable[[Client], _Answer]) -> _Answer:
        with self._lock:
            if self._client is None:
                self._client = self._connect()
            try:
                return question(self._client)
            except ClickHouseError:
                if self._params.embedded:
                    # chDB keeps what a failed statement had put out, and gives it with the next answer.
                    self._client.close()
                    self._client = None
                raise

    def _settings(self) -> dict[str, Any]:
        # A server takes them with each request; the embedded engine has them already.
        return {} if self._params.embedded else dict(self._limits)
