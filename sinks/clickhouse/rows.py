"""Kafka records -> columns. Pure: bytes in, Arrow record batches out.

Entry points: `RowReader(topic, latency)`, `.read(partition, records) -> Rows`; `Bad`, `Record`, `SCHEMAS`.

1. Values are decoded into lean structs derived from `schemas/`, with the same fields and types, save that money stays
   text: Arrow turns whole columns of text into decimals many times faster than Python makes Decimals. Limits between
   fields (low <= high) were checked where the message was made.
2. What the lean way refuses is asked of the strict decoder, one record at a time: it has the last word and the words
   of the reason. A value that no column can hold (10**30) is `Bad` as well. A newer schema raises `NewerSchema`.
3. Money is kept to 18 places after the point (`Decimal(38, 18)`), rounded half to even beyond that, and below 10**20.
4. `read` changes nothing outside its result: a raise leaves nothing half done.
"""

import enum
import functools
import itertools
import re
import types
import typing
from collections.abc import Callable, Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from operator import attrgetter
from typing import Any, Final, Literal, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from schemas.codec import MESSAGES, VERSIONS, BadRecord, decoder_for, encode
from sinks.clickhouse.tables import LATENCY, TABLES, TOPICS, Table

Headers = Sequence[tuple[str, bytes]]
Record = tuple[int, bytes | None, bytes | None, Headers, int]
"""(offset, key, value, headers, timestamp_ms) of one Kafka record."""

MONEY: Final = pa.decimal128(38, 18)
TIME: Final = pa.timestamp("ms", "UTC")
INTEGER: Final = pa.int64()
TEXT: Final = pa.string()
_SAFE_LENGTH: Final = 20
_QUANTUM: Final = Decimal(1).scaleb(-18)
_WIDE: Final = Context(prec=80, rounding=ROUND_HALF_EVEN)
_LIMIT: Final = 2**63
_HEADER_SOURCE, _HEADER_STAMP, _HEADER_STARTED = "src", "st", "t0"


class Bad(NamedTuple):
    """A record that cannot be stored: park it with this reason."""

    offset: int
    reason: str


class Rows(NamedTuple):
    """What came of some records: one batch per table, and the ones that cannot be stored."""

    batches: list[tuple[str, pa.RecordBatch]]
    bad: list[Bad]


class Stamp(NamedTuple):
    """Who wrote a record, its stamp, and when what caused it was published (microseconds; -1 if untold)."""

    writer: str
    major: int
    minor: int
    started_us: int


_NO_STAMP: Final = Stamp("", 0, 0, -1)


def _lean_type(kind: Any) -> Any:
    """Return `kind` with Decimal as text, enums as their values and structs as lean ones."""
    if kind is Decimal:
        return str
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return Literal[tuple(member.value for member in kind)]
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return lean(kind)
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        return functools.reduce(lambda left, right: left | right, map(_lean_type, typing.get_args(kind)))
    return kind


@functools.cache
def lean(cls: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """Return the lean struct of a message class, or of a part of one (which has no tag)."""
    tag = cls.__struct_config__.tag
    hints = typing.get_type_hints(cls)
    fields: list[Any] = []
    for field in msgspec.structs.fields(cls):
        kind = _lean_type(hints[field.name])
        if field.name == "v":
            kind = Literal[tuple(range(1, VERSIONS.get(str(tag), 1) + 1))]
        if field.default is not msgspec.NODEFAULT:
            default = str(field.default) if isinstance(field.default, Decimal) else field.default
            fields.append((field.name, kind, default))
        elif field.default_factory is not msgspec.NODEFAULT:
            fields.append((field.name, kind, msgspec.field(default_factory=field.default_factory)))
        else:
            fields.append((field.name, kind))
    return msgspec.defstruct(
        f"Lean{cls.__name__}",
        fields,
        tag=tag,
        tag_field=None if tag is None else "type",
        forbid_unknown_fields=True,
        kw_only=True,
        frozen=True,
        gc=False,
    )


def _money(texts: list[str | None]) -> pa.Array:
    array = pa.array(texts, TEXT)
    if _is_plain(array):
        try:
            return array.cast(MONEY)
        except pa.ArrowInvalid:  # more than 18 places, or not a number
            pass
    return pa.array([None if text is None else _quantized(text) for text in texts], MONEY)


def _is_plain(array: pa.Array) -> bool:
    """Return whether Arrow may read these numbers: no exponents, and too short to pass 10**20.

    Beyond that its cast wraps around without an error ("1e30" becomes 18960114910927365649.47).
    """
    characters = array.buffers()[2]
    if characters is not None:
        text = characters.to_pybytes()
        if b"e" in text or b"E" in text:
            return False
    longest = pc.max(pc.binary_length(array)).as_py()
    return longest is None or longest <= _SAFE_LENGTH


def _quantized(text: str) -> Decimal:
    try:
        number = Decimal(text)
        if not number.is_finite():
            raise ValueError(f"{text} is not a finite number")
        number = number.quantize(_QUANTUM, context=_WIDE)
    except InvalidOperation:
        raise ValueError(f"{text!r} is not a number that Decimal(38, 18) can hold") from None
    if abs(number) >= 10**20:
        raise ValueError(f"{text} is too large: amounts must be below 10**20")
    return number


def _text(texts: list[str | None]) -> pa.Array:
    array = pa.array(texts, TEXT)
    return array.fill_null("") if array.null_count else array


def _times(values: Sequence[int | None]) -> pa.Array:
    return pa.array(values, INTEGER).view(TIME)


def _offsets(values: list[Any]) -> pa.Array:
    return pa.array(itertools.accumulate(map(len, values), initial=0), pa.int32())


def _maps(values: list[dict[str, Any]], kind: pa.DataType) -> pa.Array:
    keys = pa.array(itertools.chain.from_iterable(values), TEXT)
    items = pa.array(itertools.chain.from_iterable(map(dict.values, values)), kind)
    return pa.MapArray.from_arrays(_offsets(values), keys, items)


def _lists(values: list[Sequence[str]]) -> pa.Array:
    return pa.ListArray.from_arrays(_offsets(values), pa.array(itertools.chain.from_iterable(values), TEXT))


def _json(values: list[dict[str, Any]]) -> pa.Array:
    return pa.array([msgspec.json.encode(value, order="deterministic").decode() for value in values], TEXT)


_COLUMN_KINDS: Final[tuple[tuple[str, pa.DataType, Callable[[list[Any]], pa.Array]], ...]] = (
    ("names", TEXT, _text),
    ("texts", TEXT, _text),
    ("money", MONEY, _money),
    ("times", TIME, _times),
    ("integers", INTEGER, lambda values: pa.array(values, INTEGER)),
    ("floats", pa.float64(), lambda values: pa.array(values, pa.float64())),
    ("flags", pa.bool_(), lambda values: pa.array(values, pa.bool_())),
    ("number_maps", pa.map_(TEXT, pa.float64()), lambda values: _maps(values, pa.float64())),
    ("text_maps", pa.map_(TEXT, TEXT), lambda values: _maps(values, TEXT)),
    ("lists", pa.list_(TEXT), _lists),
    ("json", TEXT, _json),
)
_PLACE: Final = (("kafka_partition", pa.uint16()), ("kafka_offset", INTEGER), ("recorded_at", TIME))
_STAMP: Final = (("writer", TEXT), ("stamp", INTEGER), ("stamp_index", INTEGER))


class _Column(NamedTuple):
    field: str
    make: Callable[[list[Any]], pa.Array]


def _columns(table: Table) -> tuple[pa.Schema, list[_Column]]:
    fields: list[tuple[str, pa.DataType]] = []
    columns: list[_Column] = []
    for kind, arrow_type, make in _COLUMN_KINDS:
        for entry in getattr(table, kind):
            name, field = entry if isinstance(entry, tuple) else (entry.rpartition(".")[2], entry)
            fields.append((name, arrow_type))
            columns.append(_Column(field, make))
    fields += _PLACE
    if table.stamped:
        fields += _STAMP
    return pa.schema(fields), columns


_COLUMNS: Final = {tag: _columns(table) for tag, table in TABLES.items()}
_LATENCY_SCHEMA: Final = pa.schema(
    [("stage", TEXT), *_STAMP, ("recorded_at", TIME), ("latency_ms", pa.float32()), ("precedence", INTEGER)]
)
SCHEMAS: Final[dict[str, pa.Schema]] = {
    **{TABLES[tag].storage: schema for tag, (schema, _) in _COLUMNS.items()},
    LATENCY: _LATENCY_SCHEMA,
}
"""Columns written, by storage table."""


def _values(messages: list[Any], field: str) -> list[Any]:
    head, _, tail = field.partition(".")
    values = list(map(attrgetter(head), messages))
    return [None if value is None else getattr(value, tail) for value in values] if tail else values


def stamp_of(headers: Headers, topic: str, partition: int, offset: int) -> Stamp:
    """Return the stamp in a record's headers; a record without a readable one is known by its place in the log."""
    found = dict(headers)
    started_us = -1
    try:
        if _HEADER_STARTED in found:
            started_us = int(found[_HEADER_STARTED])
    except ValueError:
        pass  # it exists for latency only: an unreadable one costs a latency row
    try:
        major, _, minor = found[_HEADER_STAMP].partition(b".")
        stamp = Stamp(found[_HEADER_SOURCE].decode(), int(major), int(minor), started_us)
        if 0 <= stamp.major < _LIMIT and 0 <= stamp.minor < _LIMIT:
            return stamp
    except (KeyError, ValueError):
        pass
    return Stamp(f"{topic}/{partition}", offset, 0, started_us)


@functools.lru_cache(maxsize=1_024)
def is_time_interval(interval: str) -> bool:
    """Return whether bars of this interval are told apart by their start alone (`1m` is, a bar per tick is not)."""
    return re.fullmatch(r"[0-9]+(ms|s|m|h|d|w)", interval) is not None


class RowReader:
    """Turns the records of one topic into rows."""

    def __init__(self, topic: str, *, latency: bool) -> None:
        self._topic = topic
        self._latency = latency
        tags = TOPICS[topic]
        kinds = [lean(MESSAGES[tag]) for tag in tags]
        self._tags = dict(zip(kinds, tags, strict=True))
        self._lean = msgspec.json.Decoder(typing.Union[tuple(kinds)]).decode  # noqa: UP007 (built at run time)
        self._strict = decoder_for(tags)
        self._stamped = any(TABLES[tag].stamped for tag in tags)

    def read(self, partition: int, records: Sequence[Record]) -> Rows:
        """Return the rows of `records`.

        Raises:
            NewerSchema: a record was written by a newer build.
        """
        lean_decode = self._lean
        try:
            messages: list[Any] = [lean_decode(record[2]) for record in records]  # type: ignore[arg-type]
            bad: list[Bad] = []
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError):
            messages, records, bad = self._read_slowly(records)
        if not messages:
            return Rows([], bad)
        try:
            return Rows(self._batches(partition, messages, records), bad)
        except (pa.ArrowException, ValueError, OverflowError) as error:
            if len(messages) == 1:
                return Rows([], [*bad, Bad(records[0][0], f"{type(error).__name__}: {error}")])
        halves = (slice(None, len(records) // 2), slice(len(records) // 2, None))
        parts = [self.read(partition, records[half]) for half in halves]
        bad = sorted([*bad, *parts[0].bad, *parts[1].bad])
        return Rows([*parts[0].batches, *parts[1].batches], bad)

    def _read_slowly(self, records: Sequence[Record]) -> tuple[list[Any], list[Record], list[Bad]]:
        messages: list[Any] = []
        kept: list[Record] = []
        bad: list[Bad] = []
        for record in records:
            value = record[2]
            try:
                try:
                    message = self._lean(value)  # type: ignore[arg-type]
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError):
                    # The strict decoder also takes money written as a JSON number; written anew, it is text.
                    message = self._lean(encode(self._strict(value)))
            except (BadRecord, msgspec.DecodeError) as error:
                bad.append(Bad(record[0], str(error)))
            else:
                messages.append(message)
                kept.append(record)
        return messages, kept, bad

    def _batches(
        self, partition: int, messages: list[Any], records: Sequence[Record]
    ) -> list[tuple[str, pa.RecordBatch]]:
        stamps: list[Stamp] = []
        if self._latency or (self._stamped and not self._told_apart_by_content(messages)):
            stamps = [stamp_of(record[3], self._topic, partition, record[0]) for record in records]
        batches = []
        if len(self._tags) == 1:
            (tag,) = self._tags.values()
            batches.append(self._batch(tag, partition, messages, records, stamps))
        else:
            kinds = list(map(type, messages))
            for kind, tag in self._tags.items():
                chosen = [index for index, other in enumerate(kinds) if other is kind]
                if chosen:
                    own_stamps = [stamps[index] for index in chosen] if stamps else []
                    own = [messages[index] for index in chosen], [records[index] for index in chosen]
                    batches.append(self._batch(tag, partition, *own, own_stamps))
        if self._latency:
            batch = self._latency_batch(records, stamps)
            if batch.num_rows:
                batches.append((LATENCY, batch))
        return batches

    def _told_apart_by_content(self, messages: list[Any]) -> bool:
        return self._topic == "bars" and all(map(is_time_interval, {message.interval for message in messages}))

    def _batch(
        self, tag: str, partition: int, messages: list[Any], records: Sequence[Record], stamps: list[Stamp]
    ) -> tuple[str, pa.RecordBatch]:
        table = TABLES[tag]
        schema, columns = _COLUMNS[tag]
        arrays = [make(_values(messages, field)) for field, make in columns]
        arrays.append(pa.repeat(pa.scalar(partition, pa.uint16()), len(messages)))
        arrays.append(pa.array([record[0] for record in records], INTEGER))
        arrays.append(_times([record[4] for record in records]))
        if table.stamped:
            if self._told_apart_by_content(messages):
                stamps = [_NO_STAMP] * len(messages)
            arrays += _stamp_arrays(stamps)
        return table.storage, pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _latency_batch(self, records: Sequence[Record], stamps: list[Stamp]) -> pa.RecordBatch:
        told = [(record, stamp) for record, stamp in zip(records, stamps, strict=True) if stamp.started_us >= 0]
        # Kafka cuts its times to whole milliseconds, so a fast record may seem to precede its cause.
        latencies = [max(0.0, record[4] - stamp.started_us / 1000) for record, stamp in told]
        arrays = [
            pa.repeat(pa.scalar(self._topic, TEXT), len(told)),
            *_stamp_arrays([stamp for _, stamp in told]),
            _times([record[4] for record, _ in told]),
            pa.array(latencies, pa.float32()),
            # Of a record and its repeat the first tells the truth about latency, and the highest precedence stays.
            pa.array([-record[0] for record, _ in told], INTEGER),
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=_LATENCY_SCHEMA)


def _stamp_arrays(stamps: list[Stamp]) -> list[pa.Array]:
    return [
        pa.array([stamp.writer for stamp in stamps], TEXT),
        pa.array([stamp.major for stamp in stamps], INTEGER),
        pa.array([stamp.minor for stamp in stamps], INTEGER),
    ]
