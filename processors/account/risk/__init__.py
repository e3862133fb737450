"""Risk checks: one file each, found by `processors.registry.discover(risk, "CHECK")` (docs/adding-a-risk-check.md).

Entry points: `Proposal`, `Finding`, `RiskCheck`.

1. A check is pure: it reads a `Proposal` and answers None (passed) or why not, with the numbers that decided.
2. `rank` gives the order in which checks are asked; it is unique. The first refusal stands.
3. Checks with `after_sizing` see `size` and `notional` of the order; the others are asked before it is sized.
4. Exits are asked only of checks with `on_exits`: a limit must never keep anyone from reducing risk.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from processors.account.params import AccountParams
from processors.copying.params import SubscriptionParams
from schemas.leaders import LeaderEvent
from schemas.reasons import Leg, RefusalReason, Side

Finding = tuple[RefusalReason, dict[str, str]]
"""Why not, and the numbers that decided: name -> number as text."""


@dataclass(slots=True)
class Proposal:
    """What a check may know of an order that is wanted. Amounts are in the account's currency.

    price: touch we would pay; leader_price: the leader's. exposure: gross notional of positions and entries in flight,
    instrument_exposure: of this instrument. open_orders: entries and exits in flight. kill: reason why entries are
    stopped, None if they are not. closed_ms: log time when this subscription's last position in the instrument closed.
    told_before: sequence at which the leader told the same cause under another event id, None if never.
    size, notional: of the order, zero before it is sized.

    leg, side, instrument, tick: of the wanted order (own instrument and side). paused: scope and reason of a pause that
    applies, "" if none. halted: open trade errors of the subscription. leads: leaders that
    this account is the source of. held: position of the subscription in the instrument with its entries in flight,
    signed, own units.
    Since 00:00 UTC of log time, of this subscription: day_orders (entries), day_notional, day_loss (realised loss after
    fees, below zero if it is a gain). open_trades: instruments in which it has a position or an entry in flight.
    """

    now_ms: int
    event: LeaderEvent
    account: AccountParams
    subscription: SubscriptionParams
    price: Decimal
    equity: Decimal
    day_equity: Decimal
    peak_equity: Decimal
    exposure: Decimal
    instrument_exposure: Decimal
    open_orders: int
    kill: str | None
    closed_ms: int | None
    told_before: int | None
    size: Decimal
    notional: Decimal
    leg: Leg = Leg.ENTRY
    side: Side = Side.BUY
    instrument: str = ""
    tick: Decimal = Decimal(0)
    paused: str = ""
    halted: int = 0
    leads: tuple[str, ...] = ()
    held: Decimal = Decimal(0)
    day_orders: int = 0
    day_notional: Decimal = Decimal(0)
    day_loss: Decimal = Decimal(0)
    open_trades: int = 0


class RiskCheck(Protocol):
    """One reason to refuse an order."""

    name: str
    rank: int
    on_exits: bool
    after_sizing: bool

    def check(self, proposal: Proposal) -> Finding | None:
        """Return None if the order may pass, else the reason and its numbers."""
        ...
