"""Settings of the broker: what is refused, and what the clients are given."""

import ssl
from typing import Any

import pytest
from pydantic import ValidationError

from streams.broker.errors import BrokerError
from streams.broker.params import BrokerParams, SecurityParams, client_options
from streams.broker.properties import server_properties


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"bootstrap": "localhost"}, "is not host:port"),
        ({"bootstrap": "a:9092,b"}, "'b' is not host:port"),
        ({"bootstrap": "a:99999"}, "is not host:port"),
        ({"bootstrap": "a:1", "security": {"tls": False}}, "neither tls nor sasl_mechanism"),
        ({"bootstrap": "a:1", "security": {"sasl_mechanism": "PLAIN"}}, "needs username and password_env"),
        ({"bootstrap": "a:1", "security": {"username": "x"}}, "need sasl_mechanism"),
        ({"bootstrap": "a:1", "security": {"certificate_file": "x.pem"}}, "go together"),
        ({"bootstrap": "a:1", "security": {"password": "x"}}, "Extra inputs"),
        ({"security": {}}, "give its bootstrap"),
        ({"embedded": {"nodes": 2}}, "1 or 3"),
        ({"embedded": {"port": 40000}}, "less than or equal to 32767"),
        ({"replication": 0}, "greater than or equal to 1"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], what: str) -> None:
    with pytest.raises(ValidationError, match=what):
        BrokerParams.model_validate(settings)


@pytest.mark.parametrize(
    ("settings", "copies"),
    [
        ({}, 1),
        ({"embedded": {"nodes": 3}}, None),
        ({"bootstrap": "a:9092"}, None),
        ({"bootstrap": "a:9092", "replication": 2}, 2),
    ],
)
def test_copies_of_a_topic(settings: dict[str, Any], copies: int | None) -> None:
    assert BrokerParams.model_validate(settings).topic_replication == copies


def test_clients_get_sasl_over_tls_with_the_password_from_the_environment() -> None:
    security = SecurityParams(sasl_mechanism="SCRAM-SHA-512", username="wakeline", password_env="KAFKA_PASSWORD")
    options = client_options(security, {"KAFKA_PASSWORD": "secret"})
    assert isinstance(options.pop("ssl_context"), ssl.SSLContext)
    assert options == {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "wakeline",
        "sasl_plain_password": "secret",
    }
    assert "secret" not in repr(security)


def test_a_missing_password_or_authority_is_one_clear_error() -> None:
    security = SecurityParams(sasl_mechanism="PLAIN", username="x", password_env="KAFKA_PASSWORD")
    with pytest.raises(BrokerError, match="KAFKA_PASSWORD is not in the environment; export KAFKA_PASSWORD="):
        client_options(security, {})
    with pytest.raises(BrokerError, match=r"TLS files cannot be used.*check /nowhere\.pem"):
        client_options(SecurityParams.model_validate({"ca_file": "/nowhere.pem"}), {})
    assert client_options(None) == {}


def test_three_nodes_keep_three_copies_and_one_keeps_one() -> None:
    from pathlib import Path

    def read(text: str) -> dict[str, str]:
        return dict(line.split("=", 1) for line in text.splitlines())

    three = read(server_properties(2, [(1, 2), (3, 4), (5, 6)], Path("/d")))
    one = read(server_properties(1, [(1, 2)], Path("/däta")))
    assert three["controller.quorum.voters"] == "1@127.0.0.1:2,2@127.0.0.1:4,3@127.0.0.1:6"
    assert three["listeners"] == "PLAINTEXT://127.0.0.1:3,CONTROLLER://127.0.0.1:4"
    assert (three["offsets.topic.replication.factor"], three["min.insync.replicas"]) == ("3", "2")
    assert (one["offsets.topic.replication.factor"], one["min.insync.replicas"]) == ("1", "1")
    assert one["log.dirs"] == "/d\\u00e4ta"
    assert one["auto.create.topics.enable"] == "false"
