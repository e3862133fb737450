"""Options that several commands share, and the settings they lead to.

Entry points: `settings_options`, `place_options` (decorators), `Chosen.load`. Options win over the environment, and
that over the file.
"""

import dataclasses
import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.console import quiet_clients
from cli.exit_codes import ExitCode, Failure

if TYPE_CHECKING:
    from streams.settings import Settings

_UNITS_S = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclasses.dataclass(frozen=True)
class Chosen:
    """What the user chose by --config, --data, --broker and --set."""

    config: Path | None = None
    data: Path | None = None
    broker: str | None = None
    assignments: tuple[str, ...] = ()

    def overrides(self) -> dict[str, Any]:
        """Return the chosen values by their dotted path in the configuration."""
        found: dict[str, Any] = {}
        for text in self.assignments:
            path, value = parse_assignment(text)
            found[path] = value
        if self.data is not None:
            found["data_dir"] = str(self.data)
        if self.broker is not None:
            found["broker.bootstrap"] = self.broker
        return found

    def load(self, more: dict[str, Any] | None = None) -> "Settings":
        """Return the checked settings; `more` are the command's own options by dotted path.

        Raises:
            Failure: the configuration is wrong; its text holds every problem.
        """
        from streams.settings import SettingsError, load_settings

        try:
            return load_settings(self.config, {**self.overrides(), **(more or {})})
        except SettingsError as error:
            raise Failure(ExitCode.CONFIGURATION, f"wrong configuration: {error}") from error

    def data_dir(self) -> Path:
        """Return the data folder alone, for commands that need nothing else of the settings."""
        return self.data if self.data is not None else self.load().data_dir


def place_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --config, --data and --broker, for commands whose --set is about something else."""

    @click.option("--config", type=click.Path(path_type=Path), help="Configuration file (default: ./wakeline.yaml).")
    @click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="Data folder (default: data).")
    @click.option("--broker", help="Kafka at host:port[,host:port], in place of one of our own.")
    @functools.wraps(command)
    def wrapped(*args: Any, config: Path | None, data: Path | None, broker: str | None, **kwargs: Any) -> Any:
        if broker is not None:
            check_bootstrap(broker)
        quiet_clients()
        return command(*args, chosen=Chosen(config, data, broker), **kwargs)

    return wrapped


def settings_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --config, --data, --broker and --set; the command gets them as `chosen`."""

    @click.option("--config", type=click.Path(path_type=Path), help="Configuration file (default: ./wakeline.yaml).")
    @click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="Data folder (default: data).")
    @click.option("--broker", help="Kafka at host:port[,host:port], in place of one of our own.")
    @click.option("--set", "assignments", multiple=True, metavar="PATH=VALUE", help="Set any key, e.g. feed.speed=1.")
    @functools.wraps(command)
    def wrapped(
        *args: Any,
        config: Path | None,
        data: Path | None,
        broker: str | None,
        assignments: tuple[str, ...],
        **kwargs: Any,
    ) -> Any:
        if broker is not None:
            check_bootstrap(broker)
        if command.__name__ != "worker":
            quiet_clients()
        return command(*args, chosen=Chosen(config, data, broker, assignments), **kwargs)

    return wrapped


def parse_assignment(text: str) -> tuple[str, Any]:
    """Return (dotted path, value read as YAML) of `PATH=VALUE`."""
    import yaml

    path, equals, value = text.partition("=")
    if not equals or not path.strip():
        raise click.BadParameter(f"{text!r} is not PATH=VALUE, e.g. feed.speed=1", param_hint="--set")
    try:
        return path.strip(), yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise click.BadParameter(f"{text!r}: the value is not YAML ({error})", param_hint="--set") from error


def check_bootstrap(text: str) -> None:
    """Refuse anything that is not host:port[,host:port...]."""
    for part in text.split(","):
        host, colon, port = part.strip().rpartition(":")
        if not (host and colon and port.isdigit() and 0 < int(port) < 65536):
            raise click.BadParameter(f"{part!r} is not host:port", param_hint="--broker")


class Duration(click.ParamType):
    """Seconds, or a number with a unit: 500ms, 60s, 5m, 1h."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds."""
        if isinstance(value, int | float):
            return float(value)
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|)\s*", str(value))
        if match is None:
            self.fail(f"{value!r} is not a duration, e.g. 60s, 5m, 1h", param, ctx)
        seconds = float(match[1]) * _UNITS_S[match[2]]
        if seconds <= 0:
            self.fail("must be above zero", param, ctx)
        return seconds


class Speed(click.ParamType):
    """A factor on the feed's own time, or `max`."""

    name = "speed"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        """Return the factor, or "max"."""
        if str(value) == "max":
            return "max"
        try:
            factor = float(value)
        except ValueError:
            self.fail(f"{value!r} is not a number or 'max'", param, ctx)
        if not 0 < factor < 1e6:
            self.fail("must lie above 0 and below 1000000", param, ctx)
        return int(factor) if factor == int(factor) else factor


class Start(click.ParamType):
    """`start`, `end`, or how many of the last records."""

    name = "start|end|N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | int:
        """Return "start", "end" or the count."""
        text = str(value)
        if text in ("start", "end"):
            return text
        if not text.isdigit() or int(text) == 0:
            self.fail(f"{value!r} is not start, end or a number above zero", param, ctx)
        return int(text)
