"""The topics as documents: AsyncAPI 3.0 and JSON Schema, made from the catalogue and the message types themselves.

Entry points: `asyncapi(catalogue)`, `json_schemas()`, `record_schema(topic, tag)`, `HEADERS`.

1. Decimal is a string with a pattern: a reader in another language must not pass money through a float.
2. A message's `type` is required and tells it from the others of its topic; unknown fields are refused.
3. Topics that other programs may write to (`edge`) require no headers; those between processors require stamps.
"""

import json
from typing import Any, Final

import msgspec

from schemas import codec
from schemas.examples import EXAMPLES
from schemas.topics import Catalogue, Topic

Json = dict[str, Any]

DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
DECIMAL: Final = r"^-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$"

HEADERS: Final[Json] = {
    "type": "object",
    "description": "Stamps of the record, as ASCII text. `src`, `st` and `pv` let a reader skip repeats and see holes.",
    "properties": {
        "src": {
            "type": "string",
            "pattern": r"^[^@]+@([a-z0-9-]+/)?[0-9]+$",
            "description": "Writer: processor@input-topic/input-partition, or writer@partition for an outbox.",
            "examples": ["account@account-events/0"],
        },
        "st": {
            "type": "string",
            "pattern": r"^[0-9]+\.[0-9]+$",
            "description": "Stamp: input offset and index in its step, or generation and number of an outbox.",
            "examples": ["1024.0"],
        },
        "pv": {
            "type": "string",
            "pattern": r"^[0-9]+\.[0-9]+$",
            "description": "Stamp of the record that the writer sent before to this partition; absent on its first.",
            "examples": ["1023.1"],
        },
        "t0": {
            "type": "string",
            "pattern": r"^[0-9]+$",
            "description": "Microseconds of wall time at which the input that caused it all was published. For "
            "measuring latency only.",
            "examples": ["1723104000000123"],
        },
    },
}
_ROLE_WORDS = {"send": "writes", "receive": "reads"}


def json_schemas() -> dict[str, Json]:
    """Return a self-contained JSON Schema (draft 2020-12) of every message, by tag."""
    schemas = {}
    for tag, message in codec.MESSAGES.items():
        (top,), parts = msgspec.json.schema_components([message], ref_template="#/$defs/{name}")
        schema: Json = {"$schema": DRAFT, **top, "$defs": _refined(parts), "examples": _examples(tag)}
        schemas[tag] = schema
    return schemas


def record_schema(topic: Topic, tag: str) -> Json:
    """Return the JSON Schema of a whole record of `topic`: {"key": text, "headers": {...}, "value": message}."""
    (top,), parts = msgspec.json.schema_components([codec.MESSAGES[tag]], ref_template="#/$defs/{name}")
    return {
        "$schema": DRAFT,
        "type": "object",
        "properties": {"key": _key(topic, tag), "headers": _headers(topic), "value": top},
        "required": ["key", "headers", "value"],
        "$defs": _refined(parts),
    }


def asyncapi(catalogue: Catalogue, version: str = "1.0.0") -> Json:
    """Return the AsyncAPI 3.0 document of all topics, ready for `json.dumps`."""
    tags = [tag for tag in codec.MESSAGES if any(tag in topic.messages for topic in catalogue.topics.values())]
    _, parts = msgspec.json.schema_components(
        [codec.MESSAGES[tag] for tag in tags], ref_template="#/components/schemas/{name}"
    )
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "wakeline",
            "version": version,
            "description": "Topics of a trading and copy-trading pipeline on one log. Values are JSON; money is "
            "decimal text. Each message has `type`, `now_ms` (log time) and, above 1, `v` (schema version).",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "broker": {
                "host": "{bootstrap}",
                "protocol": "kafka",
                "description": "Apache Kafka, embedded or yours.",
                "variables": {"bootstrap": {"default": "127.0.0.1:9092", "description": "host:port of a broker"}},
            }
        },
        "channels": {topic.name: _channel(topic) for topic in catalogue.topics.values()},
        "operations": _operations(catalogue),
        "components": {"schemas": _refined(parts)},
    }


def _channel(topic: Topic) -> Json:
    role = f" Inbox of {topic.inbox_of}." if topic.inbox_of else ""
    return {
        "address": topic.name,
        "title": topic.name,
        "description": topic.about + role,
        "messages": {tag: _message(topic, tag) for tag in topic.messages} or {"binary": _binary(topic)},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "replicas": topic.replication,
                "topicConfiguration": {
                    "cleanup.policy": ["compact" if topic.compact else "delete"],
                    "retention.ms": -1 if topic.retention_ms is None else topic.retention_ms,
                },
                "bindingVersion": "0.5.0",
            }
        },
    }


def _message(topic: Topic, tag: str) -> Json:
    message = codec.MESSAGES[tag]
    lines = (message.__doc__ or tag).strip().splitlines()
    example: Json = {"name": tag, "payload": one} if (one := _example(tag)) else {}
    if example and not topic.edge:
        example["headers"] = {name: part["examples"][0] for name, part in HEADERS["properties"].items()}
    return {
        "name": tag,
        "title": message.__name__,
        "summary": lines[0],
        "contentType": "application/json",
        "headers": _headers(topic),
        "payload": {"$ref": f"#/components/schemas/{message.__name__}"},
        "bindings": {"kafka": {"key": _key(topic, tag), "bindingVersion": "0.5.0"}},
        "examples": [example] if example else [],
    }


def _binary(topic: Topic) -> Json:
    return {
        "name": "binary",
        "title": "Binary",
        "summary": "Internal to its writer; not a contract.",
        "contentType": "application/octet-stream",
        "payload": {"type": "string", "format": "binary"},
        "bindings": {"kafka": {"key": {"type": "string", "description": topic.key}, "bindingVersion": "0.5.0"}},
    }


def _key(topic: Topic, tag: str) -> Json:
    if tag in topic.broadcast:
        words = f"Free: this message may stand once in every partition (others are keyed by {topic.key})."
        return {"type": "string", "description": words}
    parts = len(topic.key_fields)
    pattern = r"^.+$" if parts == 1 else "^" + "/".join([".+"] * parts) + "$"
    return {"type": "string", "pattern": pattern, "description": " / ".join(topic.key_fields)}


def _headers(topic: Topic) -> Json:
    return HEADERS if topic.edge else {**HEADERS, "required": ["src", "st"]}


def _operations(catalogue: Catalogue) -> Json:
    found: Json = {}
    for topic in catalogue.topics.values():
        for action, roles in (("send", topic.producers), ("receive", topic.consumers)):
            for role in roles:
                found[f"{role}-{_ROLE_WORDS[action]}-{topic.name}"] = {
                    "action": action,
                    "summary": f"{role} {_ROLE_WORDS[action]} {topic.name}",
                    "channel": {"$ref": f"#/channels/{topic.name}"},
                }
    return found


def _example(tag: str) -> Json | None:
    """Return the example as it looks on the wire."""
    message = EXAMPLES.get(tag)
    if message is None:
        return None
    value: Json = json.loads(codec.encode(message))
    return value


def _examples(tag: str) -> list[Json]:
    one = _example(tag)
    return [one] if one is not None else []


def _refined(part: Any) -> Any:
    """Give every decimal its pattern, and every description its lines without the source's indentation."""
    if isinstance(part, list):
        return [_refined(item) for item in part]
    if not isinstance(part, dict):
        return part
    refined = {name: _refined(value) for name, value in part.items()}
    if refined.get("format") == "decimal":
        refined = {**refined, "pattern": DECIMAL}
    if isinstance(refined.get("description"), str):
        refined["description"] = "\n".join(line.strip() for line in refined["description"].splitlines()).strip()
    return refined
