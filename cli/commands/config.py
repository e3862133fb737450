"""`wakeline config`: is the configuration right, and what does it come to."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import click

from cli.options import Chosen, settings_options


@click.group(short_help="The configuration: check, show.")
def config() -> None:
    """The configuration: wakeline.yaml, then the environment, then options."""


@config.command()
@settings_options
def check(chosen: Chosen) -> None:
    """Check the whole configuration; every problem is told with its path and the nearest valid name."""
    settings = chosen.load()
    followers = sum(len(account.subscriptions) for account in settings.accounts)
    click.echo(
        f"{source_name(chosen.config)}: {len(settings.strategies)} strategies, {len(settings.accounts)} accounts, "
        f"{followers} subscriptions, no problem"
    )


@config.command()
@click.option(
    "--format", "fmt", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True, help="How it is written."
)
@settings_options
def show(fmt: str, chosen: Chosen) -> None:
    """Print the effective configuration with all defaults, and where each value came from; secrets are hidden."""
    import json

    settings = chosen.load()
    origins = Origins(chosen)
    if fmt == "json":
        lines = list(flattened(settings, ()))
        click.echo(json.dumps([{"path": p, "value": v, "from": origins.of(p)} for p, v in lines], indent=1))
        return
    click.echo("\n".join(as_yaml(settings, (), origins, 0)))


class Origins:
    """Tells for each path where its value came from."""

    def __init__(self, chosen: Chosen) -> None:
        import os

        import yaml

        from streams.settings import ENVIRONMENT_PREFIX

        file = chosen_file(chosen.config)
        self._file_name = source_name(chosen.config)
        self._file: set[str] = set()
        tree = yaml.safe_load(file.read_text(encoding="utf-8"))
        _collect(tree, (), self._file)
        self._environment = {
            name.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", "."): name
            for name in os.environ
            if name.startswith(ENVIRONMENT_PREFIX)
        }
        self._options = set(chosen.overrides())

    def of(self, path: str) -> str:
        """Return "default", the file's name, the environment variable or "option"."""
        if self._covered(path, self._options):
            return "option"
        for dotted, name in self._environment.items():
            if path == dotted or path.startswith(f"{dotted}."):
                return name
        return self._file_name if path in self._file else "default"

    @staticmethod
    def _covered(path: str, given: set[str]) -> bool:
        return any(path == one or path.startswith(f"{one}.") for one in given)


def chosen_file(config: Path | None) -> Path:
    """Return the file that settings are read from."""
    from streams.settings import DEMO_FILE

    if config is not None:
        return config
    return Path("wakeline.yaml") if Path("wakeline.yaml").exists() else DEMO_FILE


def source_name(config: Path | None) -> str:
    """Return how that file is called."""
    from streams.settings import DEMO_FILE

    file = chosen_file(config)
    return "built-in demonstration" if file == DEMO_FILE else str(file)


def flattened(value: Any, path: tuple[str, ...]) -> list[tuple[str, Any]]:
    """Return (dotted path, plain value) of every leaf of a settings model."""
    parts = children(value)
    if parts is None or not parts:
        return [(".".join(path), shown(value))]
    return [leaf for name, item in parts for leaf in flattened(item, (*path, name))]


def as_yaml(value: Any, path: tuple[str, ...], origins: Origins, depth: int) -> list[str]:
    """Return the lines of a model as YAML, each leaf with a comment that tells its origin."""
    lines = []
    for name, item in children(value) or []:
        label = "  " * depth + ("-" if name.isdigit() else f"{name}:")
        below = (*path, name)
        if children(item):
            lines.append(label)
            lines += as_yaml(item, below, origins, depth + 1)
        else:
            text = f"{label} {_scalar(item)}"
            lines.append(f"{text:<60} # {origins.of('.'.join(below))}")
    return lines


def children(value: Any) -> list[tuple[str, Any]] | None:
    """Return the named parts of a section, list or mapping; None for a single value."""
    from pydantic import BaseModel

    if isinstance(value, BaseModel):
        return [(name, getattr(value, name)) for name in type(value).model_fields]
    if isinstance(value, dict):
        return [(str(name), item) for name, item in value.items()]
    if isinstance(value, list | tuple):
        return [(str(index), item) for index, item in enumerate(value)]
    return None


def shown(value: Any) -> Any:
    """Return a single value as plain JSON; secrets and passwords in addresses are hidden."""
    from pydantic import SecretStr

    if isinstance(value, SecretStr):
        return "**********"
    if value is None or isinstance(value, bool | int | float | list | dict):
        return value
    if isinstance(value, tuple):
        return list(value)
    return format(value, "f") if isinstance(value, Decimal) else _without_password(str(value))


def _without_password(text: str) -> str:
    import re

    return re.sub(r"(\w+://[^:/@\s]*:)[^@\s]+@", r"\1**********@", text)


def _scalar(value: Any) -> str:
    import json

    plain = shown(value)
    if isinstance(plain, str):
        return json.dumps(plain, ensure_ascii=False)
    return "null" if plain is None else json.dumps(plain)


def _collect(value: Any, path: tuple[str, ...], found: set[str]) -> None:
    if isinstance(value, dict):
        for name, item in value.items():
            _collect(item, (*path, str(name)), found)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _collect(item, (*path, str(index)), found)
    if path:
        found.add(".".join(path))
