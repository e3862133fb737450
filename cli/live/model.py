"""What happened in this run: records in, numbers out. Pure; the clock is an argument.

Entry points: `RunModel.apply` (one decoded record), `.observe` (ends of all topics), `.set_lag`, `.summary`.

1. A record whose stamp is not above the watermark of its source is a repeat (a worker was restarted) and changes no
   count: the same rule as every inbox has.
2. Counts are of this run: nothing before the first observation of the topics' ends counts.
3. Memory is bounded: lists keep the latest rows only, latencies are histograms.
"""

import collections
import dataclasses
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from cli.live.copies import ENDED, Copies
from cli.live.histogram import Histogram
from cli.live.text import amount
from schemas.orders import Order
from schemas.reasons import Leg, OrderState, Side
from schemas.signals import Signal
from schemas.status import AccountState, Fill, OrderStatus, PositionChanged
from schemas.system import Alert, Parked

FOLLOWED = ("signals", "orders", "order-status", "outcomes", "control", "alerts", "parked")
FROM_THE_START = ("control",)  # compacted, and holds what stands since before the run
STAGES = ("signal", "order", "fill")
KEPT_ROWS = 200
RATE_WINDOW_S = 5.0


@dataclasses.dataclass(slots=True)
class OrderRow:
    """An order as shown: the order, its state, what its legs brought."""

    order: Order
    state: str = "sent"
    filled: Decimal = Decimal(0)
    average_price: Decimal | None = None
    closed_by: str = ""
    realized_pnl: Decimal = Decimal(0)

    def take(self, status: OrderStatus) -> None:
        """Take in what `order-status` says of this order."""
        self.state = status.state.value.replace("_", " ")
        self.filled = status.filled
        self.average_price = status.average_price

    def close(self, fill: Fill) -> None:
        """Take in a fill of one of this entry's closing legs."""
        self.closed_by = fill.leg.value.replace("_", " ")
        self.realized_pnl += fill.realized_pnl


@dataclasses.dataclass(frozen=True, slots=True)
class Summary:
    """The run in numbers; `as_json` has exactly the keys promised in docs/command-line.md."""

    seconds: float
    topics: dict[str, int]
    signals: dict[str, int]
    orders: int
    fills: dict[str, int]
    refused: dict[str, int]
    outcomes: dict[str, int]
    ledger: dict[str, int]
    halts: int
    parked: int
    realized_pnl: Decimal
    clickhouse: dict[str, int]
    latency_ms: dict[str, dict[str, float]]

    def as_json(self) -> dict[str, Any]:
        """Return plain values; money as text."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {**fields, "seconds": round(self.seconds, 1), "realized_pnl": amount(self.realized_pnl)}


class RunModel:
    """Everything the live view and the summary tell."""

    def __init__(self) -> None:
        self.signals: dict[str, int] = {side.value: 0 for side in Side}
        self.latest_signals: collections.deque[Signal] = collections.deque(maxlen=KEPT_ROWS)
        self.order_count = 0
        self.orders: collections.OrderedDict[str, OrderRow] = collections.OrderedDict()
        self.fills: dict[str, int] = {leg.value: 0 for leg in Leg}
        self.refused: collections.Counter[str] = collections.Counter()
        self.latest_refusal: OrderStatus | None = None
        self.copies = Copies()
        self.positions: dict[tuple[str, str, str], PositionChanged] = {}
        self.accounts: dict[str, AccountState] = {}
        self.realized_pnl = Decimal(0)
        self.fees = Decimal(0)
        self.alerts: collections.deque[Alert] = collections.deque(maxlen=20)
        self.parked = 0
        self.latest_parked: Parked | None = None
        self.unreadable = 0
        self.repeats = 0
        self.latency: dict[str, Histogram] = {stage: Histogram() for stage in STAGES}
        self.log_ms: int | None = None
        self.lag: dict[str, int] = {}
        self.first_ends: dict[str, int] = {}
        self._observations: collections.deque[tuple[float, dict[str, int]]] = collections.deque()
        self._watermarks: dict[tuple[str, int, str], tuple[int, int]] = {}
        # Topics are read side by side, so a status may be seen before its order.
        self._early: collections.OrderedDict[str, OrderStatus] = collections.OrderedDict()
        self._early_closings: collections.OrderedDict[str, list[Fill]] = collections.OrderedDict()

    def apply(self, topic: str, partition: int, timestamp_ms: int, headers: Mapping[str, str], message: Any) -> None:
        """Take one decoded record in; `timestamp_ms` is Kafka's (wall time), `headers` are the stamps."""
        now_ms = getattr(message, "now_ms", None)
        if now_ms is not None and (self.log_ms is None or now_ms > self.log_ms):
            self.log_ms = now_ms
        if self._is_repeat(topic, partition, headers):
            self.repeats += 1
            return
        self.copies.take(message)
        handler = _HANDLERS.get(type(message))
        if handler is None:
            return
        handler(self, message)
        stage = _stage_of(message)
        if stage is not None and "t0" in headers:
            self._measure(stage, timestamp_ms, headers["t0"])

    def apply_unreadable(self) -> None:
        """Count a record that this build cannot decode."""
        self.unreadable += 1

    def observe(self, at_s: float, ends: Mapping[str, int]) -> None:
        """Take in the summed end offsets of all topics at monotonic time `at_s`."""
        for topic, end in ends.items():
            self.first_ends.setdefault(topic, end)
        self._observations.append((at_s, dict(ends)))
        while len(self._observations) > 2 and self._observations[1][0] <= at_s - RATE_WINDOW_S:
            self._observations.popleft()

    def set_lag(self, lag: Mapping[str, int]) -> None:
        """Take in how many records each role has yet to take."""
        self.lag = dict(lag)

    def totals(self) -> dict[str, int]:
        """Return records written in this run per topic."""
        if not self._observations:
            return {}
        ends = self._observations[-1][1]
        return {topic: end - self.first_ends[topic] for topic, end in ends.items()}

    def rates(self) -> dict[str, float]:
        """Return records per second per topic over the last seconds."""
        if len(self._observations) < 2:
            return {}
        (first_s, first), (last_s, last) = self._observations[0], self._observations[-1]
        if last_s <= first_s:
            return {}
        return {topic: (end - first.get(topic, end)) / (last_s - first_s) for topic, end in last.items()}

    def open_positions(self) -> list[PositionChanged]:
        """Return positions that are not flat, by subscription and instrument."""
        return [self.positions[key] for key in sorted(self.positions)]

    def latest_orders(self, count: int) -> list[OrderRow]:
        """Return the latest orders, newest first."""
        rows = sorted(self.orders.values(), key=lambda row: row.order.now_ms)
        return rows[::-1][:count]

    def latest(self, count: int) -> list[Signal]:
        """Return the latest signals, newest first, whatever partition they came by."""
        return sorted(self.latest_signals, key=lambda signal: signal.now_ms)[::-1][:count]

    def equity(self) -> Decimal | None:
        """Return the sum of the accounts' equity; None before the first account told."""
        if not self.accounts:
            return None
        return sum((state.equity for state in self.accounts.values()), Decimal(0))

    def unrealized_pnl(self) -> Decimal:
        """Return the sum over open positions."""
        return sum((position.unrealized_pnl for position in self.positions.values()), Decimal(0))

    def latency_ms(self) -> dict[str, dict[str, float]]:
        """Return p50 and p99 per stage that has values."""
        found = {}
        for stage, histogram in self.latency.items():
            middle, tail = histogram.percentile(0.5), histogram.percentile(0.99)
            if middle is not None and tail is not None:
                found[stage] = {"p50": round(middle, 2), "p99": round(tail, 2)}
        return found

    def summary(self, seconds: float, clickhouse: Mapping[str, int]) -> Summary:
        """Return the run in numbers."""
        return Summary(
            seconds=seconds,
            topics=self.totals(),
            signals=dict(self.signals),
            orders=self.order_count,
            fills=dict(self.fills),
            refused=dict(sorted(self.refused.items())),
            outcomes={state: self.copies.outcomes[state] for state in ENDED} | {"pending": self.copies.pending},
            ledger=dataclasses.asdict(self.copies.ledger()),
            halts=len(self.copies.errors),
            parked=self.parked,
            realized_pnl=self.realized_pnl,
            clickhouse=dict(clickhouse),
            latency_ms=self.latency_ms(),
        )

    def _is_repeat(self, topic: str, partition: int, headers: Mapping[str, str]) -> bool:
        source, stamp = headers.get("src"), _stamp(headers.get("st"))
        if source is None or stamp is None:
            return False
        key = (topic, partition, source)
        seen = self._watermarks.get(key)
        if seen is not None and stamp <= seen:
            return True
        self._watermarks[key] = stamp
        return False

    def _measure(self, stage: str, timestamp_ms: int, origin: str) -> None:
        if not origin.isdigit():
            return
        # Kafka's timestamp is cut to whole milliseconds; half of one on top makes the mean right.
        self.latency[stage].add(max(0.0, timestamp_ms + 0.5 - int(origin) / 1000))

    def _signal(self, signal: Signal) -> None:
        self.signals[signal.side.value] += 1
        self.latest_signals.append(signal)

    def _order(self, order: Order) -> None:
        self.order_count += 1
        row = self.orders[order.order_id] = OrderRow(order)
        early = self._early.pop(order.order_id, None)
        if early is not None:
            row.take(early)
        for fill in self._early_closings.pop(order.order_id, ()):
            row.close(fill)
        _trim(self.orders)

    def _order_status(self, status: OrderStatus) -> None:
        if status.state is OrderState.REFUSED:
            reason = status.reason.value if status.reason is not None else "no reason given"
            self.refused[reason] += 1
            self.latest_refusal = status
            return
        row = self.orders.get(status.order_id)
        if row is not None:
            row.take(status)
        elif status.leg in (Leg.ENTRY, Leg.EXIT):
            self._early[status.order_id] = status
            _trim(self._early)

    def _fill(self, fill: Fill) -> None:
        self.fills[fill.leg.value] += 1
        self.realized_pnl += fill.realized_pnl
        self.fees += fill.fee
        if fill.leg is Leg.ENTRY:
            return
        row = self.orders.get(fill.entry_order_id)
        if row is not None:
            row.close(fill)
        else:
            self._early_closings.setdefault(fill.entry_order_id, []).append(fill)
            _trim(self._early_closings)

    def _position(self, position: PositionChanged) -> None:
        key = (position.account, position.subscription, position.instrument)
        if position.size == 0:
            self.positions.pop(key, None)
        else:
            self.positions[key] = position

    def _account(self, state: AccountState) -> None:
        self.accounts[state.account] = state

    def _alert(self, alert: Alert) -> None:
        self.alerts.append(alert)

    def _parked(self, record: Parked) -> None:
        self.parked += 1
        self.latest_parked = record


_HANDLERS: dict[type, Any] = {
    Signal: RunModel._signal,
    Order: RunModel._order,
    OrderStatus: RunModel._order_status,
    Fill: RunModel._fill,
    PositionChanged: RunModel._position,
    AccountState: RunModel._account,
    Alert: RunModel._alert,
    Parked: RunModel._parked,
}


def _trim(rows: "collections.OrderedDict[str, Any]") -> None:
    while len(rows) > KEPT_ROWS:
        rows.popitem(last=False)


def _stage_of(message: Any) -> str | None:
    if isinstance(message, Signal):
        return "signal"
    if isinstance(message, Order):
        return "order"
    return "fill" if isinstance(message, Fill) else None


def _stamp(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    high, dot, low = text.partition(".")
    return (int(high), int(low)) if dot and high.isdigit() and low.isdigit() else None
