-- Storage of copying: leaders' events with what they owe, costs of copies, halts, followers, drift, statistics.
-- The rules of 0001_log.sql hold: every sorting key ends in the row's identity and holds nothing a repeat could change.
-- What says "now" is told on change only, so the latest row must outlive its table's days: those are many.

-- Leaders' events as the account role's partitions took them: an event counts once per partition, whoever repeats it.
-- Events of a leader; owed outcomes by event (0004_copying_views.sql). The id is a hash of the leader among others.
-- The ledger holds this table against outcomes: both are kept the same number of days. detected_at 1970: not told.
CREATE TABLE IF NOT EXISTS leader_events_rows
(
    leader LowCardinality(String),
    action LowCardinality(String),
    instrument LowCardinality(String),
    side LowCardinality(String),
    blocked LowCardinality(String),
    event_id String CODEC(ZSTD(1)),
    cause String CODEC(ZSTD(1)),
    price Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    size Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    position Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    event_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    detected_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    log_time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    sequence Int64 CODEC(Delta, ZSTD(1)),
    partition Int64 CODEC(T64, ZSTD(1)),
    active Int64 CODEC(T64, ZSTD(1)),
    kafka_partition UInt16 CODEC(ZSTD(1)),
    kafka_offset Int64 CODEC(Delta, ZSTD(1)),
    recorded_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    INDEX log_time_range log_time TYPE minmax
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(recorded_at)
ORDER BY (leader, event_id, partition)
TTL toDateTime(recorded_at) + INTERVAL 3650 DAY;

-- When and at what price each stage of a copied trade was. Null where there was no trade or a stage was not told, and in
-- rows of before. Beside the outcome, not in a table of its own: the cost is a part of it, with the same identity.
ALTER TABLE outcomes_rows
    ADD COLUMN IF NOT EXISTS error_id String CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS cost_leader_price Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS cost_decided_price Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS cost_fill_price Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS cost_size Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS cost_drift_bps Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS cost_slippage_bps Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS cost_total_bps Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS cost_fee_bps Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS cost_event_at Nullable(DateTime64(3, 'UTC')) CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS cost_detected_at Nullable(DateTime64(3, 'UTC')) CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS cost_decided_at Nullable(DateTime64(3, 'UTC')) CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS cost_submitted_at Nullable(DateTime64(3, 'UTC')) CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS cost_accepted_at Nullable(DateTime64(3, 'UTC')) CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS cost_filled_at Nullable(DateTime64(3, 'UTC')) CODEC(ZSTD(1));

ALTER TABLE orders_rows ADD COLUMN IF NOT EXISTS margin_mode LowCardinality(String);

-- Moved stops and targets, beside their orders, and kept as long.
CREATE TABLE IF NOT EXISTS protection_changes_rows
(
    account LowCardinality(String),
    venue LowCardinality(String),
    instrument LowCardinality(String),
    order_id String CODEC(ZSTD(1)),
    cause String CODEC(ZSTD(1)),
    stop_loss Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    take_profit Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
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

-- Money paid in or out, kept as long as the orders it paid for. A transfer counts once, whatever it is told through.
CREATE TABLE IF NOT EXISTS transfers_rows
(
    transfer_id String CODEC(ZSTD(1)),
    account LowCardinality(String),
    amount Decimal(38, 18) CODEC(ZSTD(1)),
    log_time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    kafka_partition UInt16 CODEC(ZSTD(1)),
    kafka_offset Int64 CODEC(Delta, ZSTD(1)),
    recorded_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(recorded_at)
ORDER BY (account, transfer_id)
TTL toDateTime(recorded_at) + INTERVAL 3650 DAY;

-- Halts of a subscription. An error is told when it opens and when it is resolved, under one error_id: both rows stay,
-- so the stamp is the identity.
CREATE TABLE IF NOT EXISTS trade_errors_rows
(
    account LowCardinality(String),
    subscription LowCardinality(String),
    leader LowCardinality(String),
    instrument LowCardinality(String),
    state LowCardinality(String),
    kind LowCardinality(String),
    error_id String CODEC(ZSTD(1)),
    order_id String CODEC(ZSTD(1)),
    event_id String CODEC(ZSTD(1)),
    cause String CODEC(ZSTD(1)),
    message String CODEC(ZSTD(1)),
    log_time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    open_errors Int64 CODEC(T64, ZSTD(1)),
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
ORDER BY (account, subscription, error_id, writer, stamp, stamp_index)
TTL toDateTime(recorded_at) + INTERVAL 3650 DAY;

-- Subscriptions as they were over time. Settings nest, so they are one JSON text, pressed harder: they repeat much.
CREATE TABLE IF NOT EXISTS followers_rows
(
    account LowCardinality(String),
    subscription LowCardinality(String),
    leader LowCardinality(String),
    status LowCardinality(String),
    `group` LowCardinality(String),
    existing LowCardinality(String),
    log_time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    halted Bool,
    origins Map(LowCardinality(String), String) CODEC(ZSTD(3)),
    settings String CODEC(ZSTD(3)),
    kafka_partition UInt16 CODEC(ZSTD(1)),
    kafka_offset Int64 CODEC(Delta, ZSTD(1)),
    recorded_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    writer LowCardinality(String),
    stamp Int64 CODEC(Delta, ZSTD(1)),
    stamp_index Int64 CODEC(T64, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(recorded_at)
ORDER BY (account, subscription, writer, stamp, stamp_index)
TTL toDateTime(recorded_at) + INTERVAL 3650 DAY;

-- Expected beside actual positions of a subscription over time, as in positions.
CREATE TABLE IF NOT EXISTS drift_rows
(
    account LowCardinality(String),
    subscription LowCardinality(String),
    leader LowCardinality(String),
    instrument LowCardinality(String),
    policy LowCardinality(String),
    expected Decimal(38, 18) CODEC(ZSTD(1)),
    actual Decimal(38, 18) CODEC(ZSTD(1)),
    drift Decimal(38, 18) CODEC(ZSTD(1)),
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

-- How a leader or subscription did over time; the board reads leaders alone, and there are far more subscriptions, so
-- the kind leads the key (it is the first word of the subject). Told on a timer too, so a year holds the latest.
CREATE TABLE IF NOT EXISTS statistics_rows
(
    kind LowCardinality(String),
    leader LowCardinality(String),
    subscription LowCardinality(String),
    account LowCardinality(String),
    subject String CODEC(ZSTD(1)),
    gross_profit Decimal(38, 18) CODEC(ZSTD(1)),
    gross_loss Decimal(38, 18) CODEC(ZSTD(1)),
    fees Decimal(38, 18) CODEC(ZSTD(1)),
    realized_pnl Decimal(38, 18) CODEC(ZSTD(1)),
    capital Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    max_drawdown Decimal(38, 18) CODEC(ZSTD(1)),
    aum Nullable(Decimal(38, 18)) CODEC(ZSTD(1)),
    copiers_realized_pnl Decimal(38, 18) CODEC(ZSTD(1)),
    copiers_fees Decimal(38, 18) CODEC(ZSTD(1)),
    log_time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    trades Int64 CODEC(T64, ZSTD(1)),
    wins Int64 CODEC(T64, ZSTD(1)),
    followers Int64 CODEC(T64, ZSTD(1)),
    rank Nullable(Int64) CODEC(ZSTD(1)),
    copied Int64 CODEC(T64, ZSTD(1)),
    reduced Int64 CODEC(T64, ZSTD(1)),
    skipped Int64 CODEC(T64, ZSTD(1)),
    failed Int64 CODEC(T64, ZSTD(1)),
    total_return Nullable(Float64) CODEC(ZSTD(1)),
    win_rate Nullable(Float64) CODEC(ZSTD(1)),
    profit_factor Nullable(Float64) CODEC(ZSTD(1)),
    sharpe Nullable(Float64) CODEC(ZSTD(1)),
    sortino Nullable(Float64) CODEC(ZSTD(1)),
    max_drawdown_fraction Nullable(Float64) CODEC(ZSTD(1)),
    measured Int64 CODEC(T64, ZSTD(1)),
    success_rate Nullable(Float64) CODEC(ZSTD(1)),
    delay_ms Nullable(Float64) CODEC(ZSTD(1)),
    cost_bps Nullable(Float64) CODEC(ZSTD(1)),
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
ORDER BY (kind, subject, writer, stamp, stamp_index)
TTL toDateTime(recorded_at) + INTERVAL 365 DAY;
