"""A broker of our own: feeds write to topics by their real names, which other tests use too."""

import tempfile
from collections.abc import Iterator

import pytest

from streams.broker.cluster import Cluster
from streams.broker.install import install


@pytest.fixture
def feed_broker() -> Iterator[Cluster]:
    """One real broker for one test; `.bootstrap` is its address."""
    install()
    cluster = Cluster(tempfile.mkdtemp(prefix="wakeline-feeds-"), 1)
    try:
        yield cluster.start()
    finally:
        cluster.remove()
