"""Every indicator file keeps the contract of processors/indicators; this suite finds them by itself.

A new file needs one entry in `ORACLES` below: the definition, over whole arrays, as slowly and plainly as it can be.
"""

import ast
import importlib
import inspect
import json
import math
import pathlib
import random
from collections.abc import Callable
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors import indicators
from processors.indicators import IndicatorSpec
from processors.registry import discover

INDICATORS = discover(indicators, "INDICATOR")
Bars = list[tuple[float, float, float, float, float]]  # open, high, low, close, volume
REPOSITORY = pathlib.Path(__file__).parents[2]


def walk(count: int, seed: int = 1, start: float = 60_000.0, step: float = 50.0) -> Bars:
    rnd = random.Random(seed)
    bars, close = [], start
    for _ in range(count):
        open_ = close
        close = max(start / 10, close + rnd.choice((-1, -0.2, 0, 0, 0.3, 1)) * step * rnd.random())
        bars.append((open_, max(open_, close) + step * rnd.random(), min(open_, close) - step * rnd.random() / 2,
                     close, rnd.random()))  # fmt: skip
    return bars


def _ema(series: list[float | None], period: int) -> list[float | None]:
    """TA-Lib's: the mean of the first `period` numbers, then recursion, in closed form of weights."""
    first = next((place for place, value in enumerate(series) if value is not None), len(series))
    out: list[float | None] = [None] * len(series)
    alpha = 2.0 / (period + 1)
    seed = first + period - 1
    for place in range(seed, len(series)):
        age = place - seed
        value = (1 - alpha) ** age * sum(series[first : seed + 1]) / period  # type: ignore[arg-type]
        value += sum(alpha * (1 - alpha) ** (place - j) * series[j] for j in range(seed + 1, place + 1))  # type: ignore[operator]
        out[place] = value
    return out


def _wilder(series: list[float], period: int) -> list[float | None]:
    """Wilder's average of series[1:], in closed form: the mean of the first `period`, then weights of 1/period."""
    keep = (period - 1) / period
    out: list[float | None] = [None] * len(series)
    for place in range(period, len(series)):
        value = keep ** (place - period) * sum(series[1 : period + 1]) / period
        value += sum(keep ** (place - j) * series[j] / period for j in range(period + 1, place + 1))
        out[place] = value
    return out


def rsi_oracle(bars: Bars, period: int) -> list[tuple[float, ...] | None]:
    closes = [bar[3] for bar in bars]
    changes = [0.0, *np.diff(closes)]
    gains, losses = _wilder([max(x, 0) for x in changes], period), _wilder([max(-x, 0) for x in changes], period)
    return [None if g is None or s is None else (100 * g / (g + s) if g + s > 1e-14 else 50.0,)
            for g, s in zip(gains, losses, strict=True)]  # fmt: skip


def macd_oracle(bars: Bars, fast: int, slow: int, signal: int) -> list[tuple[float, ...] | None]:
    closes: list[float | None] = [bar[3] for bar in bars]
    macd = [None if a is None or b is None else a - b
            for a, b in zip(_ema(closes, fast), _ema(closes, slow), strict=True)]  # fmt: skip
    line = _ema(macd, signal)
    return [None if s is None or m is None else (m, s, m - s) for m, s in zip(macd, line, strict=True)]


def bollinger_oracle(bars: Bars, period: int, deviations: float) -> list[tuple[float, ...] | None]:
    closes = np.array([bar[3] for bar in bars])
    out: list[tuple[float, ...] | None] = [None] * len(bars)
    for place in range(period - 1, len(bars)):
        window = closes[place - period + 1 : place + 1]
        middle, deviation = math.fsum(window) / period, float(np.std(window - window[0]))
        out[place] = (middle - deviations * deviation, middle, middle + deviations * deviation, deviation**2)
    return out


def atr_oracle(bars: Bars, period: int) -> list[tuple[float, ...] | None]:
    ranges = [0.0]
    for before, bar in pairwise(bars):
        ranges.append(max(bar[1] - bar[2], abs(bar[1] - before[3]), abs(bar[2] - before[3])))
    return [None if value is None else (value,) for value in _wilder(ranges, period)]


ORACLES: dict[str, Callable[..., list[tuple[float, ...] | None]]] = {
    "sma": lambda bars, period: [
        None if place < period - 1 else (math.fsum(bar[3] for bar in bars[place - period + 1 : place + 1]) / period,)
        for place in range(len(bars))
    ],
    "ema": lambda bars, period: [
        None if value is None else (value,) for value in _ema([bar[3] for bar in bars], period)
    ],
    "rsi": rsi_oracle,
    "macd": macd_oracle,
    "bollinger": bollinger_oracle,
    "atr": atr_oracle,
}

each = pytest.mark.parametrize("spec", INDICATORS.values(), ids=list(INDICATORS))


def run(spec: IndicatorSpec, bars: Bars, **changes: float) -> list[tuple[float, ...] | None]:
    indicator = spec.new(**{**spec.settings, **changes})
    out = []
    for bar in bars:
        indicator.update(*bar)
        out.append(indicator.values())
    return out


def assert_close(found: list, wanted: list, scale: float) -> None:
    assert [values is None for values in found] == [values is None for values in wanted]
    for place, (values, oracle) in enumerate(zip(found, wanted, strict=True)):
        if values is not None:
            assert values == pytest.approx(oracle, rel=1e-9, abs=1e-9 * scale), place


@each
def test_equals_its_slow_definition(spec: IndicatorSpec) -> None:
    bars = walk(400)
    assert spec.name in ORACLES, f"add the plain definition of {spec.name} to ORACLES in this file"
    assert_close(run(spec, bars), ORACLES[spec.name](bars, **spec.settings), 60_000)


prices = st.floats(min_value=0.5, max_value=2.0).map(lambda x: round(x, 3))


@each
@settings(max_examples=40, deadline=None)
@given(closes=st.lists(prices, min_size=1, max_size=60), shorter=st.integers(2, 6))
def test_equals_its_slow_definition_on_any_prices(spec: IndicatorSpec, closes: list[float], shorter: int) -> None:
    bars = [(close, close + 0.1, close - 0.1, close, 1.0) for close in closes]
    changes = {key: min(value, shorter + place) for place, (key, value) in enumerate(spec.settings.items())}
    # A deviation that falls to zero right after a jump of the whole price keeps the square root of the rounding error
    # of its square, 2e-8 of the jump; see processors/indicators/bollinger.py.
    scale = 100.0 if spec.name == "bollinger" else 1.0
    assert_close(run(spec, bars, **changes), ORACLES[spec.name](bars, **changes), scale)


@each
def test_first_value_comes_when_it_says(spec: IndicatorSpec) -> None:
    found = run(spec, walk(200))
    first = spec.warm_up(**spec.settings)
    assert all(values is None for values in found[: first - 1])
    assert all(values is not None for values in found[first - 1 :])
    assert len(found[-1] or ()) == len(spec.outputs)


@each
def test_restart_at_every_point_changes_no_bit(spec: IndicatorSpec) -> None:
    """Past 1,024 bars, so that a refresh of running sums is among them."""
    bars = walk(1_100)
    straight = run(spec, bars)
    indicator = spec.new(**spec.settings)
    for place, bar in enumerate(bars):
        dump = indicator.dump()
        indicator = spec.load(msgspec.msgpack.decode(msgspec.msgpack.encode(dump)))
        assert indicator.dump() == dump
        indicator.update(*bar)
        assert indicator.values() == straight[place]


@each
def test_instances_do_not_know_each_other(spec: IndicatorSpec) -> None:
    ours, theirs = walk(150, seed=2), walk(150, seed=3)
    alone = run(spec, ours)
    first, second = spec.new(**spec.settings), spec.new(**spec.settings)
    for place, (bar, other) in enumerate(zip(ours, theirs, strict=True)):
        first.update(*bar)
        second.update(*other)
        assert first.values() == alone[place]


@each
def test_reading_values_changes_nothing(spec: IndicatorSpec) -> None:
    indicator = spec.new(**spec.settings)
    for bar in walk(120):
        indicator.update(*bar)
        before = json.dumps(indicator.dump())
        indicator.values(), indicator.dump()
        assert json.dumps(indicator.dump()) == before


@each
def test_a_dump_is_a_copy(spec: IndicatorSpec) -> None:
    indicator = spec.new(**spec.settings)
    bars = walk(80)
    for bar in bars[:-1]:
        indicator.update(*bar)
    dump = indicator.dump()
    before = json.dumps(dump)
    indicator.update(*bars[-1])
    assert json.dumps(dump) == before


@each
@pytest.mark.parametrize("price", [1e-8, 1.0, 1e12])
def test_market_that_stands_still_has_finite_values(spec: IndicatorSpec, price: float) -> None:
    found = run(spec, [(price, price, price, price, 0.0)] * 1_100)
    assert all(math.isfinite(value) for values in found if values is not None for value in values)


@each
def test_rounding_does_not_pile_up(spec: IndicatorSpec) -> None:
    """After a spike of a millionfold, values return to those of a market that never had it."""
    calm = walk(3_000, start=100.0, step=0.01)
    spiked = list(calm)
    spiked[50] = (1e8, 1e8, 1e8, 1e8, 1.0)
    kept = run(spec, spiked)[-1]
    wanted = run(spec, calm)[-1]
    assert kept == pytest.approx(wanted, rel=1e-6, abs=1e-9)


@each
def test_is_documented(spec: IndicatorSpec) -> None:
    module = importlib.import_module(f"processors.indicators.{spec.name}")
    text = module.__doc__ or ""
    for part in ("Formula:", "Source:", "Warm-up:"):
        assert part in text, f"processors/indicators/{spec.name}.py must say {part}"
    assert f"`{spec.name}`" in (REPOSITORY / "docs" / "adding-an-indicator.md").read_text()


@each
def test_imports_nothing_impure_and_no_other_indicator(spec: IndicatorSpec) -> None:
    module = importlib.import_module(f"processors.indicators.{spec.name}")
    allowed = {"math", "typing", "collections.abc", "processors.indicators"}
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.Import):
            assert {alias.name for alias in node.names} <= allowed
        elif isinstance(node, ast.ImportFrom):
            assert node.module in allowed
