"""Inheritance of settings: product, then leader, then group, then subscription; the last that says a field wins.

Entry points: `cascade`, `for_instrument`, `Resolved`.

1. A level is a part of SubscriptionParams as JSON. A field that a level names is taken whole (no merging inside a
   field), also where it is null: null switches a limit off and is not "not said".
2. Levels are checked together: a contradiction between two of them is an error that names both.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from processors.copying.params import InstrumentOverride, ParamsError, SubscriptionParams, parse_subscription_params

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
        for field, value in part.items():
            merged[field] = value
            origins[field] = name
    try:
        params = parse_subscription_params(merged, where)
    except ParamsError as error:
        said = {field: origins[field] for field in merged if origins[field] != LEVELS[-1]}
        if not said:
            raise
        inherited = ", ".join(f"{field} from the {level}" for field, level in sorted(said.items()))
        raise ParamsError(f"{error} (inherited: {inherited})") from error
    return Resolved(params, origins)


def for_instrument(params: SubscriptionParams, instrument: str) -> SubscriptionParams:
    """Return the settings with the overrides of an own instrument applied; the same object if there are none.

    Raises:
        ParamsError: the override contradicts the rest.
    """
    override = params.instruments.get(instrument)
    if override is None:
        return params
    changes = {
        name: value.model_dump() if hasattr(value := getattr(override, name), "model_dump") else value
        for name in InstrumentOverride.model_fields
        if getattr(override, name) is not None
    }
    return parse_subscription_params(params.model_dump() | changes, f"instruments.{instrument}")
