"""Percentiles of latencies in bounded memory.

Entry point: `Histogram`. Values fall into buckets 2 % wide, so a percentile is right to 1 %, whatever was added.
"""

import math

_GROWTH = 1.02
_FLOOR_MS = 0.01
_LOG_GROWTH = math.log(_GROWTH)


class Histogram:
    """Counts of latencies in milliseconds."""

    def __init__(self) -> None:
        self._buckets: dict[int, int] = {}
        self.count = 0

    def add(self, value_ms: float) -> None:
        """Count one value; what lies below 0.01 ms counts as 0.01 ms."""
        bucket = 0 if value_ms <= _FLOOR_MS else round(math.log(value_ms / _FLOOR_MS) / _LOG_GROWTH)
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1
        self.count += 1

    def percentile(self, share: float) -> float | None:
        """Return the smallest value that at least `share` (0..1) of all values do not exceed; None when empty."""
        if self.count == 0:
            return None
        wanted = max(1, math.ceil(share * self.count))
        seen = 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= wanted:
                return _FLOOR_MS * math.exp(bucket * _LOG_GROWTH)
        raise AssertionError("the buckets hold fewer values than were counted")
