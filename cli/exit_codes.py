"""Exit codes of `wakeline`, and the one shape of its failures.

Entry points: `ExitCode`, `Failure`, `as_failure`. Every failure is one line: what happened, where, and the mend.
"""

import errno
from enum import IntEnum
from typing import IO, Any

import click


class ExitCode(IntEnum):
    """What a script may rely on (docs/command-line.md)."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    CONFIGURATION = 3
    BROKER = 4
    BUSY = 5
    DISK_FULL = 6
    TOPICS = 7
    NOT_RUNNING = 8
    WORKER = 9
    VERSION = 10
    FORCED = 130


MEANINGS: dict[ExitCode, str] = {
    ExitCode.OK: "done",
    ExitCode.FAILURE: "failed, for none of the reasons below",
    ExitCode.USAGE: "wrong command line",
    ExitCode.CONFIGURATION: "wrong configuration",
    ExitCode.BROKER: "no broker: not installed, not started or not reachable",
    ExitCode.BUSY: "a port is taken, or the data folder is in use already",
    ExitCode.DISK_FULL: "no space left on the disk",
    ExitCode.TOPICS: "topics.yaml is wrong, or the broker's topics differ from it",
    ExitCode.NOT_RUNNING: "nothing is running that could be stopped or asked",
    ExitCode.WORKER: "a worker kept ending",
    ExitCode.VERSION: "state or records of another build or configuration, which this one must not go on from",
    ExitCode.FORCED: "ended by force (second Ctrl-C)",
}


class Failure(click.ClickException):
    """One clear line and an exit code: `what` happened and where, `mend` says what to do."""

    exit_code: int  # click's base class fixes it for all

    def __init__(self, code: ExitCode, what: str, mend: str = "") -> None:
        super().__init__(what)
        self.exit_code = int(code)
        self.mend = mend

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the line to stderr."""
        click.echo(f"wakeline: {self}", err=True)

    def __str__(self) -> str:
        return f"{self.message}. {self.mend}" if self.mend else self.message


_BY_CLASS_NAME: dict[str, ExitCode] = {
    "DiskFull": ExitCode.DISK_FULL,
    "BrokerBusy": ExitCode.BUSY,
    "DataFolderBusy": ExitCode.BUSY,
    "TopicsMismatch": ExitCode.TOPICS,
    "BrokerError": ExitCode.BROKER,
    "KafkaConnectionError": ExitCode.BROKER,
    "NoBrokersAvailable": ExitCode.BROKER,
    "TopicsError": ExitCode.TOPICS,
    "CatalogueError": ExitCode.TOPICS,
    "TimeBaseError": ExitCode.CONFIGURATION,
    "SettingsError": ExitCode.CONFIGURATION,
    "DecisionError": ExitCode.CONFIGURATION,
    "SnapshotRefused": ExitCode.VERSION,
    "NewerSchema": ExitCode.VERSION,
    "SinkBroken": ExitCode.FAILURE,
    "SinkUnavailable": ExitCode.FAILURE,
}
_MENDS: dict[str, str] = {
    "DataFolderBusy": "Stop it with `wakeline down`, or choose another folder by --data",
    "KafkaConnectionError": "Look at `wakeline doctor`",
}


def as_failure(error: BaseException) -> Failure | None:
    """Return the failure for an error of the world that may reach the top; None when it is not one we know.

    Matched by class name, since the classes live in packages that are slow to import. An error may bring its own
    `message` and `mend`.
    """
    for cls in type(error).__mro__:
        code = _BY_CLASS_NAME.get(cls.__name__)
        if code is not None:
            what = getattr(error, "message", None) or str(error)
            mend = getattr(error, "mend", None) or _MENDS.get(cls.__name__, "")
            return Failure(code, str(what).rstrip("."), str(mend))
    if isinstance(error, OSError):
        return _from_os_error(error)
    return None


def _from_os_error(error: OSError) -> Failure | None:
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Failure(
            ExitCode.DISK_FULL, f"no space left on the disk{where}", "Free some, or choose another folder by --data"
        )
    if error.errno == errno.EADDRINUSE:
        return Failure(ExitCode.BUSY, f"port is taken: {error}", "Stop what listens there, or choose another port")
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM) and error.filename:
        return Failure(
            ExitCode.FAILURE, f"cannot write {error.filename}: {error.strerror}", "Choose another folder by --data"
        )
    return None
