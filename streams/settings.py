"""All settings: `wakeline.yaml` (or the built-in demonstration), then environment, then command-line options.

Entry points: `load_settings`, `Settings`, `SettingsError`. The file is checked whole: every error is reported at
once, with its path in the file and, for a misspelt key, the nearest valid name. `None` means off, never "default".

Environment: `WAKELINE__FEED__SPEED=1` sets `feed.speed`; values are read as YAML.
"""

import difflib
import os
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from executors.paper.params import PaperParams
from processors.account.params import AccountParams
from processors.copying.params import SubscriptionParams
from processors.strategy.params import StrategyParams
from sinks.clickhouse.params import ClickHouseParams
from streams.broker.params import BrokerParams
from streams.feeds.params import FeedParams

DEMO_FILE = Path(__file__).with_name("demo.yaml")
ENVIRONMENT_PREFIX = "WAKELINE__"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class InstrumentSettings(_Section):
    """Trading rules of an instrument the feeds do not describe themselves."""

    instrument: str = Field(description="venue:SYMBOL, e.g. binanceusdm:BTC/USDT:USDT")
    tick: Decimal = Field(gt=0, description="price step")
    lot: Decimal = Field(gt=0, description="size step in base units")
    min_size: Decimal = Field(gt=0)
    min_notional: Decimal = Field(ge=0, description="in quote currency")
    contract_size: Decimal = Field(default=Decimal(1), gt=0)
    max_leverage: int = Field(default=125, ge=1)


class SubscriptionSettings(_Section):
    """One account follows one leader."""

    leader: str = Field(description="name of a leader; a strategy leads under its own name")
    name: str | None = Field(default=None, description="default: ACCOUNT/LEADER")
    ratio: Decimal = Field(default=Decimal(1), gt=0, description="multiplies the risk-based size")
    status: Literal["active", "paused", "closed"] = "active"
    settings: SubscriptionParams = SubscriptionParams()


class AccountSettings(_Section):
    """One account at one venue, with its subscriptions."""

    account: str = Field(min_length=1, pattern=r"^[A-Za-z0-9_.:-]+$")
    venue: str = "paper"
    currency: str = "USDT"
    initial_balance: Decimal = Field(default=Decimal(10_000), ge=0)
    settings: AccountParams = AccountParams()
    subscriptions: tuple[SubscriptionSettings, ...] = ()


class ExecutionSettings(_Section):
    """Where the execution role keeps what it must know before it sends."""

    store: str | None = Field(
        default=None, description="SQLAlchemy DSN; None: SQLite under the data folder (one execution worker only)"
    )


class WorkerSettings(_Section):
    """How a worker runs its roles."""

    http_port: int = Field(default=0, ge=0, le=65535, description="0: any free port, told in the run folder")
    http_host: str = "127.0.0.1"
    snapshot_interval_s: float = Field(default=10.0, gt=0)
    session_timeout_s: float = Field(default=6.0, ge=6.0, description="the broker's own minimum is 6")
    max_batch: int = Field(default=2_000, ge=1)
    drain_timeout_s: float = Field(default=1.5, ge=0, description="how long a stop waits for the roles to catch up")


class Settings(_Section):
    """The whole configuration."""

    data_dir: Path = Path("data")
    broker: BrokerParams = BrokerParams()
    feed: FeedParams | None = None
    instruments: tuple[InstrumentSettings, ...] = ()
    strategies: tuple[StrategyParams, ...] = ()
    accounts: tuple[AccountSettings, ...] = ()
    execution: ExecutionSettings = ExecutionSettings()
    paper: PaperParams = PaperParams()
    clickhouse: ClickHouseParams = ClickHouseParams()
    worker: WorkerSettings = WorkerSettings()

    @model_validator(mode="after")
    def _names_agree(self) -> "Settings":
        problems = []
        leaders = [strategy.name for strategy in self.strategies]
        problems += [f"strategies: the name {name!r} is used twice" for name in _repeated(leaders)]
        problems += [
            f"accounts: the name {name!r} is used twice" for name in _repeated([a.account for a in self.accounts])
        ]
        for index, account in enumerate(self.accounts):
            for number, subscription in enumerate(account.subscriptions):
                if leaders and subscription.leader not in leaders:
                    near = difflib.get_close_matches(subscription.leader, leaders, 1)
                    hint = f"; did you mean {near[0]!r}?" if near else f"; leaders are {', '.join(leaders)}"
                    problems.append(
                        f"accounts.{index}.subscriptions.{number}.leader: no leader {subscription.leader!r}{hint}"
                    )
        if problems:
            raise ValueError("\n".join(problems))
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
        raise SettingsError(source, [_explain(problem) for problem in error.errors()]) from error


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


def _explain(problem: Any) -> str:
    place = ".".join(str(part) for part in problem["loc"]) or "(top)"
    if problem["type"] == "extra_forbidden":
        known = _fields_at(problem["loc"][:-1])
        near = difflib.get_close_matches(str(problem["loc"][-1]), known, 1)
        hint = f"; did you mean {near[0]!r}?" if near else (f"; known are {', '.join(known)}" if known else "")
        return f"{place}: unknown key{hint}"
    if problem["type"] == "missing":
        return f"{place}: is missing"
    message = str(problem["msg"]).removeprefix("Value error, ")
    given = "" if isinstance(problem["input"], dict | list | BaseModel) else f" (given: {problem['input']!r})"
    return f"{place}: {message}{given}"


def _fields_at(location: tuple[int | str, ...]) -> list[str]:
    """Names of the fields of the model at `location`, walking optional, union and sequence types."""
    models: list[type[BaseModel]] = [Settings]
    for part in location:
        if isinstance(part, int):
            continue
        fields = [owner.model_fields[part] for owner in models if part in owner.model_fields]
        below = [model for field in fields for model in _models_in(field.annotation)]
        if below:  # else a tag of a union: stay
            models = below
    return sorted({name for model in models for name in model.model_fields})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models_in(part)]


def _repeated(names: list[str]) -> list[str]:
    return sorted({name for name in names if names.count(name) > 1})
