"""Settings of a leader, as people write them.

Entry points: `LeaderParams`, `parse_leader_params`. Frozen; unknown keys are refused; `None` switches a limit off.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from processors.copying.params import Count, Money, Params, parse


class LeaderParams(Params):
    """What a leader says of itself and asks of its followers.

    max_followers: subscriptions that may follow at a time. min_investment: least capital of a subscription, in the
    currency of its account. visibility invite: only with `invite_code`. defaults: settings its followers inherit, a
    part of processors.copying.params.SubscriptionParams.
    """

    title: Annotated[str, Field(max_length=200)] = ""
    description: Annotated[str, Field(max_length=10_000)] = ""
    tags: tuple[Annotated[str, Field(min_length=1, max_length=50)], ...] = ()
    max_followers: Count | None = None
    min_investment: Money | None = None
    visibility: Literal["public", "invite"] = "public"
    invite_code: str | None = None
    defaults: dict[str, Any] = Field(default_factory=dict)


def parse_leader_params(settings: dict[str, Any], where: str = "settings") -> LeaderParams:
    """Return validated settings; raise ParamsError naming every wrong field by its path under `where`."""
    return parse(LeaderParams, settings, where)
