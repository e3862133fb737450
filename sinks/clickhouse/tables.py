"""Which message fills which columns: one `Table` per message type, beside the numbered DDL in `ddl/`.

Entry points: `TABLES` (by message tag), `TOPICS` (tags by topic), `LATENCY`, `VIEWS` (what people query).

1. The names here are columns of `<name>_rows` in `ddl/`; a test compares both, and every field of every message.
2. A row's identity, in the order below, decides what counts as a repeat (docs/analytics.md):
   the message's own id; or the stamp of its writer (`writer`, `stamp`, `stamp_index`: headers `src` and `st`), which a
   restarted writer repeats too; or, on a record without stamp, where it stands in the log.
"""

from typing import Final, NamedTuple


class Table(NamedTuple):
    """Columns of one message type. A column is a field of the same name, unless given as (column, field).

    names: few different values. texts: many. money: Decimal. times: (column, field), milliseconds since the epoch.
    maps: (field, kind of the values). lists: of names. json: what nests, as JSON text with sorted keys.
    stamped: the row also carries its writer's stamp.
    """

    name: str
    names: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    money: tuple[str | tuple[str, str], ...] = ()
    times: tuple[tuple[str, str], ...] = ()
    integers: tuple[str, ...] = ()
    floats: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    number_maps: tuple[str, ...] = ()
    text_maps: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    json: tuple[str, ...] = ()
    stamped: bool = False

    @property
    def storage(self) -> str:
        """Name of the table that is written; people query the view `name`."""
        return f"{self.name}_rows"


LOG_TIME: Final = ("log_time", "now_ms")

TABLES: Final[dict[str, Table]] = {
    "bar": Table(
        "bars",
        names=("instrument", "interval"),
        money=("open", "high", "low", "close", "volume"),
        times=(("start_at", "start_ms"), ("end_at", "end_ms"), LOG_TIME),
        integers=("trades",),
        stamped=True,
    ),
    "signal": Table(
        "signals",
        names=("strategy", "params_hash", "instrument", "interval", "side", "signal_class"),
        texts=("signal_id",),
        money=("price", "bar_open", "bar_high", "bar_low", "bar_close", "bar_volume"),
        times=(
            ("bar_start_at", "bar_start_ms"),
            ("bar_end_at", "bar_end_ms"),
            ("received_at", "received_ms"),
            LOG_TIME,
        ),
        floats=("strength", "buy_score", "sell_score", "atr"),
        number_maps=("indicators",),
        lists=("reasons",),
    ),
    "order": Table(
        "orders",
        names=(
            "account",
            "venue",
            "subscription",
            "leader",
            "instrument",
            "leg",
            "side",
            "kind",
            "margin_mode",
            "protection.trigger",
        ),
        texts=(
            "order_id",
            "cause",
            "event_id",
            "closes",
            "protection.stop_loss_order_id",
            "protection.take_profit_order_id",
        ),
        money=(
            "size",
            "reference_price",
            "leader_price",
            "limit_price",
            "protection.stop_loss",
            "protection.take_profit",
        ),
        times=(("event_at", "event_ms"), ("not_after", "not_after_ms"), LOG_TIME),
        integers=("leverage",),
        flags=("reduce_only",),
    ),
    "cancel_order": Table(
        "cancels",
        names=("account", "venue", "instrument"),
        texts=("order_id", "cause"),
        times=(LOG_TIME,),
        stamped=True,
    ),
    "change_protection": Table(
        "protection_changes",
        names=("account", "venue", "instrument"),
        texts=("order_id", "cause"),
        money=("stop_loss", "take_profit"),
        times=(LOG_TIME,),
        stamped=True,
    ),
    "transfer": Table(
        "transfers",
        names=("account",),
        texts=("transfer_id",),
        money=("amount",),
        times=(LOG_TIME,),
    ),
    "order_status": Table(
        "order_status",
        names=("account", "subscription", "leader", "instrument", "leg", "side", "state", "reason"),
        texts=("order_id", "cause", "venue_order_id", "message"),
        money=("size", "filled", "price", "average_price", "stop_loss", "take_profit"),
        times=(LOG_TIME,),
        text_maps=("numbers",),
        stamped=True,
    ),
    "fill": Table(
        "fills",
        names=("account", "subscription", "leader", "instrument", "leg", "side", "fee_currency", "liquidity"),
        texts=("fill_id", "order_id", "entry_order_id", "trade_id"),
        money=("price", "size", "fee", "realized_pnl", "leader_price"),
        times=(("event_at", "event_ms"), ("venue_at", "venue_ms"), LOG_TIME),
    ),
    "position": Table(
        "positions",
        names=("account", "subscription", "leader", "instrument"),
        money=(
            "size",
            "entry_price",
            "mark_price",
            "unrealized_pnl",
            "realized_pnl",
            "fees",
            "stop_loss",
            "take_profit",
        ),
        times=(LOG_TIME,),
        stamped=True,
    ),
    "account_state": Table(
        "accounts",
        names=("account",),
        money=(
            "balance",
            "equity",
            "unrealized_pnl",
            "realized_pnl",
            "fees",
            "margin_used",
            "exposure",
            "drawdown",
        ),
        times=(LOG_TIME,),
        integers=("open_positions", "open_orders"),
        stamped=True,
    ),
    "outcome": Table(
        "outcomes",
        names=("leader", "account", "subscription", "instrument", "state", "reason"),
        texts=("outcome_id", "event_id", "order_id", "message", "error_id"),
        money=(
            ("cost_leader_price", "cost.leader_price"),
            ("cost_decided_price", "cost.decided_price"),
            ("cost_fill_price", "cost.fill_price"),
            ("cost_size", "cost.size"),
            ("cost_drift_bps", "cost.drift_bps"),
            ("cost_slippage_bps", "cost.slippage_bps"),
            ("cost_total_bps", "cost.total_bps"),
            ("cost_fee_bps", "cost.fee_bps"),
        ),
        times=(
            LOG_TIME,
            ("cost_event_at", "cost.event_ms"),
            ("cost_detected_at", "cost.detected_ms"),
            ("cost_decided_at", "cost.decided_ms"),
            ("cost_submitted_at", "cost.submitted_ms"),
            ("cost_accepted_at", "cost.accepted_ms"),
            ("cost_filled_at", "cost.filled_ms"),
        ),
        integers=("sequence",),
        text_maps=("numbers",),
    ),
    "fan_out": Table(
        "leader_events",
        names=("leader", "action", "instrument", "side", "blocked"),
        texts=("event_id", "cause"),
        money=("price", "size", "position"),
        times=(("event_at", "event_ms"), ("detected_at", "detected_ms"), LOG_TIME),
        integers=("sequence", "partition", "active"),
    ),
    "trade_error": Table(
        "trade_errors",
        names=("account", "subscription", "leader", "instrument", "state", "kind"),
        texts=("error_id", "order_id", "event_id", "cause", "message"),
        times=(LOG_TIME,),
        integers=("open_errors",),
        text_maps=("numbers",),
        stamped=True,
    ),
    "follower_state": Table(
        "followers",
        names=("account", "subscription", "leader", "status", "group", "existing"),
        times=(LOG_TIME,),
        flags=("halted",),
        text_maps=("origins",),
        json=("settings",),
        stamped=True,
    ),
    "drift": Table(
        "drift",
        names=("account", "subscription", "leader", "instrument", "policy"),
        money=("expected", "actual", "drift"),
        times=(LOG_TIME,),
        stamped=True,
    ),
    "statistics": Table(
        "statistics",
        names=("kind", "leader", "subscription", "account"),
        texts=("subject",),
        money=(
            "gross_profit",
            "gross_loss",
            "fees",
            "realized_pnl",
            "capital",
            "max_drawdown",
            "aum",
            "copiers_realized_pnl",
            "copiers_fees",
        ),
        times=(LOG_TIME,),
        integers=("trades", "wins", "followers", "rank", "copied", "reduced", "skipped", "failed", "measured"),
        floats=(
            "total_return",
            "win_rate",
            "profit_factor",
            "sharpe",
            "sortino",
            "max_drawdown_fraction",
            "success_rate",
            "delay_ms",
            "cost_bps",
        ),
        stamped=True,
    ),
    "alert": Table(
        "alerts",
        names=("kind", "severity", "source"),
        texts=("text",),
        times=(LOG_TIME,),
        text_maps=("numbers",),
        stamped=True,
    ),
    "parked": Table(
        "parked",
        texts=("source", "reason", "value", "sha256"),
        times=(LOG_TIME,),
        integers=("size",),
        stamped=True,
    ),
}

LATENCY: Final = "pipeline_latency_rows"
POSITIONS: Final = "sink_positions"

TOPICS: Final[dict[str, tuple[str, ...]]] = {
    "bars": ("bar",),
    "signals": ("signal",),
    "orders": ("order", "cancel_order", "change_protection", "transfer"),
    "order-status": ("order_status", "fill", "position", "account_state"),
    "outcomes": ("outcome", "fan_out", "trade_error", "follower_state", "drift"),
    "statistics": ("statistics",),
    "alerts": ("alert",),
    "parked": ("parked",),
}

VIEWS: Final = (*(table.name for table in TABLES.values()), "refusals", "pipeline_latency")
"""What people query, each row once; the aggregates stand beside them (docs/analytics.md)."""
