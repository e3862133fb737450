"""Brokers for tests: real Apache Kafka, one node (`kafka`) or three (`kafka3`), started by the program's own code.

Use: `pytest_plugins = ["tests.broker_fixtures"]` in tests/conftest.py, or import the fixtures into any conftest.
Each is one cluster for the whole run, however often the fixtures are imported. A test that kills a node starts it
again before it ends (`cluster.start()` starts what does not run).
"""

import atexit
import functools
import tempfile
import uuid
from collections.abc import Iterator

import pytest

from streams.broker.cluster import Cluster
from streams.broker.install import install


@functools.cache
def shared_cluster(nodes: int) -> Cluster:
    """Return the run's cluster of `nodes`, started on first use, removed when the run ends."""
    install()
    cluster = Cluster(tempfile.mkdtemp(prefix=f"wakeline-kafka{nodes}-"), nodes)
    atexit.register(cluster.remove)
    return cluster.start()


@pytest.fixture(scope="session")
def kafka() -> Iterator[Cluster]:
    """One broker; `kafka.bootstrap` is its address."""
    return shared_cluster(1)


@pytest.fixture(scope="session")
def kafka3() -> Iterator[Cluster]:
    """Three brokers; `kafka3.nodes[i].kill()` and `.start()` for faults."""
    return shared_cluster(3)


@pytest.fixture
def unique() -> str:
    """A short name that no other test uses, for topics and groups on the shared brokers."""
    return uuid.uuid4().hex[:8]
