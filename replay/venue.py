"""The paper venue of a replay: the matching core between `orders` and `account-events`, without a store or a clock.

Entry point: `ReplayVenue`. It speaks as the execution role does (executors/partition.py): submitted, accepted, fills,
ends; legs under the ids their entry's protection gives; an exit first cancels the legs of the entry that it closes
whole, and a smaller one leaves them to the rest. Money paid in or out changes nothing: this venue keeps no balances.
"""

from decimal import Decimal

from executors.paper.executor import venue_order
from executors.partition import TOO_LATE, leg_price
from executors.protocols import Attempt
from executors.rows import ZERO, OrderRow, Triggers, rows_of
from processors.inbox import partition_of
from processors.matching.core import MatchingCore
from processors.matching.params import MatchingParams
from processors.matching.types import VenueEvent
from replay.chain import Chain, MemoryLog
from schemas.accounts import Transfer
from schemas.codec import decode, encode
from schemas.orders import CancelOrder, ChangeProtection, Order
from schemas.reasons import Leg, ReportKind


class ReplayVenue:
    """One venue for all accounts of a chain. Give `take` to the chain as its outside."""

    def __init__(self, params: MatchingParams, partitions: int) -> None:
        self.core = MatchingCore(params)
        self._partitions = partitions
        self._positions = [0] * partitions
        self._rows: dict[str, OrderRow] = {}
        self._by_client_id: dict[str, OrderRow] = {}
        self._number = 0
        self._previous: dict[int, int] = {}
        self._time_ms = 0

    def market(self, lane: int, message: object) -> None:
        """Apply one message of market data."""
        self.core.apply(lane, message)
        self._time_ms = max(self._time_ms, getattr(message, "now_ms", 0))

    def take(self, chain: Chain, log: MemoryLog) -> bool:
        """Take new orders and tell what happened; return whether anything did."""
        moved = False
        for partition, records in enumerate(log.partitions["orders"]):
            for record in records[self._positions[partition] :]:
                moved = True
                assert record.value is not None
                self._order(chain, decode(record.value), partition)
            self._positions[partition] = len(records)
        for event in self.core.drain().events:
            moved = True
            self._tell(chain, event)
        return moved

    def _order(self, chain: Chain, message: Order | CancelOrder | ChangeProtection | Transfer, partition: int) -> None:
        if isinstance(message, Transfer):
            return
        if isinstance(message, ChangeProtection):
            self._change(chain, message)
            return
        if isinstance(message, CancelOrder):
            if message.order_id in self._rows:
                self.core.cancel(self._rows[message.order_id].client_id(), message.now_ms)
            return
        if message.order_id in self._rows:
            return  # a repeat
        rows = rows_of(message, partition, 0, "ready")
        for row in rows:
            row.attempts = 1
            self._rows[row.order_id] = self._by_client_id[row.client_id()] = row
        if message.leg is Leg.EXIT and message.size >= self._open(message.closes):
            for row in self._rows.values():
                if row.is_leg and row.entry_order_id == message.closes:
                    self.core.cancel(row.client_id(), message.now_ms)
        legs = [row.client_id() for row in rows[1:]] or ["", ""]
        attempt = Attempt(
            client_order_id=rows[0].client_id(),
            number=1,
            order=message,
            partition=partition,
            epoch=1,
            prepared_ms=message.now_ms,
            deadline_ms=0,
            stop_loss_client_id=legs[0],
            take_profit_client_id=legs[1],
            closes_client_id=self._rows[message.closes].client_id() if message.closes in self._rows else "",
        )
        self._report(chain, rows[0], ReportKind.SUBMITTED, message.now_ms)
        self.core.submit(venue_order(attempt), message.now_ms)

    def _open(self, entry_order_id: str | None) -> Decimal:
        """Return what is open of an entry."""
        entry = self._rows.get(entry_order_id or "")
        return ZERO if entry is None else entry.filled - entry.closed

    def _change(self, chain: Chain, message: ChangeProtection) -> None:
        entry = self._rows.get(message.order_id)
        if entry is None:
            return
        if self.core.change_protection(entry.client_id(), message.stop_loss, message.take_profit, message.now_ms):
            return
        wanted = Triggers(message.stop_loss, message.take_profit)
        for leg in [row for row in self._rows.values() if row.is_leg and row.entry_order_id == entry.order_id]:
            # One that has fired and still fills is left alone: its fills tell.
            if leg_price(leg, wanted) is not None and leg.client_id() not in self.core.orders:
                self._report(chain, leg, ReportKind.REJECTED, message.now_ms, code="not_resting", message=TOO_LATE)

    def _tell(self, chain: Chain, event: VenueEvent) -> None:
        row = self._by_client_id[event.client_order_id]
        if row.is_leg and event.trigger_price not in (None, row.trigger_price):
            is_stop = row.leg is Leg.STOP_LOSS
            row.protect(Triggers(event.trigger_price if is_stop else None, None if is_stop else event.trigger_price))
        fields: dict[str, object] = {"venue_ms": event.venue_ms, "size": event.size}
        if event.kind is ReportKind.FILL:
            row.filled += event.size
            entry = self._rows.get(row.entry_order_id)
            if row.leg is not Leg.ENTRY and entry is not None:
                entry.closed += event.size
            fields |= {"trade_id": event.trade_id, "price": event.price, "fee": event.fee}
            fields |= {"fee_currency": event.fee_currency, "liquidity": event.liquidity}
        self._report(chain, row, event.kind, event.venue_ms, code=event.code, message=event.message, **fields)

    def _report(self, chain: Chain, row: OrderRow, kind: ReportKind, now_ms: int, **fields: object) -> None:
        partition = partition_of(row.account.encode(), self._partitions)
        headers = [("src", b"execution@orders/%d" % row.partition), ("st", b"1.%d" % self._number)]
        if partition in self._previous:
            headers.append(("pv", b"1.%d" % self._previous[partition]))
        self._previous[partition] = self._number
        self._number += 1
        report = row.report(kind, max(now_ms, self._time_ms), **fields)
        chain.append("account-events", partition, encode(report), headers)
