"""What a strategy says."""

from decimal import Decimal

from schemas.base import Message
from schemas.reasons import Side, SignalClass


class Signal(Message, frozen=True, kw_only=True, tag="signal"):
    """A scored view on one instrument at one bar.

    `signal_id` = derive_id("signal", strategy, params_hash, instrument, interval, bar_start_ms, bar_index).
    `strength` = larger score / sum of both. `indicators` holds every indicator value by name.
    `received_ms` is the log time at which the input that caused it was received.
    """

    signal_id: str
    strategy: str
    params_hash: str
    instrument: str
    interval: str
    side: Side
    signal_class: SignalClass
    strength: float
    buy_score: float
    sell_score: float
    reasons: tuple[str, ...]
    indicators: dict[str, float]
    price: Decimal
    bar_start_ms: int
    bar_end_ms: int
    bar_open: Decimal
    bar_high: Decimal
    bar_low: Decimal
    bar_close: Decimal
    bar_volume: Decimal
    received_ms: int
    atr: float | None = None
