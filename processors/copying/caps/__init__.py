"""Caps: limits that make an entry smaller. One file each, found by `processors.registry.discover(caps, "CAP")`.

Entry points: `CapRequest`, `Cap`.

1. A cap answers how much notional it leaves for the entry (zero: none), or None while it is off. The smallest wins and
   is named in the outcome: from what, to what, which limit.
2. `refusal` is the reason given when what a cap leaves is below the instrument's minimum.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple, Protocol

from processors.copying.params import SubscriptionParams
from schemas.reasons import RefusalReason


@dataclass(slots=True)
class CapRequest:
    """What a cap may know. Amounts are notional in the account's currency, entries in flight included.

    held: of this subscription in this instrument; leader_held: of this subscription in all instruments;
    instrument_held: of the account in this instrument; account_held: of the account in all. day_notional: entries of
    this subscription since 00:00 UTC. margin_free: equity less margin. margin_rate: margin per notional, fees
    included. params: with the overrides of the instrument applied.
    """

    params: SubscriptionParams
    held: Decimal
    leader_held: Decimal
    instrument_held: Decimal
    account_held: Decimal
    day_notional: Decimal
    margin_free: Decimal
    margin_rate: Decimal


class Room(NamedTuple):
    """Notional left, and the value of the limit as told in `limit_value`."""

    notional: Decimal
    limit: Decimal


class Cap(Protocol):
    """One limit. `name` is what outcomes call it; asked in the order of `rank` (unique), the first smallest wins."""

    name: str
    rank: int
    refusal: RefusalReason

    def room(self, request: CapRequest) -> Room | None:
        """Return what is left, None while the cap is off."""
        ...
