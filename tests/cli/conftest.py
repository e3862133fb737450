"""One broker for the tests of commands that look at a running system."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from streams.broker.cluster import Cluster
from streams.topics_admin import ensure_topics, load_catalogue


class Running(NamedTuple):
    """A data folder whose embedded broker runs, with all topics made."""

    data_dir: Path
    bootstrap: str


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    data_dir = tmp_path_factory.mktemp("data")
    with Cluster(data_dir / "broker") as cluster:
        asyncio.run(ensure_topics(load_catalogue(), cluster.bootstrap, replication=1))
        yield Running(data_dir, cluster.bootstrap)
