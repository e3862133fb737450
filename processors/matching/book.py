"""Orders of one instrument, indexed so that a tick costs a few comparisons however many orders rest.

1. A resting order stands in exactly one `Ladder`; only its top is looked at per tick.
2. Ladders are lazy heaps: an order that left is skipped when it comes to the top, and a ladder with more dead entries
   than live ones is rebuilt. An order that comes back under another price has another rank, so its old entry is dead.
"""

import heapq
from decimal import Decimal

from processors.matching.types import Touch, VenueOrder
from schemas.reasons import Side


class Ladder:
    """Orders by one price, the one reached first on top; equal prices by rank."""

    __slots__ = ("_falling", "_heap", "_live")

    def __init__(self, falling: bool) -> None:
        """`falling`: orders are reached by a falling market (the highest price first)."""
        self._falling = falling
        self._heap: list[tuple[Decimal, int, str]] = []
        self._live: dict[str, VenueOrder] = {}

    def __len__(self) -> int:
        return len(self._live)

    def add(self, price: Decimal, order: VenueOrder) -> None:
        """Add an order under its price. Its rank stays while it stands here, and is a new one if it comes back."""
        self._live[order.client_order_id] = order
        heapq.heappush(self._heap, (-price if self._falling else price, order.rank, order.client_order_id))

    def remove(self, client_order_id: str) -> None:
        """Remove an order if it stands here."""
        if self._live.pop(client_order_id, None) is not None and len(self._heap) > 2 * len(self._live) + 64:
            self._heap = [entry for entry in self._heap if self._is_live(entry)]
            heapq.heapify(self._heap)

    def take_reached(self, price: Decimal, strictly: bool = False) -> list[VenueOrder]:
        """Take out, in order, the orders whose price a market at `price` has reached (or passed, if `strictly`)."""
        limit = -price if self._falling else price
        heap, taken = self._heap, []
        while heap and (heap[0][0] < limit or (heap[0][0] == limit and not strictly)):
            entry = heapq.heappop(heap)
            if self._is_live(entry):
                taken.append(self._live.pop(entry[2]))
        return taken

    def _is_live(self, entry: tuple[Decimal, int, str]) -> bool:
        order = self._live.get(entry[2])
        return order is not None and order.rank == entry[1]


class Book:
    """One instrument: its touch and the orders that want something of it."""

    __slots__ = ("asks", "bids", "lane", "printed", "taking", "touch", "triggers")

    def __init__(self, lane: int, touch: Touch) -> None:
        self.lane = lane
        self.touch = touch
        # What an instrument without quotes offers during one event: price, size (None: any), taken by account.
        self.printed: tuple[Decimal, Decimal | None, dict[str, Decimal]] | None = None
        self.taking: dict[str, VenueOrder] = {}
        self.bids = Ladder(falling=True)
        self.asks = Ladder(falling=False)
        # (source, side, kind) -> orders that fire at their trigger price.
        self.triggers: dict[tuple[str, Side, str], Ladder] = {}

    def ladder(self, order: VenueOrder) -> Ladder:
        """Return the ladder in which `order` rests."""
        if order.kind == "limit":
            return self.bids if order.side is Side.BUY else self.asks
        assert order.trigger is not None
        key = (order.trigger, order.side, order.kind)
        ladder = self.triggers.get(key)
        if ladder is None:
            # A sell stop and a buy take-profit are reached by a falling market.
            falling = (order.side is Side.SELL) == (order.kind == "stop_loss")
            ladder = self.triggers[key] = Ladder(falling=falling)
        return ladder

    def rest(self, order: VenueOrder) -> None:
        """Let an order rest under its limit or trigger price."""
        price = order.limit_price if order.kind == "limit" else order.trigger_price
        assert price is not None
        self.ladder(order).add(price, order)

    def drop(self, order: VenueOrder) -> None:
        """Forget an order, wherever it stands."""
        self.taking.pop(order.client_order_id, None)
        if order.kind != "market":
            self.ladder(order).remove(order.client_order_id)
