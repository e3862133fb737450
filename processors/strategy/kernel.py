"""The fused kernel: the built-in indicators and the weighted scorer in one coroutine, well under a microsecond per bar.

Entry points: `Kernel`, `KernelPlan` (`KernelPlan(params).new()`), `FusedKernel`.

1. Equal, bit for bit, to processors/strategy/plain.py: the same operations in the same order. Change an indicator's
   file, this one and batch.py together; tests/processors/strategy/test_kernel.py compares them on every bar.
2. The first bars run on the plain kernel; when all its values are there, its state moves in here.
3. The state lives in the local variables of a generator, the fastest place Python has (a third faster than slots).
   Sending a close advances it and yields the code of the bar's class; sending None yields the state.
4. The ring's size is a power of two above the longest window, so one position serves every window.
5. A class is looked up in a table by zone (processors/scoring/weighted.py); no score is worked out until one is wanted.
"""

from array import array
from collections.abc import Callable, Generator
from math import sqrt
from typing import Any, Final, NamedTuple, Protocol

from processors.indicators import REFRESH_EVERY, in_order_sum
from processors.indicators.rsi import MOTIONLESS
from processors.scoring import Score
from processors.scoring.weighted import FLAT_SQUARED, inner_squared, score_table, zone_of
from processors.strategy.params import StrategyParams
from processors.strategy.plain import ROLES, SCORERS, PlainKernel, ready_after, role_settings, value_names

LAST_BEFORE_REFRESH: Final = REFRESH_EVERY - 1


class Kernel(Protocol):
    """What the processor needs of a kernel, fused or plain.

    last: code of the class last told (kept by the processor).
    """

    last: int

    @property
    def params(self) -> StrategyParams:
        """The strategy's parameters."""
        ...

    def tick(self, price: float, /) -> int:
        """Take one price as a bar of one trade (interval tick only); return the code of its class."""
        ...

    def update(self, open_: float, high: float, low: float, close: float, volume: float) -> int:
        """Take one closed bar (every other interval); return the code of its class."""
        ...

    def report(self) -> tuple[int, Score, dict[str, float]]:
        """Return (bars taken, score of the newest bar, every value by name; none before all are there)."""
        ...

    def dump(self) -> list[Any]:
        """Return the state as numbers and lists."""
        ...

    def load(self, dump: list[Any]) -> None:
        """Take the state from a `dump` of a kernel with the same parameters."""
        ...


class State(NamedTuple):
    """State of a warm fused kernel; each field is named after the indicator's file. `ring` holds the newest closes."""

    bars: int
    zone: int
    close: float
    gain: float
    loss: float
    true_range: float
    macd_fast: float
    macd_slow: float
    macd_line: float
    ema_fast: float
    ema_slow: float
    anchor: float
    band_offset: float
    band_spread: float
    sma_fast_offset: float
    sma_slow_offset: float
    ring: "array[float]"


class KernelPlan:
    """What all kernels of one strategy share. `new()` makes the fast kernel where the parameters allow it.

    Raises:
        ValueError: an unknown scorer or extra indicator, or settings that do not fit it.
    """

    def __init__(self, params: StrategyParams) -> None:
        if params.scorer not in SCORERS:
            raise ValueError(f"strategy {params.name}: no scorer {params.scorer!r}, one of: {', '.join(SCORERS)}")
        for _, spec, settings in role_settings(params):
            spec.new(**settings)  # a setting out of range shows now, not at the first bar
        self.params = params
        self.fused = params.scorer == "weighted" and not params.extra_indicators
        self.names = value_names(params)
        self.ready_after = ready_after(params)
        self.scores = score_table(params)
        self.codes = tuple(score.code for score in self.scores)
        self.longest = max(params.sma_slow, params.bollinger_period)
        self.ring_size = 1 << self.longest.bit_length()  # strictly above the longest window
        self.constants = self._constants()
        self._band_share, self._deviations = 1.0 / params.bollinger_period, params.bollinger_deviations
        self._motionless, self._atr_period = MOTIONLESS * params.rsi_period, params.atr_period

    def new(self) -> Kernel:
        """Return a kernel that has seen no bar."""
        return FusedKernel(self) if self.fused else PlainKernel(self.params)

    def _constants(self) -> tuple[Any, ...]:
        """Return the constants of `_run`, made once: ten thousand kernels share them and their place in the cache."""
        params = self.params
        averages = (params.macd_fast, params.macd_slow, params.macd_signal, params.ema_fast, params.ema_slow)
        windows = (params.bollinger_period, params.sma_fast, params.sma_slow)
        return (
            self.codes,
            self.ring_size - 1,
            params.interval == "tick",
            (params.ema_fast, params.ema_slow) == (params.macd_fast, params.macd_slow),
            params.sma_fast == params.bollinger_period,
            (params.rsi_period - 1) / params.rsi_period,
            (params.atr_period - 1) / params.atr_period,
            MOTIONLESS * params.rsi_period,
            *(2.0 / (period + 1) for period in averages),
            *(part for period in windows for part in (period, 1.0 / period)),
            inner_squared(params),
            params.rsi_oversold,
            params.rsi_low,
            params.rsi_high,
            params.rsi_overbought,
            FLAT_SQUARED,
            LAST_BEFORE_REFRESH,
        )

    def state_of(self, plain: PlainKernel) -> State:
        """Return the state of a fused kernel that goes on where `plain` stands; all its values must be there."""
        parts: dict[str, Any] = {role: plain.part(role) for role, _, _ in ROLES}
        longest = max((parts["sma_slow"], parts["bollinger"]), key=lambda part: int(part.period))
        ring = array("d", bytes(8 * self.ring_size))
        for bar in range(plain.count - longest.period, plain.count):
            ring[bar % self.ring_size] = longest.ring[bar % longest.period]
        values = plain.values()
        assert values is not None, "the warm-up is not over"
        macd, bands = parts["macd"], parts["bollinger"]
        return State(
            bars=plain.count,
            zone=zone_of(values, plain.close, self.params),
            close=plain.close,
            gain=parts["rsi"].gain,
            loss=parts["rsi"].loss,
            true_range=parts["atr"].total,
            macd_fast=macd.fast_average,
            macd_slow=macd.slow_average,
            macd_line=macd.line,
            ema_fast=values["ema_fast"],
            ema_slow=values["ema_slow"],
            anchor=bands.anchor,
            band_offset=bands.offset,
            band_spread=bands.spread,
            sma_fast_offset=parts["sma_fast"].offset,
            sma_slow_offset=parts["sma_slow"].offset,
            ring=ring,
        )

    def values_of(self, state: State) -> dict[str, float]:
        """Return every value by name."""
        movement = state.gain + state.loss
        macd = state.macd_fast - state.macd_slow
        variance = state.band_spread * self._band_share
        reach = self._deviations * sqrt(variance)
        middle = state.anchor + state.band_offset
        return {
            "rsi": 100.0 * state.gain / movement if movement > self._motionless else 50.0,
            "macd": macd,
            "macd_signal": state.macd_line,
            "macd_histogram": macd - state.macd_line,
            "bollinger_lower": middle - reach,
            "bollinger_middle": middle,
            "bollinger_upper": middle + reach,
            "bollinger_variance": variance,
            "sma_fast": state.anchor + state.sma_fast_offset,
            "sma_slow": state.anchor + state.sma_slow_offset,
            "ema_fast": state.ema_fast,
            "ema_slow": state.ema_slow,
            "atr": state.true_range / self._atr_period,
        }


class FusedKernel:
    """All built-in indicators of one strategy on one instrument; made by `KernelPlan.new`."""

    __slots__ = ("_plan", "_send", "_warming", "high", "last", "low", "tick")

    def __init__(self, plan: KernelPlan) -> None:
        self._plan = plan
        self._warming: PlainKernel | None = PlainKernel(plan.params)
        self._send: Callable[[float | None], Any] = _not_warm
        self.tick: Callable[[float], int] = self._warm_tick
        self.high = self.low = 0.0  # of the bar being taken, read by the coroutine (bars, not ticks)
        self.last = 0

    @property
    def params(self) -> StrategyParams:
        """The strategy's parameters."""
        return self._plan.params

    def update(self, open_: float, high: float, low: float, close: float, volume: float) -> int:
        """Take one closed bar; return the code of its class (index in processors.scoring.CLASSES)."""
        if self._warming is not None:
            return self._warm_up(open_, high, low, close, volume)
        self.high, self.low = high, low
        code: int = self._send(close)
        return code

    def _warm_tick(self, price: float) -> int:
        return self._warm_up(price, price, price, price, 0.0)

    def _warm_up(self, open_: float, high: float, low: float, close: float, volume: float) -> int:
        assert self._warming is not None
        code = self._warming.update(open_, high, low, close, volume)
        if self._warming.count == self._plan.ready_after:
            self._start(self._plan.state_of(self._warming))
        return code

    def _start(self, state: State) -> None:
        self._warming = None
        run = _run(self._plan, state, self)
        run.send(None)
        self._send = run.send
        if self._plan.params.interval == "tick":
            self.tick = run.send  # the coroutine takes high and low from the close then

    def _state(self) -> State:
        state: State = self._send(None)
        return state

    def report(self) -> tuple[int, Score, dict[str, float]]:
        """Return (bars taken, score of the newest bar, every value by name; none before all are there)."""
        if self._warming is not None:
            return self._warming.report()
        state = self._state()
        return state.bars, self._plan.scores[state.zone], self._plan.values_of(state)

    def dump(self) -> list[Any]:
        """Return the state as numbers and lists."""
        return (
            [self.last, self._warming.dump()]
            if self._warming is not None
            else [self.last, *self._state()[:-1], self._state().ring.tolist()]
        )

    def load(self, dump: list[Any]) -> None:
        """Take the state from a `dump` of a kernel with the same parameters."""
        self.last = dump[0]
        if len(dump) == 2:
            self._warming = PlainKernel(self._plan.params)
            self._warming.load(dump[1])
        else:
            self._start(State._make([*dump[1:-1], array("d", dump[-1])]))


def _not_warm(close: float | None) -> Any:
    raise AssertionError("the kernel is still warming up")


def _refreshed(params: StrategyParams, ring: "array[float]", count: int) -> tuple[float, float, float, float]:
    """Return (band offset, band spread, offsets of both SMAs) made afresh with the newest close as anchor.

    See invariant 4 of processors/indicators.
    """
    oldest = count % len(ring)
    window = [close - ring[oldest - 1] for close in ring[oldest:] + ring[:oldest]]
    sma_fast = in_order_sum(window[-params.sma_fast :]) / params.sma_fast
    sma_slow = in_order_sum(window[-params.sma_slow :]) / params.sma_slow
    window = window[-params.bollinger_period :]
    offset = in_order_sum(window) / params.bollinger_period
    return offset, in_order_sum((close - offset) * (close - offset) for close in window), sma_fast, sma_slow


def _run(plan: KernelPlan, state: State, bar: FusedKernel) -> Generator[Any, float | None, None]:
    """Advance by each close sent; see the module header. `bar` gives high and low, but for ticks."""
    (count, zone, before, gain, loss, true_range, fast, slow, line, ema_fast, ema_slow,
     anchor, offset, spread, fast_offset, slow_offset, ring) = state  # fmt: skip
    (codes, mask, ticks, shared_emas, shared_window, rsi_keep, atr_keep, motionless, fast_alpha, slow_alpha,
     line_alpha, ema_fast_alpha, ema_slow_alpha, band_period, band_share, fast_period, fast_share,
     slow_period, slow_share, inner, oversold, low_rsi, high_rsi, overbought, flat,
     last_before_refresh) = plan.constants  # fmt: skip
    while True:
        close = yield codes[zone]
        while close is None:
            close = yield State(count, zone, before, gain, loss, true_range, fast, slow, line, ema_fast, ema_slow,
                                anchor, offset, spread, fast_offset, slow_offset, ring)  # fmt: skip
        change = close - before
        if change > 0.0:
            gain = gain * rsi_keep + change
            loss *= rsi_keep
        else:
            gain *= rsi_keep
            loss = loss * rsi_keep - change
        if ticks:
            true_range = true_range * atr_keep + (change if change > 0.0 else -change)
        else:
            high, low = bar.high, bar.low
            true_range = true_range * atr_keep + (
                (high if high > before else before) - (low if low < before else before)
            )
        before = close
        fast += fast_alpha * (close - fast)
        slow += slow_alpha * (close - slow)
        macd = fast - slow
        line += line_alpha * (macd - line)
        ema_fast = fast if shared_emas else ema_fast + ema_fast_alpha * (close - ema_fast)
        ema_slow = slow if shared_emas else ema_slow + ema_slow_alpha * (close - ema_slow)
        slot = count & mask
        ring[slot] = close
        if count & last_before_refresh == last_before_refresh:
            count += 1
            anchor = close
            offset, spread, fast_offset, slow_offset = _refreshed(plan.params, ring, count)
        else:
            count += 1
            slow_offset += (close - ring[slot - slow_period]) * slow_share
            old = ring[slot - band_period]
            change = close - old
            old = old - anchor - offset
            offset += change * band_share
            spread += change * ((close - anchor - offset) + old)
            spread = spread if spread >= 0.0 else 0.0
            fast_offset = offset if shared_window else fast_offset + (close - ring[slot - fast_period]) * fast_share
        rsi = gain + loss
        rsi = 100.0 * gain / rsi if rsi > motionless else 50.0
        if rsi < low_rsi:
            zone = 0 if rsi < oversold else 81
        else:
            zone = 162 if rsi <= high_rsi else 324 if rsi > overbought else 243
        zone += 0 if macd > line else 54 if macd < line else 27
        old = spread * band_share * inner
        middle = anchor + offset
        distance = close - middle
        if distance * distance < old or old <= flat * (middle * middle):
            zone += 9
        elif distance > 0.0:
            zone += 18
        middle = middle if shared_window else anchor + fast_offset
        old = anchor + slow_offset
        zone += 0 if middle > old else 6 if middle < old else 3
        zone += 0 if ema_fast > ema_slow else 2 if ema_fast < ema_slow else 1
        # What is dropped now is in the cache; left in these names it would be fetched again at the next bar.
        close = change = macd = rsi = old = distance = middle = 0.0
