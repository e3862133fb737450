"""The venue's netted positions, told to the accounts so that they can hold their own books against them.

Entry point: `tell_positions(work, executor, timing)`, one task per claimed partition and venue.

1. A position is told once after the claim, then at most every `POSITIONS_EVERY_MS` of log time, if it has changed.
2. It is told only when every fill in it is booked and none that is booked is missing: fills and positions go through
   one outbox, so the account's own sum at that record must be equal.
3. What our books say was traded is told as zero after a claim if the venue names no position.
"""

import asyncio
from decimal import Decimal

from executors.partition import Partition, position_record
from executors.protocols import Executor
from executors.store import Changes

POSITIONS_EVERY_MS = 60_000
ZERO = Decimal(0)


async def tell_positions(work: Partition, executor: Executor, look_again_s: float) -> None:
    """Tell the positions of a partition at a venue, for ever."""
    told: dict[tuple[str, str], Decimal | None] = dict.fromkeys(_traded(work, executor.venue))
    while True:
        looked_ms = work.now_ms()
        while not await _tell(work, executor, told):
            await asyncio.sleep(look_again_s)
        while work.now_ms() - looked_ms < POSITIONS_EVERY_MS:
            await asyncio.sleep(look_again_s)


def _traded(work: Partition, venue: str) -> list[tuple[str, str]]:
    rows = [row for row in work.rows.values() if row.filled > 0 and row.order.venue == venue]
    return sorted({(row.account, row.order.instrument) for row in rows})


async def _tell(work: Partition, executor: Executor, told: dict[tuple[str, str], Decimal | None]) -> bool:
    """Tell what has changed; False if some of it has to wait for its fills to be booked."""
    all_through = await executor.positions(work.claim.partition)
    # From here to the queueing of the write nothing awaits.
    held = {(each.account, each.instrument): each for each in all_through.holdings}
    changes, settled = Changes(), True
    for key in [*held, *(key for key in told if key not in held)]:
        holding = held.get(key)
        size = ZERO if holding is None else holding.size
        if told.get(key) == size or (key not in told and size == 0):
            continue
        number = all_through.number if holding is None else holding.number
        if number <= work.booked.get(executor.venue, 0) and work.last_fill(executor.venue, *key) <= number:
            told[key] = size
            changes.records.append(position_record(key[0], executor.venue, key[1], size, work.now_ms()))
        else:
            settled = False
    if changes.records:
        await work.commit(changes)
    return settled
