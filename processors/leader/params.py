"""Settings of a leader: how it is shown, who may follow, and the guards on its events, with the product's defaults.

Entry points: `LeaderParams`, `parse_leader_params`, `GLOBAL_BREAKER`. The rules of processors/copying/params.py hold
here too.

1. A guard of None is off. A guard that is on has every number it needs: one without the others is an error.
2. `defaults` are kept as they were given, and are valid as the weakest level of a subscription's settings.
3. Limits that need all followers (`max_followers`, `min_investment`, `invite_code`) are checked where people decide
   (streams/decisions.py); the leader role only carries them.
"""

from decimal import Decimal
from typing import Annotated, Any, Literal, Self

import msgspec
from pydantic import Field, field_validator, model_validator

from processors.copying.params import Count, Milliseconds, Money, Params, parse
from processors.copying.settings import cascade

Burst = Annotated[int, Field(ge=1, le=1_000)]
Tag = Annotated[str, Field(min_length=1, max_length=40)]

MOST_DEFAULTS_BYTES = 64 * 1024
"""Defaults larger than this (as JSON) are refused: they are broadcast, and kept by every partition."""


class RateLimit(Params):
    """At most `events` entries, increases and signals within any `per_ms` of log time are copied."""

    events: Burst = 30
    per_ms: Milliseconds = 10_000


class BreakerParams(Params):
    """When copying a leader stops because its followers' copies fail (see breaker.py).

    Opens when at least `min_attempts` copies were tried within `window_ms` and more than the fraction
    `max_failure_rate` of them failed. After `open_ms` the next `probes` entries pass; `settle_ms` after the last of
    them it is judged by their copies.
    """

    window_ms: Milliseconds = 60_000
    min_attempts: Count = 20
    max_failure_rate: Annotated[Decimal, Field(gt=0, lt=1, allow_inf_nan=False)] = Decimal("0.5")
    open_ms: Milliseconds = 60_000
    probes: Annotated[int, Field(ge=1, le=100)] = 1
    settle_ms: Milliseconds = 5_000


GLOBAL_BREAKER = BreakerParams(min_attempts=100)
"""Of the breaker over all leaders; its open_ms and probes do not count, since only a person closes it."""


class SuspicionParams(Params):
    """Patterns that no honest trading shows often; None switches one off.

    flips, flips_window_ms: this many changes of direction in an instrument within the window.
    size_factor: an entry of more than this many times the median notional of the leader's last ones.
    wash_ms, wash_count: this many positions within `flips_window_ms`, each closed within `wash_ms` of its opening.
    action: tell it, or pause the leader too, until a person resumes it.
    """

    flips: Annotated[int, Field(ge=2, le=1_000)] | None = 30
    flips_window_ms: Milliseconds = 60_000
    size_factor: Annotated[Decimal, Field(gt=1, le=1_000_000, allow_inf_nan=False)] | None = Decimal(20)
    wash_ms: Milliseconds | None = 1_000
    wash_count: Burst | None = 5
    action: Literal["alert", "pause"] = "alert"

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.wash_ms is None) != (self.wash_count is None):
            raise ValueError("wash_ms and wash_count go together: give both, or null for both")
        if self.wash_ms is not None and self.wash_ms > self.flips_window_ms:
            raise ValueError("wash_ms is above flips_window_ms, so wash_count could never be reached as it is meant")
        if self.flips is None and self.size_factor is None and self.wash_ms is None:
            raise ValueError("flips, size_factor and wash_ms are all null: use suspicion: null to switch it off")
        return self


class LeaderParams(Params):
    """How a leader is shown, who may follow it, and what guards its events.

    title, description, tags: for people. max_followers (None: any number). min_investment: least capital of a
        subscription, in its account's currency. visibility: anybody may follow, or who knows `invite_code`.
    rate_limit, breaker, suspicion: see there; None is off.
    defaults: settings that followers inherit, a part of SubscriptionParams.
    """

    title: Annotated[str, Field(max_length=100)] = ""
    description: Annotated[str, Field(max_length=4_000)] = ""
    tags: Annotated[tuple[Tag, ...], Field(max_length=20)] = ()
    max_followers: Count | None = None
    min_investment: Money | None = None
    visibility: Literal["public", "invite"] = "public"
    invite_code: Annotated[str, Field(min_length=6, max_length=100)] | None = None
    rate_limit: RateLimit | None = RateLimit()
    breaker: BreakerParams | None = BreakerParams()
    suspicion: SuspicionParams | None = SuspicionParams()
    defaults: dict[str, Any] = Field(default_factory=dict)

    @field_validator("defaults")
    @classmethod
    def _defaults_are_settings(cls, defaults: dict[str, Any]) -> dict[str, Any]:
        try:
            size = len(msgspec.json.encode(defaults))
        except (TypeError, RecursionError) as error:
            raise ValueError(f"defaults must be JSON values: {error}") from error
        if size > MOST_DEFAULTS_BYTES:
            raise ValueError(f"defaults take {size} bytes as JSON, more than {MOST_DEFAULTS_BYTES}")
        cascade([("leader", defaults)], "defaults")
        return defaults

    @model_validator(mode="after")
    def _no_contradiction(self) -> Self:
        if self.visibility == "invite" and self.invite_code is None:
            raise ValueError("invite_code: visibility invite needs one")
        if self.visibility == "public" and self.invite_code is not None:
            raise ValueError("invite_code contradicts visibility public: leave it out, or use visibility invite")
        if len(set(self.tags)) != len(self.tags):
            raise ValueError("tags: one is named twice")
        return self


def parse_leader_params(settings: dict[str, Any], where: str = "settings") -> LeaderParams:
    """Return validated settings; raise ParamsError naming every wrong field by its path under `where`."""
    return parse(LeaderParams, settings, where)
