"""Patterns in a leader's own trading that no honest trading shows often: told, and on request acted upon.

Entry points: `Watch`, `notice`, `Finding`.

1. Three patterns: a burst of changes of direction, an entry far above the leader's usual notional, positions closed
   almost as soon as they were opened. Each finding tells the numbers that made it.
2. A burst is told once: its count begins anew. A size is judged by the entries before it and then becomes one of them,
   so that a lasting change of scale is accepted in time.
3. Times are log time. Everything kept is bounded.
"""

from decimal import Decimal
from typing import NamedTuple

import msgspec

from processors.account.money import shown
from processors.leader.memory import Memory, remember
from processors.leader.params import SuspicionParams
from schemas.reasons import LeaderAction, Side

HISTORY = 30
"""Entries whose notional is the leader's usual one."""
ENOUGH = 10
"""With fewer entries nothing is unusual yet."""
INSTRUMENTS = 1_000
"""Instruments whose last direction and time of opening are kept."""


class Watch(msgspec.Struct, array_like=True):
    """What is kept to see patterns: last direction and time of opening by instrument, times of flips and of washes,
    and notionals of the last entries, all oldest first."""

    sides: Memory = msgspec.field(default_factory=Memory)
    opened: Memory = msgspec.field(default_factory=Memory)
    flips: list[int] = []
    washes: list[int] = []
    notionals: list[Decimal] = []


class Finding(NamedTuple):
    """A pattern, in words for people and with its numbers."""

    pattern: str
    text: str
    numbers: dict[str, str]


class Doing(NamedTuple):
    """What a leader did, as far as patterns go; `size` None for a signal."""

    action: LeaderAction
    instrument: str
    side: Side
    price: Decimal
    size: Decimal | None


def notice(watch: Watch, params: SuspicionParams, doing: Doing, now_ms: int) -> list[Finding]:
    """Note what a leader did and return the patterns that it completes."""
    found: list[Finding | None] = []
    if doing.action is LeaderAction.ENTRY:
        found.append(_flip(watch, params, doing, now_ms))
        if doing.size is not None:
            remember(watch.opened, doing.instrument, str(now_ms), INSTRUMENTS)
    if doing.action in (LeaderAction.ENTRY, LeaderAction.INCREASE) and doing.size is not None:
        found.append(_size(watch, params, doing.price * doing.size))
    if doing.action is LeaderAction.EXIT:
        found.append(_wash(watch, params, doing, now_ms))
    return [finding for finding in found if finding is not None]


def _flip(watch: Watch, params: SuspicionParams, doing: Doing, now_ms: int) -> Finding | None:
    before = watch.sides.known.get(doing.instrument)
    remember(watch.sides, doing.instrument, doing.side.value, INSTRUMENTS)
    if params.flips is None or before in (None, doing.side.value):
        return None
    count = _burst(watch.flips, params.flips, params.flips_window_ms, now_ms)
    if count is None:
        return None
    text = f"changed direction {count} times within {params.flips_window_ms} ms"
    return Finding("flips", text, {"flips": str(count), "flips_window_ms": str(params.flips_window_ms)})


def _size(watch: Watch, params: SuspicionParams, notional: Decimal) -> Finding | None:
    usual = sorted(watch.notionals)
    watch.notionals.append(notional)
    del watch.notionals[:-HISTORY]
    if params.size_factor is None or len(usual) < ENOUGH:
        return None
    median = usual[len(usual) // 2]
    if notional <= median * params.size_factor:
        return None
    text = f"an entry of {shown(notional)} is more than {params.size_factor} times the usual {shown(median)}"
    return Finding(
        "size", text, {"notional": shown(notional), "median": shown(median), "size_factor": str(params.size_factor)}
    )


def _wash(watch: Watch, params: SuspicionParams, doing: Doing, now_ms: int) -> Finding | None:
    opened = watch.opened.known.pop(doing.instrument, None)
    if opened is None:
        return None
    watch.opened.order.remove(doing.instrument)
    if params.wash_ms is None or params.wash_count is None or now_ms - int(opened) > params.wash_ms:
        return None
    count = _burst(watch.washes, params.wash_count, params.flips_window_ms, now_ms)
    if count is None:
        return None
    text = f"closed {count} positions within {params.wash_ms} ms of opening them"
    return Finding("wash", text, {"washes": str(count), "wash_ms": str(params.wash_ms)})


def _burst(times: list[int], most: int, window_ms: int, now_ms: int) -> int | None:
    """Note one more time; return how many lie in the window once that is `most`, and begin anew."""
    times[:] = [at_ms for at_ms in times if at_ms > now_ms - window_ms]
    times.append(now_ms)
    if len(times) < most:
        return None
    count = len(times)
    times.clear()
    return count
