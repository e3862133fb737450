"""Every bench runs at a tiny size, and all contenders of the hot path give the same signals."""

import importlib.util
import itertools
from typing import Any

import pytest

from bench import adapted, child, hot_path, render, work
from processors.inbox import InboxCore
from processors.strategy.processor import StrategyProcessor
from schemas.codec import decode, encode
from streams.topics_admin import load_catalogue

INSTALLED = {
    "quix_rocksdb": "quixstreams",
    "quix_dict": "quixstreams",
    "bytewax_plain": "bytewax",
}


def test_ticks_are_our_wire_form() -> None:
    for name, value in work.ticks(300):
        trade = decode(value)
        assert trade.instrument == name
        assert encode(trade) == value


def test_ids_and_times_name_each_tick() -> None:
    trades = [decode(value) for _, value in work.ticks(1_000)]
    assert [trade.ts for trade in trades] == [work.START_MS + number for number in range(1_000)]
    for name in {trade.instrument for trade in trades}:
        ids = [trade.id for trade in trades if trade.instrument == name]
        assert ids == list(range(1, len(ids) + 1))


def test_our_processor_gives_the_signals_that_the_peers_are_held_to() -> None:
    values = [value for _, value in work.ticks(20_000)]
    core = InboxCore(StrategyProcessor((work.PARAMS,)), load_catalogue().topics)
    inbox = core.new(0)
    ours = [emit.value for emit in core.apply_columns(inbox, values, range(len(values))) if emit.topic == "signals"]
    assert work.digest(ours) == work.digest(work.expected(values))
    assert len(ours) > 100


def test_the_digest_tells_a_changed_a_missing_and_a_repeated_signal() -> None:
    made = work.expected(value for _, value in work.ticks(20_000))
    whole = work.digest(made)
    assert work.digest(made[::-1]) == whole
    changed = made[0].replace(b'"strength":', b'"strength":1')
    for other in ([changed, *made[1:]], made[1:], [*made, made[0]]):
        assert work.digest(other) != whole


def test_contenders_give_the_same_signals() -> None:
    found = child.run_json("bench.hot_path", ["--ticks=12000", "--slow-ticks=8000", "--rounds=1", "--json"], 240)
    wanted = {
        one.module
        for one in hot_path.CONTENDERS
        if one.module not in INSTALLED or importlib.util.find_spec(INSTALLED[one.module])
    }
    assert set(found["contenders"]) == wanted
    for name, row in found["contenders"].items():
        assert row["same_signals"], name
        assert row["signals"] > 100
        assert row["per_cpu_s"] > 0


def test_latency_matches_signals_with_ticks() -> None:
    found = child.run_json("bench.latency", ["--rate=2000", "--faust-rate=1000", "--seconds=2", "--json"], 180)
    for name in ("ours", "ours_at_faust_rate", "faust_stock"):
        row = found[name]
        assert row["signals"] > 10
        assert 0 < row["p50"] <= row["p99"] <= row["max"]


def test_scale_runs() -> None:
    found = child.run_json("bench.scale", ["--instruments=20", "--ticks=4000", "--rounds=1", "--json"], 180)
    assert found["memory"]["full_mb"] > 0
    assert set(found["ns_per_tick"]) == {"10", "1000", "10000"}


def test_fan_out_counts_every_order_and_survives_a_kill() -> None:
    found = child.run_json("bench.fan_out", ["--sizes=40", "--runs=3", "--large=50", "--patience=0", "--json"], 240)
    (row,) = found["sizes"]
    assert row["followers"] == 40
    assert len(row["all_ms"]) == row["runs"] == 3
    assert 0 < row["min"] <= row["p50"] <= row["p99"] <= row["max"]
    large = found["large"]
    assert large["fan_out"]["followers"] == 5
    assert large["snapshot_bytes"] > 0
    assert large["killed_s"] > 0
    assert "50 subscriptions of ten leaders" in render.page({"fan_out": found}, {"cores": "2"}, "today", "make bench")


def test_a_missed_fan_out_goal_is_told() -> None:
    row = {"followers": 1_000, "p50": 90.0, "p99": 101.0}
    assert [goal[3] for goal in render.goals_of({"fan_out": {"sizes": [row]}})] == [True, False]


@pytest.mark.parametrize(("which", "count"), [("indicators", 8_000), ("clickhouse", 1_000)])
def test_adapted_benches_run(which: str, count: int) -> None:
    found = child.run_json("bench.adapted", [which, f"--count={count}", "--rounds=1", "--json"], 180)
    assert found["bench"] == which
    assert render.goals_of({which: found})


def test_a_missed_goal_and_a_failed_bench_stand_on_the_page() -> None:
    scale = {
        "memory": {"instruments": 500, "empty_mb": 80.0, "full_mb": 250.0},
        "ns_per_tick": {"10": 500.0, "10000": 600.0},
        "ratio": 1.2,
    }
    text = render.page({"scale": scale, "latency": {"error": "no broker"}}, {"cores": "2"}, "today", "make bench")
    assert "1 of 2 met" in text
    assert "250 MB" in text
    assert "**missed**" in text
    assert "Failed: no broker" in text


def test_a_section_is_put_into_a_page_and_counted_with_its_goals() -> None:
    def latency(p50: float) -> dict[str, Any]:
        row = {"rate": 10_000, "sent_rate": 9_999.0, "signals": 5, "p50": p50, "p99": 9.0, "max": 11.0}
        return {"goal_ms": {"p50": 3.0, "p99": 10.0}, "ours": row}

    scale = {
        "memory": {"instruments": 500, "empty_mb": 80.0, "full_mb": 150.0},
        "ns_per_tick": {"10": 500.0},
        "ratio": 1.2,
    }
    before = render.page({"latency": latency(5.0)}, {"cores": "2"}, "today", "make bench")
    assert "1 of 2 met" in before
    mended = render.updated(before, {"latency": latency(2.0)}, "Again.")
    assert "2 of 2 met" in mended
    assert "Short of" not in mended
    assert "9,999" in mended and "Again." in mended
    both = render.updated(before, {"scale": scale}, "Later.")
    assert "3 of 4 met" in both
    assert (
        both.index("## Goals") < both.index("## Latency") < both.index("## Scale") < both.index("## How to read this")
    )
    assert render.updated(both, {"scale": scale}, "Later.") == both


def test_a_child_that_fails_is_told_with_its_last_words() -> None:
    with pytest.raises(child.ChildFailed, match="ended with code"):
        child.run_json("bench.hot_path", ["--no-such-option"], 60)


def test_every_adapter_is_a_bench_of_ours() -> None:
    names = [adapted.indicators.__name__, adapted.clickhouse.__name__]
    assert all(importlib.util.find_spec(f"bench.{name}") for name in names)
    assert list(itertools.chain(render.SECTIONS)) == [
        "hot_path",
        "indicators",
        "latency",
        "clickhouse",
        "scale",
        "fan_out",
    ]
