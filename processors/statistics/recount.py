"""Counts everything again from where it was told first, and says where the numbers differ.

Entry points: `Recount` (`take`, `result`), `SOURCES`, `difference`.

1. Fills come from `order-status`, outcomes and followers from `outcomes`, leaders from the first partition of
   `account-events` (they stand once in each): topics that the statistics role does not read. What it missed, counted
   twice or never got is a difference. Capital alone is told nowhere but on `copy-results`.
2. Repeats are passed over by what they are, not by the watermarks of the inbox: fills and outcomes by id, leaders by
   sequence, followers by stamp.
3. The topics may be taken one after the other: no number depends on how they interleave (state.py).
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from processors.account.money import money_context
from processors.inbox import Headers, Stamp, read_stamp
from processors.statistics.apply import apply
from processors.statistics.figures import completed, leader_statistics, subscription_statistics
from processors.statistics.processor import CAPITAL_EVERY_MS
from processors.statistics.state import State
from schemas.base import Message
from schemas.codec import BadRecord
from schemas.leaders import LeaderEvent, LeaderStateChanged
from schemas.statistics import FollowerEquity, Statistics
from schemas.status import Fill, FollowerState, Outcome

SOURCES: Final[Mapping[str, tuple[type[Message], ...]]] = {
    "account-events": (LeaderEvent, LeaderStateChanged),
    "order-status": (Fill,),
    "outcomes": (Outcome, FollowerState),
    "copy-results": (FollowerEquity,),
}
FIRST_PARTITION_ONLY: Final = frozenset({"account-events"})

_NOT_COMPARED: Final = frozenset({"now_ms", "v"})


class Recount:
    """Takes the records of `SOURCES`, each partition in its order, in any order of partitions."""

    def __init__(self, capital_every_ms: int = CAPITAL_EVERY_MS) -> None:
        self._capital_every_ms = capital_every_ms
        self._state: State = {}
        self._ids: set[bytes] = set()
        self._watermarks: dict[tuple[str, int, str], Stamp] = {}

    def take(self, topic: str, partition: int, message: Message, headers: Headers = ()) -> None:
        """Count one record, unless it is none of those we count, a repeat, or one that cannot be used."""
        if not isinstance(message, SOURCES[topic]) or (topic in FIRST_PARTITION_ONLY and partition != 0):
            return
        if self._repeated(topic, partition, message, headers):
            return
        try:
            with money_context():
                apply(self._state, message, self._capital_every_ms)
        except BadRecord:
            return

    def _repeated(self, topic: str, partition: int, message: Message, headers: Headers) -> bool:
        if isinstance(message, Fill | Outcome):
            known = (message.fill_id if isinstance(message, Fill) else message.outcome_id).encode()
            if known in self._ids:
                return True
            self._ids.add(known)
        elif isinstance(message, FollowerState | FollowerEquity):
            stamped = read_stamp(headers)
            if stamped is not None:
                place = topic, partition, stamped.source
                watermark = self._watermarks.get(place)
                if watermark is not None and stamped.stamp <= watermark:
                    return True
                self._watermarks[place] = stamped.stamp
        return False

    def result(self) -> dict[str, Statistics]:
        """Return the statistics of all leaders and subscriptions, as `figures.completed` gives those of the topic."""
        found: dict[str, Statistics] = {}
        with money_context():
            for name, leader in self._state.items():
                own = leader_statistics(name, leader, 0)
                found[own.subject] = own
                for subscription_id, subscription in leader.subscriptions.items():
                    one = subscription_statistics(subscription_id, name, subscription, 0)
                    found[one.subject] = one
        return completed(found)


def difference(told: Mapping[str, Statistics], counted: Mapping[str, Statistics]) -> list[str]:
    """Return a line for each number that was told otherwise than it was counted, in order of subjects; times apart."""
    lines = []
    for subject in sorted(told.keys() | counted.keys()):
        if subject not in counted:
            lines.append(f"{subject}: told, but nothing of it was counted")
        elif subject not in told:
            lines.append(f"{subject}: counted, but never told")
        else:
            lines += _differences(subject, told[subject], counted[subject])
    return lines


def _differences(subject: str, told: Statistics, counted: Statistics) -> list[str]:
    pairs: list[tuple[str, Any, Any]] = [
        (name, getattr(told, name), getattr(counted, name))
        for name in (field.name for field in msgspec.structs.fields(Statistics))
        if name not in _NOT_COMPARED
    ]
    return [f"{subject}: {name} was told as {was}, counted as {now}" for name, was, now in pairs if was != now]
