"""Small things of the operating system that a broker process needs.

Entry points: `spawn_java`, `folder_lock`, `birth`, `port_free`, `write_atomically`, `tail`.
"""

import contextlib
import os
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

_TAIL_BYTES = 64 * 1024

# Runs in the child before Java takes its place: ask the kernel to end us when the program that started us ends.
_LEASH = """
import ctypes, os, sys
parent = int(sys.argv[1])
if parent:
    ctypes.CDLL(None).prctl(1, 15, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


def port_free(port: int) -> bool:
    """Whether a broker could listen on `port` of 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Java does: closed connections do not count
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def birth(pid: int) -> str | None:
    """Return what tells this process from any other that has had or will have its pid; None if it does not live."""
    try:
        if sys.platform == "linux":
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
            return None if fields[0] in "ZX" else f"{boot}/{fields[19]}"
        told = subprocess.run(
            ["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)], check=False, capture_output=True, text=True
        )
        state, _, born = told.stdout.strip().partition(" ")
        return None if not state or state.startswith("Z") else born.strip()
    except OSError:
        return None


def write_atomically(path: Path, text: str) -> None:
    """Write `text` so that the file is the old one or the new one, never half."""
    scratch = path.with_suffix(path.suffix + ".new")
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(path)


def tail(path: Path) -> str:
    """Return the end of a log file as text; "" if there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


class _Spawner:
    """One thread that lives as long as the program and starts processes for the others."""

    def __init__(self) -> None:
        self._requests: queue.SimpleQueue[tuple[Callable[[], Any], queue.SimpleQueue[Any]]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._guard = threading.Lock()

    def __call__(self, make: Callable[[], Any]) -> Any:
        with self._guard:
            if self._thread is None or not self._thread.is_alive():  # not alive: we are a fork of the program
                self._thread = threading.Thread(target=self._serve, name="broker-spawner", daemon=True)
                self._thread.start()
        answer: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._requests.put((make, answer))
        result = answer.get()
        if isinstance(result, BaseException):
            raise result
        return result

    def _serve(self) -> None:
        while True:
            make, answer = self._requests.get()
            try:
                answer.put(make())
            except BaseException as error:  # handed to the caller
                answer.put(error)


_spawner = _Spawner()


@contextlib.contextmanager
def folder_lock(path: Path) -> Iterator[int]:
    """Hold the lock of a node's folder; give its file descriptor, for the process that is to hold it after us.

    Kafka's own lock comes too late: a second broker on one folder has by then written into the log of the first
    one's metadata and so ended it. This one lasts as long as any process has the descriptor, however it ends.

    Raises:
        BlockingIOError: somebody else holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if sys.platform != "win32":
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield descriptor
    finally:
        os.close(descriptor)


def spawn_java(
    command: list[str], output: IO[bytes], *, leashed: bool, lock: int | None = None
) -> "subprocess.Popen[bytes]":
    """Start `command` (a path first) in a process group of its own; leashed, it ends when this program ends.

    `lock` is the descriptor of a lock that the process takes over. The kernel ends a leashed child when the *thread*
    that started it ends, and nodes are started from short-lived ones: hence the spawner.
    """
    leash = os.getpid() if leashed and sys.platform == "linux" else 0
    full = [sys.executable, "-I", "-S", "-c", _LEASH, str(leash), *command]
    kept = () if lock is None else (lock,)
    process: subprocess.Popen[bytes] = _spawner(
        lambda: subprocess.Popen(
            full, stdout=output, stderr=output, stdin=subprocess.DEVNULL, start_new_session=True, pass_fds=kept
        )
    )
    return process
