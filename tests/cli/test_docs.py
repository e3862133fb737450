"""docs/command-line.md says what the click tree says: commands, options, exit codes."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from cli.exit_codes import MEANINGS
from cli.main import cli

TEXT = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text(encoding="utf-8")
COMMON = {"--config", "--data", "--broker", "--set"}


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


COMMANDS = dict(commands(cli))
SECTIONS = dict(re.findall(r"^### `wakeline ([a-z ]+)`\n(.*?)(?=^##|\Z)", TEXT, re.M | re.S))


def test_every_command_has_a_section_and_every_section_a_command() -> None:
    assert list(SECTIONS) == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_told_and_no_other(name: str) -> None:
    options = [p for p in COMMANDS[name].params if isinstance(p, click.Option) and not p.hidden]
    known = {word for option in options for word in (*option.opts, *option.secondary_opts)} - COMMON
    rows = [line for line in SECTIONS[name].splitlines() if line.startswith("| `--")]
    told = {word for row in rows for word in re.findall(r"`(--[a-z-]+)`", row.split("|")[1])}
    assert told == known


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_help(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    assert [p.name for p in command.params if isinstance(p, click.Option) and not (p.help or p.hidden)] == []


def test_exit_codes_are_those_of_the_program() -> None:
    told = dict(re.findall(r"^\| (\d+) \| (.*) \|$", TEXT, re.M))
    assert told == {str(code.value): meaning for code, meaning in MEANINGS.items()}


def test_the_settings_of_a_subscription_are_told_with_their_defaults() -> None:
    import json

    from processors.copying.params import InstrumentOverride, SubscriptionParams

    text = (Path(__file__).parents[2] / "docs" / "copying.md").read_text(encoding="utf-8")
    table = text.partition("## Settings of a subscription")[2]
    told = dict(re.findall(r"^\| `(\w+)` \| `(.*?)` \|", table, re.M))
    defaults = SubscriptionParams().model_dump(mode="json")

    def shown(value: object) -> str:
        return "off" if value is None else value if isinstance(value, str) else json.dumps(value).replace('"', "")

    assert told == {name: shown(value) for name, value in defaults.items()}
    differing = text.rpartition("these may differ: ")[2]
    assert re.findall(r"`(\w+)`", differing) == list(InstrumentOverride.model_fields)
