"""A broker of one node or three under one folder.

Entry points: `Cluster` (`start`, `stop`, `status`, `bootstrap`, `nodes`), `open_cluster`.

The folder keeps cluster.json (cluster id, ports) and one folder per node. The number of nodes is fixed by the first
start. Ports that we chose ourselves are chosen again at a start where they were taken; ports that a person set are
not: that is an error.
"""

import base64
import json
import os
import random
import shutil
import signal
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from streams.broker.errors import BrokerBusy, BrokerError
from streams.broker.node import Node, Ports
from streams.broker.params import HIGHEST_PORT, EmbeddedParams
from streams.broker.process import port_free, write_atomically

_LOWEST_PORT = 10_000
_TRIES = 3
_LAST_NODE_S = 0.5


class NodeStatus(NamedTuple):
    """What is known of one node from outside."""

    number: int
    bootstrap: str
    running: bool
    pid: int | None
    log: Path


class Cluster:
    """`Cluster(folder).start()` gives a broker at `.bootstrap`; the same folder later gives the same log again.

    Args:
        folder: made if needed; everything of the broker lies in it.
        nodes: 1 or 3.
        ports: client ports, one per node; None: any free ones, kept in the folder. Controllers take the port after.
        heap_mb: Java heap per node; None: 160 for one node, 256 each for three.
        detached: the nodes outlive the program that starts them.
    """

    def __init__(
        self,
        folder: Path | str,
        nodes: int = 1,
        ports: Sequence[int] | None = None,
        *,
        heap_mb: int | None = None,
        detached: bool = False,
    ) -> None:
        if nodes not in (1, 3):
            raise ValueError("a cluster has one node or three")
        if ports is not None and len(ports) != nodes:
            raise ValueError(f"{nodes} nodes need {nodes} client ports, not {len(ports)}")
        self.folder = Path(folder).absolute()
        self.detached = detached
        self._chosen = ports is None
        self._file = self.folder / "cluster.json"
        kept = self._kept()
        if kept is not None and len(kept["ports"]) != nodes:
            what = f"{self.folder} holds a broker of {len(kept['ports'])} node(s), not {nodes}"
            raise BrokerError(what, "set broker.embedded.nodes to that number, or choose another data folder")
        self.cluster_id: str = kept["id"] if kept is not None else _new_id()
        self._ports: list[Ports] = [Ports(*pair) for pair in kept["ports"]] if kept is not None else []
        if ports is not None:
            self._ports = [Ports(port, port + 1) for port in ports]
        elif not self._ports:
            self._ports = free_ports(nodes)
        heap = heap_mb if heap_mb is not None else 160 if nodes == 1 else 256
        self.nodes = [
            Node(self.folder / f"node-{number}", number, self.cluster_id, self._ports, heap)
            for number in range(1, nodes + 1)
        ]

    @property
    def bootstrap(self) -> str:
        """Addresses for clients, as host:port[,host:port]."""
        return ",".join(node.bootstrap for node in self.nodes)

    @property
    def running(self) -> bool:
        """Whether every node's process lives."""
        return all(node.running for node in self.nodes)

    def status(self) -> list[NodeStatus]:
        """Return what is known of each node."""
        return [NodeStatus(node.number, node.bootstrap, node.running, node.pid, node.log) for node in self.nodes]

    def start(self, timeout_s: float = 60.0, progress: Callable[[str], None] | None = None) -> "Cluster":
        """Start all nodes and return once each answers and sees all others. Nothing if they run already.

        Raises:
            BrokerError: not installed, port taken, disk full, ended at start; what was started is stopped again.
        """
        self._make_folder()
        for attempt in range(_TRIES):
            anew = self._chosen and not any(node.running for node in self.nodes)
            if anew and not all(port_free(port) for pair in self._ports for port in pair):
                self._ports[:] = free_ports(len(self.nodes))  # the nodes share this list
            if not self._file.exists():
                self._keep()  # before anything is formatted with this id
            if progress is not None:
                progress(f"starting Apache Kafka ({len(self.nodes)} node{'s' if len(self.nodes) > 1 else ''})")
            try:
                self._start_all(timeout_s)
            except BrokerBusy:
                # Another program may take a port between our look and Java's; then look again.
                if not anew or attempt == _TRIES - 1 or all(port_free(port) for pair in self._ports for port in pair):
                    raise
            else:
                self._keep()  # only now: a start that was refused must not move a running broker's ports
                return self
        raise AssertionError("unreachable")

    def stop(self, timeout_s: float = 4.0) -> None:
        """Stop all nodes, whoever started them; those that do not end in time by SIGKILL.

        With three nodes the last one has no quorum left that could let it go, so it is not waited for: what was
        acknowledged lies on the other two as well.
        """
        deadline = time.monotonic() + timeout_s
        for node in self.nodes:
            alone = len(self.nodes) > 1 and node is self.nodes[-1]
            node.stop(timeout_s=min(_LAST_NODE_S, timeout_s) if alone else max(0.0, deadline - time.monotonic()))

    def remove(self) -> None:
        """Stop the nodes and delete the folder with everything in it."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> "Cluster":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start_all(self, timeout_s: float) -> None:
        idle = [node for node in self.nodes if not node.running]
        deadline = time.monotonic() + timeout_s
        try:
            with ThreadPoolExecutor(len(self.nodes)) as pool:
                list(pool.map(lambda node: node.start(detached=self.detached, wait=False), self.nodes))
            for node in self.nodes:
                node.wait_ready(max(1.0, deadline - time.monotonic()), nodes=len(self.nodes))
        except BaseException:
            for node in idle:
                node.signal(signal.SIGKILL)
            for node in idle:
                if node.running:
                    node.wait_ended(5.0)
            raise

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BrokerError(
                f"{self.folder} cannot be made: {error.strerror}", "choose another data folder"
            ) from error

    def _kept(self) -> dict[str, Any] | None:
        try:
            kept: dict[str, Any] = json.loads(self._file.read_text(encoding="utf-8"))
            _ = [Ports(*pair) for pair in kept["ports"]], str(kept["id"])
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            mend = "restore it, or choose another data folder (the log needs the cluster id in it)"
            raise BrokerError(f"{self._file} cannot be read: {error}", mend) from error
        return kept

    def _keep(self) -> None:
        write_atomically(self._file, json.dumps({"id": self.cluster_id, "ports": self._ports}))


def open_cluster(folder: Path | str, params: EmbeddedParams, *, detached: bool = False) -> Cluster:
    """Return the embedded cluster that `params` asks for under `folder`; not started."""
    ports = None if params.port is None else [params.port + 2 * index for index in range(params.nodes)]
    return Cluster(folder, params.nodes, ports, heap_mb=params.heap_mb, detached=detached)


def free_ports(nodes: int) -> list[Ports]:
    """Return free client and controller ports below those that the system hands out."""
    chance = random.Random(os.urandom(8))
    found: list[int] = []
    for port in chance.sample(range(_LOWEST_PORT, HIGHEST_PORT), 1000):
        if port_free(port):
            found.append(port)
        if len(found) == 2 * nodes:
            return [Ports(*found[index : index + 2]) for index in range(0, 2 * nodes, 2)]
    raise BrokerBusy(f"no free ports between {_LOWEST_PORT} and {HIGHEST_PORT}", "stop some programs")


def _new_id() -> str:
    while True:  # Kafka's tools take an id that begins with a hyphen for an option
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text
