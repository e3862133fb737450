"""The documents made of the catalogue: every reference resolves, every example is what really stands on the wire."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from schemas import codec
from schemas.asyncapi import DECIMAL, asyncapi, json_schemas, record_schema
from schemas.examples import EXAMPLES
from schemas.topics import Catalogue, key_of, parse_topics

SOURCE = (Path(__file__).parents[2] / "topics.yaml").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return parse_topics(SOURCE)


@pytest.fixture(scope="module")
def document(catalogue: Catalogue) -> dict[str, Any]:
    return json.loads(json.dumps(asyncapi(catalogue)))


def walk(part: Any) -> Iterator[dict[str, Any]]:
    if isinstance(part, dict):
        yield part
        for value in part.values():
            yield from walk(value)
    elif isinstance(part, list):
        for value in part:
            yield from walk(value)


def resolve(document: dict[str, Any], reference: str) -> Any:
    part: Any = document
    for step in reference.removeprefix("#/").split("/"):
        part = part[step.replace("~1", "/").replace("~0", "~")]
    return part


def test_every_reference_resolves(document: dict[str, Any]) -> None:
    references = [part["$ref"] for part in walk(document) if "$ref" in part]
    assert len(references) > 50
    for reference in references:
        assert isinstance(resolve(document, reference), dict)


def test_the_document_has_the_shape_of_asyncapi_3(document: dict[str, Any], catalogue: Catalogue) -> None:
    assert document["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= set(document["info"])
    assert list(document["channels"]) == list(catalogue.topics)
    for name, channel in document["channels"].items():
        assert channel["address"] == name
        assert channel["bindings"]["kafka"]["partitions"] == catalogue[name].partitions
        assert channel["messages"]
    for operation in document["operations"].values():
        assert operation["action"] in ("send", "receive")
        assert resolve(document, operation["channel"]["$ref"])["address"] in catalogue.topics
    writers = sum(len(topic.producers) + len(topic.consumers) for topic in catalogue.topics.values())
    assert len(document["operations"]) == writers


def test_every_example_in_the_document_validates(document: dict[str, Any]) -> None:
    seen = 0
    for channel in document["channels"].values():
        for message in channel["messages"].values():
            for example in message.get("examples", []):
                schema = {**message["payload"], "components": document["components"]}
                jsonschema.validate(example["payload"], schema, cls=jsonschema.Draft202012Validator)
                jsonschema.validate(example.get("headers", {}), message["headers"])
                seen += 1
    assert seen > 20


def test_every_message_has_an_example_and_a_schema() -> None:
    schemas = json_schemas()
    assert set(EXAMPLES) == set(codec.MESSAGES) == set(schemas)
    for tag, schema in schemas.items():
        jsonschema.Draft202012Validator.check_schema(schema)
        value = json.loads(codec.encode(EXAMPLES[tag]))
        jsonschema.validate(value, schema, cls=jsonschema.Draft202012Validator)
        assert value["type"] == tag
        assert codec.decode(codec.encode(EXAMPLES[tag])) == EXAMPLES[tag]


def test_every_decimal_of_every_schema_is_a_patterned_string() -> None:
    decimals = [part for part in walk(json_schemas()) if part.get("format") == "decimal"]
    assert len(decimals) > 60
    assert all(part["type"] == "string" and part["pattern"] == DECIMAL for part in decimals)


@pytest.mark.parametrize("price", [60000.1, "NaN", "Infinity", "1,5", "", "0x1", None])
def test_a_price_that_is_not_decimal_text_is_refused(price: Any) -> None:
    value = json.loads(codec.encode(EXAMPLES["trade"])) | {"price": price}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(value, json_schemas()["trade"], cls=jsonschema.Draft202012Validator)


def test_unknown_fields_and_wrong_types_are_refused() -> None:
    schema = json_schemas()["order"]
    value = json.loads(codec.encode(EXAMPLES["order"]))
    for wrong in (value | {"extra": 1}, value | {"type": "trade"}, {k: v for k, v in value.items() if k != "account"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema, cls=jsonschema.Draft202012Validator)


def test_a_record_between_processors_needs_its_stamps(catalogue: Catalogue) -> None:
    topic = catalogue["orders"]
    record = {
        "key": key_of(topic, EXAMPLES["order"]),
        "headers": {"src": "account@account-events/0", "st": "1024.0", "t0": "1723104000000123"},
        "value": json.loads(codec.encode(EXAMPLES["order"])),
    }
    schema = record_schema(topic, "order")
    jsonschema.validate(record, schema, cls=jsonschema.Draft202012Validator)
    with pytest.raises(jsonschema.ValidationError, match="'st' is a required property"):
        jsonschema.validate(
            record | {"headers": {"src": "account@account-events/0"}}, schema, cls=jsonschema.Draft202012Validator
        )
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(record | {"key": ""}, schema, cls=jsonschema.Draft202012Validator)
