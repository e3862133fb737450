"""An in-memory log and the processors on it: what live streams do, as plain calls.

Entry points: `MemoryLog`, `Chain`. The inbox core is the live one, so replay and live cannot drift apart.

1. A chain is settled when no processor has input left; the order in which inboxes are served is fixed, so equal input
   gives equal logs.
2. `restart_every` puts every state through its encoded form after that many batches; `twice` appends every record of
   every topic twice. Neither may change what the processors say (golden runs, tests/golden).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from processors.inbox import Emit, Headers, Inbox, InboxCore, Record, TopicInfo


class MemoryLog:
    """Topics as lists of records by partition."""

    def __init__(self, topics: Mapping[str, TopicInfo]) -> None:
        self.partitions: dict[str, list[list[Record]]] = {
            name: [[] for _ in range(topic.partitions)] for name, topic in topics.items()
        }

    def append(self, topic: str, partition: int, value: bytes, headers: Headers = ()) -> None:
        """Append one record."""
        records = self.partitions[topic][partition]
        records.append(Record(len(records), value, headers))

    def values(self, topic: str) -> list[list[bytes | None]]:
        """Return the values of a topic by partition."""
        return [[record.value for record in records] for records in self.partitions[topic]]


class Chain:
    """Processors over one log. `outside` is called when all is quiet and may append (a venue); it returns whether."""

    def __init__(
        self,
        topics: Mapping[str, TopicInfo],
        processors: Sequence[Any],
        *,
        outside: "Callable[[Chain, MemoryLog], bool] | None" = None,
        restart_every: int = 0,
        twice: bool = False,
    ) -> None:
        self.log = MemoryLog(topics)
        self.emitted: dict[tuple[str, int], list[bytes]] = {}
        self._cores = [InboxCore(processor, topics) for processor in processors]
        self._inboxes: list[list[Inbox]] = [
            [core.new(partition) for partition in range(topics[core.topic].partitions)] for core in self._cores
        ]
        self._outside, self._restart_every, self._copies = outside, restart_every, 2 if twice else 1
        self._batches = 0

    def feed(self, records: Iterable[tuple[str, int, bytes]]) -> None:
        """Append outside records (topic, partition, value), unstamped."""
        for topic, partition, value in records:
            self.append(topic, partition, value)

    def append(self, topic: str, partition: int, value: bytes, headers: Headers = ()) -> None:
        """Append one record, as often as this chain repeats."""
        for _ in range(self._copies):
            self.log.append(topic, partition, value, headers)

    def settle(self) -> None:
        """Run every processor until none has input left and the outside has nothing to add."""
        moved = True
        while moved:
            moved = False
            for core, inboxes in zip(self._cores, self._inboxes, strict=True):
                for partition, inbox in enumerate(inboxes):
                    moved |= self._serve(core, inboxes, partition, inbox)
            if not moved and self._outside is not None:
                moved = self._outside(self, self.log)

    def _serve(self, core: InboxCore, inboxes: list[Inbox], partition: int, inbox: Inbox) -> bool:
        records = self.log.partitions[core.topic][partition][inbox.position :]
        if not records:
            return False
        for emit in core.apply(inbox, records):
            self._publish(emit)
        self._batches += 1
        if self._restart_every and self._batches % self._restart_every == 0:
            inboxes[partition] = core.decode(core.encode(inbox))
        return True

    def _publish(self, emit: Emit) -> None:
        self.emitted.setdefault((emit.topic, emit.partition), []).append(emit.value)
        self.append(emit.topic, emit.partition, emit.value, emit.headers)
