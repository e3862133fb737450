"""docker-compose.kafka.yml without Docker: the Compose specification, and that the program reads what it says."""

import importlib.resources
import json
import re
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
import yaml

from streams.broker.install import VERSION
from streams.broker.properties import server_properties

REPOSITORY = Path(__file__).parents[2]
TEXT = (REPOSITORY / "docker-compose.kafka.yml").read_text(encoding="utf-8")
FILE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
WORKERS = {name: service for name, service in SERVICES.items() if service["image"].startswith("wakeline:")}


def schema() -> dict[str, Any]:
    """The Compose specification's own JSON Schema, as a package ships it."""
    folder = importlib.resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    return json.loads(folder.read_text(encoding="utf-8"))


def test_the_file_follows_the_compose_specification() -> None:
    jsonschema.validate(FILE, schema(), cls=jsonschema.Draft7Validator)


@pytest.mark.parametrize("wrong", [{"imag": "x"}, {"healthcheck": {"tests": []}}, {"depends_on": {"kafka": {}}}])
def test_the_specification_would_tell_a_mistake(wrong: dict[str, Any]) -> None:
    broken = FILE | {"services": SERVICES | {"kafka": SERVICES["kafka"] | wrong}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, schema(), cls=jsonschema.Draft7Validator)


def test_every_image_is_pinned_and_kafka_is_the_tested_one() -> None:
    base = re.findall(r"^FROM (\S+)", (REPOSITORY / "deploy" / "Dockerfile").read_text(), re.MULTILINE)
    for image in [service["image"] for service in SERVICES.values()] + base:
        assert re.fullmatch(r"[\w./-]+:\d+\.\d+\.\d+[\w.-]*", image), image
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{VERSION}"


def test_every_service_tells_its_health_and_keeps_its_data_in_a_named_volume() -> None:
    for name, service in SERVICES.items():
        check = service["healthcheck"]
        assert check.get("disable") is True if name == "topics" else check["test"][0] == "CMD"
        sources = [volume.split(":")[0] for volume in service["volumes"]]
        assert sources or service["tmpfs"] == ["/data"]
        assert set(sources) <= set(FILE["volumes"])
    for service in SERVICES.values():
        for other, how in service.get("depends_on", {}).items():
            assert how["condition"] in ("service_healthy", "service_completed_successfully")
            assert other in SERVICES


def test_kafka_s_environment_uses_settings_that_our_own_nodes_use_too() -> None:
    ours = {line.split("=")[0] for line in server_properties(1, [(1, 2)], Path("/x")).splitlines()}
    theirs = {
        name.removeprefix("KAFKA_").lower().replace("_", ".")
        for name in SERVICES["kafka"]["environment"]
        if name.startswith("KAFKA_") and name != "KAFKA_HEAP_OPTS"
    }
    assert theirs - ours == {"advertised.listeners"}
    environment = SERVICES["kafka"]["environment"]
    copies = {value for name, value in environment.items() if name.endswith(("REPLICATION_FACTOR", "MIN_ISR"))}
    assert copies == {"1"}
    assert len(environment["CLUSTER_ID"]) == 22


def test_the_workers_environment_is_the_program_s_own_settings() -> None:
    from streams.settings import load_settings

    for service in WORKERS.values():
        environment = {
            name: re.sub(r"\$\{CLICKHOUSE_PASSWORD:\?[^}]*\}", "secret", value)
            for name, value in service["environment"].items()
        }
        settings = load_settings(environment=environment)
        assert settings.broker.bootstrap == "kafka:9092"
        assert settings.broker.topic_replication == 1
        assert str(settings.data_dir) == "/data"
        assert settings.clickhouse.dsn is not None
        assert service["volumes"] == ["wakeline-data:/data"] or service["tmpfs"] == ["/data"]


def test_the_workers_commands_exist_and_cover_every_role_once() -> None:
    from cli.commands.worker import ROLES
    from cli.main import cli

    roles: list[str] = []
    for service in WORKERS.values():
        group: click.Command | None = cli
        words = list(service["command"])
        while isinstance(group, click.Group):
            group = group.get_command(click.Context(group), words.pop(0))
        assert group is not None
        context = group.make_context("wakeline", words)  # parses, and runs nothing
        if "roles" in context.params:
            roles += context.params["roles"]
    assert sorted(roles) == sorted(ROLES)


def test_the_image_holds_what_the_program_needs() -> None:
    kept = re.findall(r"^!(\S+?)/?$", (REPOSITORY / "deploy" / "Dockerfile.dockerignore").read_text(), re.MULTILINE)
    packages = {"schemas", "processors", "executors", "sinks", "streams", "replay", "cli"}
    assert packages | {"pyproject.toml", "topics.yaml", "requirements", "README.md", "LICENSE"} <= set(kept)
    assert all((REPOSITORY / name).exists() for name in kept)
