"""Sizing modes: one file each, found by `processors.registry.discover(modes, "MODE")` (docs/adding-a-sizing-mode.md).

Entry points: `SizeRequest`, `SizeMode`.

1. A mode is pure: it reads a `SizeRequest` and the mode's own settings and answers a wish in own units (contracts of
   the follower's instrument), exact and unrounded; caps, rounding and minimums come after it.
2. `follows` says what it copies: "change" (each of the leader's trades makes one of ours) or "position" (ours is
   brought to a target after each of the leader's trades). InverseSize chooses in its settings, hence a function of
   them.
3. `needs` names what the leader's event must carry; without it the copy is skipped (NO_LEADER_SIZE, ...). Under
   settings that follow the position, the position takes the place of the size (`processors.copying.sizing.needs_of`).
4. The ratio multiplies every mode.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, Protocol

Need = Literal["size", "position", "equity"]
Follows = Literal["change", "position", "nothing"]


@dataclass(slots=True)
class SizeRequest:
    """What a mode may know of a wish.

    leader_size: of the change, base units, above zero; leader_position: after it, base units, signed; leader_price and
    leader_equity in quote currency. None: the leader does not tell. price: the touch we would pay. contract_size: base
    units per own contract. equity: own equity, or the subscription's `capital`. loss_per_unit: per contract, at the
    stop-loss (zero if not known yet). ratio: of the subscription (and instrument).
    """

    leader_size: Decimal | None
    leader_position: Decimal | None
    leader_price: Decimal
    leader_equity: Decimal | None
    price: Decimal
    contract_size: Decimal
    equity: Decimal
    risk_per_trade: Decimal
    loss_per_unit: Decimal
    ratio: Decimal


class SizeMode(Protocol):
    """One way to size a copy.

    name: the `kind` of its settings. opposite: trades against the leader: whoever follows the change turns the side;
    a wish for a position has its own sign already. share: how a reduction of the leader is
    followed: False: by the same rule as an increase; True: by the leader's share of its position (reduced / before).
    """

    name: str
    needs: frozenset[Need]
    opposite: bool
    share: bool

    def follows(self, settings: Any) -> Follows:
        """Return what it copies under these settings."""
        ...

    def wish(self, settings: Any, request: SizeRequest) -> Decimal:
        """Return the wish, exact and in own units; everything named in `needs` is there.

        Above zero for modes that follow the change, signed for those that follow the position.
        """
        ...
