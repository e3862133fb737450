-- What people query. The first part shows each stored row once (FINAL); the second counts over the first.
-- Plain views over rows shown once, not materialized views over inserts: those would count a repeated insert again.

CREATE OR REPLACE VIEW bars AS SELECT * FROM bars_rows FINAL;
CREATE OR REPLACE VIEW signals AS SELECT * FROM signals_rows FINAL;
CREATE OR REPLACE VIEW orders AS SELECT * FROM orders_rows FINAL;
CREATE OR REPLACE VIEW cancels AS SELECT * FROM cancels_rows FINAL;
CREATE OR REPLACE VIEW order_status AS SELECT * FROM order_status_rows FINAL;
CREATE OR REPLACE VIEW fills AS SELECT * FROM fills_rows FINAL;
CREATE OR REPLACE VIEW positions AS SELECT * FROM positions_rows FINAL;
CREATE OR REPLACE VIEW accounts AS SELECT * FROM accounts_rows FINAL;
CREATE OR REPLACE VIEW outcomes AS SELECT * FROM outcomes_rows FINAL;
CREATE OR REPLACE VIEW alerts AS SELECT * FROM alerts_rows FINAL;
CREATE OR REPLACE VIEW parked AS SELECT * FROM parked_rows FINAL;
CREATE OR REPLACE VIEW pipeline_latency AS SELECT * EXCEPT (precedence) FROM pipeline_latency_rows FINAL;
CREATE OR REPLACE VIEW refusals AS SELECT * FROM order_status WHERE state = 'refused';

-- Days are those of log time, UTC. realized_pnl leaves fees out; net is right where fees are paid in the account's
-- currency, which is why fee_currency stands beside it.
CREATE OR REPLACE VIEW pnl_by_day AS
SELECT
    toDate(log_time, 'UTC') AS day,
    account,
    fee_currency,
    sum(realized_pnl) AS realized,
    sum(fee) AS fees,
    realized - fees AS net,
    count() AS fill_count
FROM fills
GROUP BY day, account, fee_currency
ORDER BY day, account, fee_currency;

-- A strategy leads under its own name; leaders that are accounts or wallets stand here too.
CREATE OR REPLACE VIEW pnl_by_strategy AS
SELECT
    leader AS strategy,
    account,
    fee_currency,
    sum(realized_pnl) AS realized,
    sum(fee) AS fees,
    realized - fees AS net,
    countIf(realized_pnl > 0) AS winning_fills,
    countIf(realized_pnl < 0) AS losing_fills,
    count() AS fill_count
FROM fills
GROUP BY strategy, account, fee_currency
ORDER BY strategy, account, fee_currency;

CREATE OR REPLACE VIEW fills_by_leg AS
SELECT leg, side, count() AS fill_count, sum(multiplyDecimal(size, price, 18)) AS notional, sum(realized_pnl) AS realized, sum(fee) AS fees
FROM fills
GROUP BY leg, side
ORDER BY leg, side;

CREATE OR REPLACE VIEW refusals_by_reason AS
SELECT reason, account, count() AS refusal_count, max(log_time) AS latest
FROM refusals
GROUP BY reason, account
ORDER BY refusal_count DESC, reason, account;

CREATE OR REPLACE VIEW signals_by_side AS
SELECT strategy, instrument, side, signal_class, count() AS signal_count, avg(strength) AS mean_strength
FROM signals
GROUP BY strategy, instrument, side, signal_class
ORDER BY strategy, instrument, side, signal_class;

CREATE OR REPLACE VIEW skipped_by_reason AS
SELECT leader, subscription, state, reason, count() AS outcome_count, max(log_time) AS latest
FROM outcomes
WHERE state IN ('skipped', 'failed', 'reduced')
GROUP BY leader, subscription, state, reason
ORDER BY outcome_count DESC, leader, subscription, state, reason;

CREATE OR REPLACE VIEW latency_by_stage AS
SELECT
    stage,
    count() AS record_count,
    quantile(0.5)(latency_ms) AS p50_ms,
    quantile(0.9)(latency_ms) AS p90_ms,
    quantile(0.99)(latency_ms) AS p99_ms,
    max(latency_ms) AS longest_ms
FROM pipeline_latency
GROUP BY stage
ORDER BY stage;

-- The latest position of each subscription and instrument, and the latest state of each account. Stamps give the
-- order, not offsets: while a restarted writer repeats, an older record stands behind a newer one.
CREATE OR REPLACE VIEW positions_now AS
SELECT * FROM positions ORDER BY log_time DESC, stamp DESC, stamp_index DESC LIMIT 1 BY account, subscription, instrument;

CREATE OR REPLACE VIEW accounts_now AS
SELECT * FROM accounts ORDER BY log_time DESC, stamp DESC, stamp_index DESC LIMIT 1 BY account;
