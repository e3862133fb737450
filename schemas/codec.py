"""Message <-> bytes: the only table of it.

Entry points: `encode`, `decoder_for`, `decode`, `MESSAGES`. A value that cannot be read raises `BadRecord` with the
reason; a schema version above what this build knows raises `NewerSchema`.
"""

from typing import Any, Union

import msgspec

from schemas import accounts, leaders, market, orders, signals, statistics, status, system
from schemas.base import Message

MESSAGES: dict[str, type[Message]] = {
    str(cls.__struct_config__.tag): cls
    for module in (market, signals, leaders, accounts, orders, status, statistics, system)
    for cls in vars(module).values()
    if isinstance(cls, type) and issubclass(cls, Message) and cls is not Message
}
# Highest schema version that this build reads, where it is not 1.
VERSIONS: dict[str, int] = {}

_encoder = msgspec.json.Encoder()
encode = _encoder.encode


class BadRecord(ValueError):
    """The record cannot be used and never will be: park it with this reason."""


class NewerSchema(RuntimeError):
    """The record was written by a newer build: this worker must end and be upgraded, not guess."""


class _Head(msgspec.Struct):
    type: str = ""
    v: int = 1


_head = msgspec.json.Decoder(_Head)


class Decoder:
    """Decodes the message types of one topic."""

    def __init__(self, types: tuple[type[Message], ...]) -> None:
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Union[types])  # noqa: UP007 (built at run time)

    def __call__(self, value: bytes | None) -> Any:
        """Return the message in `value`.

        Raises:
            BadRecord: not JSON, not one of the topic's types, a wrong field, a number out of range.
            NewerSchema: known type, version above ours.
        """
        if value is None:
            raise BadRecord("empty record (tombstone) on a topic that carries messages")
        try:
            message = self._decoder.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            _refuse_newer(value)
            raise BadRecord(f"{type(error).__name__}: {error}") from error
        if message.v != 1:
            _refuse_newer(value)
        return message


def _refuse_newer(value: bytes) -> None:
    try:
        head = _head.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    if head.type in MESSAGES and head.v > VERSIONS.get(head.type, 1):
        raise NewerSchema(
            f"record of type {head.type} has schema version {head.v}, this build reads up to "
            f"{VERSIONS.get(head.type, 1)}: upgrade this worker"
        )
    if head.type in MESSAGES and head.v < 1:
        raise BadRecord(f"record of type {head.type} has schema version {head.v}, which never existed")


def decoder_for(names: tuple[str, ...]) -> Decoder:
    """Return the decoder for the message types with these tags."""
    return Decoder(tuple(MESSAGES[name] for name in names))


def decode(value: bytes) -> Any:
    """Decode a message of any type."""
    return _any(value)


_any = Decoder(tuple(MESSAGES.values()))
