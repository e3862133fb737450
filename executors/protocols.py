"""What the engine asks of a venue's executor, and the answers' three shapes.

Every executor (paper, ccxt, Polymarket, ...) is one class with these methods; tests/contracts/test_executors.py is
its contract.

1. `submit` sends at most one request per call, without retries of its own. `Accepted` needs the venue's id and the
   echoed client order id; `Rejected` only comes from a whitelist of venue codes that prove non-acceptance; anything
   else is `Unknown`, and the engine asks. A bug may raise: it ends the worker.
2. A client order id is derive_id("attempt", order_id, n): repeats collide instead of adding up.
3. `deadline_ms` is the fence: the venue must refuse the attempt after it (signed timestamp + receive window, expiry of
   a signed order, or the lease epoch for the paper venue). "Not found" proves absence only after it.
4. `reports` gives every event of the partition's accounts at least once, in an order whose numbers rise, from any
   number it has given before; the engine books events and the last number in one transaction.
5. New trigger prices are told by `reports` as accepted, with the new `trigger_price`, for each leg that rests. A leg
   that has fired is left to its work.
"""

from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from typing import Literal, NamedTuple, Protocol

import msgspec

from processors.matching.types import VenueEvent
from schemas.accounts import Transfer
from schemas.ids import derive_id
from schemas.orders import Order

__all__ = [
    "Absent",
    "Accepted",
    "Attempt",
    "CancelRequest",
    "CancelResult",
    "Executor",
    "Found",
    "Holding",
    "Holdings",
    "ProtectionRequest",
    "ProtectionResult",
    "QueryResult",
    "Rejected",
    "SubmitResult",
    "Unknown",
    "VenueEvent",
    "client_order_id",
]


def client_order_id(order_id: str, number: int) -> str:
    """Return the client order id (32 hex characters) of attempt `number` (from 1) of an order or leg."""
    return derive_id("attempt", order_id, number)


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One signed try to place an order; committed to the store before it is sent.

    `partition` and `epoch` name the lease under which it is sent. `prepared_ms` is log time and the timestamp to sign.
    The leg client ids are those of `order.protection`, for venues that take it with the entry. `closes_client_id` is
    that of the entry whose position an exit closes, as far as it is known.
    """

    client_order_id: str
    number: int
    order: Order
    partition: int
    epoch: int
    prepared_ms: int
    deadline_ms: int
    stop_loss_client_id: str = ""
    take_profit_client_id: str = ""
    closes_client_id: str = ""


class CancelRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Cancel what rests of an order or leg at the venue."""

    account: str
    instrument: str
    client_order_id: str
    venue_order_id: str
    partition: int
    epoch: int
    sent_ms: int


class ProtectionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """New trigger prices for the legs of an entry, or for the protection it will bring; None leaves one as it is."""

    account: str
    instrument: str
    client_order_id: str
    venue_order_id: str
    stop_loss_client_id: str
    take_profit_client_id: str
    stop_loss: Decimal | None
    take_profit: Decimal | None
    partition: int
    epoch: int
    sent_ms: int


class Holding(NamedTuple):
    """The netted position of an account at the venue, above zero long, with its fills up to event `number`."""

    account: str
    instrument: str
    size: Decimal
    number: int


class Holdings(NamedTuple):
    """Positions of a partition's accounts (not the flat ones) with all events up to `number` in them."""

    holdings: Sequence[Holding]
    number: int


class Accepted(msgspec.Struct, frozen=True):
    """The venue has it (or the cancel request); what becomes of it is told by `reports`."""

    venue_order_id: str
    client_order_id: str


class Rejected(msgspec.Struct, frozen=True):
    """The venue proves that it did not and will not take it."""

    code: str
    message: str = ""


class Unknown(msgspec.Struct, frozen=True):
    """Sent, fate not proven (time-out, cut line, unreadable answer)."""

    reason: str


class Found(msgspec.Struct, frozen=True):
    """The venue knows the client order id (echo verified).

    `events`: those of this order that `reports` will not give (again), e.g. fills older than its cursor; the engine
    books each trade id once.
    """

    client_order_id: str
    venue_order_id: str
    state: Literal["open", "filled", "cancelled", "expired", "rejected"]
    events: tuple[VenueEvent, ...] = ()


class Absent(msgspec.Struct, frozen=True):
    """A definitive "no such order" by all of the venue's witnesses. Proof only after the attempt's deadline."""


SubmitResult = Accepted | Rejected | Unknown
CancelResult = Accepted | Rejected | Unknown
ProtectionResult = Accepted | Rejected | Unknown
QueryResult = Found | Absent | Unknown


class Executor(Protocol):
    """One venue.

    venue: the name that orders carry.
    attached_protection: the venue takes stop-loss and take-profit with the entry and keeps them sized and linked.
    window_ms: deadline of an attempt = prepared_ms + window_ms.
    read_lag_ms: how much later than the deadline "not found" may still be a lagging read.
    """

    venue: str
    attached_protection: bool
    window_ms: int
    read_lag_ms: int

    async def start(self) -> None:
        """Connect; called once before anything else."""
        ...

    async def claim(self, partition: int, epoch: int) -> None:
        """Take over the accounts of a partition of `orders`; return when the venue's state is caught up."""
        ...

    async def release(self, partition: int) -> None:
        """Stop working for the accounts of a partition; nothing of it may be written afterwards."""
        ...

    async def submit(self, attempt: Attempt) -> SubmitResult:
        """Send one attempt, once."""
        ...

    async def cancel(self, request: CancelRequest) -> CancelResult:
        """Ask the venue to cancel; `Rejected`: nothing rests under that id (any more). Repeating is harmless."""
        ...

    async def change_protection(self, request: ProtectionRequest) -> ProtectionResult:
        """Ask the venue for new trigger prices. Repeating is harmless.

        `Rejected` with code `not_resting`: none of the legs in question rests (any more), nor will; with any other
        code: the venue proves that it keeps the old prices.
        """
        ...

    async def query(self, attempt: Attempt) -> QueryResult:
        """Ask what became of an attempt, by its client order id."""
        ...

    def reports(self, partition: int, after: int) -> AsyncIterator[Sequence[VenueEvent]]:
        """Yield events with numbers above `after`, for ever; raise if the venue's side has failed."""
        ...

    async def transfer(self, transfer: Transfer, partition: int, epoch: int) -> None:
        """Money came or went, says the log: for venues that we simulate. Each transfer id counts once."""
        ...

    async def positions(self, partition: int) -> Holdings:
        """Return what the partition's accounts hold now; a holding has every fill up to its number and no other."""
        ...

    async def close(self) -> None:
        """Stop; called once."""
        ...
