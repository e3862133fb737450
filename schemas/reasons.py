"""Closed enums: why we refused, what became of a leader event, states of orders."""

from enum import StrEnum


class RefusalReason(StrEnum):
    """Our own refusals (a venue's refusal is a rejection, see `OrderState.REJECTED`)."""

    MAX_POSITION = "max_position"
    TOTAL_EXPOSURE = "total_exposure"
    OPEN_ORDERS = "open_orders"
    DAILY_LOSS = "daily_loss"
    DRAWDOWN = "drawdown"
    STALE_SIGNAL = "stale_signal"
    PRICE_DRIFT = "price_drift"
    DUPLICATE = "duplicate"
    COOL_DOWN = "cool_down"
    KILL_SWITCH = "kill_switch"
    POSITION_OPEN = "position_open"
    ORDER_IN_FLIGHT = "order_in_flight"
    OPPOSITE_IGNORED = "opposite_ignored"
    NOTHING_TO_CLOSE = "nothing_to_close"
    BELOW_MINIMUM = "below_minimum"
    INSUFFICIENT_MARGIN = "insufficient_margin"
    NO_EQUITY = "no_equity"
    NO_MARKET = "no_market"
    UNKNOWN_INSTRUMENT = "unknown_instrument"
    UNKNOWN_ACCOUNT = "unknown_account"
    NOT_TRADABLE = "not_tradable"
    PAUSED = "paused"
    EXPIRED = "expired"
    # copying (processors/copying)
    LEADER_PAUSED = "leader_paused"
    LEADER_CLOSED = "leader_closed"
    BREAKER_OPEN = "breaker_open"
    RATE_LIMITED = "rate_limited"
    SUSPICIOUS = "suspicious"
    HALTED = "halted"
    STOPPED = "stopped"
    NOTIFY_ONLY = "notify_only"
    SIGNAL_ONLY = "signal_only"
    NOT_LISTED = "not_listed"
    CONDITION = "condition"
    SLIPPAGE = "slippage"
    MAX_ORDER = "max_order"
    MAX_LEADER = "max_leader"
    DAY_AMOUNT = "day_amount"
    DAY_ORDERS = "day_orders"
    DAY_LOSS = "day_loss"
    OPEN_TRADES = "open_trades"
    NO_LEADER_SIZE = "no_leader_size"
    NO_LEADER_POSITION = "no_leader_position"
    NO_LEADER_EQUITY = "no_leader_equity"
    ACCUMULATED = "accumulated"
    IN_LINE = "in_line"
    SUPERSEDED = "superseded"
    CYCLE = "cycle"
    NO_PROTECTION_CHANGE = "no_protection_change"
    BAD_SETTINGS = "bad_settings"


class LeaderAction(StrEnum):
    """What a leader did. The last four change the leader, not a position (see LeaderStateChanged)."""

    ENTRY = "entry"
    INCREASE = "increase"
    REDUCE = "reduce"
    EXIT = "exit"
    PROTECTION = "protection"
    PAUSED = "paused"
    RESUMED = "resumed"
    CLOSED = "closed"
    SETTINGS = "settings"


class OrderState(StrEnum):
    """States of an order as told on `order-status`; the table of moves is in processors/account/lifecycle.py."""

    REFUSED = "refused"
    SUBMITTED = "submitted"
    ACCEPTED = "accepted"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


class ReportKind(StrEnum):
    """What an executor tells the account about one order or leg."""

    SUBMITTED = "submitted"
    ACCEPTED = "accepted"
    FILL = "fill"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


class OutcomeState(StrEnum):
    """What one leader event became for one subscription; `pending` is the only one that is not terminal."""

    PENDING = "pending"
    COPIED = "copied"
    REDUCED = "reduced"
    SKIPPED = "skipped"
    FAILED = "failed"


class Side(StrEnum):
    """Side of a trade, signal or order."""

    BUY = "buy"
    SELL = "sell"

    @property
    def opposite(self) -> "Side":
        """The other side."""
        return Side.SELL if self is Side.BUY else Side.BUY


class Leg(StrEnum):
    """Which part of a bracket an order or fill is."""

    ENTRY = "entry"
    STOP_LOSS = "stop_loss"
    TAKE_PROFIT = "take_profit"
    EXIT = "exit"


class SignalClass(StrEnum):
    """Strength classes; `weak` ones are published (strength above the publishing threshold) but never traded."""

    STRONG_BUY = "StrongBuy"
    BUY = "Buy"
    WEAK_BUY = "WeakBuy"
    WEAK_SELL = "WeakSell"
    SELL = "Sell"
    STRONG_SELL = "StrongSell"
