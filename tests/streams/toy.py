"""A toy pipeline for fault tests: toy-in -> [first] -> toy-mid -> [second] -> toy-out.

`first` reads an edge topic through `step_batch`, as the strategy does; `second` a stamped inbox. Every output carries a
running hash over all inputs of its partition so far, so one input lost, doubled or out of order changes all after it.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from processors.inbox import parked
from processors.protocols import ALL, Meta, Out
from schemas.codec import BadRecord, NewerSchema, decode
from schemas.market import Clock


class ToyTopic(NamedTuple):
    messages: tuple[str, ...]
    partitions: int
    edge: bool
    gap: str = "fatal"


def topics(prefix: str, partitions: int, mid_partitions: int) -> dict[str, ToyTopic]:
    return {
        f"{prefix}in": ToyTopic(("clock",), partitions, True, "allowed"),
        f"{prefix}mid": ToyTopic(("clock",), mid_partitions, False),
        f"{prefix}out": ToyTopic(("clock",), mid_partitions, False),
        "alerts": ToyTopic(("alert",), 1, False),
        "parked": ToyTopic(("parked",), 1, False),
    }


class State(msgspec.Struct):
    count: int = 0
    digest: str = ""
    ballast: bytes = b""


class Toy:
    """Outputs one of five inputs to the partition of its feed's hash, and each fiftieth to all."""

    state_schema = 1

    def __init__(self, name: str, inbox: str, target: str, ballast: int = 0, config_hash: str = "c1") -> None:
        self.name, self.inbox, self.target, self.config_hash = name, inbox, target, config_hash
        self.ballast = ballast

    def initial(self, partition: int) -> State:
        block = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(self.ballast // 32))
        return State(ballast=block)

    def step(self, state: State, event: Any, meta: Meta) -> Sequence[Out]:
        if event.position < 0:
            raise BadRecord("position below zero")
        text = f"{state.digest}|{event.feed}|{event.position}|{meta.now_ms}"
        state.digest = hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
        state.count += 1
        if state.count % 5:
            return []
        feed = f"{meta.partition}:{state.digest}"
        outs = [Out(self.target, event.feed, Clock(now_ms=meta.now_ms, feed=feed, position=state.count * 2))]
        if state.count % 50 == 0:
            outs.append(Out(self.target, "*", Clock(now_ms=meta.now_ms, feed=feed, position=state.count * 2 + 1), ALL))
        return outs

    def encode(self, state: State) -> bytes:
        return msgspec.msgpack.encode(state)

    def decode(self, data: bytes) -> State:
        return msgspec.msgpack.decode(data, type=State)


class BatchToy(Toy):
    def step_batch(
        self, state: State, values: Sequence[bytes | None], offsets: Sequence[int], partition: int, now_ms: int
    ) -> tuple[int, list[tuple[int, Sequence[Out]]]]:
        outputs: list[tuple[int, Sequence[Out]]] = []
        for value, offset in zip(values, offsets, strict=True):
            try:
                event = decode(value)  # type: ignore[arg-type]
                later = max(now_ms, event.now_ms)
                outs = self.step(state, event, Meta(later, partition, offset))
                now_ms = later
            except (BadRecord, NewerSchema) as error:
                outs = [parked(self.inbox, partition, offset, value, str(error), now_ms)]
            if outs:
                outputs.append((offset, outs))
        return now_ms, outputs


def processors(prefix: str, ballast: int = 0, config_hash: str = "c1") -> dict[str, Toy]:
    return {
        "first": BatchToy("first", f"{prefix}in", f"{prefix}mid", ballast, config_hash),
        "second": Toy("second", f"{prefix}mid", f"{prefix}out", ballast, config_hash),
    }
