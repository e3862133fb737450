"""What the matching core knows and says: orders, books, groups, events. All msgspec structs, so encodable."""

from decimal import Decimal
from typing import Final, Literal

import msgspec

from schemas.reasons import ReportKind, Side

Trigger = Literal["trade", "quote"]
OrderKind = Literal["market", "limit", "stop_loss", "take_profit"]
State = Literal["pending", "resting", "taking", "filled", "cancelled", "rejected", "expired"]

# Life cycle of an order at the venue. `pending`: on its way; `resting`: a limit order in the book or a trigger not
# fired yet; `taking`: takes what the touch shows until it is filled.
MOVES: Final[dict[str, dict[str, State]]] = {
    "pending": {"rest": "resting", "take": "taking", "reject": "rejected", "cancel": "cancelled", "expire": "expired"},
    "resting": {"fire": "taking", "fill": "filled", "cancel": "cancelled"},
    "taking": {"rest": "resting", "fill": "filled", "cancel": "cancelled", "expire": "expired"},
    "filled": {},
    "cancelled": {},
    "rejected": {},
    "expired": {},
}
TERMINAL: Final = frozenset(state for state, moves in MOVES.items() if not moves)


class TriggerChange(msgspec.Struct, frozen=True):
    """New trigger prices on their way to a leg, or to an entry whose legs do not rest yet; None leaves one as it is."""

    arrives_ms: int
    rank: int
    stop_loss: Decimal | None
    take_profit: Decimal | None


class Bracket(msgspec.Struct, frozen=True, kw_only=True):
    """Reduce-only legs that rest as soon as their entry fills; one cancels the other."""

    stop_loss: Decimal
    take_profit: Decimal
    stop_loss_client_id: str
    take_profit_client_id: str
    trigger: Trigger


class VenueOrder(msgspec.Struct, kw_only=True):
    """An order as the venue sees it.

    `group` bounds reduce-only orders: they never close more than their group's own position (the group is the
    subscription). `expires_ms`: a market order that is not filled at this market time loses its rest. `entry` names
    the entry of a bracket leg; `closes` the entry whose lot an order closes before all others. `changes` are new
    trigger prices on their way. `hold` is the margin and fee per unit that an entry sets aside until it fills. `rank`
    gives time priority.
    """

    client_order_id: str
    account: str
    group: str
    instrument: str
    side: Side
    kind: OrderKind
    size: Decimal
    limit_price: Decimal | None = None
    trigger_price: Decimal | None = None
    trigger: Trigger | None = None
    reduce_only: bool = False
    expires_ms: int | None = None
    bracket: Bracket | None = None
    entry: str = ""
    closes: str = ""
    leverage: int = 1
    hold: Decimal = Decimal(0)
    changes: list[TriggerChange] = []
    state: State = "pending"
    arrives_ms: int = 0
    cancel_arrives_ms: int | None = None
    filled: Decimal = Decimal(0)
    fills: int = 0
    rank: int = 0


class VenueEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A venue's word on one order: accepted (or re-sized), fill, cancelled, rejected, expired.

    `number` rises by one per event of a shard; a reader resumes after the last number it has booked. `size` is the
    fill's size for a fill, else the order's. `final`: the order is terminal with this event.
    """

    number: int
    client_order_id: str
    kind: ReportKind
    venue_ms: int
    size: Decimal
    final: bool = False
    venue_order_id: str = ""
    trade_id: str = ""
    price: Decimal | None = None
    fee: Decimal | None = None
    fee_currency: str = ""
    liquidity: Literal["maker", "taker"] | None = None
    trigger_price: Decimal | None = None
    code: str = ""
    message: str = ""


class Lot(msgspec.Struct):
    """What is still open of one entry, and at what cost; `side` is the entry's."""

    entry: str
    side: Side
    open: Decimal
    cost: Decimal = Decimal(0)
    leverage: int = 1


class Group(msgspec.Struct, kw_only=True):
    """Position of one (account, group, instrument). All lots have one side; `position` is their signed sum."""

    account: str
    group: str
    instrument: str
    position: Decimal = Decimal(0)
    lots: list[Lot] = []


class Touch(msgspec.Struct, kw_only=True):
    """Best bid and ask of an instrument and the ids last seen (repeats of a restarted feed are skipped).

    `reference` is the last believable price; `refused` the last other one, the `refusals`-th in a row that agree.
    """

    instrument: str
    bid: Decimal | None = None
    bid_size: Decimal = Decimal(0)
    ask: Decimal | None = None
    ask_size: Decimal = Decimal(0)
    quoted: bool = False
    quote_id: int = -1
    quote_ts: int = -1
    trade_id: int = -1
    trade_ts: int = -1
    taken: dict[str, Decimal] = {}
    reference: Decimal | None = None
    refused: Decimal | None = None
    refusals: int = 0


class Lane(msgspec.Struct, kw_only=True):
    """One ordered stream of market data (a partition of `market-data`; a backtest has one) and its time."""

    lane: int
    time_ms: int = 0
    touches: list[Touch] = []
    ahead: list[int] = []  # see processors/market_time.py


class Snapshot(msgspec.Struct, kw_only=True):
    """All that a core needs to go on: live orders, groups, lanes and the two counters."""

    orders: list[VenueOrder]
    groups: list[Group]
    lanes: list[Lane]
    number: int = 0
    rank: int = 0
    balances: dict[str, Decimal] = {}
