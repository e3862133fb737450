"""What a processor is, and what surrounds its step.

A processor owns one inbox topic. The state of one partition of that inbox is one value; `step` may mutate it for
speed and may keep nothing outside it. The same object runs live (streams/shell.py), in replay and in tests, always
through processors/inbox.py, which does the decoding, watermarks, stamps and parking that every inbox needs.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from schemas.base import Message

ALL: Final = -1
"""Partition of an `Out` that goes once to every partition of its topic (broadcast)."""
BY_KEY: Final = -2
"""Partition of an `Out` chosen by murmur2 of its key, as Kafka's own clients do."""


class Meta(NamedTuple):
    """What a step may know beside its event."""

    now_ms: int  # step time: the largest now_ms seen in this inbox partition, this event's included
    partition: int
    offset: int


class Out(NamedTuple):
    """One record a step wants published."""

    topic: str
    key: str
    value: Message
    partition: int = BY_KEY


S = TypeVar("S")


class Processor(Protocol[S]):
    """Pure logic over one ordered input.

    name: source of its stamps; unique per processor (and per set of strategies).
    inbox: topic it reads.
    state_schema: raised by one whenever the encoded state changes shape.
    config_hash: hash of every parameter that changes results.
    """

    name: str
    inbox: str
    state_schema: int
    config_hash: str

    def initial(self, partition: int) -> S:
        """Return the state of a partition that has seen nothing."""
        ...

    def step(self, state: S, event: Any, meta: Meta) -> Sequence[Out]:
        """Apply one decoded event; raise schemas.codec.BadRecord, with the state untouched, to have it parked."""
        ...

    def encode(self, state: S) -> bytes:
        """Return the state as bytes; equal states give equal bytes."""
        ...

    def decode(self, data: bytes) -> S:
        """Inverse of `encode`."""
        ...


class BatchProcessor(Processor[S], Protocol[S]):
    """A processor with a fused path for unstamped inboxes (market-data), tested equal to `step` one by one."""

    def step_batch(
        self, state: S, values: Sequence[bytes | None], offsets: Sequence[int], partition: int, now_ms: int
    ) -> tuple[int, list[tuple[int, Sequence[Out]]]]:
        """Apply raw values in order; return the new step time and the outputs by causing offset.

        A value that cannot be used yields the `Out` made by `processors.inbox.parked`.
        """
        ...
