-- Storage of what the log said. Rows are written to `<name>_rows` and read through the view `<name>`
-- (0002_views.sql), which shows each row once: ReplacingMergeTree keeps one row per sorting key, FINAL in the view
-- does so before a merge has. So every sorting key ends in the row's identity, and holds nothing that a repeat of the
-- record could change: columns before the identity are parts of what the id is a hash of, or the key of the record.
--
-- recorded_at  wall time at which Kafka took the record: retention only. log_time: the time logic knows.
-- Statements can run twice: a crash between one and its entry in schema_migrations repeats the file.
-- The days in TTL are only where they start: sinks/clickhouse/migrate.py sets them from the settings.

-- Charts: bars of one instrument and interval over a range of time.
CREATE TABLE IF NOT EXISTS bars_rows
(
    instrument LowCardinality(String),
    interval LowCardinality(String),
    start_at DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    end_at DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    open Decimal(38, 18) CODEC(ZSTD(1)),
    high Decimal(38, 18) CODEC(ZSTD(1)),
    low Decimal(38, 18) CODEC(ZSTD(1)),
    close Decimal(38, 18) CODEC(ZSTD(1)),
    volume Decimal(38, 18) CODEC(ZSTD(1)),
    trades Int64 CODEC(T64, ZSTD(1)),
    log_time DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    kafka_partition UInt16 CODEC(ZSTD(1)),
    kafka_offset Int64 CODEC(Delta, ZSTD(1)),
    recorded_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    -- Empty where start_at tells bars apart; several bars of ticks may start in the same millisecond.
    writer LowCardinality(String),
    stamp Int64 CODEC(Delta, ZSTD(1)),
    stamp_index Int64 CODEC(T64, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(recorded_at)
ORDER BY (instrument, interval, start_at, writer, stamp, stamp_index)
TTL toDateTime(recorded_at) + INTERVAL 90 DAY;

-- Signals of a strategy and instrument over time; signals by side; the latest.
CREATE TABLE IF NOT EXISTS signals_rows
(
    strategy LowCardinality(String),
    params_hash LowCardinality(String),
    instrument LowCardinality(String),
    interval LowCardinality(String),
    side LowCardinality(String),
    signal_class LowCardinality(String),
    signal_id String CODEC(ZSTD(1)),
    price Decimal(38, 18) CODEC(ZSTD(1)),
    bar_open Decimal(38, 18) CODEC(ZSTD(1)),
    bar_high Decimal(38, 18) CODEC(ZSTD(1)),
    bar_low Decimal(38, 18) CODEC(ZSTD(1)),
    bar_close Decimal(38, 18) CODEC(ZSTD(1)),
    bar_volume Decimal(38, 18) CODEC(ZSTD(1)),
    bar_start_at DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    bar_end_at DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    received_at DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    log_time DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    strength Float64 CODEC(Gorilla, ZSTD(1)),
    buy_score Float64 CODEC(Gorilla, ZSTD(1)),
    sell_score Float64 CODEC(Gorilla, ZSTD(1)),
    atr Nullable(Float64) CODEC(ZSTD(1)),
    indicators Map(LowCardinality(String), Float64) CODEC(ZSTD(1)),
    reasons Array(LowCardinality(String)) CODEC(ZSTD(1)),
    kafka_partition UInt16 CODEC(ZSTD(1)),
    kafka_offset Int64 CODEC(Delta, ZSTD(1)),
    recorded_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(recorded_at)
ORDER BY (strategy, instrument, interval, bar_start_at, signal_id)
TTL toDateTime(recorded_at) + INTERVAL 365 DAY;

-- Orders of an account or subscription; one order by its id.
CREATE TABLE IF NOT EXISTS orders_rows
(
    account LowCardinality(String),
    venue LowCardinality(String),
    subscription LowCardinality(String),
    leader LowCardinality(String),
    instrument LowCardinality(String),
    leg LowCardinality(String),
    side LowCardinality(String),
    kind LowCardinality(String),
    trigger LowCardinality(String),
    order_id String CODEC(ZSTD(1)),
    cause String CODEC(ZSTD(1)),
    event_id String CODEC(ZSTD(1)),
    closes String CODEC(ZSTD(1)),
    stop_loss_order_id String CODEC(ZSTD(1)),
    take_profit_order_id String CODEC(ZSTD(1)),
    size Decimal(38, 18) CODEC(ZSTD(1)),
    reference_price Decimal(38, 18) CODEC(ZSTD(1)),
    leader_price Decimal(38, 18) CODEC(ZSTD(1)),
    limit_price Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    stop_loss Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    take_profit Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    event_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    not_after DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    log_time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    leverage Int64 CODEC(T64, ZSTD(1)),
    reduce_only Bool,
    kafka_partition UInt16 CODEC(ZSTD(1)),
    kafka_offset Int64 CODEC(Delta, ZSTD(1)),
    recorded_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    INDEX log_time_range log_time TYPE minmax
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(recorded_at)
ORDER BY (account, subscription, instrument, order_id)
TTL toDateTime(recorded_at) + INTERVAL 3650 DAY;

-- Requests to cancel, beside their orders.
CREATE TABLE IF NOT EXISTS cancels_rows
(
    account LowCardinality(String),
    venue LowCardinality(String),
    instrument LowCardinality(String),
    order_id String CODEC(ZSTD(1)),
    cause String CODEC(ZSTD(1)),
    log_time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    kafka_partition UInt16 CODEC(ZSTD(1)),
    kafka_offset Int64 CODEC(Delta, ZSTD(1)),
    recorded_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    writer LowCardinality(String),
    stamp Int64 CODEC(Delta, ZSTD(1)),
    stamp_index Int64 CODEC(T64, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(recorded_at)
ORDER BY (account, instrument, order_id, writer, stamp, stamp_index)
TTL toDateTime(recorded_at) + INTERVAL 3650 DAY;

-- The life of one order, step by step; refusals by reason (a scan of few columns).
CREATE TABLE IF NOT EXISTS order_status_rows
(
    account LowCardinality(String),
    subscription LowCardinality(String),
    leader LowCardinality(String),
    instrument LowCardinality(String),
    leg LowCardinality(String),
    side LowCardinality(String),
    state LowCardinality(String),
    reason LowCardinality(String),
    order_id String CODEC(ZSTD(1)),
    cause String CODEC(ZSTD(1)),
    venue_order_id String CODEC(ZSTD(1)),
    message String CODEC(ZSTD(1)),
    size Decimal(38, 18) CODEC(ZSTD(1)),
    filled Decimal(38, 18) CODEC(ZSTD(1)),
    price Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    average_price Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    stop_loss Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    take_profit Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    log_time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    numbers Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    kafka_partition UInt16 CODEC(ZSTD(1)),
    kafka_offset Int64 CODEC(Delta, ZSTD(1)),
    recorded_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    writer LowCardinality(String),
    stamp Int64 CODEC(Delta, ZSTD(1)),
    stamp_index Int64 CODEC(T64, ZSTD(1)),
    INDEX log_time_range log_time TYPE minmax
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(recorded_at)
ORDER BY (account, subscription, order_id, writer, stamp, stamp_index)
TTL toDateTime(recorded_at) + INTERVAL 3650 DAY;

-- P&L of an account, by day or by leader; fills of one instrument.
CREATE TABLE IF NOT EXISTS fills_rows
(
    account LowCardinality(String),
    subscription LowCardinality(String),
    leader LowCardinality(String),
    instrument LowCardinality(String),
    leg LowCardinality(String),
    side LowCardinality(String),
    fee_currency LowCardinality(String),
    liquidity LowCardinality(String),
    fill_id String CODEC(ZSTD(1)),
    order_id String CODEC(ZSTD(1)),
    entry_order_id String CODEC(ZSTD(1)),
    trade_id String CODEC(ZSTD(1)),
    price Decimal(38, 18) CODEC(ZSTD(1)),
    size Decimal(38, 18) CODEC(ZSTD(1)),
    fee Decimal(38, 18) CODEC(ZSTD(1)),
    realized_pnl Decimal(38, 18) CODEC(ZSTD(1)),
    leader_price Decimal(38, 18) CODEC(ZSTD(1)),
    event_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    venue_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    log_time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    kafka_partition UInt16 CODEC(ZSTD(1)),
    kafka_offset Int64 CODEC(Delta, ZSTD(1)),
    recorded_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    INDEX log_time_range log_time TYPE minmax
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(recorded_at)
ORDER BY (account, instrument, fill_id)
TTL toDateTime(recorded_at) + INTERVAL 3650 DAY;

-- A subscription's position over time, in the order of its account (stamps rise with it).
CREATE TABLE IF NOT EXISTS positions_rows
(
    account LowCardinality(String),
    subscription LowCardinality(String),
    leader LowCardinality(String),
    instrument LowCardinality(String),
    size Decimal(38, 18) CODEC(ZSTD(1)),
    entry_price Decimal(38, 18) CODEC(ZSTD(1)),
    mark_price Decimal(38, 18) CODEC(ZSTD(1)),
    unrealized_pnl Decimal(38, 18) CODEC(ZSTD(1)),
    realized_pnl Decimal(38, 18) CODEC(ZSTD(1)),
    fees Decimal(38, 18) CODEC(ZSTD(1)),
    stop_loss Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    take_profit Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    log_time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    kafka_partition UInt16 CODEC(ZSTD(1)),
    kafka_offset Int64 CODEC(Delta, ZSTD(1)),
    recorded_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    writer LowCardinality(String),
    stamp Int64 CODEC(Delta, ZSTD(1)),
    stamp_index Int64 CODEC(T64, ZSTD(1)),
    INDEX log_time_range log_time TYPE minmax
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(recorded_at)
ORDER BY (account, subscription, instrument, writer, stamp, stamp_index)
TTL toDateTime(recorded_at) + INTERVAL 365 DAY;

-- Equity of an account over time.
CREATE TABLE IF NOT EXISTS accounts_rows
(
    account LowCardinality(String),
    balance Decimal(38, 18) CODEC(ZSTD(1)),
    equity Decimal(38, 18) CODEC(ZSTD(1)),
    unrealized_pnl Decimal(38, 18) CODEC(ZSTD(1)),
    realized_pnl Decimal(38, 18) CODEC(ZSTD(1)),
    fees Decimal(38, 18) CODEC(ZSTD(1)),
    margin_used Decimal(38, 18) CODEC(ZSTD(1)),
    exposure Decimal(38, 18) CODEC(ZSTD(1)),
    drawdown Decimal(38, 18) CODEC(ZSTD(1)),
    log_time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    open_positions Int64 CODEC(T64, ZSTD(1)),
    open_orders Int64 CODEC(T64, ZSTD(1)),
    kafka_partition UInt16 CODEC(ZSTD(1)),
    kafka_offset Int64 CODEC(Delta, ZSTD(1)),
    recorded_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    writer LowCardinality(String),
    stamp Int64 CODEC(Delta, ZSTD(1)),
    stamp_index Int64 CODEC(T64, ZSTD(1)),
    INDEX log_time_range log_time TYPE minmax
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(recorded_at)
ORDER BY (account, writer, stamp, stamp_index)
TTL toDateTime(recorded_at) + INTERVAL 365 DAY;

-- What became of leaders' events, by subscription; copies skipped by reason.
CREATE TABLE IF NOT EXISTS outcomes_rows
(
    leader LowCardinality(String),
    account LowCardinality(String),
    subscription LowCardinality(String),
    instrument LowCardinality(String),
    state LowCardinality(String),
    reason LowCardinality(String),
    outcome_id String CODEC(ZSTD(1)),
    event_id String CODEC(ZSTD(1)),
    order_id String CODEC(ZSTD(1)),
    message String CODEC(ZSTD(1)),
    log_time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    sequence Int64 CODEC(Delta, ZSTD(1)),
    numbers Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    kafka_partition UInt16 CODEC(ZSTD(1)),
    kafka_offset Int64 CODEC(Delta, ZSTD(1)),
    recorded_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    INDEX log_time_range log_time TYPE minmax
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(recorded_at)
ORDER BY (account, subscription, outcome_id)
TTL toDateTime(recorded_at) + INTERVAL 3650 DAY;

-- Alerts of a kind.
CREATE TABLE IF NOT EXISTS alerts_rows
(
    kind LowCardinality(String),
    severity LowCardinality(String),
    source LowCardinality(String),
    text String CODEC(ZSTD(1)),
    log_time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    numbers Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    kafka_partition UInt16 CODEC(ZSTD(1)),
    kafka_offset Int64 CODEC(Delta, ZSTD(1)),
    recorded_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    writer LowCardinality(String),
    stamp Int64 CODEC(Delta, ZSTD(1)),
    stamp_index Int64 CODEC(T64, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(recorded_at)
ORDER BY (kind, writer, stamp, stamp_index)
TTL toDateTime(recorded_at) + INTERVAL 90 DAY;

-- Parked records of a writer; their bytes are large, so they are pressed harder.
CREATE TABLE IF NOT EXISTS parked_rows
(
    source String CODEC(ZSTD(1)),
    reason String CODEC(ZSTD(1)),
    value String CODEC(ZSTD(3)),
    sha256 String CODEC(ZSTD(1)),
    log_time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    size Int64 CODEC(T64, ZSTD(1)),
    kafka_partition UInt16 CODEC(ZSTD(1)),
    kafka_offset Int64 CODEC(Delta, ZSTD(1)),
    recorded_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    writer LowCardinality(String),
    stamp Int64 CODEC(Delta, ZSTD(1)),
    stamp_index Int64 CODEC(T64, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(recorded_at)
ORDER BY (writer, stamp, stamp_index)
TTL toDateTime(recorded_at) + INTERVAL 90 DAY;

-- Quantiles by stage over the last minutes: the log's order is nearly that of time, so the minmax index on
-- recorded_at prunes well. Of a record and its repeat the first is kept: it has the highest precedence (-offset).
CREATE TABLE IF NOT EXISTS pipeline_latency_rows
(
    stage LowCardinality(String),
    writer LowCardinality(String),
    stamp Int64 CODEC(Delta, ZSTD(1)),
    stamp_index Int64 CODEC(T64, ZSTD(1)),
    recorded_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    latency_ms Float32 CODEC(Gorilla, ZSTD(1)),
    precedence Int64 CODEC(Delta, ZSTD(1)),
    INDEX recorded_at_range recorded_at TYPE minmax
)
ENGINE = ReplacingMergeTree(precedence)
PARTITION BY toYYYYMM(recorded_at)
ORDER BY (stage, writer, stamp, stamp_index)
TTL toDateTime(recorded_at) + INTERVAL 14 DAY;

-- How far each partition of the log has been written, stored after its rows: a crash between repeats rows (shown
-- once), and loses none. The highest counts, so a late writer cannot set it back.
CREATE TABLE IF NOT EXISTS sink_positions
(
    topic LowCardinality(String),
    kafka_partition UInt16,
    next_offset Int64
)
ENGINE = ReplacingMergeTree(next_offset)
ORDER BY (topic, kafka_partition);
