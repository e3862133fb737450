-- What people query of copying. The first part shows each stored row once (FINAL); orders and outcomes are made anew,
-- since a view knows the columns of its day.

CREATE OR REPLACE VIEW orders AS SELECT * FROM orders_rows FINAL;
CREATE OR REPLACE VIEW outcomes AS SELECT * FROM outcomes_rows FINAL;
CREATE OR REPLACE VIEW leader_events AS SELECT * FROM leader_events_rows FINAL;
CREATE OR REPLACE VIEW protection_changes AS SELECT * FROM protection_changes_rows FINAL;
CREATE OR REPLACE VIEW transfers AS SELECT * FROM transfers_rows FINAL;
CREATE OR REPLACE VIEW trade_errors AS SELECT * FROM trade_errors_rows FINAL;
CREATE OR REPLACE VIEW followers AS SELECT * FROM followers_rows FINAL;
CREATE OR REPLACE VIEW drift AS SELECT * FROM drift_rows FINAL;
CREATE OR REPLACE VIEW statistics AS SELECT * FROM statistics_rows FINAL;

-- Each leader's event: outcomes owed (subscriptions active in each partition) beside outcomes told. An order that
-- names the event is its pending outcome; a pending outcome and its terminal one are one. missing: owed - told, below zero where more was told than owed; doubled: terminal outcomes
-- past the first of a subscription, of another id (a repeat has the same).
-- Outcomes of events that no partition took stand here with nothing owed, save those before the first event of the
-- ledger of their leader: a build that told no fan-outs wrote them, or their fan-outs' days are over.
CREATE OR REPLACE VIEW outcome_ledger AS
SELECT
    leader,
    event_id,
    sequence,
    action,
    instrument,
    event_at,
    owed,
    told,
    terminal,
    pending,
    copied,
    reduced,
    skipped,
    failed,
    owed - told AS missing,
    doubled
FROM
(
    SELECT
        leader,
        event_id,
        max(entry.sequence) AS sequence,
        max(entry.action) AS action,
        max(entry.instrument) AS instrument,
        max(entry.event_at) AS event_at,
        max(is_fan_out) AS is_taken,
        sum(active) AS owed,
        toInt64(uniqExactIf(subscription, is_fan_out = 0)) AS told,
        toInt64(uniqExactIf(subscription, is_fan_out = 0 AND state != 'pending')) AS terminal,
        told - terminal AS pending,
        uniqExactIf(subscription, state = 'copied') AS copied,
        uniqExactIf(subscription, state = 'reduced') AS reduced,
        uniqExactIf(subscription, state = 'skipped') AS skipped,
        uniqExactIf(subscription, state = 'failed') AS failed,
        countIf(is_fan_out = 0 AND state != 'pending') - terminal AS doubled
    FROM
    (
        SELECT leader, event_id, sequence, action, instrument, event_at, 1 AS is_fan_out, active, '' AS subscription, '' AS state
        FROM leader_events
        UNION ALL
        SELECT leader, event_id, sequence, '', instrument, toDateTime64(0, 3, 'UTC'), 0, 0, subscription, state
        FROM outcomes
        UNION ALL
        SELECT leader, event_id, 0, '', instrument, toDateTime64(0, 3, 'UTC'), 0, 0, subscription, 'pending'
        FROM orders
        WHERE event_id != ''
    ) AS entry
    GROUP BY leader, event_id
) AS event
LEFT JOIN
(
    SELECT leader, min(sequence) AS first_sequence FROM leader_events WHERE sequence > 0 GROUP BY leader
) AS ledger USING (leader)
WHERE is_taken = 1 OR (first_sequence > 0 AND sequence >= first_sequence)
ORDER BY leader, sequence, event_id;

-- The whole ledger in a row: missing, unowed and doubled are 0 once the sink has read the topic to its end. An outcome
-- that nobody owed never makes up for one that is missing elsewhere.
CREATE OR REPLACE VIEW outcome_ledger_total AS
SELECT
    sum(ledger.owed) AS owed,
    sum(ledger.told) AS told,
    sum(ledger.pending) AS pending,
    sum(greatest(ledger.missing, 0)) AS missing,
    sum(greatest(-ledger.missing, 0)) AS unowed,
    sum(ledger.doubled) AS doubled
FROM outcome_ledger AS ledger;

-- What copying costs, by leader, instrument and hour of log time (UTC): each stage from the one before (a stage not
-- told is skipped over), and the whole from the leader's event to the last fill. mean_bps stands where a stage has a
-- price, and is worse for the follower above zero.
CREATE OR REPLACE VIEW copy_cost AS
SELECT
    leader,
    instrument,
    toStartOfHour(log_time) AS hour,
    step.1 AS stage,
    countIf(step.2 IS NOT NULL OR step.3 IS NOT NULL) AS copy_count,
    quantile(0.5)(step.2) AS p50_ms,
    quantile(0.99)(step.2) AS p99_ms,
    avg(step.3) AS mean_bps
FROM
(
    SELECT
        leader,
        instrument,
        log_time,
        CAST(NULL AS Nullable(Decimal(38, 18))) AS no_price,
        CAST(NULL AS Nullable(Int64)) AS no_time,
        arrayJoin([
            ('detected', dateDiff('millisecond', cost_event_at, cost_detected_at), no_price),
            ('decided', dateDiff('millisecond', cost_detected_at, cost_decided_at), cost_drift_bps),
            ('submitted', dateDiff('millisecond', cost_decided_at, cost_submitted_at), no_price),
            ('accepted', dateDiff('millisecond', coalesce(cost_submitted_at, cost_decided_at), cost_accepted_at), no_price),
            ('filled', dateDiff('millisecond', coalesce(cost_accepted_at, cost_submitted_at, cost_decided_at), cost_filled_at), cost_slippage_bps),
            ('fee', no_time, cost_fee_bps),
            ('total', dateDiff('millisecond', cost_event_at, cost_filled_at), cost_total_bps)
        ]) AS step
    FROM outcomes
    WHERE state IN ('copied', 'reduced') AND cost_event_at IS NOT NULL
)
GROUP BY leader, instrument, hour, stage
HAVING copy_count > 0
ORDER BY leader, instrument, hour, indexOf(['detected', 'decided', 'submitted', 'accepted', 'filled', 'fee', 'total'], stage);

-- Trade errors that are open, oldest first: a subscription copies nothing new while it has one.
CREATE OR REPLACE VIEW halts AS
SELECT *
FROM (SELECT * FROM trade_errors ORDER BY log_time DESC, stamp DESC, stamp_index DESC LIMIT 1 BY error_id)
WHERE state = 'open'
ORDER BY log_time, error_id;

-- The latest of each, in the order of stamps as in positions_now.
CREATE OR REPLACE VIEW followers_now AS
SELECT * FROM followers ORDER BY log_time DESC, stamp DESC, stamp_index DESC LIMIT 1 BY account, subscription;

CREATE OR REPLACE VIEW drift_now AS
SELECT * FROM drift ORDER BY log_time DESC, stamp DESC, stamp_index DESC LIMIT 1 BY account, subscription, instrument;

-- Leaders by their latest return; those with too little to tell come last. place is of now, rank as last told.
CREATE OR REPLACE VIEW leader_board AS
SELECT
    rank() OVER (ORDER BY total_return DESC NULLS LAST) AS place,
    leader,
    total_return,
    trades,
    win_rate,
    profit_factor,
    sharpe,
    sortino,
    max_drawdown,
    max_drawdown_fraction,
    realized_pnl,
    fees,
    followers,
    aum,
    copiers_realized_pnl,
    copiers_fees,
    success_rate,
    delay_ms,
    cost_bps,
    `rank`,
    log_time
FROM (SELECT * FROM statistics WHERE kind = 'leader' ORDER BY log_time DESC, stamp DESC, stamp_index DESC LIMIT 1 BY subject)
ORDER BY place, leader;
