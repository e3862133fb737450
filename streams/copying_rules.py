"""Who may follow whom, and under which settings: rules over all decisions, before any is written.

Entry points: `Known` (what is decided, or what a file asks for), `part` (check a part of SubscriptionParams),
`resolved`, `leader_problems`, `group_problems`, `subscription_problems`, `LEADER_MOVES`, `SUBSCRIPTION_MOVES`.
The configuration file, the command line and the API go through them; the account role guards again by `chain`.

1. Pure, on the messages themselves; every problem names its field.
2. What concerns joining (full, closed, invitation, least investment) is asked only of who joins: a leader that lowers
   its `max_followers` loses nobody.
3. Fields of a level are checked alone, contradictions only with all levels together (processors.copying.settings).
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache, cached_property
from typing import TYPE_CHECKING, Annotated, Any, Final, Self

from pydantic import AfterValidator, Field, PlainSerializer, model_validator

from processors.copying import modes
from processors.copying.params import ParamsError, SubscriptionParams
from processors.copying.settings import Resolved, cascade
from processors.leader.params import LeaderParams
from processors.registry import discover
from schemas.accounts import AccountChanged, GroupChanged, SubscriptionChanged
from schemas.leaders import LeaderChanged
from streams.problems import Problem, nearest, validated

FOLLOWING: Final = ("active", "paused")

LEADER_MOVES: Final[dict[str, dict[str, str]]] = {
    "active": {"pause": "paused", "close": "closed"},
    "paused": {"resume": "active", "close": "closed"},
    "closed": {},
}
SUBSCRIPTION_MOVES: Final[dict[str, dict[str, str]]] = {
    "active": {"pause": "paused", "stop": "stopped", "close": "closed"},
    "paused": {"resume": "active", "stop": "stopped", "close": "closed"},
    "stopped": {"close": "closed"},
    "closed": {},
}


class SubscriptionPart(SubscriptionParams):
    """A part of SubscriptionParams: each field is checked, contradictions are not, since levels below may lift them."""

    @model_validator(mode="after")
    def _no_contradiction(self) -> Self:
        return self

    def named(self) -> dict[str, Any]:
        """Return the fields that were named, as JSON."""
        return self.model_dump(mode="json", include=set(self.model_fields_set))


if TYPE_CHECKING:
    Part = dict[str, Any]
else:  # checked field by field with paths, kept as what was named: the rest is inherited
    Part = Annotated[SubscriptionPart, AfterValidator(SubscriptionPart.named), PlainSerializer(dict)]


class LeaderSection(LeaderParams):
    """LeaderParams whose followers' defaults are a part as well, so that their mistakes are told with their path."""

    defaults: Part = Field(default_factory=dict)


class Known:
    """Leaders, groups, accounts and subscriptions by name."""

    def __init__(self, messages: Iterable[Any] = ()) -> None:
        self.leaders: dict[str, LeaderChanged] = {}
        self.groups: dict[str, GroupChanged] = {}
        self.accounts: dict[str, AccountChanged] = {}
        self.subscriptions: dict[str, SubscriptionChanged] = {}
        for message in messages:
            self.add(message)

    def add(self, message: Any) -> None:
        """Put one in, or in the place of the one of that name; before anything is asked."""
        if isinstance(message, LeaderChanged):
            self.leaders[message.leader] = message
        elif isinstance(message, GroupChanged):
            self.groups[message.group] = message
        elif isinstance(message, AccountChanged):
            self.accounts[message.account] = message
        elif isinstance(message, SubscriptionChanged):
            self.subscriptions[message.subscription] = message

    @cached_property
    def followers(self) -> Counter[str]:
        """How many subscriptions each leader has."""
        return Counter(s.leader for s in self.subscriptions.values() if s.status in FOLLOWING)

    @cached_property
    def followed(self) -> dict[str, set[str]]:
        """Accounts that each account follows, through leaders of kind `account`."""
        found: dict[str, set[str]] = {}
        for subscription in self.subscriptions.values():
            source = self.source(subscription.leader)
            if source and subscription.status in FOLLOWING:
                found.setdefault(subscription.account, set()).add(source)
        return found

    def source(self, leader: str) -> str:
        """Return the account that leads under this name; empty for a strategy or a feed."""
        known = self.leaders.get(leader)
        return known.source if known is not None and known.kind == "account" else ""


def part(settings: Mapping[str, Any], where: str) -> tuple[dict[str, Any], list[Problem]]:
    """Return (a part of SubscriptionParams in its JSON form, no problem) or ({}, every problem)."""
    found, problems = validated(SubscriptionPart, settings, where)
    return ({} if found is None else found.named()), problems


def resolved(known: Known, subscription: SubscriptionChanged) -> Resolved:
    """Return the settings of a subscription with the level that said each.

    Raises:
        ParamsError: two levels contradict each other.
    """
    leader, group = known.leaders.get(subscription.leader), known.groups.get(subscription.group)
    own = dict(subscription.settings)
    if subscription.ratio is not None:
        own["ratio"] = str(subscription.ratio)
    return cascade(
        [
            ("leader", {} if leader is None else leader.settings.get("defaults") or {}),
            ("group", {} if group is None else group.settings),
            ("subscription", own),
        ]
    )


def leader_problems(known: Known, leader: LeaderChanged, *, followers: bool = True) -> list[Problem]:
    """Return what keeps a leader from being as it says; `known` holds it already.

    followers: ask also whether one of them would follow itself.
    """
    problems = validated(LeaderSection, leader.settings, "settings")[1]
    if leader.kind != "account" and leader.source:
        problems.append(Problem("source", f"only a leader of kind account has one, not one of kind {leader.kind}"))
    if leader.kind != "account":
        return problems
    if not leader.source:
        problems.append(Problem("source", "is missing: name the account that leads"))
    elif leader.source not in known.accounts:
        hint = nearest(leader.source, known.accounts, "accounts are")
        problems.append(Problem("source", f"no account {leader.source!r}{hint}"))
    elif followers and leader.status != "closed":
        for follower in known.subscriptions.values():
            if follower.leader == leader.leader and follower.status in FOLLOWING:
                problems += [Problem("source", text) for text in _circle(known, follower)]
    return problems


def group_problems(group: GroupChanged) -> list[Problem]:
    """Return what is wrong with a group."""
    return part(group.settings, "settings")[1]


def subscription_problems(
    known: Known, subscription: SubscriptionChanged, *, joins: bool = True, invite_code: str | None = None
) -> list[Problem]:
    """Return what keeps an account from following as it asks; `known` holds the subscription already."""
    problems = []
    account = known.accounts.get(subscription.account)
    if account is None:
        hint = nearest(subscription.account, known.accounts, "accounts are")
        problems.append(Problem("account", f"no account {subscription.account!r}{hint}"))
    if subscription.group and subscription.group not in known.groups:
        hint = nearest(subscription.group, known.groups, "groups are")
        problems.append(Problem("group", f"no group {subscription.group!r}{hint}"))
    if subscription.ratio is not None:
        if "ratio" in subscription.settings:
            problems.append(Problem("ratio", "is given twice, here and in settings; leave one out"))
        problems += part({"ratio": str(subscription.ratio)}, "")[1]
    wrong = part(subscription.settings, "settings")[1]
    leader = known.leaders.get(subscription.leader)
    if leader is None:
        hint = nearest(subscription.leader, known.leaders, "leaders are")
        problems.append(Problem("leader", f"no leader {subscription.leader!r}{hint}"))
        return problems + wrong
    if subscription.status in FOLLOWING:
        problems += [Problem("leader", text) for text in _circle(known, subscription)]
    if wrong:
        return problems + wrong
    try:
        params = resolved(known, subscription).params
    except ParamsError as error:
        return [*problems, Problem("settings", str(error).removeprefix("settings: ").removeprefix("Value error, "))]
    problems += _mode_problems(params, leader)
    if joins and account is not None and subscription.status in FOLLOWING:
        problems += _joining_problems(known, leader, account, params, invite_code)
    return problems


def _joining_problems(
    known: Known, leader: LeaderChanged, account: AccountChanged, params: SubscriptionParams, invite_code: str | None
) -> list[Problem]:
    asks, wrong = validated(LeaderSection, leader.settings, "")
    if asks is None or wrong:
        return []  # told of the leader itself
    problems = []
    if leader.status == "closed":
        problems.append(Problem("leader", f"{leader.leader!r} is closed: nobody can follow it any more"))
    if asks.max_followers is not None and known.followers[leader.leader] > asks.max_followers:
        problems.append(Problem("leader", f"{leader.leader!r} is full: it takes {asks.max_followers} followers"))
    capital = account.initial_balance if params.capital is None else params.capital
    if asks.min_investment is not None and capital < asks.min_investment:
        field, what = (
            ("settings.capital", "capital")
            if params.capital is not None
            else ("account", f"initial balance of {account.account!r}")
        )
        problems.append(
            Problem(field, f"the {what} is {capital:f}, {leader.leader!r} takes {asks.min_investment:f} or more")
        )
    if asks.visibility == "invite" and (not asks.invite_code or invite_code != asks.invite_code):
        what = "is missing" if not invite_code else "is not the right one"
        problems.append(Problem("invite_code", f"{what}: {leader.leader!r} takes followers by invitation only"))
    return problems


def _mode_problems(params: SubscriptionParams, leader: LeaderChanged) -> list[Problem]:
    """A strategy tells no size, position or equity; a mode that needs them would skip every event."""
    if leader.kind != "strategy":
        return []
    sizes: list[tuple[str, Any]] = [("settings.size", params.size)]
    sizes += [(f"settings.instruments.{name}.size", override.size) for name, override in params.instruments.items()]
    problems = []
    for field, size in sizes:
        mode = None if size is None else _modes().get(size.kind)
        if mode is not None and mode.needs:
            what = " and ".join(sorted(mode.needs))
            problems.append(
                Problem(
                    field,
                    f"mode {mode.name} needs the leader's {what}, and {leader.leader!r} is a strategy, which tells "
                    "none; choose risk_percent, fixed_quantity, fixed_notional or balance_percent",
                )
            )
    return problems


@cache
def _modes() -> dict[str, Any]:
    return discover(modes, "MODE")


def _circle(known: Known, subscription: SubscriptionChanged) -> list[str]:
    """Say how the account of this subscription would follow itself."""
    account, source = subscription.account, known.source(subscription.leader)
    if not source:
        return []
    if source == account:
        return [f"account {account!r} would follow itself: it leads as {subscription.leader!r}"]
    before: dict[str, str] = {source: account}
    waiting = [source]
    while waiting:
        at = waiting.pop()
        for following in sorted(known.followed.get(at, ())):
            if following == account:
                path = [at]
                while path[-1] != source:
                    path.append(before[path[-1]])
                around = " -> ".join([account, *reversed(path), account])
                return [f"a circle of leaders: {around} (each account follows the next)"]
            if following not in before:
                before[following] = at
                waiting.append(following)
    return []
