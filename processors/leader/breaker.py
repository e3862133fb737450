"""The circuit breaker over the copies of a leader, or of all leaders, as a table of states (design law 6).

Entry points: `Breaker`, `BREAKER`, `report`, `admit`, `reset`, `Verdict`.

1. Closed: attempts and failures are summed in `BUCKETS` parts of the window; with enough attempts and too many failures
   it opens and forgets the sums.
2. Open: nothing passes and reports do not count, for they are of copies made before. It is looked at again when an
   entry comes: after `open_ms` it is half open. So it needs no clock.
3. Half open: the next `probes` entries pass. One failed copy of a probe opens it again at once. Otherwise the first
   entry `settle_ms` after the last probe judges: copies were tried and none failed, so it closes; none were tried, so
   nothing is known and the next `probes` entries are probes again. Until then entries do not pass.
4. The breaker over all leaders gets no entries, only reports, so it never becomes half open: a person closes it.
"""

from decimal import Decimal
from enum import StrEnum

import msgspec

from processors.leader.params import BreakerParams
from schemas.leaders import FollowerReport

BUCKETS = 10


class BreakerState(StrEnum):
    """Whether copies pass."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class BreakerEvent(StrEnum):
    """What can happen to a breaker; `reset`: a person resumed its scope, or switched the breaker off."""

    TRIPPED = "tripped"
    WAITED = "waited"
    PROBE_FAILED = "probe_failed"
    PROBES_PASSED = "probes_passed"
    RESET = "reset"


_S, _E = BreakerState, BreakerEvent

BREAKER: dict[BreakerState, dict[BreakerEvent, BreakerState]] = {
    _S.CLOSED: {_E.TRIPPED: _S.OPEN, _E.RESET: _S.CLOSED},
    _S.OPEN: {_E.WAITED: _S.HALF_OPEN, _E.RESET: _S.CLOSED},
    _S.HALF_OPEN: {_E.PROBE_FAILED: _S.OPEN, _E.PROBES_PASSED: _S.CLOSED, _E.RESET: _S.CLOSED},
}


class Breaker(msgspec.Struct, array_like=True):
    """State of a breaker.

    sums: (bucket, attempted, failed), oldest first, while closed. since_ms: of the state. numbers: why it opened.
    probes: ids of the events that passed half open, with the time of the last one and the copies tried of them.
    """

    state: BreakerState = BreakerState.CLOSED
    since_ms: int = 0
    sums: list[tuple[int, int, int]] = []
    numbers: dict[str, str] = {}
    probes: list[str] = []
    probed_ms: int = 0
    tried: int = 0


def report(breaker: Breaker, params: BreakerParams, told: FollowerReport, now_ms: int) -> BreakerEvent | None:
    """Count copies that were tried or failed; return the event that moved the breaker, None if it stayed."""
    if breaker.state is _S.CLOSED:
        numbers = _counted(breaker, params, told, now_ms)
        return None if numbers is None else _move(breaker, _E.TRIPPED, now_ms, numbers)
    if breaker.state is _S.HALF_OPEN and told.event_id in breaker.probes:
        breaker.tried += told.attempted
        if told.failed > 0:
            return _move(
                breaker, _E.PROBE_FAILED, now_ms, {"attempted": str(breaker.tried), "failed": str(told.failed)}
            )
    return None


class Verdict(msgspec.Struct, frozen=True):
    """Whether an entry passes, and the events that moved the breaker before it did."""

    passes: bool
    moved: tuple[BreakerEvent, ...] = ()


def admit(breaker: Breaker, params: BreakerParams, event_id: str, now_ms: int) -> Verdict:
    """Judge an entry that nothing else blocks, and note it if it is a probe."""
    if breaker.state is _S.CLOSED:
        return Verdict(True)
    moved: tuple[BreakerEvent, ...] = ()
    if breaker.state is _S.OPEN:
        if now_ms < breaker.since_ms + params.open_ms:
            return Verdict(False)
        moved = (_move(breaker, _E.WAITED, now_ms, {}),)
    elif len(breaker.probes) >= params.probes:
        if now_ms < breaker.probed_ms + params.settle_ms:
            return Verdict(False)
        if breaker.tried > 0:
            return Verdict(True, (_move(breaker, _E.PROBES_PASSED, now_ms, {}),))
        breaker.probes.clear()
    breaker.probes.append(event_id)
    breaker.probed_ms = now_ms
    return Verdict(True, moved)


def reset(breaker: Breaker, now_ms: int) -> bool:
    """Close the breaker; return whether it was not closed before."""
    was = breaker.state
    _move(breaker, _E.RESET, now_ms, {})
    return was is not _S.CLOSED


def _move(breaker: Breaker, event: BreakerEvent, now_ms: int, numbers: dict[str, str]) -> BreakerEvent:
    breaker.state = BREAKER[breaker.state][event]
    breaker.since_ms = now_ms
    breaker.numbers = numbers
    breaker.sums = []
    breaker.probes = []
    breaker.probed_ms = breaker.tried = 0
    return event


def _counted(breaker: Breaker, params: BreakerParams, told: FollowerReport, now_ms: int) -> dict[str, str] | None:
    """Add to the sums; return the numbers if they are too bad."""
    width = max(params.window_ms // BUCKETS, 1)
    bucket = now_ms // width
    kept = [item for item in breaker.sums if bucket - BUCKETS < item[0] <= bucket]
    if kept and kept[-1][0] == bucket:
        _, attempted, failed = kept.pop()
    else:
        attempted = failed = 0
    kept.append((bucket, attempted + told.attempted, failed + told.failed))
    breaker.sums = kept
    attempts, failures = sum(item[1] for item in kept), sum(item[2] for item in kept)
    if attempts < params.min_attempts or Decimal(failures) <= params.max_failure_rate * attempts:
        return None
    return {"attempted": str(attempts), "failed": str(failures), "max_failure_rate": str(params.max_failure_rate)}
