"""Rate limit on a leader's events: a sliding window in log time.

Entry points: `over_limit`, `note`.

1. Only what passed counts, so a flood does not shut out what comes after it for longer than the window.
2. The window holds at most as many times as the limit has events.
"""

from processors.leader.params import RateLimit


def over_limit(times: list[int], limit: RateLimit, now_ms: int) -> bool:
    """Return whether one more event at `now_ms` would be one too many; forgets what has left the window."""
    _trim(times, limit, now_ms)
    return len(times) >= limit.events


def note(times: list[int], limit: RateLimit, now_ms: int) -> None:
    """Count an event that passed."""
    times.append(now_ms)
    _trim(times, limit, now_ms)


def _trim(times: list[int], limit: RateLimit, now_ms: int) -> None:
    gone = 0
    for at_ms in times:
        if at_ms > now_ms - limit.per_ms:
            break
        gone += 1
    del times[: max(gone, len(times) - limit.events)]
