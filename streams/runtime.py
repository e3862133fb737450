"""The run folder of a data folder: who is running there, and who may.

Entry points: `announce`/`withdraw` (a process tells of itself), `read_process`/`processes` (others look),
`FolderLock` (one `wakeline up` per data folder), `die_with_parent`, `write_json`/`read_json` (atomic).

1. A process is known by its pid and its start time together, so that a pid used again by another program, or a pid
   file left by a machine that lost power, is recognised as stale.
2. Files are replaced whole (write beside, fsync, rename): a reader never sees half of one.
3. The lock is a kernel lock on `<data>/run/up.lock`. The kernel drops it with its process, however that ends.
"""

import contextlib
import ctypes
import dataclasses
import fcntl
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

RUN_FOLDER = "run"
LOG_FOLDER = "logs"
ProcessState = Literal["starting", "running", "stopping"]

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_STAT_STATE = 0  # fields of /proc/<pid>/stat counted after the command name, which may hold spaces
_STAT_START_TIME = 19


class DataFolderBusy(RuntimeError):
    """Another process holds the data folder; `holder` tells which, if it could be read."""

    def __init__(self, data_dir: Path, holder: "ProcessFile | None") -> None:
        self.data_dir = data_dir
        self.holder = holder
        by = f" by process {holder.pid}" if holder is not None else ""
        super().__init__(f"data folder {data_dir} is in use{by}")


@dataclasses.dataclass(frozen=True, slots=True)
class ProcessFile:
    """What a running process tells of itself in `<data>/run/<kind>-<name>.json`."""

    name: str
    pid: int
    start_time: str
    roles: tuple[str, ...] = ()
    http_port: int = 0
    state: ProcessState = "starting"
    note: str = ""
    webhook_port: int = 0

    def alive(self) -> bool:
        """Return whether the process that wrote this still runs (same pid and same start time)."""
        return process_start_time(self.pid) == self.start_time


def run_folder(data_dir: Path) -> Path:
    """Return `<data>/run`, made if need be."""
    folder = data_dir / RUN_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def log_folder(data_dir: Path) -> Path:
    """Return `<data>/logs`, made if need be."""
    folder = data_dir / LOG_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def process_file(data_dir: Path, name: str) -> Path:
    """Return the path of a worker's file; the parent `up` has a file of its own kind."""
    return data_dir / RUN_FOLDER / ("up.json" if name == "up" else f"worker-{name}.json")


def process_start_time(pid: int) -> str | None:
    """Return what tells this life of `pid` from others; None when there is no such process (or a zombie).

    Linux: boot id and start time in clock ticks. Elsewhere: creation time, if psutil is installed, else "unknown".
    """
    if pid <= 0:
        return None
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None if Path("/proc/self/stat").exists() else _start_time_elsewhere(pid)
    fields = text.rpartition(")")[2].split()
    if fields[_STAT_STATE] in ("Z", "X"):
        return None
    return f"{_boot_id()}/{fields[_STAT_START_TIME]}"


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
    except OSError:
        return "boot"


def _start_time_elsewhere(pid: int) -> str | None:
    try:
        import psutil
    except ImportError:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            return "unknown"
        return "unknown"
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.3f}"
    except psutil.Error:
        return None


def write_json(path: Path, value: Any, *, private: bool = False) -> None:
    """Replace `path` by the JSON of `value` in one move; `private` keeps others from reading it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as file:
            json.dump(value, file, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.chmod(beside, 0o600 if private else 0o644)
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside)
        raise


def read_json(path: Path) -> Any | None:
    """Return the JSON in `path`; None when it is missing or not JSON (left by a full disk, say)."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def announce(
    data_dir: Path,
    name: str,
    *,
    roles: tuple[str, ...] = (),
    http_port: int = 0,
    state: ProcessState = "starting",
    note: str = "",
    webhook_port: int = 0,
) -> ProcessFile:
    """Write the file of this process (again with each change of state) and return what it says."""
    start_time = process_start_time(os.getpid())
    assert start_time is not None
    record = ProcessFile(name, os.getpid(), start_time, tuple(roles), http_port, state, note, webhook_port)
    write_json(process_file(data_dir, name), dataclasses.asdict(record))
    return record


def withdraw(data_dir: Path, name: str) -> None:
    """Remove the file of this process, if it is still its own."""
    record = read_process(data_dir, name)
    if record is not None and record.pid == os.getpid():
        with contextlib.suppress(FileNotFoundError):
            process_file(data_dir, name).unlink()


def read_process(data_dir: Path, name: str) -> ProcessFile | None:
    """Return what the file of `name` says, whether its process lives or not; None without a readable file."""
    return _parse(read_json(process_file(data_dir, name)))


def processes(data_dir: Path) -> Iterator[ProcessFile]:
    """Yield the workers of a data folder that are alive; files of dead ones are passed over."""
    for path in sorted((data_dir / RUN_FOLDER).glob("worker-*.json")):
        record = _parse(read_json(path))
        if record is not None and record.alive():
            yield record


def _parse(value: Any) -> ProcessFile | None:
    if not isinstance(value, dict):
        return None
    known = {field.name for field in dataclasses.fields(ProcessFile)}
    try:
        fields = {key: item for key, item in value.items() if key in known}
        fields["roles"] = tuple(fields.get("roles", ()))
        record = ProcessFile(**fields)
    except TypeError:
        return None
    return record if isinstance(record.pid, int) and isinstance(record.start_time, str) else None


class FolderLock:
    """The right to run `wakeline up` on a data folder: hold it as long as anything of it may run.

    Use as a context manager. Raises DataFolderBusy when another process holds it.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._file: int | None = None

    def __enter__(self) -> "FolderLock":
        path = run_folder(self._data_dir) / "up.lock"
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            holder = read_process(self._data_dir, "up")
            raise DataFolderBusy(self._data_dir, holder if holder and holder.alive() else None) from None
        self._file = handle
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    @staticmethod
    def held(data_dir: Path) -> bool:
        """Return whether some process holds the lock of this folder now."""
        try:
            handle = os.open(data_dir / RUN_FOLDER / "up.lock", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
        return False


def die_with_parent(parent_pid: int) -> None:
    """Have this process get SIGTERM when its parent ends in any way, kill -9 included (Linux only).

    Called by the child itself; ends it at once when the parent is gone already.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent_pid:
        raise SystemExit("the process that started this worker is gone")
