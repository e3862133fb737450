"""Inheritance of settings: product, then leader, then group, then subscription; the last that says a field wins.

Entry points: `cascade`, `for_instrument`, `Resolved`.

1. A level is a part of SubscriptionParams as JSON. A field that a level names is taken whole (no merging inside a
   field), also where it is null: null switches a limit off and is not "not said".
2. Levels are checked together: an error names each wrong field, and the level that says it where one was inherited.
3. An override of an instrument was checked with the rest: applying it cannot fail.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from processors.copying.params import ParamsError, SubscriptionParams, parse_subscription_params

PRODUCT = "product"
LEVELS = ("leader", "group", "subscription")


class Resolved(NamedTuple):
    """Settings that apply, and for each field the level that said it (`product`, `leader`, `group`, `subscription`)."""

    params: SubscriptionParams
    origins: dict[str, str]


def cascade(levels: Sequence[tuple[str, Mapping[str, Any]]], where: str = "settings") -> Resolved:
    """Return the settings of (name, part) levels, weakest first.

    Raises:
        ParamsError: a wrong field, with its path and the level that says it.
    """
    merged: dict[str, Any] = {}
    origins = dict.fromkeys(SubscriptionParams.model_fields, PRODUCT)
    for name, part in levels:
        if not isinstance(part, Mapping):
            raise ParamsError(f"{where}: what the {name} sets must be names with values, not {part!r:.100}")
        for field, value in part.items():
            merged[field] = value
            origins[str(field)] = name
    try:
        params = parse_subscription_params(merged, where)
    except ParamsError as error:
        said = [(field, origins.get(field, PRODUCT)) for field in error.fields]
        if all(level == LEVELS[-1] for _, level in said):
            raise
        sources = ", ".join(f"{field} from the {level}" for field, level in said)
        raise ParamsError(f"{error} ({sources})", error.fields) from error
    return Resolved(params, origins)


def for_instrument(params: SubscriptionParams, instrument: str) -> SubscriptionParams:
    """Return the settings with the overrides of an own instrument applied; the same object if there are none."""
    override = params.instruments.get(instrument)
    return params if override is None else params.model_copy(update=override.changes)
