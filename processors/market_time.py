"""Whether a record of market-data may move time as far as it says.

Entry point: `admits`. One record with a wrong clock would otherwise move step time for good: every later signal stale,
every order expired. So time may rise by `AHEAD_MS` at once; further only if the log agrees with itself:

1. A Clock further ahead is not applied but noted (it carries nothing but its time); if the very next record agrees
   with it, that one is admitted. Feeds put a Clock before the first record after a pause, so a weekend costs nothing.
2. Any other record further ahead is refused. If `CONFIRMATIONS` in a row agree with each other, the pause was real (a
   feed without clocks), and the next is admitted.
3. The first record of all is admitted whatever it says: there is nothing to hold it against.
"""

from typing import Final

AHEAD_MS: Final = 86_400_000
CONFIRMATIONS: Final = 20

Claim = list[int]
"""Empty, or [time claimed, how many agreed, place of the last one]."""


def admits(claim: Claim, record_ms: int, time_ms: int, place: int, *, is_clock: bool) -> bool:
    """Return whether a record of time `record_ms` may be applied where time is `time_ms`; notes its claim if not.

    `place` is its offset, or any number that rises by one per record: claims count only in a row.
    """
    if time_ms == 0 or record_ms <= time_ms + AHEAD_MS:
        return True
    agrees = bool(claim) and claim[2] + 1 == place and abs(record_ms - claim[0]) <= AHEAD_MS
    if agrees and claim[1] >= CONFIRMATIONS:
        claim.clear()
        return True
    claim[:] = [record_ms, CONFIRMATIONS if is_clock else claim[1] + 1 if agrees else 1, place]
    return False
