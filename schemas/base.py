"""The base of every message on the log.

1. A message is a frozen msgspec struct, tagged by `type`, JSON on the wire; unknown fields are refused.
2. `v` is the schema version; it is left out on the wire while it is 1. A reader refuses versions it does not know.
3. `now_ms` is log time in milliseconds since the Unix epoch: the only "now" that logic may know (design law 1).
4. Money, prices and sizes are Decimal, strings on the wire. Indicators are float. Fields left at None are left out.
"""

from decimal import Decimal

import msgspec


class Message(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    tag_field="type",
):
    """Base of all messages; subclasses give their `tag`."""

    now_ms: int
    v: int = 1


def require_positive(name: str, value: Decimal) -> None:
    """Raise ValueError unless `value` is finite and above zero (msgspec turns it into a ValidationError)."""
    if not value.is_finite() or value <= 0:
        raise ValueError(f"{name} must be a finite number above zero, not {value}")


def require_not_negative(name: str, value: Decimal) -> None:
    """Raise ValueError unless `value` is finite and not below zero."""
    if not value.is_finite() or value < 0:
        raise ValueError(f"{name} must be a finite number of zero or more, not {value}")
