"""One broker process: its files, its start, its end.

Entry points: `Node` (`start`, `wait_ready`, `stop`, `kill`, `running`), `NodeFiles`.

1. A node is known by its pid file: pid and start time of the process, so that a pid used again is never taken for it.
2. Unless it is detached, a node ends when the program that started it ends, however that happens.
3. One process at a time has a node's folder: it holds the folder's lock as long as it lives, pid file or not.
4. What was acknowledged survives kill -9 (it is in the system's page cache). A power cut may take the last second of
   a single node: the log is flushed every second, not per record. Readers whose position lies beyond the log's end
   stop instead of going on (design law 11); three nodes on three machines lose nothing.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from streams.broker import install
from streams.broker.errors import BrokerBusy, BrokerError, DiskFull
from streams.broker.ping import brokers_at
from streams.broker.process import birth, folder_lock, port_free, spawn_java, tail, write_atomically
from streams.broker.properties import LOG4J, server_properties

_LEAST_FREE_BYTES = 200 * 1024 * 1024
_POLL_S = 0.05


class Ports(NamedTuple):
    """Ports of one node on 127.0.0.1: for clients and between controllers."""

    client: int
    controller: int


class Node:
    """One broker (and controller) under `folder`, node ids from 1."""

    def __init__(self, folder: Path, number: int, cluster_id: str, ports: list[Ports], heap_mb: int) -> None:
        self.folder, self.number, self.cluster_id, self.heap_mb = folder, number, cluster_id, heap_mb
        self.all_ports = ports
        self.log = folder / "server.log"
        self._console = folder / "console.log"
        self._pid_file = folder / "pid.json"
        self._properties = folder / "server.properties"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def ports(self) -> Ports:
        """Ports of this node."""
        return self.all_ports[self.number - 1]

    @property
    def bootstrap(self) -> str:
        """Address for clients."""
        return f"127.0.0.1:{self.ports.client}"

    @property
    def pid(self) -> int | None:
        """Process id while the node runs, whoever started it."""
        if self._process is not None and self._process.poll() is None:
            return self._process.pid
        try:
            told = json.loads(self._pid_file.read_text(encoding="utf-8"))
            pid, born = int(told["pid"]), str(told["born"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return pid if birth(pid) == born else None

    @property
    def running(self) -> bool:
        """Whether the node's process lives."""
        return self.pid is not None

    def start(self, *, detached: bool = False, wait: bool = True, timeout_s: float = 60.0) -> None:
        """Start the node; with `wait`, return once it answers as a member of its cluster. Nothing if it runs already.

        Raises:
            BrokerError: and its kinds, with the reason found before the start or in the node's log.
        """
        self._end_orphan()
        if not self.running:
            classpath = os.pathsep.join(str(path) for path in install.libraries())
            self._check_disk()
            try:
                with folder_lock(self.folder / "lock") as lock:
                    self._start_alone(classpath, detached, lock)
            except BlockingIOError:
                mend = "stop that one first, or choose another data folder"
                raise BrokerBusy(f"{self.folder} is in use by another broker", mend) from None
        if wait:
            self.wait_ready(timeout_s)

    def _start_alone(self, classpath: str, detached: bool, lock: int) -> None:
        for port in self.ports:
            if not port_free(port):
                mend = f"stop what listens there (see `ss -ltnp sport = :{port}`), or set broker.embedded.port"
                raise BrokerBusy(f"port {port} is taken", mend)
        self._write_files()
        self._format(classpath)
        self._launch(classpath, detached, lock)

    def wait_ready(self, timeout_s: float = 60.0, nodes: int = 1) -> None:
        """Wait until the node answers and sees at least `nodes` members, itself included.

        Raises:
            BrokerError: it ended, or does not answer in time.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            if not self.running:
                raise self.failure()
            members = brokers_at(self.ports.client)
            if self.number in members and len(members) >= nodes:
                return
            if time.monotonic() > deadline:
                raise BrokerError(
                    f"node {self.number} does not answer after {timeout_s:.0f} s", f"look into {self.log}"
                )
            time.sleep(_POLL_S)

    def stop(self, timeout_s: float = 4.0) -> None:
        """End the node: SIGTERM, then SIGKILL after `timeout_s`. Nothing if it does not run."""
        self.signal(signal.SIGTERM)
        self.wait_ended(timeout_s)

    def kill(self) -> None:
        """End the node at once, as a crash would (SIGKILL)."""
        self.signal(signal.SIGKILL)
        self.wait_ended(10.0)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the node's process, if it lives."""
        pid = self.pid
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def wait_ended(self, timeout_s: float) -> None:
        """Wait for the process to end and end it by SIGKILL after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        killed = False
        while self.running:
            if not killed and time.monotonic() > deadline:
                self.signal(signal.SIGKILL)
                killed = True
            time.sleep(_POLL_S)
        if self._process is not None:
            self._process.wait()
            self._process = None
        self._pid_file.unlink(missing_ok=True)

    def failure(self) -> BrokerError:
        """Return why the node ended, as far as its log tells."""
        text = tail(self._console) + tail(self.log)
        look = f"look into {self.log}"
        if "No space left on device" in text:
            return DiskFull(f"no space left on the disk of {self.folder}", "free some, or choose another data folder")
        if "Address already in use" in text:
            return BrokerBusy(f"a port of {self.bootstrap} was taken by another program", "start again")
        if "OutOfMemoryError" in text:
            return BrokerError(
                f"node {self.number} ran out of memory", f"raise broker.embedded.heap_mb ({self.heap_mb})"
            )
        if "Permission denied" in text:
            return BrokerError(f"{self.folder} cannot be written: permission denied", "choose another data folder")
        lines = [line for line in text.splitlines() if " ERROR " in line or " FATAL " in line or "Exception" in line]
        return BrokerError(f"node {self.number} ended: {lines[-1][:300] if lines else 'no reason in its log'}", look)

    def _check_disk(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.folder).free
        except OSError as error:
            raise BrokerError(f"{self.folder} cannot be written: {error.strerror}", "choose another folder") from error
        if free < _LEAST_FREE_BYTES:
            what = f"only {free // 1_000_000} MB free for {self.folder}, the log needs {_LEAST_FREE_BYTES // 1_000_000}"
            raise DiskFull(what, "free some, or choose another data folder")

    def _write_files(self) -> None:
        text = server_properties(self.number, [tuple(ports) for ports in self.all_ports], self.folder / "data")
        write_atomically(self._properties, text)
        write_atomically(self.folder / "log4j2.properties", LOG4J)

    def _java(self, classpath: str, main: str, *arguments: str) -> list[str]:
        return [
            str(install.java()),
            "-Xms64m",
            f"-Xmx{self.heap_mb}m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-XX:+ExitOnOutOfMemoryError",
            f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}",
            f"-Dwakeline.log={self.log}",
            "-cp",
            classpath,
            main,
            *arguments,
        ]

    def _format(self, classpath: str) -> None:
        """Format the data folder once; the mark comes last, so that a cut formatting is done again."""
        mark = self.folder / "formatted"
        if mark.exists():
            return
        arguments = ("format", "--ignore-formatted", "-t", self.cluster_id, "-c", str(self._properties))
        with self._console.open("wb") as console:
            command = self._java(classpath, "kafka.tools.StorageTool", *arguments)
            code = subprocess.run(
                command, check=False, stdout=console, stderr=console, stdin=subprocess.DEVNULL
            ).returncode
        if code != 0:
            raise self.failure()
        write_atomically(mark, self.cluster_id)

    def _launch(self, classpath: str, detached: bool, lock: int) -> None:
        command = self._java(classpath, "kafka.Kafka", str(self._properties))
        for old in (self.log, self._console):  # of the last run: `failure` must not read it as this one's
            if old.exists():
                old.replace(old.with_suffix(".log.1"))
        with self._console.open("wb") as console:
            self._process = spawn_java(command, console, leashed=not detached, lock=lock)
        pid = self._process.pid
        owner = None if detached else {"pid": os.getpid(), "born": birth(os.getpid())}
        write_atomically(self._pid_file, json.dumps({"pid": pid, "born": birth(pid), "owner": owner}))

    def _end_orphan(self) -> None:
        """End a node whose program died: the kernel has told it already, it needs a second."""
        if self._process is not None or not self.running:
            return
        owner = json.loads(self._pid_file.read_text(encoding="utf-8")).get("owner")
        if owner is None:
            return
        if birth(owner["pid"]) == owner["born"]:
            if owner["pid"] != os.getpid():
                what = f"the broker in {self.folder} belongs to a running program (pid {owner['pid']})"
                raise BrokerBusy(what, "stop that one first (`wakeline down`)")
            return
        self.stop(timeout_s=15.0)
