"""Where the paper venue reads its market data: a source that can be read from a position and knows its bounds."""

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Protocol

from executors.errors import MarketLost

MarketRecord = tuple[int, int, Any]  # partition of market-data, offset, decoded message


class MarketSource(Protocol):
    """The topic `market-data`, all partitions."""

    async def bounds(self) -> dict[int, tuple[int, int]]:
        """Return, per partition, the first offset that can be read and the end (the next one to be written)."""
        ...

    def read(self, positions: dict[int, int]) -> AsyncGenerator[list[MarketRecord], None]:
        """Yield batches for ever, from these next offsets; offsets rise per partition.

        A record that cannot be decoded is given as None: the position must move over it.
        """
        ...


def begin_at(
    journalled: Mapping[int, int], bounds: Mapping[int, tuple[int, int]], warm_up: int
) -> tuple[dict[int, int], dict[int, int]]:
    """Return where to read from per partition, and the records lost to retention per partition.

    A partition without a journal starts `warm_up` records before its end. Retention is allowed to lose market data
    (topics.yaml: gap allowed); stops and limit orders do not see what was lost.

    Raises:
        MarketLost: a journalled position lies beyond the log's end: the log was cut or exchanged.
    """
    positions: dict[int, int] = {}
    lost: dict[int, int] = {}
    for partition, (first, end) in bounds.items():
        position = journalled.get(partition)
        if position is None:
            positions[partition] = max(first, end - warm_up)
        elif position > end:
            raise MarketLost(
                f"the paper venue's market position {partition}/{position} lies beyond the end {end} of market-data: "
                "the log was cut or belongs to another deployment"
            )
        else:
            positions[partition] = max(first, position)
            if position < first:
                lost[partition] = first - position
    gone = set(journalled) - set(bounds)
    if gone:
        raise MarketLost(f"the paper venue has positions of partitions {sorted(gone)}, which market-data does not have")
    return positions, lost
