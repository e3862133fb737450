"""Sections of the configuration about copying: leaders, groups, accounts with their subscriptions, the webhook.

Entry points: the sections; `decisions(settings)`, what they ask for as messages; `problems(settings)`, the rules of
streams/copying_rules.py over the whole file, each problem with its path.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from processors.account.params import AccountParams
from schemas.accounts import AccountChanged, GroupChanged, SubscriptionChanged
from schemas.leaders import LeaderChanged, LeaderKind
from streams.copying_rules import (
    Known,
    LeaderSection,
    Part,
    group_problems,
    leader_problems,
    subscription_problems,
)
from streams.problems import Problem

Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9_.:/-]+$")]
Ratio = Annotated[Decimal, Field(gt=0, le=1_000, allow_inf_nan=False)]


class Section(BaseModel):
    """Base of all sections: frozen, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class LeaderSettings(Section):
    """Somebody whose trades can be followed. A strategy leads under its own name without being listed here."""

    name: Name
    kind: LeaderKind
    source: str = Field(default="", description="kind account: the account that leads")
    status: Literal["active", "paused", "closed"] = "active"
    settings: LeaderSection = LeaderSection()
    secret_env: str | None = Field(
        default=None, description="kind feed: environment variable of its secret; None: WAKELINE_WEBHOOK_SECRET_NAME"
    )
    secret_file: Path | None = Field(default=None, description="kind feed: file of its secret")
    allow_plain_secret: bool = Field(
        default=False, description="kind feed: the secret may stand in the body, for sources that cannot sign"
    )


class GroupSettings(Section):
    """Settings that several subscriptions inherit."""

    name: Name
    settings: Part = {}


class SubscriptionSettings(Section):
    """One account follows one leader."""

    leader: str = Field(description="name of a leader; a strategy leads under its own name")
    name: Name | None = Field(default=None, description="default: ACCOUNT/LEADER")
    group: str = Field(default="", description="name of a group whose settings are inherited")
    ratio: Ratio | None = Field(default=None, description="multiplies every mode; None: inherited")
    status: Literal["active", "paused", "stopped", "closed"] = "active"
    invite_code: str | None = None
    settings: Part = {}

    @model_validator(mode="after")
    def _one_ratio(self) -> Self:
        if self.ratio is not None and "ratio" in self.settings:
            raise ValueError("ratio is given twice, here and in settings; leave one out")
        return self


class AccountSettings(Section):
    """One account at one venue, with its subscriptions."""

    account: str = Field(min_length=1, pattern=r"^[A-Za-z0-9_.:-]+$")
    venue: str = "paper"
    currency: str = "USDT"
    initial_balance: Decimal = Field(default=Decimal(10_000), ge=0)
    settings: AccountParams = AccountParams()
    subscriptions: tuple[SubscriptionSettings, ...] = ()


class WebhookSettings(Section):
    """Where leaders of kind feed send their trades, POST /hooks/NAME."""

    host: str = "127.0.0.1"
    port: int = Field(default=0, ge=0, le=65535, description="0: any free port, told in the run folder")
    max_age_ms: int = Field(default=30_000, gt=0, description="how far the signed timestamp may be off")
    rate_per_s: float = Field(default=20.0, gt=0, description="trades of one leader per second, over longer time")
    burst: int = Field(default=100, ge=1, description="trades of one leader at once")


class _Strategy(Protocol):
    @property
    def name(self) -> str: ...


class Copying(Protocol):
    """What this module reads of the settings."""

    @property
    def strategies(self) -> Sequence[_Strategy]:
        """Their names are leaders."""
        ...

    @property
    def leaders(self) -> Sequence[LeaderSettings]:
        """The section `leaders`."""
        ...

    @property
    def groups(self) -> Sequence[GroupSettings]:
        """The section `groups`."""
        ...

    @property
    def accounts(self) -> Sequence[AccountSettings]:
        """The section `accounts`."""
        ...


def decisions(settings: Copying, now_ms: int) -> Iterator[tuple[str, Any]]:
    """Yield (path in the file, message) of all that is asked for; a strategy that is not listed has the path ""."""
    for index, account in enumerate(settings.accounts):
        yield (
            f"accounts.{index}",
            AccountChanged(
                now_ms=now_ms,
                account=account.account,
                venue=account.venue,
                currency=account.currency,
                initial_balance=account.initial_balance,
                settings=account.settings.model_dump(mode="json"),
            ),
        )
    listed = {leader.name for leader in settings.leaders}
    for strategy in settings.strategies:
        if strategy.name not in listed:
            unlisted = LeaderSection().model_dump(mode="json")
            yield (
                "",
                LeaderChanged(now_ms=now_ms, leader=strategy.name, kind="strategy", status="active", settings=unlisted),
            )
    for index, leader in enumerate(settings.leaders):
        yield (
            f"leaders.{index}",
            LeaderChanged(
                now_ms=now_ms,
                leader=leader.name,
                kind=leader.kind,
                status=leader.status,
                settings=leader.settings.model_dump(mode="json"),
                source=leader.source,
            ),
        )
    for index, group in enumerate(settings.groups):
        yield f"groups.{index}", GroupChanged(now_ms=now_ms, group=group.name, settings=group.settings)
    for index, account in enumerate(settings.accounts):
        for number, subscription in enumerate(account.subscriptions):
            yield (
                f"accounts.{index}.subscriptions.{number}",
                SubscriptionChanged(
                    now_ms=now_ms,
                    subscription=subscription_name(account, subscription),
                    account=account.account,
                    leader=subscription.leader,
                    status=subscription.status,
                    settings=subscription.settings | _ratio(subscription),
                    group=subscription.group,
                ),
            )


def _ratio(subscription: SubscriptionSettings) -> dict[str, Any]:
    return {} if subscription.ratio is None else {"ratio": str(subscription.ratio)}


def subscription_name(account: AccountSettings, subscription: SubscriptionSettings) -> str:
    """Return the name a subscription has."""
    return subscription.name or f"{account.account}/{subscription.leader}"


def problems(settings: Copying) -> list[Problem]:
    """Return what is wrong with leaders, groups, accounts and subscriptions taken together."""
    asked = list(decisions(settings, 0))
    found = list(_repeated_names(settings))
    if found:
        return found  # the rest is told by name
    known = Known(message for _, message in asked)
    strategies = {strategy.name for strategy in settings.strategies}
    invitations = {
        subscription_name(account, subscription): subscription.invite_code
        for account in settings.accounts
        for subscription in account.subscriptions
    }
    for path, message in asked:
        here: list[Problem] = []
        if isinstance(message, LeaderChanged) and path:
            here = leader_problems(known, message, followers=False)
            if message.kind == "strategy" and strategies and message.leader not in strategies:
                here.append(Problem("name", f"no strategy {message.leader!r}; strategies are {_listed(strategies)}"))
            if message.kind != "strategy" and message.leader in strategies:
                here.append(Problem("name", f"a strategy leads as {message.leader!r}; choose another name"))
        elif isinstance(message, GroupChanged):
            here = group_problems(message)
        elif isinstance(message, SubscriptionChanged) and known.leaders:
            here = subscription_problems(known, message, invite_code=invitations[message.subscription])
        found += [Problem(f"{path}.{problem.field}", problem.text) for problem in here]
    return found


def _repeated_names(settings: Copying) -> Iterator[Problem]:
    subscriptions = [subscription_name(a, s) for a in settings.accounts for s in a.subscriptions]
    for section, names in (
        ("strategies", [strategy.name for strategy in settings.strategies]),
        ("leaders", [leader.name for leader in settings.leaders]),
        ("groups", [group.name for group in settings.groups]),
        ("accounts", [account.account for account in settings.accounts]),
        ("accounts.*.subscriptions", subscriptions),
    ):
        seen: set[str] = set()
        for name in names:
            if name in seen:
                yield Problem(section, f"the name {name!r} is used twice")
            seen.add(name)


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names))
