"""A sink on an embedded ClickHouse of its own; one process can hold one data folder at a time."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sinks.clickhouse.params import ClickHouseParams, Retention
from sinks.clickhouse.sink import ClickHouseSink

LONG = Retention(**dict.fromkeys(Retention.model_fields, 10_000))


@pytest.fixture
def open_sink(tmp_path: Path) -> Iterator[Callable[..., ClickHouseSink]]:
    """Open a sink on this test's folder, as often as wanted, one after the other."""
    opened: list[ClickHouseSink] = []

    def opener(**changes: Any) -> ClickHouseSink:
        while opened:
            opened.pop().close()
        settings = {"sync_writes": False, "retention_days": LONG, **changes}  # the samples are of a fixed date
        sink = ClickHouseSink(ClickHouseParams(**settings), tmp_path)
        sink.open()
        opened.append(sink)
        return sink

    yield opener
    while opened:
        opened.pop().close()


@pytest.fixture
def sink(open_sink: Callable[..., ClickHouseSink]) -> ClickHouseSink:
    return open_sink()
