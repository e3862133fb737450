"""The pure model of a run: counts, repeats, rows, rates, latencies, summary."""

import json
import math
from decimal import Decimal as D

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.live.histogram import Histogram
from cli.live.model import KEPT_ROWS, RunModel
from cli.summary import as_json_line, as_text
from schemas.reasons import Leg, OrderState, RefusalReason, Side
from schemas.system import Parked
from tests.cli import sample

values = st.lists(st.floats(min_value=0, max_value=1e6), min_size=1, max_size=200)


@given(values, st.sampled_from([0.0, 0.01, 0.5, 0.9, 0.99, 1.0]))
def test_percentiles_agree_with_sorting(found: list[float], share: float) -> None:
    histogram = Histogram()
    for value in found:
        histogram.add(value)
    exact = sorted(found)[max(1, math.ceil(share * len(found))) - 1]
    got = histogram.percentile(share)
    assert got == pytest.approx(max(exact, 0.01), rel=0.0101)


def test_an_empty_histogram_has_no_percentile() -> None:
    assert Histogram().percentile(0.5) is None


def test_signals_are_counted_by_side_and_kept_in_order() -> None:
    model = RunModel()
    sample.feed(model, [("signals", sample.signal(n, Side.SELL if n == 2 else Side.BUY)) for n in (1, 2, 3)])
    assert model.signals == {"buy": 2, "sell": 1}
    assert [signal.signal_id for signal in model.latest_signals] == ["s1", "s2", "s3"]


def test_a_repeat_of_a_restarted_writer_counts_nothing() -> None:
    model = RunModel()
    records = [("order-status", sample.fill(n, Leg.ENTRY, "1")) for n in (1, 2, 3)]
    sample.feed(model, records)
    before = model.summary(1, {})
    sample.feed(model, records)  # same source, same stamps
    assert model.summary(1, {}) == before
    assert model.repeats == 3
    # Another source with the same stamps is another record.
    model.apply("order-status", 0, 1, {"src": "other@x/0", "st": "1.0"}, sample.fill(9, Leg.ENTRY))
    assert model.fills["entry"] == 4
    # Another partition of the same source has stamps of its own.
    model.apply("order-status", 1, 1, {"src": "order-status-writer@x/0", "st": "1.0"}, sample.fill(10, Leg.ENTRY))
    assert model.fills["entry"] == 5


def test_stamps_are_compared_as_numbers() -> None:
    model = RunModel()
    for stamp in ("9.0", "10.0", "10.9", "10.10"):
        model.apply("signals", 0, 1, {"src": "s@x/0", "st": stamp}, sample.signal(1))
    assert model.signals["buy"] == 4


@pytest.mark.parametrize(
    "headers", [{}, {"src": "s@x/0"}, {"st": "1.0"}, {"src": "s", "st": "x"}, {"src": "s", "st": "1"}]
)
def test_records_without_a_stamp_are_never_repeats(headers: dict[str, str]) -> None:
    model = RunModel()
    for _ in range(2):
        model.apply("parked", 0, 1, headers, Parked(now_ms=1, source="s", reason="r", value="", size=0, sha256=""))
    assert model.parked == 2


def test_an_order_shows_its_state_whichever_is_read_first() -> None:
    for records in (
        [("orders", sample.order(1)), ("order-status", sample.status(1, OrderState.FILLED))],
        [("order-status", sample.status(1, OrderState.FILLED)), ("orders", sample.order(1))],
    ):
        model = RunModel()
        sample.feed(model, records)
        row = model.latest_orders(1)[0]
        assert (row.state, row.filled, row.average_price) == ("filled", D("0.017"), D("57214.10"))


def test_a_closing_fill_is_shown_on_its_entry_with_what_it_brought() -> None:
    model = RunModel()
    sample.feed(
        model,
        [
            ("orders", sample.order(1)),
            ("order-status", sample.fill(1, Leg.ENTRY)),
            ("order-status", sample.fill(1, Leg.STOP_LOSS, "-0.50")),
            ("order-status", sample.fill(1, Leg.STOP_LOSS, "-0.47")),
        ],
    )
    row = model.latest_orders(1)[0]
    assert (row.closed_by, row.realized_pnl) == ("stop loss", D("-0.97"))
    assert model.fills == {"entry": 1, "stop_loss": 2, "take_profit": 0, "exit": 0}
    assert model.realized_pnl == D("-0.97")
    assert model.fees == D("0.389") * 3


def test_closing_fills_read_before_their_order_are_shown_on_it() -> None:
    model = RunModel()
    sample.feed(model, [("order-status", sample.fill(1, Leg.TAKE_PROFIT, p)) for p in ("1.00", "0.94")])
    sample.feed(model, [("orders", sample.order(1))])
    row = model.latest_orders(1)[0]
    assert (row.closed_by, row.realized_pnl) == ("take profit", D("1.94"))


def test_rows_are_ordered_by_log_time_not_by_arrival() -> None:
    model = RunModel()
    sample.feed(
        model, [(t, m(n)) for n in (3, 1, 2) for t, m in (("signals", sample.signal), ("orders", sample.order))]
    )
    assert [signal.signal_id for signal in model.latest(2)] == ["s3", "s2"]
    assert [row.order.order_id for row in model.latest_orders(2)] == ["o3", "o2"]


def test_refusals_count_by_reason_and_are_no_orders() -> None:
    model = RunModel()
    refused = [RefusalReason.COOL_DOWN, RefusalReason.POSITION_OPEN, RefusalReason.COOL_DOWN]
    sample.feed(model, [("order-status", sample.status(n, OrderState.REFUSED, why)) for n, why in enumerate(refused)])
    assert model.refused == {"cool_down": 2, "position_open": 1}
    assert model.order_count == 0


def test_positions_leave_when_they_are_flat() -> None:
    model = RunModel()
    sample.feed(
        model, [("order-status", sample.position("0.017")), ("order-status", sample.position("-2", sample.ETH))]
    )
    assert model.unrealized_pnl() == D("2.46")
    sample.feed(model, [("x", sample.position("0"))])
    assert [position.instrument for position in model.open_positions()] == [sample.ETH]


def test_equity_is_unknown_before_an_account_tells() -> None:
    model = RunModel()
    assert model.equity() is None
    sample.feed(model, [("order-status", sample.account_state())])
    assert model.equity() == D("9997.33")


def test_counts_begin_at_the_first_observation_and_rates_span_a_window() -> None:
    model = RunModel()
    assert model.totals() == {}
    assert model.rates() == {}
    model.observe(100.0, {"signals": 40})
    assert model.totals() == {"signals": 0}
    assert model.rates() == {}
    for second in range(1, 21):
        model.observe(100.0 + second, {"signals": 40 + (10 if second > 10 else 0) * (second - 10), "late": second})
    assert model.totals() == {"signals": 100, "late": 19}
    assert model.rates() == {"signals": 10.0, "late": 1.0}, "the quiet beginning is out of the window"


def test_latency_is_the_age_of_the_cause_when_kafka_took_the_record() -> None:
    model = RunModel()
    sample.feed(model, [("signals", sample.signal(1)), ("orders", sample.order(1))], t0_before_ms=20)
    sample.feed(model, [("order-status", sample.fill(1, Leg.ENTRY))], t0_before_ms=40)
    found = model.latency_ms()
    assert found["signal"]["p50"] == pytest.approx(20.5, rel=0.02)
    assert found["order"]["p99"] == pytest.approx(20.5, rel=0.02)
    assert found["fill"]["p50"] == pytest.approx(40.5, rel=0.02)


def test_a_clock_that_runs_ahead_gives_no_negative_latency() -> None:
    model = RunModel()
    model.apply("signals", 0, 1_000, {"t0": "2000000"}, sample.signal(1))
    model.apply("signals", 0, 1_000, {"t0": "nonsense"}, sample.signal(2))
    assert model.latency["signal"].count == 1
    assert model.latency_ms()["signal"]["p50"] == pytest.approx(0.01)


def test_log_time_never_falls() -> None:
    model = RunModel()
    sample.feed(model, [("signals", sample.signal(9)), ("orders", sample.order(3))])
    assert model.log_ms == sample.NOW_MS + 9_000


def test_memory_is_bounded() -> None:
    model = RunModel()
    many = KEPT_ROWS * 3
    sample.feed(model, [("orders", sample.order(n)) for n in range(many)])
    sample.feed(model, [("x", sample.status(n, OrderState.FILLED)) for n in range(many, 2 * many)])
    assert model.order_count == many
    assert len(model.orders) == KEPT_ROWS
    assert len(model._early) == KEPT_ROWS


def test_the_summary_is_one_line_of_json_with_the_promised_keys() -> None:
    model = sample.busy_model()
    line = as_json_line(model.summary(75.23, {"bars": 240}))
    assert "\n" not in line
    found = json.loads(line)
    assert list(found) == [
        "seconds", "topics", "signals", "orders", "fills", "refused", "outcomes", "ledger", "halts", "parked",
        "realized_pnl", "clickhouse", "latency_ms",
    ]  # fmt: skip
    assert found["seconds"] == 75.2
    assert found["topics"]["market-data"] == 52_000
    assert found["signals"] == {"buy": 15, "sell": 5}
    assert found["orders"] == 10
    assert found["fills"] == {"entry": 10, "stop_loss": 2, "take_profit": 6, "exit": 0}
    assert found["refused"] == {"cool_down": 1, "position_open": 10}
    # Pending: the orders of busy_model that name an event without an outcome; those of e5 and later owe nothing here.
    assert found["outcomes"] == {"copied": 1, "reduced": 1, "skipped": 2, "failed": 1, "pending": 9}
    assert found["ledger"] == {"owed": 21, "told": 6, "missing": 15}
    assert found["halts"] == 1
    assert found["realized_pnl"] == "9.7"
    assert found["clickhouse"] == {"bars": 240}
    assert set(found["latency_ms"]) == {"signal", "order", "fill"}


def test_the_text_summary_has_every_number() -> None:
    model = sample.busy_model()
    text = as_text(model.summary(75.23, {"bars": 240}), model)
    for part in (
        "0:01:15",
        "market-data 52,000",
        "buy 15, sell 5",
        "take profit 6",
        "cool down 1",
        "+9.70",
        "bars 240",
        "copied 1, reduced 1, skipped 2, failed 1, pending 9",
        "owed 21, told 6, missing 15",
        "1 open, see `wakeline halts list`: carol/demo",
    ):
        assert part in text
    assert "snapshots-" not in text
