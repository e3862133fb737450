"""The inbox core: what every processor's one ordered input needs, as pure logic (design laws 1, 2, 5).

Entry points: `InboxCore` (`new`, `apply`, `apply_columns`, `skip_gap`, `encode`, `decode`), `parked`, `partition_of`.
The Kafka shell, replay, golden runs and the simulation all go through it, so they cannot drift apart.

1. A record is applied once: below `position` it is old; a stamp at or below its source's watermark is a repeat.
2. A source's records form a chain per destination partition: each names the stamp sent before it (`pv`). What the
   chain says is decided by one table, `judge`:
   | pv                                 | verdict  | because |
   |------------------------------------|----------|---------|
   | is the watermark (or both absent)  | apply    | nothing is missing |
   | absent, though a watermark exists  | restart  | source began anew: restored store, accepted gap; applied, told |
   | above the watermark                | hold     | records are missing: told once, not applied, watermark stays |
   | below the watermark                | fork     | another history than was applied: StreamHole ends the worker |
   Holding is what heals the one hole that faults do make: a batch that expired while a later one landed. Its writer
   ended on that failure, starts again from its state and repeats both in order. Ending the reader instead would stop
   it at that record for ever, with every other source behind it.
3. Outputs are numbered by (input offset, index in the step) and chained per destination partition, those that the
   core makes itself (Parked, Alert) included: a replay gives the same ones.
4. A value that cannot be used is parked; a newer schema is parked only on an `edge` topic, elsewhere it is raised.
5. Records on an `edge` topic carry no stamps (market-data: the venue's ids do that work); their headers are not read.
6. Step time advances only by events that were applied; what comes from outside has to be admitted by the processor
   first, if it has `admits` (processors/market_time.py).
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from processors.protocols import ALL, BY_KEY, Meta, Out
from schemas.codec import BadRecord, NewerSchema, decoder_for, encode
from schemas.system import Alert, Parked

PARKED_BYTES: Final = 64 * 1024
"""Of a parked record's value, at most this many bytes are kept (before base64)."""
LATEST_MS: Final = 1 << 48
"""No log time lies beyond (year 10889): a record that says so is bad, or it would stop every clock after it."""

Stamp = tuple[int, int]
Headers = Sequence[tuple[str, bytes]]


class Record(NamedTuple):
    """One record of the inbox, as the log holds it."""

    offset: int
    value: bytes | None
    headers: Headers = ()


class Emit(NamedTuple):
    """One record to publish. `headers` are `src`, `st` and, but for the first of a chain, `pv`."""

    topic: str
    partition: int
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    offset: int  # of the input record that caused it


class TopicInfo(Protocol):
    """What the core must know of a topic (schemas.topics.Topic has it)."""

    @property
    def messages(self) -> tuple[str, ...]:
        """Tags of the messages that may stand on it."""
        ...

    @property
    def partitions(self) -> int:
        """How many it has."""
        ...

    @property
    def edge(self) -> bool:
        """Whether records come from outside, without stamps."""
        ...


class StreamHole(RuntimeError):
    """A source's chain contradicts what this inbox has applied: the worker must end.

    `emits` are the outputs up to there, the Alert that tells it last; publish them before ending.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.emits: list[Emit] = []


class LogHole(RuntimeError):
    """Records are missing between the position and what was handed over: the worker must end."""


@dataclass(slots=True)
class Inbox:
    """One inbox partition: where it stands and the processor's state. `position` is the next offset wanted."""

    partition: int
    state: Any
    position: int = 0
    now_ms: int = 0
    watermarks: dict[str, Stamp] = field(default_factory=dict)
    holes: dict[str, Stamp] = field(default_factory=dict)  # source -> stamp that is missing; open until repeated
    sent: dict[tuple[str, int], Stamp] = field(default_factory=dict)
    sent_as: dict[str, dict[tuple[str, int], Stamp]] = field(default_factory=dict)  # under the processor's other names
    applied: int = 0  # counts for metrics, not part of the state
    repeats: int = 0
    held: int = 0
    parked: int = 0


class _Encoded(msgspec.Struct, array_like=True):
    name: str
    partition: int
    position: int
    now_ms: int
    watermarks: list[tuple[str, int, int]]
    holes: list[tuple[str, int, int]]
    sent: list[tuple[str, str, int, int, int]]
    state: bytes


class InboxCore:
    """Runs one processor over its inbox. Holds no state of its own: everything is in the `Inbox` handed in.

    `topics` gives, by name, messages, partition count and edge of the inbox and of every topic written to.

    Raises:
        KeyError: the processor's inbox is not in `topics`.
    """

    def __init__(self, processor: Any, topics: Mapping[str, TopicInfo]) -> None:
        self.processor = processor
        self.topic: str = processor.inbox
        info = topics[self.topic]
        self.partitions = {name: topic.partitions for name, topic in topics.items()}
        self.edge = info.edge
        self._sources: dict[int, tuple[str, bytes]] = {}  # derived, kept because it is asked for at every output
        self._decode = decoder_for(info.messages)
        self._step = processor.step
        self._admits = getattr(processor, "admits", None) if info.edge else None
        self._step_batch = getattr(processor, "step_batch", None) if info.edge else None

    @property
    def reads_headers(self) -> bool:
        """Whether `apply_columns` needs headers."""
        return not self.edge

    def source(self, partition: int) -> str:
        """Return the source that stamps outputs caused by this inbox partition."""
        return f"{self.processor.name}@{self.topic}/{partition}"

    def new(self, partition: int) -> Inbox:
        """Return the inbox of a partition that has seen nothing."""
        return Inbox(partition=partition, state=self.processor.initial(partition))

    def apply(self, inbox: Inbox, records: Sequence[Record]) -> list[Emit]:
        """Apply records in offset order; see `apply_columns`."""
        return self.apply_columns(
            inbox,
            [record.value for record in records],
            [record.offset for record in records],
            [record.headers for record in records],
        )

    def apply_columns(
        self,
        inbox: Inbox,
        values: Sequence[bytes | None],
        offsets: Sequence[int],
        headers: Sequence[Headers] | None = None,
    ) -> list[Emit]:
        """Apply records given as columns and return what to publish; records below the position are skipped.

        Raises:
            LogHole: a record lies beyond the position.
            NewerSchema: written by a newer build, on a topic that is no edge.
            StreamHole: a source contradicts what was applied before.
        """
        if offsets and offsets[0] < inbox.position:
            keep = sum(offset >= inbox.position for offset in offsets)
            first = len(offsets) - keep
            values, offsets = values[first:], offsets[first:]
            headers = None if headers is None else headers[first:]
        if not offsets:
            return []
        if offsets[0] != inbox.position or offsets[-1] - offsets[0] != len(offsets) - 1:
            raise LogHole(
                f"{self.topic}/{inbox.partition}: wanted offset {inbox.position}, was given {len(offsets)} records "
                f"from {offsets[0]} to {offsets[-1]}"
            )
        if self._step_batch is not None:
            return self._apply_batch(inbox, values, offsets)
        emits: list[Emit] = []
        for index, offset in enumerate(offsets):
            try:
                outs = self._one(inbox, offset, values[index], () if headers is None else headers[index])
            except StreamHole as error:
                self._emit(inbox, offset, [self._alert(inbox, "stream_fork", "critical", str(error), {})], emits)
                error.emits = emits
                raise
            if outs:
                self._emit(inbox, offset, outs, emits)
            inbox.position = offset + 1
        return emits

    def skip_gap(self, inbox: Inbox, beginning: int, text: str) -> list[Emit]:
        """Go on from `beginning`, the log's first offset, over records that retention deleted; told as an Alert.

        What we sent before may be lost to the next state as well, so every output chain begins anew.
        """
        numbers = {"position": str(inbox.position), "beginning": str(beginning)}
        alert = self._alert(inbox, "input_gap", "warning" if inbox.position else "info", text, numbers)
        inbox.sent.clear()
        inbox.position = beginning
        emits: list[Emit] = []
        self._emit(inbox, beginning - 1, [alert], emits)
        inbox.sent.clear()
        return emits

    def _apply_batch(self, inbox: Inbox, values: Sequence[bytes | None], offsets: Sequence[int]) -> list[Emit]:
        assert self._step_batch is not None
        inbox.now_ms, outputs = self._step_batch(inbox.state, values, offsets, inbox.partition, inbox.now_ms)
        emits: list[Emit] = []
        for offset, outs in outputs:
            self._emit(inbox, offset, outs, emits)
            inbox.parked += sum(out.topic == "parked" for out in outs)
        inbox.applied += len(offsets)
        inbox.position = offsets[-1] + 1
        return emits

    def _one(self, inbox: Inbox, offset: int, value: bytes | None, headers: Headers) -> Sequence[Out]:
        told: list[Out] = []
        if headers and not self.edge:
            try:
                stamped = read_stamp(headers)
            except BadRecord as error:
                return [self._park(inbox, offset, value, str(error))]
            if stamped is not None and not self._admit(inbox, stamped, told):
                return told
        try:
            event = self._decode(value)
            now_ms = event.now_ms
            if not 0 <= now_ms < LATEST_MS:
                raise BadRecord(f"now_ms {now_ms} is not a time in milliseconds since 1970")
            if self._admits is not None and not self._admits(inbox.state, event, inbox.now_ms, offset):
                return told
            now_ms = max(now_ms, inbox.now_ms)
            outs = self._step(inbox.state, event, Meta(now_ms, inbox.partition, offset))
        except BadRecord as error:
            return [*told, self._park(inbox, offset, value, str(error))]
        except NewerSchema as error:
            if not self.edge:
                raise
            return [*told, self._park(inbox, offset, value, str(error))]
        inbox.now_ms = now_ms
        inbox.applied += 1
        return [*told, *outs] if told else outs

    def _admit(self, inbox: Inbox, stamped: "Stamped", told: list[Out]) -> bool:
        source, stamp, before = stamped
        watermark = inbox.watermarks.get(source)
        verdict = judge(stamp, before, watermark)
        if verdict == "apply" or verdict == "restart":
            inbox.watermarks[source] = stamp
            if inbox.holes and source in inbox.holes:
                del inbox.holes[source]
                told.append(self._alert(inbox, "stream_healed", "info", f"{source}: the missing records arrived", {}))
            if verdict == "restart":
                told.append(
                    self._chain_alert(
                        inbox,
                        "stream_restarted",
                        stamped,
                        "began a new chain; look whether what it sent before is complete",
                    )
                )
            return True
        if verdict == "repeat":
            inbox.repeats += 1
            return False
        if verdict == "fork":
            raise StreamHole(
                f"{self.topic}/{inbox.partition}: {source} sent {_text(stamp)} after {_text(before)}, but "
                f"{_text(watermark)} was applied: its outputs are not those of before (was it started with another "
                "build or configuration from a snapshot that was not clean?)"
            )
        inbox.held += 1
        if before is not None and inbox.holes.get(source) is None:
            inbox.holes[source] = before
            told.append(
                self._chain_alert(
                    inbox,
                    "stream_hole",
                    stamped,
                    "records are missing; its later ones wait until it repeats them (restart the worker that runs it)",
                )
            )
        return False

    def _chain_alert(self, inbox: Inbox, kind: str, stamped: "Stamped", words: str) -> Out:
        source, stamp, before = stamped
        numbers = {"stamp": _text(stamp), "before": _text(before), "watermark": _text(inbox.watermarks.get(source))}
        return self._alert(inbox, kind, "critical", f"{self.topic}/{inbox.partition}: {source} {words}", numbers)

    def _alert(self, inbox: Inbox, kind: str, severity: Any, text: str, numbers: dict[str, str]) -> Out:
        source = self.source(inbox.partition)
        alert = Alert(now_ms=inbox.now_ms, kind=kind, severity=severity, source=source, text=text, numbers=numbers)
        return Out("alerts", source, alert)

    def _park(self, inbox: Inbox, offset: int, value: bytes | None, reason: str) -> Out:
        inbox.parked += 1
        return parked(self.topic, inbox.partition, offset, value, reason, inbox.now_ms)

    def _emit(self, inbox: Inbox, offset: int, outs: Iterable[Out], emits: list[Emit]) -> None:
        """Number and chain the outputs of one input record."""
        sent = inbox.sent
        source = self._sources.get(inbox.partition)
        if source is None:
            source = self._sources[inbox.partition] = ("src", self.source(inbox.partition).encode())
        encoded: Any = None
        value, partitions = b"", self.partitions
        stamp, text = (-1, -1), b""
        for index, (topic, key, message, partition) in enumerate(outs):
            if message is not encoded:  # a signal goes to two topics
                encoded, value = message, encode(message)
            raw_key, count = key.encode(), partitions[topic]
            if partition == BY_KEY:
                destinations: Iterable[int] = (partition_of(raw_key, count),)
            elif partition == ALL:
                destinations = range(count)
            elif 0 <= partition < count:
                destinations = (partition,)
            else:
                raise ValueError(f"{self.processor.name} wrote to {topic}/{partition}, which has {count} partitions")
            last, last_text = stamp, text
            stamp, text = (offset, index), b"%d.%d" % (offset, index)
            for destination in destinations:
                place = (topic, destination)
                before = sent.get(place)
                sent[place] = stamp
                if before is None:
                    headers: tuple[tuple[str, bytes], ...] = (source, ("st", text))
                else:  # mostly the output before this one, whose stamp is text already
                    headers = (source, ("st", text), ("pv", last_text if before == last else b"%d.%d" % before))
                emits.append(Emit(topic, destination, raw_key, value, headers, offset))

    def encode(self, inbox: Inbox) -> bytes:
        """Return the inbox with its state as bytes; equal inboxes give equal bytes."""
        chains = {**inbox.sent_as, self.processor.name: inbox.sent}
        sent = [
            (name, topic, partition, *stamp)
            for name, chain in chains.items()
            for (topic, partition), stamp in chain.items()
        ]
        return _pack.encode(
            _Encoded(
                name=self.processor.name,
                partition=inbox.partition,
                position=inbox.position,
                now_ms=inbox.now_ms,
                watermarks=sorted((source, *stamp) for source, stamp in inbox.watermarks.items()),
                holes=sorted((source, *stamp) for source, stamp in inbox.holes.items()),
                sent=sorted(sent),
                state=self.processor.encode(inbox.state),
            )
        )

    def decode(self, data: bytes, state_schema: int | None = None) -> Inbox:
        """Inverse of `encode`. `state_schema` is that of `data` if it is not ours: `processor.migrate` reads it.

        Chains sent under another name of the processor (another set of strategies) are kept for when it returns.

        Raises:
            msgspec.DecodeError: not bytes of `encode`.
        """
        packed = _unpack.decode(data)
        if state_schema is None or state_schema == self.processor.state_schema:
            state = self.processor.decode(packed.state)
        else:
            state = self.processor.migrate(packed.state, state_schema)
        inbox = Inbox(partition=packed.partition, state=state, position=packed.position, now_ms=packed.now_ms)
        inbox.watermarks = {source: (first, second) for source, first, second in packed.watermarks}
        inbox.holes = {source: (first, second) for source, first, second in packed.holes}
        for name, topic, partition, first, second in packed.sent:
            chain = inbox.sent if name == self.processor.name else inbox.sent_as.setdefault(name, {})
            chain[topic, partition] = (first, second)
        return inbox


_pack = msgspec.msgpack.Encoder()
_unpack = msgspec.msgpack.Decoder(_Encoded)


class Stamped(NamedTuple):
    """The stamp of a record: who sent it, its number, and the number before it to this partition."""

    source: str
    stamp: Stamp
    before: Stamp | None


def judge(stamp: Stamp, before: Stamp | None, watermark: Stamp | None) -> str:
    """Return what the chain says: `apply`, `repeat`, `restart`, `hold` or `fork` (the table in the module header)."""
    if watermark is not None and stamp <= watermark:
        return "repeat"
    if before == watermark:
        return "apply"
    if before is None:
        return "restart"
    return "hold" if watermark is None or before > watermark else "fork"


def read_stamp(headers: Headers) -> Stamped | None:
    """Return the stamp in a record's headers, or None where it has none.

    Raises:
        BadRecord: it has one that cannot be read.
    """
    source = stamp = before = None
    for name, value in headers:
        if name == "src":
            source = value
        elif name == "st":
            stamp = value
        elif name == "pv":
            before = value
    if source is None and stamp is None:
        return None
    if source is None or stamp is None:
        raise BadRecord("headers src and st must stand together")
    try:
        return Stamped(source.decode("ascii"), _parse(stamp), None if before is None else _parse(before))
    except ValueError as error:
        raise BadRecord(f"headers src, st, pv cannot be read: {source!r}, {stamp!r}, {before!r}") from error


def _parse(stamp: bytes) -> Stamp:
    first, _, second = stamp.partition(b".")
    if not (first.isdigit() and second.isdigit() and len(first) < 19 and len(second) < 19):
        raise ValueError(stamp)
    return int(first), int(second)


def _text(stamp: Stamp | None) -> str:
    return "nothing" if stamp is None else f"{stamp[0]}.{stamp[1]}"


def parked(topic: str, partition: int, offset: int, value: bytes | None, reason: str, now_ms: int) -> Out:
    """Return the output that parks a record: its place, the reason, and its bytes (the first `PARKED_BYTES`)."""
    data = b"" if value is None else value
    source = f"{topic}/{partition}/{offset}"
    message = Parked(
        now_ms=now_ms,
        source=source,
        reason=reason[:1000],
        value=base64.b64encode(data[:PARKED_BYTES]).decode(),
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
    )
    return Out("parked", source, message)


def murmur2(data: bytes) -> int:
    """Return Kafka's murmur2 hash of `data` as an unsigned 32-bit number."""
    length = len(data)
    mask, multiplier = 0xFFFFFFFF, 0x5BD1E995
    result = (0x9747B28C ^ length) & mask
    whole = length & ~3
    for start in range(0, whole, 4):
        word = int.from_bytes(data[start : start + 4], "little") * multiplier & mask
        word = (word ^ word >> 24) * multiplier & mask
        result = (result * multiplier & mask) ^ word
    if whole != length:
        result = (result ^ int.from_bytes(data[whole:], "little")) * multiplier & mask
    result = (result ^ result >> 13) * multiplier & mask
    return result ^ result >> 15


@lru_cache(maxsize=65536)
def partition_of(key: bytes, count: int) -> int:
    """Return the partition of `key` among `count`, as Kafka's Java client chooses it."""
    return (murmur2(key) & 0x7FFFFFFF) % count
