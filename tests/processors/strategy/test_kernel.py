"""The fused kernel and the batch form equal the one-file indicators and the scorer, bit for bit."""

import random
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.strategy import batch
from processors.strategy.batch import BatchKernel
from processors.strategy.kernel import FusedKernel, KernelPlan
from processors.strategy.params import StrategyParams
from processors.strategy.plain import PlainKernel
from tests.processors.strategy.market import real_bars

OTHER = {
    "rsi_period": 5, "macd_fast": 3, "macd_slow": 7, "macd_signal": 4, "bollinger_period": 11, "sma_fast": 4,
    "sma_slow": 9, "ema_fast": 2, "ema_slow": 30, "atr_period": 8, "rsi_low": 45.0, "rsi_high": 52.0,
    "band_nearness": 0.3, "sma_weight": 2.5, "publish_above": 0.5, "class_from": 0.7, "strong_from": 0.8,
}  # fmt: skip
EDGE = {"bollinger_period": 64, "sma_slow": 63, "sma_fast": 2, "ema_fast": 12, "ema_slow": 27, "rsi_oversold": 40.0}
SETS = {"usual": {}, "other": OTHER, "edge": EDGE}
each_set = pytest.mark.parametrize("changes", SETS.values(), ids=list(SETS))


def params(changes: dict, interval: str = "5m") -> StrategyParams:
    return StrategyParams(name="demo", interval=interval, **changes)


def plan_of(changes: dict, interval: str = "5m") -> KernelPlan:
    return KernelPlan(params(changes, interval))


@each_set
def test_fused_equals_plain_on_every_real_bar(changes: dict) -> None:
    """Over 5,000 bars: past the warm-up and past several refreshes of the running sums."""
    plan = plan_of(changes)
    fused, plain = plan.new(), PlainKernel(plan.params)
    assert isinstance(fused, FusedKernel)
    codes = set()
    for bar in real_bars()[:5_000]:
        code = fused.update(*bar)
        assert code == plain.update(*bar)
        assert fused.report() == plain.report()
        codes.add(code)
    assert codes >= {0, 1, 2, 5, 6}, "the sample must show every class that is traded"


@each_set
def test_fused_ticks_equal_plain_ticks(changes: dict) -> None:
    plan = plan_of(changes, "tick")
    fused, plain = plan.new(), PlainKernel(plan.params)
    rnd, price = random.Random(7), 60_000.0
    for _ in range(4_000):
        price += rnd.choice((-2, -1, 0, 0, 0, 0, 1, 2)) * 0.1 * rnd.randint(0, 9)
        assert fused.tick(price) == plain.tick(price)
        assert fused.report() == plain.report()


@settings(max_examples=60, deadline=None)
@given(
    closes=st.lists(st.integers(1, 12), min_size=90, max_size=200),
    seed=st.integers(0, 1000),
)
def test_fused_equals_plain_on_coarse_prices(closes: list[int], seed: int) -> None:
    """Few price levels: flat windows, equal averages, values exactly on thresholds."""
    rnd = random.Random(seed)
    plan = plan_of({"rsi_period": 2, "sma_fast": 2, "sma_slow": 4, "bollinger_period": 3, "ema_fast": 2, "ema_slow": 3,
                    "macd_fast": 2, "macd_slow": 3, "macd_signal": 2})  # fmt: skip
    fused, plain = plan.new(), PlainKernel(plan.params)
    for close in closes:
        bar = (close, close + rnd.randint(0, 2), close - rnd.randint(0, 1) / 2, float(close), 1.0)
        assert fused.update(*bar) == plain.update(*bar)
        assert fused.report() == plain.report()


@each_set
def test_fused_goes_on_from_any_dump(changes: dict) -> None:
    plan = plan_of(changes)
    straight, restarted = plan.new(), plan.new()
    for place, bar in enumerate(real_bars()[:1_200]):
        if place < 150 or place % 40 == 0 or 1_020 < place < 1_030:
            dump = msgspec.msgpack.encode(restarted.dump())
            restarted = plan.new()
            restarted.load(msgspec.msgpack.decode(dump))
            assert msgspec.msgpack.encode(restarted.dump()) == dump
        assert restarted.update(*bar) == straight.update(*bar)
        assert restarted.report() == straight.report()


def test_reading_a_kernel_changes_nothing() -> None:
    plan = plan_of({})
    kernel = plan.new()
    for bar in real_bars()[:100]:
        kernel.update(*bar)
        assert kernel.dump() == kernel.dump()
        kernel.report()
    dump = kernel.dump()
    kernel.update(*real_bars()[100])
    assert kernel.dump() != dump, "a dump must not follow the kernel"


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("interval", ["5m", "tick"])
@each_set
def test_batch_equals_live_for_any_cut(
    changes: dict, interval: str, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if compiled:
        pytest.importorskip("numba")
    else:
        monkeypatch.setattr(batch, "_compiled", lambda: None)
    bars = np.array(real_bars()[:2_500])
    if interval == "tick":
        bars[:, :3] = bars[:, 3:4]
    live, ours = plan_of(changes, interval).new(), BatchKernel(params(changes, interval))
    cuts = [0, 1, 30, 49, 50, 51, 300, 1_023, 1_024, 1_025, 2_500]
    results = [ours.run(*bars[start:end].T) for start, end in pairwise(cuts)]
    codes = np.concatenate([result.codes for result in results])
    values = np.concatenate([result.values for result in results], axis=1)
    for place, bar in enumerate(bars.tolist()):
        code = live.tick(bar[3]) if interval == "tick" else live.update(*bar)
        assert code == codes[place], place
        found = live.report()[2]
        if found:
            assert tuple(found) == ours.run(*bars[:0].T).names
            assert list(found.values()) == values[:, place].tolist(), place
        else:
            assert np.isnan(values[:, place]).all()
    assert ours.kernel.dump() == live.dump()


def test_batch_refuses_columns_of_different_length() -> None:
    with pytest.raises(ValueError, match="one length"):
        BatchKernel(params({})).run(*[np.zeros(3)] * 4, np.zeros(2))


def test_a_plan_refuses_what_does_not_exist() -> None:
    with pytest.raises(ValueError, match="no scorer 'nosuch', one of: weighted"):
        KernelPlan(params({"scorer": "nosuch"}))
    with pytest.raises(ValueError, match=r"extra_indicators\.x: no indicator 'vwap', one of: atr"):
        KernelPlan(params({"extra_indicators": {"x": {"indicator": "vwap"}}}))
    with pytest.raises(ValueError, match="sma has no setting 'length', it has: period"):
        KernelPlan(params({"extra_indicators": {"x": {"indicator": "sma", "settings": {"length": 3}}}}))
    with pytest.raises(ValueError, match="taken by a built-in"):
        KernelPlan(params({"extra_indicators": {"sma_fast": {"indicator": "sma"}}}))


def test_extra_indicators_are_told_with_the_same_classes() -> None:
    plain = plan_of({"extra_indicators": {"sma_99": {"indicator": "sma", "settings": {"period": 99}}}}).new()
    fused = plan_of({}).new()
    assert isinstance(plain, PlainKernel)
    for place, bar in enumerate(real_bars()[:300]):
        code, wanted = plain.update(*bar), fused.update(*bar)
        if place >= 98:
            assert code == wanted
            values = plain.report()[2]
            assert values["sma_99"] == pytest.approx(np.mean([b[3] for b in real_bars()[place - 98 : place + 1]]))
            del values["sma_99"]
            assert values == fused.report()[2]
