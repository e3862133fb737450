"""When a snapshot is made: never amid batches unless long overdue, and one at a time."""

import asyncio
import time

import pytest

from processors.inbox import Inbox
from streams.shell import ProcessorHandler, _Partition


class Core:
    topic = "in"

    def encode(self, inbox: Inbox) -> bytes:
        return b""


class Store:
    topic = "snapshots-toy"

    def __init__(self) -> None:
        self.saved: list[int] = []

    async def save(self, partition: int, position: int, data: bytes, **more: object) -> int:
        self.saved.append(partition)
        return 0


def handler_of(ages_s: list[float]) -> tuple[ProcessorHandler, Store]:
    store, now = Store(), time.monotonic()
    handler = ProcessorHandler(Core(), None, store, snapshot_interval_s=10.0)
    handler._partitions = {
        number: _Partition(Inbox(number, None, position=5), 0, 0, 0, now - age) for number, age in enumerate(ages_s)
    }
    return handler, store


@pytest.mark.parametrize(
    ("age_s", "itself_dirty", "other_dirty", "due"),
    [
        (9.0, False, False, False),
        (11.0, False, False, True),
        (11.0, False, True, False),
        (21.0, False, True, True),
        (21.0, True, False, False),
    ],
)
def test_a_due_snapshot_waits_for_other_partitions_once(age_s, itself_dirty, other_dirty, due):
    handler, _ = handler_of([age_s, 0.0])
    handler._partitions[0].dirty, handler._partitions[1].dirty = itself_dirty, other_dirty
    assert handler._due(handler._partitions[0], time.monotonic()) is due


async def test_idle_makes_one_at_a_time_the_oldest_first():
    handler, store = handler_of([11.0, 30.0, 12.0, 0.0])
    for saved in ([1], [1, 2], [1, 2, 0], [1, 2, 0]):
        await handler.idle()
        await asyncio.sleep(0)
        assert store.saved == saved


async def test_a_snapshot_that_is_being_written_holds_no_other_up():
    handler, store = handler_of([30.0, 11.0])
    handler._partitions[0].saving = asyncio.ensure_future(asyncio.sleep(60))
    await handler.idle()
    await asyncio.sleep(0)
    assert store.saved == [1]
    handler._partitions[0].saving.cancel()
