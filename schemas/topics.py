"""The topic catalogue: what topics.yaml declares, checked whole.

Entry points: `parse_topics(text) -> Catalogue`, `Catalogue`, `Topic`, `CatalogueError`, `key_of`.
The file itself is read by `streams.topics_admin.load_catalogue`; here text goes in.

What holds for every `Catalogue` that exists:
1. Each message is known to the codec and carries every field of its topic's key, unless it is broadcast there.
2. Whoever reads and writes, writes to a later stage than it reads; the exceptions are declared as `feedback`, and a
   declared exception that is none is refused. So the topics form no loop that nobody meant.
3. A processor (strategy, leader, account) reads messages from one topic only, its inbox (design law 2), and no inbox
   is compacted: stamps chain, so a hole would be an alarm.
4. Topics keyed by account have equal partition counts, so that an account lies in the same partition of each.
"""

import re
from typing import Any, Final, Literal, TypeVar

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from schemas import codec, yaml_lines
from schemas.base import Message
from schemas.yaml_lines import Document, Problem, nearest

PROCESSORS: Final = frozenset({"strategy", "leader", "account", "statistics"})
"""Roles whose logic is a pure step over one inbox."""
ROLES: Final = PROCESSORS | {"feed", "execution", "sink", "outbox", "webhook", "monitor"}
"""Everything that may write to or read from a topic."""

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_RETENTION = re.compile(r"([1-9][0-9]{0,6})(s|m|h|d)")
_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_MAX_NAME = 200


class Topic(BaseModel):
    """One topic. `retention_ms` None keeps records for ever; `messages` () means binary values.

    `key` names the message fields joined by "/" to the record's key; `key_as` another field for some messages.
    `broadcast` are the messages that may stand once in every partition (and so need not carry the key). `gap` is what
    a reader does when its position was deleted by retention. `edge`: records may come from outside, so an unreadable
    or newer one is parked instead of ending the reader. `feedback` are the producers that write here although they
    read this or a later stage.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str
    about: str
    messages: tuple[str, ...]
    key: str
    key_as: dict[str, str] = {}
    broadcast: tuple[str, ...] = ()
    partitions: int
    replication: int
    min_insync: int
    retention_ms: int | None
    compact: bool = False
    stage: int
    gap: Literal["fatal", "allowed"]
    edge: bool
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    inbox_of: str | None = None
    feedback: tuple[str, ...] = ()

    @property
    def key_fields(self) -> tuple[str, ...]:
        """Names of the message fields that make the key, in order."""
        return tuple(self.key.split("/"))


class Catalogue(BaseModel):
    """All topics by name, in the order of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    version: int
    topics: dict[str, Topic]

    def __getitem__(self, name: str) -> Topic:
        """Return the topic called `name`; KeyError names the nearest one."""
        try:
            return self.topics[name]
        except KeyError:
            raise KeyError(f"no topic {name!r} in the catalogue: {nearest(name, self.topics)}") from None

    def inbox_of(self, processor: str) -> Topic:
        """Return the inbox of `processor`; KeyError if it has none."""
        for topic in self.topics.values():
            if topic.inbox_of == processor:
                return topic
        raise KeyError(f"no topic is the inbox of {processor!r}")

    def read_by(self, role: str) -> tuple[Topic, ...]:
        """Return the topics `role` consumes."""
        return tuple(topic for topic in self.topics.values() if role in topic.consumers)

    def written_by(self, role: str) -> tuple[Topic, ...]:
        """Return the topics `role` produces."""
        return tuple(topic for topic in self.topics.values() if role in topic.producers)


class CatalogueError(ValueError):
    """The catalogue cannot be used; `problems` are all that is wrong with it."""

    def __init__(self, problems: list[Problem], source: str) -> None:
        self.problems = tuple(sorted(set(problems)))
        count = len(self.problems)
        lines = [f"{source}: {count} problem{'' if count == 1 else 's'}", *(f"  {one}" for one in self.problems)]
        super().__init__("\n".join(lines))


def key_of(topic: Topic, message: Message) -> str:
    """Return the record key of `message` on `topic` (not for its broadcast messages without the field).

    Raises:
        AttributeError: the message has not the key's fields.
    """
    other = topic.key_as.get(str(type(message).__struct_config__.tag))
    return "/".join(str(getattr(message, field)) for field in (topic.key_fields if other is None else (other,)))


def parse_topics(text: str, source: str = "topics.yaml") -> Catalogue:
    """Return the catalogue declared by `text`.

    Raises:
        CatalogueError: with every problem found, each with its line, path and mend.
    """
    document = yaml_lines.read(text)
    if document.problems and document.value is None:
        raise CatalogueError(document.problems, source)
    head = _validated(document, _File, document.value, ())
    topics: dict[str, Topic] = {}
    if head is not None:
        for name, entry in head.topics.items():
            topic = _topic(document, name, entry, head.defaults)
            if topic is not None:
                topics[name] = topic
        _check_together(document, topics)
    if document.problems or head is None:
        raise CatalogueError(document.problems, source)
    return Catalogue(version=head.version, topics=topics)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Defaults(_Part):
    replication: int = Field(default=3, ge=1, le=9)
    min_insync: int = Field(default=2, ge=1, le=9)


class _File(_Part):
    version: Literal[1]
    defaults: _Defaults = _Defaults()
    topics: dict[str, Any] = Field(min_length=1)


class _Entry(_Part):
    """A topic as it stands in the file."""

    about: str = Field(min_length=1)
    messages: list[str]
    key: str
    key_as: dict[str, str] = {}
    broadcast: list[str] = []
    partitions: int = Field(ge=1, le=1024)
    replication: int | None = Field(default=None, ge=1, le=9)
    min_insync: int | None = Field(default=None, ge=1, le=9)
    retention: str
    compact: bool = False
    stage: int = Field(ge=1, le=99)
    gap: Literal["fatal", "allowed"]
    edge: bool
    producers: list[str] = Field(min_length=1)
    consumers: list[str] = Field(min_length=1)
    inbox_of: str | None = None
    feedback: list[str] = []


_Model = TypeVar("_Model", bound=BaseModel)


def _validated(document: Document, model: type[_Model], value: Any, path: yaml_lines.Path) -> _Model | None:
    """Return `value` as `model`, or None with every problem noted."""
    try:
        return model.model_validate(value)
    except pydantic.ValidationError as error:
        for one in error.errors():
            place = (*path, *one["loc"])
            if one["type"] == "extra_forbidden":
                valid = _fields_at(model, one["loc"][:-1])
                document.problem(place, "unknown key", nearest(str(one["loc"][-1]), valid))
            elif one["type"] == "missing":
                document.problem(place, "is missing", "add it")
            else:
                got = "" if isinstance(one["input"], dict | list) else f", not {one['input']!r}"
                document.problem(place, one["msg"] + got, "correct the value")
        return None


def _fields_at(model: type[BaseModel], place: tuple[str | int, ...]) -> list[str]:
    for step in place:
        inner = model.model_fields[str(step)].annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            model = inner
    return list(model.model_fields)


def _topic(document: Document, name: str, value: Any, defaults: _Defaults) -> Topic | None:
    path: yaml_lines.Path = ("topics", name)
    before = len(document.problems)
    if not _NAME.fullmatch(name) or len(name) > _MAX_NAME:
        document.problem(path, "not a topic name", "use lower-case words joined by hyphens, such as order-status")
    entry = _validated(document, _Entry, value, path)
    if entry is None:
        return None
    replication = defaults.replication if entry.replication is None else entry.replication
    min_insync = defaults.min_insync if entry.min_insync is None else entry.min_insync
    if min_insync > replication:
        mend = f"set min_insync to at most {replication}, or replication to at least {min_insync}"
        field = "replication" if entry.min_insync is None and entry.replication is not None else "min_insync"
        document.problem((*path, field), f"min_insync {min_insync} exceeds replication {replication}", mend)
    retention_ms = _retention_ms(document, path, entry)
    _check_names(document, path, entry)
    _check_key(document, path, entry)
    if len(document.problems) > before:
        return None
    fields = entry.model_dump(exclude={"retention", "replication", "min_insync"})
    fields = {field: tuple(value) if isinstance(value, list) else value for field, value in fields.items()}
    return Topic(name=name, replication=replication, min_insync=min_insync, retention_ms=retention_ms, **fields)


def _retention_ms(document: Document, path: yaml_lines.Path, entry: _Entry) -> int | None:
    if entry.retention == "forever":
        return None
    if entry.compact:
        what = f"a compacted topic keeps the last value per key, so retention {entry.retention!r} would lose some"
        document.problem((*path, "retention"), what, "write retention: forever")
    match = _RETENTION.fullmatch(entry.retention)
    if match is None:
        what = f"{entry.retention!r} is no retention"
        mend = "write a whole number with s, m, h or d (such as 30m or 7d), or forever"
        document.problem((*path, "retention"), what, mend)
        return None
    return int(match[1]) * _UNIT_MS[match[2]]


def _check_names(document: Document, path: yaml_lines.Path, entry: _Entry) -> None:
    """Messages and roles are known and stand once; marks refer to what is there."""
    known: dict[str, set[str] | frozenset[str]] = {
        "messages": set(codec.MESSAGES),
        "broadcast": set(entry.messages),
        "producers": ROLES,
        "consumers": ROLES,
        "feedback": set(entry.producers),
    }
    kinds = {
        "messages": "message",
        "broadcast": "message of this topic",
        "feedback": "producer of this topic",
    }
    for field, valid in known.items():
        names: list[str] = getattr(entry, field)
        for index, name in enumerate(names):
            place = (*path, field, index)
            if name not in valid:
                mend = nearest(name, valid) if valid else "remove it"
                document.problem(place, f"{name!r} is no {kinds.get(field, 'role')}", mend)
            if name in names[:index]:
                document.problem(place, f"{name!r} stands twice", "remove one")
    if entry.inbox_of is not None and entry.inbox_of not in entry.consumers:
        what = f"{entry.inbox_of!r} does not consume this topic"
        document.problem((*path, "inbox_of"), what, nearest(entry.inbox_of, entry.consumers))


def _check_key(document: Document, path: yaml_lines.Path, entry: _Entry) -> None:
    fields = entry.key.split("/")
    if not all(fields):
        what = "a compacted topic needs a key" if entry.compact else f"{entry.key!r} is no key"
        document.problem((*path, "key"), what, "name a field of its messages, or several joined by '/'")
        return
    carried = {tag: codec.MESSAGES[tag].__struct_fields__ for tag in entry.messages if tag in codec.MESSAGES}
    for tag in entry.key_as:
        if tag not in carried:
            what = f"{tag!r} is no message of this topic"
            document.problem((*path, "key_as", tag), what, nearest(tag, carried))
    for tag, own in carried.items():
        wanted = [entry.key_as[tag]] if tag in entry.key_as else fields
        missing = [field for field in wanted if field not in own]
        if not missing or tag in entry.broadcast:
            continue
        shared = set(own).intersection(*(carried[other] for other in carried if other not in entry.broadcast))
        mend = nearest(missing[0], shared - {"now_ms", "v"} or own)
        what = f"message {tag!r} has no field {', '.join(repr(field) for field in missing)}"
        document.problem((*path, "key"), what, f"{mend} (or list {tag!r} under broadcast)")


def _check_together(document: Document, topics: dict[str, Topic]) -> None:
    for role in sorted(ROLES):
        _check_stages(document, role, topics)
    for processor in sorted(PROCESSORS):
        _check_inbox(document, processor, topics)
    for topic in topics.values():
        if topic.inbox_of is not None and topic.compact:
            what = f"the inbox of {topic.inbox_of} is compacted: stamps chain, a compacted record is a hole"
            document.problem(("topics", topic.name, "compact"), what, "remove compact")
    _check_partitions(document, topics)


def _check_stages(document: Document, role: str, topics: dict[str, Topic]) -> None:
    reads = [topic for topic in topics.values() if role in topic.consumers]
    for target in topics.values():
        if role not in target.producers:
            continue
        # What a role writes back to itself (its snapshots) is no input that could loop through others.
        later = [read for read in reads if read.stage >= target.stage]
        behind = [read for read in later if role not in read.feedback or read is target]
        place: yaml_lines.Path = ("topics", target.name)
        if behind and role not in target.feedback:
            what = f"{role} reads {behind[0].name} (stage {behind[0].stage}) and writes here (stage {target.stage})"
            mend = f"give this topic a stage above {behind[0].stage}, or declare feedback: [{role}] if a loop is meant"
            document.problem((*place, "stage"), what, mend)
        elif not behind and role in target.feedback:
            what = f"feedback of {role} is declared, but {role} reads only earlier stages"
            document.problem((*place, "feedback", target.feedback.index(role)), what, "remove it")


def _check_inbox(document: Document, processor: str, topics: dict[str, Topic]) -> None:
    inboxes = [topic.name for topic in topics.values() if topic.inbox_of == processor]
    for name in inboxes[1:]:
        what = f"{processor} already has the inbox {inboxes[0]}"
        document.problem(("topics", name, "inbox_of"), what, "a processor has one ordered input: keep one")
    for topic in topics.values():
        if processor not in topic.consumers or not topic.messages or topic.inbox_of == processor:
            continue
        if topic.inbox_of is None and not inboxes:
            what, mend = f"{processor} reads this topic, but no topic is its inbox", f"add inbox_of: {processor}"
        else:
            what = f"the processor {processor} reads this topic, which is not its inbox"
            mend = f"send it what it must know through {inboxes[0] if inboxes else 'its own inbox'}"
        document.problem(("topics", topic.name, "consumers", topic.consumers.index(processor)), what, mend)


def _check_partitions(document: Document, topics: dict[str, Topic]) -> None:
    by_account = [topic for topic in topics.values() if topic.key == "account"]
    for topic in by_account[1:]:
        if topic.partitions != by_account[0].partitions:
            what = f"keyed by account with {topic.partitions} partitions, {by_account[0].name} with "
            what += f"{by_account[0].partitions}: an account would lie in different partitions"
            document.problem(("topics", topic.name, "partitions"), what, "give all topics keyed by account the same")
    for topic in topics.values():
        inbox = topics.get(f"snapshots-{topic.inbox_of}")
        if inbox is not None and inbox.partitions != topic.partitions:
            what = f"{inbox.partitions} partitions of state for an inbox of {topic.partitions} ({topic.name})"
            document.problem(("topics", inbox.name, "partitions"), what, f"use {topic.partitions}")
