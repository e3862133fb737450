"""The statistics role: how leaders and their subscriptions do, from what became of every event.

Entry point: `StatisticsProcessor`, from `copy-results` to `statistics`.

1. All records of a leader and of its subscriptions lie in one partition (the key is the leader).
2. A subscription is told on every record that changes it: its last Statistics always say all that was counted.
3. A leader is told on each record of its own, and on its followers' at most once per `LEADER_EVERY_MS` of log time:
   with ten thousand followers that is one record instead of ten thousand. Whoever wants its followers' sums as they
   stand this instant adds up the subscriptions (figures.completed), and so does the check of all numbers.
4. There is no clock here: capital is sampled by the log time of the records (apply.py, 3).
"""

from collections.abc import Sequence
from typing import Any, Final

from processors.account.money import money_context
from processors.protocols import Meta, Out
from processors.statistics.apply import apply
from processors.statistics.figures import leader_statistics, subscription_statistics
from processors.statistics.own import SIGNAL_NOTIONAL
from processors.statistics.state import State, decode, encode
from schemas.ids import derive_id

CAPITAL_EVERY_MS: Final = 4 * 3_600_000
LEADER_EVERY_MS: Final = 1_000


class StatisticsProcessor:
    """Results in, statistics out (see the module header). `capital_every_ms`: interval of log time between samples."""

    name = "statistics"
    inbox = "copy-results"
    state_schema = 1

    def __init__(self, capital_every_ms: int = CAPITAL_EVERY_MS) -> None:
        self.capital_every_ms = capital_every_ms
        self.config_hash = derive_id("config", "statistics", capital_every_ms, LEADER_EVERY_MS, SIGNAL_NOTIONAL)

    def initial(self, partition: int) -> State:
        """Return the state of a partition that has seen nothing."""
        return {}

    def step(self, state: State, event: Any, meta: Meta) -> Sequence[Out]:
        """Count one record and tell what changed.

        Raises:
            BadRecord: the record cannot be used; the state is untouched.
        """
        with money_context():
            changed = apply(state, event, self.capital_every_ms)
            if changed is None:
                return ()
            leader = state[changed.leader]
            outs: list[Out] = []
            if changed.subscription:
                subscription = leader.subscriptions[changed.subscription]
                told = subscription_statistics(changed.subscription, changed.leader, subscription, meta.now_ms)
                outs.append(Out("statistics", told.subject, told))
            if not changed.subscription or leader.told_ms < 0 or meta.now_ms - leader.told_ms >= LEADER_EVERY_MS:
                leader.told_ms = meta.now_ms
                told = leader_statistics(changed.leader, leader, meta.now_ms)
                outs.append(Out("statistics", told.subject, told))
            return outs

    def encode(self, state: State) -> bytes:
        """Return the state as msgpack; equal states give equal bytes."""
        return encode(state)

    def decode(self, data: bytes) -> State:
        """Inverse of `encode`."""
        return decode(data)
