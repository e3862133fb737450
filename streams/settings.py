"""All settings: `wakeline.yaml` (or the built-in demonstration), then environment, then command-line options.

Entry points: `load_settings`, `Settings`, `SettingsError`. The file is checked whole: every error is reported at
once, with its path in the file and, for a misspelt key, the nearest valid name. `None` means off, never "default".

Environment: `WAKELINE__FEED__SPEED=1` sets `feed.speed`; values are read as YAML.
"""

import os
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError, model_validator

from executors.paper.params import PaperParams
from processors.strategy.params import StrategyParams
from sinks.clickhouse.params import ClickHouseParams
from streams.broker.params import BrokerParams
from streams.copying_settings import AccountSettings, GroupSettings, LeaderSettings, Section, WebhookSettings, problems
from streams.feeds.params import FeedParams
from streams.problems import explained

DEMO_FILE = Path(__file__).with_name("demo.yaml")
ENVIRONMENT_PREFIX = "WAKELINE__"


class InstrumentSettings(Section):
    """Trading rules of an instrument the feeds do not describe themselves."""

    instrument: str = Field(description="venue:SYMBOL, e.g. binanceusdm:BTC/USDT:USDT")
    tick: Decimal = Field(gt=0, description="price step")
    lot: Decimal = Field(gt=0, description="size step in base units")
    min_size: Decimal = Field(gt=0)
    min_notional: Decimal = Field(ge=0, description="in quote currency")
    contract_size: Decimal = Field(default=Decimal(1), gt=0)
    max_leverage: int = Field(default=125, ge=1)


class ExecutionSettings(Section):
    """Where the execution role keeps what it must know before it sends."""

    store: str | None = Field(
        default=None, description="SQLAlchemy DSN; None: SQLite under the data folder (one execution worker only)"
    )


class WorkerSettings(Section):
    """How a worker runs its roles."""

    http_port: int = Field(default=0, ge=0, le=65535, description="0: any free port, told in the run folder")
    http_host: str = "127.0.0.1"
    snapshot_interval_s: float = Field(default=10.0, gt=0)
    session_timeout_s: float = Field(default=6.0, ge=6.0, description="the broker's own minimum is 6")
    max_batch: int = Field(default=2_000, ge=1)
    drain_timeout_s: float = Field(default=1.5, ge=0, description="how long a stop waits for the roles to catch up")


class Settings(Section):
    """The whole configuration."""

    data_dir: Path = Path("data")
    broker: BrokerParams = BrokerParams()
    feed: FeedParams | None = None
    instruments: tuple[InstrumentSettings, ...] = ()
    strategies: tuple[StrategyParams, ...] = ()
    leaders: tuple[LeaderSettings, ...] = ()
    groups: tuple[GroupSettings, ...] = ()
    accounts: tuple[AccountSettings, ...] = ()
    webhook: WebhookSettings = WebhookSettings()
    execution: ExecutionSettings = ExecutionSettings()
    paper: PaperParams = PaperParams()
    clickhouse: ClickHouseParams = ClickHouseParams()
    worker: WorkerSettings = WorkerSettings()

    @model_validator(mode="after")
    def _parts_agree(self) -> "Settings":
        if found := problems(self):
            raise ValueError("\n".join(map(str, found)))
        return self


class SettingsError(Exception):
    """The configuration is wrong; `problems` says every one: where, what, and how to mend it."""

    def __init__(self, source: str, problems: list[str]) -> None:
        self.source, self.problems = source, problems
        super().__init__(
            f"{source}: {len(problems)} problem{'s' if len(problems) > 1 else ''}\n"
            + "\n".join(f"  {problem}" for problem in problems)
        )


def load_settings(
    path: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Read `path` (default: ./wakeline.yaml if it is there, else the demonstration), environment and overrides.

    `overrides` maps dotted paths to values ("feed.speed": 1) and wins over the environment.

    Raises:
        SettingsError: with every problem found.
    """
    if path is None:
        path = Path("wakeline.yaml") if Path("wakeline.yaml").exists() else DEMO_FILE
    source = "built-in demonstration" if path == DEMO_FILE else str(path)
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(source, [f"cannot be read: {error.strerror or error}"]) from error
    except yaml.YAMLError as error:
        raise SettingsError(source, [f"is not valid YAML: {error}"]) from error
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise SettingsError(source, [f"must be a mapping of sections, not {type(tree).__name__}"])
    environment = os.environ if environment is None else environment
    for name, text in sorted(environment.items()):
        if name.startswith(ENVIRONMENT_PREFIX):
            dotted = name.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".")
            _assign(tree, dotted, yaml.safe_load(text), f"environment {name}")
    for dotted, value in (overrides or {}).items():
        _assign(tree, dotted, value, f"option {dotted}")
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        raise SettingsError(source, [str(problem) for problem in explained(error, Settings)]) from error


def _assign(tree: dict[str, Any], dotted: str, value: Any, source: str) -> None:
    *parents, last = dotted.split(".")
    for parent in parents:
        below = tree.get(parent)
        if below is None:
            below = tree[parent] = {}
        if not isinstance(below, dict):
            raise SettingsError(source, [f"{dotted}: {parent} is not a section"])
        tree = below
    tree[last] = value
