"""The batch form of the kernel, for backtests: arrays in, arrays out, state kept from call to call.

Entry point: `BatchKernel(params).run(open_, high, low, close, volume) -> BatchResult`.

1. Equal, bit for bit, to the live kernel (kernel.py), for any cut of the bars into calls; tested so.
2. The first bars run on the plain kernel, as live. The others run compiled if numba is installed, else on the live
   kernel: the same numbers, some forty times slower. Nothing that runs live imports this module or numba.
3. Compilation takes some seconds, once per process.
"""

from array import array
from collections.abc import Callable
from functools import lru_cache, partial
from math import sqrt
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from processors.strategy.kernel import FusedKernel, KernelPlan, State
from processors.strategy.params import StrategyParams

Floats = npt.NDArray[np.float64]


class BatchResult(NamedTuple):
    """What a run found, one column per bar.

    codes: class of each bar (index in processors.scoring.CLASSES). values: shape (len(names), bars), NaN before all
    values are there. names: of the rows of `values`, as in a signal's `indicators`.
    """

    codes: npt.NDArray[np.int8]
    values: Floats
    names: tuple[str, ...]


class BatchKernel:
    """The indicators and the score of one strategy on one instrument. `kernel` is the live kernel at this very bar.

    Raises:
        ValueError: see `KernelPlan`.
    """

    def __init__(self, params: StrategyParams) -> None:
        self._plan = KernelPlan(params)
        self.kernel = self._plan.new()

    def run(self, open_: Floats, high: Floats, low: Floats, close: Floats, volume: Floats) -> BatchResult:
        """Take closed bars (float64 arrays of one length); for ticks, give the price in all four places.

        Raises:
            ValueError: the arrays differ in length.
        """
        columns = [np.ascontiguousarray(column, dtype=np.float64) for column in (open_, high, low, close, volume)]
        bars = len(columns[3])
        if any(column.shape != (bars,) for column in columns):
            raise ValueError(f"bars need five arrays of one length, not {[column.shape for column in columns]}")
        codes = np.zeros(bars, dtype=np.int8)
        values = np.full((len(self._plan.names), bars), np.nan)
        compiled = _compiled() if isinstance(self.kernel, FusedKernel) else None
        slow = bars if compiled is None else min(bars, max(self._plan.ready_after - self.kernel.report()[0], 0))
        self._run_live(columns, slow, codes, values)
        if compiled is not None and slow < bars:
            self._run_compiled(compiled, columns, slow, codes, values)
        return BatchResult(codes, values, self._plan.names)

    def _run_live(self, columns: list[Floats], end: int, codes: npt.NDArray[np.int8], values: Floats) -> None:
        kernel, ticks = self.kernel, self._plan.params.interval == "tick"
        bars = zip(*(column[:end].tolist() for column in columns), strict=True)
        for place, (open_, high, low, close, volume) in enumerate(bars):
            codes[place] = kernel.tick(close) if ticks else kernel.update(open_, high, low, close, volume)
            found = kernel.report()[2]
            if found:
                values[:, place] = list(found.values())

    def _run_compiled(
        self,
        compiled: Callable[..., tuple[int, int]],
        columns: list[Floats],
        start: int,
        codes: npt.NDArray[np.int8],
        values: Floats,
    ) -> None:
        last, *dump = self.kernel.dump()
        state = State._make(dump)
        plan, params = self._plan, self._plan.params
        floats = np.array(state[2:-1], dtype=np.float64)
        ring = np.array(state.ring, dtype=np.float64)
        # All but the codes, the flags and the refresh mask: see KernelPlan._constants.
        (table, mask, ticks, shared_emas, shared_window, *numbers, last_before_refresh) = plan.constants
        bars, zone = compiled(
            columns[3] if ticks else columns[1], columns[3] if ticks else columns[2], columns[3], start, floats, ring,
            state.bars, state.zone, np.array(table, dtype=np.int8), mask, shared_emas, shared_window,
            np.array(numbers, dtype=np.float64), last_before_refresh,
            float(params.atr_period), params.bollinger_deviations, codes, values,
        )  # fmt: skip
        after = State._make([bars, zone, *floats.tolist(), array("d", ring.tolist())])
        self.kernel.load([last, *after])


@lru_cache(maxsize=1)
def _compiled() -> Callable[..., tuple[int, int]] | None:
    """Return `_run_arrays` as machine code, or None without numba."""
    try:
        from numba import njit
    except ImportError:
        return None
    compile_ = njit(error_model="numpy", fastmath=False)
    compiled: Callable[..., tuple[int, int]] = compile_(_run_arrays)
    return partial(compiled, compile_(_refresh_arrays), compile_(_zone_of_arrays))


def _refresh_arrays(
    ring: Any, count: int, mask: int, anchor: float, band_period: int, fast_period: int, slow_period: int
) -> tuple[float, float, float, float]:
    """kernel._refreshed over an array."""
    offset = spread = fast_offset = slow_offset = 0.0
    for back in range(band_period, 0, -1):
        offset += ring[(count - back) & mask] - anchor
    offset /= band_period
    for back in range(band_period, 0, -1):
        distance = ring[(count - back) & mask] - anchor - offset
        spread += distance * distance
    for back in range(fast_period, 0, -1):
        fast_offset += ring[(count - back) & mask] - anchor
    for back in range(slow_period, 0, -1):
        slow_offset += ring[(count - back) & mask] - anchor
    return offset, spread, fast_offset / fast_period, slow_offset / slow_period


def _zone_of_arrays(
    rsi: float, macd: float, line: float, distance: float, edge: float, mean: float, sma_fast: float, sma_slow: float,
    ema_fast: float, ema_slow: float, numbers: Any,
) -> int:  # fmt: skip
    """Return the zone of a bar, as the end of kernel._run."""
    oversold, low_rsi, high_rsi, overbought, flat = numbers[15:20]
    if rsi < low_rsi:
        zone = 0 if rsi < oversold else 81
    else:
        zone = 162 if rsi <= high_rsi else 324 if rsi > overbought else 243
    zone += 0 if macd > line else 54 if macd < line else 27
    if distance * distance < edge or edge <= flat * (mean * mean):
        zone += 9
    elif distance > 0.0:
        zone += 18
    zone += 0 if sma_fast > sma_slow else 6 if sma_fast < sma_slow else 3
    return zone + (0 if ema_fast > ema_slow else 2 if ema_fast < ema_slow else 1)


def _run_arrays(
    refresh: Any, zone_of: Any, highs: Any, lows: Any, closes: Any, start: int, floats: Any, ring: Any, count: int,
    zone: int, table: Any, mask: int, shared_emas: bool, shared_window: bool, numbers: Any, last_before_refresh: int,
    atr_period: float, deviations: float, codes: Any, values: Any,
) -> tuple[int, int]:  # fmt: skip
    """Advance over closes[start:]; writes floats, ring, codes and values in place, returns (bars taken, zone)."""
    before, gain, loss, true_range, fast, slow, line, ema_fast, ema_slow, anchor, offset = floats[:11]
    spread, fast_offset, slow_offset = floats[11:]
    rsi_keep, atr_keep, motionless, fast_alpha, slow_alpha, line_alpha, ema_fast_alpha, ema_slow_alpha = numbers[:8]
    band_share, fast_share, slow_share, inner = numbers[9], numbers[11], numbers[13], numbers[14]
    band_period, fast_period, slow_period = int(numbers[8]), int(numbers[10]), int(numbers[12])
    for place in range(start, len(closes)):
        close, high, low = closes[place], highs[place], lows[place]
        change = close - before
        if change > 0.0:
            gain = gain * rsi_keep + change
            loss *= rsi_keep
        else:
            gain *= rsi_keep
            loss = loss * rsi_keep - change
        true_range = true_range * atr_keep + ((high if high > before else before) - (low if low < before else before))
        before = close
        fast += fast_alpha * (close - fast)
        slow += slow_alpha * (close - slow)
        macd = fast - slow
        line += line_alpha * (macd - line)
        if shared_emas:
            ema_fast, ema_slow = fast, slow
        else:
            ema_fast += ema_fast_alpha * (close - ema_fast)
            ema_slow += ema_slow_alpha * (close - ema_slow)
        slot = count & mask
        ring[slot] = close
        if count & last_before_refresh == last_before_refresh:
            count += 1
            anchor = close
            offset, spread, fast_offset, slow_offset = refresh(
                ring, count, mask, close, band_period, fast_period, slow_period
            )
        else:
            count += 1
            slow_offset += (close - ring[(slot - slow_period) & mask]) * slow_share
            old = ring[(slot - band_period) & mask]
            change = close - old
            old = old - anchor - offset
            offset += change * band_share
            spread += change * ((close - anchor - offset) + old)
            if spread < 0.0:
                spread = 0.0
            if shared_window:
                fast_offset = offset
            else:
                fast_offset += (close - ring[(slot - fast_period) & mask]) * fast_share
        movement = gain + loss
        rsi = 100.0 * gain / movement if movement > motionless else 50.0
        variance = spread * band_share
        edge = variance * inner
        mean, sma_fast, sma_slow = anchor + offset, anchor + fast_offset, anchor + slow_offset
        zone = zone_of(rsi, macd, line, close - mean, edge, mean, sma_fast, sma_slow, ema_fast, ema_slow, numbers)
        codes[place] = table[zone]
        reach = deviations * sqrt(variance)
        values[0, place], values[1, place], values[2, place], values[3, place] = rsi, macd, line, macd - line
        values[4, place], values[5, place], values[6, place] = mean - reach, mean, mean + reach
        values[7, place], values[8, place], values[9, place] = variance, sma_fast, sma_slow
        values[10, place], values[11, place], values[12, place] = ema_fast, ema_slow, true_range / atr_period
    floats[0], floats[1], floats[2], floats[3], floats[4], floats[5] = before, gain, loss, true_range, fast, slow
    floats[6], floats[7], floats[8], floats[9] = line, ema_fast, ema_slow, anchor
    floats[10], floats[11], floats[12], floats[13] = offset, spread, fast_offset, slow_offset
    return count, zone
