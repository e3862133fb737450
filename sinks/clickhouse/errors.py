"""What an error of ClickHouse means, decided once and purely.

Entry points: `decide(error) -> Verdict`; `SinkUnavailable` (passing, given up for now), `SinkBroken` (needs a person).
"""

import enum
import errno
from typing import Final, NamedTuple

from clickhouse_connect.driver.exceptions import (
    ClickHouseError,
    InterfaceError,
    OperationalError,
    ProgrammingError,
    StreamFailureError,
)


class SinkUnavailable(RuntimeError):
    """ClickHouse could not be written for `retry_seconds`. Nothing is lost: flush again, or end and start again."""


class SinkBroken(RuntimeError):
    """Trying again cannot help (schema, types, rights, a folder in use): the worker ends with this line."""


class Action(enum.Enum):
    """What to do about an error."""

    RETRY = "retry"
    END = "end"


class Verdict(NamedTuple):
    """What to do, and one line that says what happened and how to mend it."""

    action: Action
    line: str


# Errors of a server that pass by themselves: network, load, memory, replication.
_PASSING: Final = {
    3: "unexpected end of file",
    74: "cannot read from a file descriptor",
    95: "cannot read from a socket",
    96: "cannot write to a socket",
    159: "timeout exceeded",
    160: "too slow",
    198: "DNS error",
    202: "too many simultaneous queries",
    203: "no free connection",
    209: "socket timeout",
    210: "network error",
    225: "no ZooKeeper",
    236: "aborted",
    241: "memory limit exceeded",
    242: "table is read-only",
    252: "too many parts",
    279: "all connection tries failed",
    285: "too few live replicas",
    319: "unknown status of insert",
    364: "previous distributed query not done",
    373: "session is locked",
    394: "query was cancelled",
    425: "system error",
    439: "cannot schedule a task",
    999: "Keeper exception",
}
_NOT_ENOUGH_SPACE: Final = 243
_READONLY: Final = 164
_AUTHENTICATION: Final = (192, 193, 194, 497, 516)
_MENDS: Final = {
    16: "a column is missing: the schema was changed outside the migrations",
    53: "a column has another type: the schema was changed outside the migrations",
    60: "a table is missing: it was dropped outside the migrations",
    81: "the database is missing: it was dropped outside the migrations",
    117: "the rows do not fit the table: the schema was changed outside the migrations",
    _READONLY: "the user may only read: grant INSERT, CREATE and ALTER on the database",
}


def decide(error: BaseException) -> Verdict:
    """Return what to do about `error`, raised by clickhouse-connect or by the file system beneath it."""
    words = _first_line(error)
    code = getattr(error, "code", None)
    if _is_disk_full(error, code):
        return Verdict(Action.RETRY, f"disk full, ClickHouse cannot write: free space ({words})")
    if isinstance(error, OSError):
        return Verdict(Action.RETRY, f"ClickHouse cannot be reached or cannot write: {words}")
    if code in _PASSING:
        return Verdict(Action.RETRY, f"ClickHouse says {_PASSING[code]} (code {code}): {words}")
    if code in _AUTHENTICATION:
        return Verdict(Action.END, f"ClickHouse refuses the user (code {code}): check user and password in the dsn")
    if code is not None:
        mend = _MENDS.get(code)
        return Verdict(Action.END, f"ClickHouse refuses (code {code}): {words}" + (f" — {mend}" if mend else ""))
    if isinstance(error, ProgrammingError | InterfaceError):
        return Verdict(Action.END, f"ClickHouse cannot be used: {words}")
    if isinstance(error, OperationalError | StreamFailureError):
        return Verdict(Action.RETRY, f"ClickHouse cannot be reached: {words}")
    if isinstance(error, ClickHouseError):
        return Verdict(Action.END, f"ClickHouse failed without an error code: {words}")
    return Verdict(Action.END, f"{type(error).__name__}: {words}")


def _is_disk_full(error: BaseException, code: int | None) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    # The engine reports the system's own error under codes of its own (75, 1001, ...); its words are the sure sign.
    return code == _NOT_ENOUGH_SPACE or "No space left on device" in str(error)


def _first_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 500 else f"{text[:500]}…"
