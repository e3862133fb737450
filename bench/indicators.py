"""Nanoseconds per tick of the indicators with their score, beside what others offer for the same work.

Run: `python -m bench.indicators [--ticks N] [--rounds N]`. Prints a markdown table and the machine it was measured on.

The work: RSI 14, MACD 12/26/9, Bollinger 20/2, SMA 20/50, EMA 12/26 and ATR 14 after every tick (ours also the score).
Contenders take turns, round by round, and the median of each one's rounds is shown, in processor time of this process:
on a shared machine ratios hold better than the figures. Peers that are not installed are left out and named.
"""

import argparse
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np

from processors.strategy.batch import BatchKernel
from processors.strategy.kernel import KernelPlan
from processors.strategy.params import StrategyParams
from processors.strategy.plain import PlainKernel
from processors.strategy.processor import StrategyProcessor
from schemas.codec import encode
from schemas.market import Trade
from schemas.reasons import Side

WINDOW = 100  # ticks that a peer without running state is given, as its users do
TICK = StrategyParams(name="bench", interval="tick")
Contender = tuple[str, int, Callable[[], None]]  # name, ticks per run, run


def prices(count: int, seed: int = 1) -> list[float]:
    """A random walk of ticks of 0.1 around 60,000 that often stands still, as trades do."""
    rnd, price, out = random.Random(seed), 60_000.0, []
    for _ in range(count):
        price = round(price + rnd.choice((-1, 0, 0, 0, 1)) * 0.1 * rnd.randint(1, 20), 1)
        out.append(price)
    return out


def our_kernel(ticks: list[float]) -> Contender:
    """The fused kernel, as live."""
    kernel = KernelPlan(TICK).new()
    for price in ticks[:200]:
        kernel.tick(price)

    def run() -> None:
        tick = kernel.tick
        for price in ticks:
            tick(price)

    return "wakeline, live kernel (with score)", len(ticks), run


def our_files(ticks: list[float]) -> Contender:
    """One object per indicator and the scorer."""
    kernel, some = PlainKernel(TICK), ticks[: len(ticks) // 10]

    def run() -> None:
        for price in some:
            kernel.tick(price)

    return "wakeline, one-file indicators (with score)", len(some), run


def our_batch(ticks: list[float]) -> Contender:
    """Arrays of 10,000 ticks, all values and classes out."""
    batch, columns = BatchKernel(TICK), [np.array(ticks)] * 5
    batch.run(*columns)  # compiled now

    def run() -> None:
        for start in range(0, len(ticks), 10_000):
            batch.run(*(column[start : start + 10_000] for column in columns))

    return "wakeline, batch form (with score)", len(ticks), run


def peer_ta(ticks: list[float]) -> Contender:
    """ta + pandas, each tick over the newest bars."""
    import pandas as pd
    import ta

    some = ticks[: WINDOW + 3]

    def run() -> None:
        for end in range(WINDOW, len(some)):
            close = pd.Series(some[end - WINDOW : end])
            ta.momentum.RSIIndicator(close).rsi().iloc[-1]
            macd = ta.trend.MACD(close)
            _ = macd.macd().iloc[-1], macd.macd_signal().iloc[-1]
            bands = ta.volatility.BollingerBands(close)
            _ = bands.bollinger_lband().iloc[-1], bands.bollinger_hband().iloc[-1]
            for period in (20, 50):
                ta.trend.SMAIndicator(close, period).sma_indicator().iloc[-1]
            for period in (12, 26):
                ta.trend.EMAIndicator(close, period).ema_indicator().iloc[-1]
            ta.volatility.AverageTrueRange(close, close, close).average_true_range().iloc[-1]

    return f"ta + pandas over {WINDOW} bars", len(some) - WINDOW, run


def peer_talipp(ticks: list[float]) -> Contender:
    """talipp's incremental indicators."""
    from talipp.indicators import ATR, BB, EMA, MACD, RSI, SMA
    from talipp.ohlcv import OHLCV

    some = ticks[: len(ticks) // 20]

    def run() -> None:
        parts = [RSI(14), MACD(12, 26, 9), BB(20, 2.0), SMA(20), SMA(50), EMA(12), EMA(26)]
        ranges = ATR(14)
        for price in some:
            for part in parts:
                part.add(price)
            ranges.add(OHLCV(price, price, price, price))

    return "talipp, incremental", len(some), run


def peer_talib_stream(ticks: list[float]) -> Contender:
    """TA-Lib's stream functions over the newest bars."""
    from talib import stream

    some, values = ticks[: len(ticks) // 20], np.array(ticks)

    def run() -> None:
        for end in range(WINDOW, len(some)):
            close = values[end - WINDOW : end]
            stream.RSI(close, 14)
            stream.MACD(close, 12, 26, 9)
            stream.BBANDS(close, 20, 2, 2)
            stream.SMA(close, 20)
            stream.SMA(close, 50)
            stream.EMA(close, 12)
            stream.EMA(close, 26)
            stream.ATR(close, close, close, 14)

    return f"TA-Lib stream functions over {WINDOW} bars", len(some) - WINDOW, run


def peer_talib_array(ticks: list[float]) -> Contender:
    """TA-Lib over the whole array: no state, nothing tick by tick."""
    import talib

    close = np.array(ticks)

    def run() -> None:
        talib.RSI(close, 14)
        talib.MACD(close, 12, 26, 9)
        talib.BBANDS(close, 20, 2, 2)
        talib.SMA(close, 20)
        talib.SMA(close, 50)
        talib.EMA(close, 12)
        talib.EMA(close, 26)
        talib.ATR(close, close, close, 14)

    return "TA-Lib over the whole array (no state)", len(close), run


def our_path(ticks: list[float], instruments: int, interval: str) -> Contender:
    """From raw JSON to signals, as the worker calls it, warm; ticks spread over instruments at random."""
    rnd, last, names = random.Random(2), [0] * instruments, [f"sim:INSTRUMENT-{n}" for n in range(instruments)]
    moves, level = np.diff(ticks, prepend=60_000.0).tolist(), [60_000.0] * instruments
    processor = StrategyProcessor([StrategyParams(name="bench", interval=interval)])
    state = processor.initial(0)
    values: list[bytes] = []
    warm_up = 60 * instruments if interval == "tick" else 0
    for place in range(warm_up + len(ticks)):
        which = place % instruments if place < warm_up else rnd.randrange(instruments)
        level[which] = round(level[which] + moves[place % len(moves)], 1)
        last[which] += 1
        values.append(_trade(names[which], level[which], last[which], 1_723_161_600_000 + place // 10))
    now_ms = 0
    for start in range(0, warm_up, 1_000):
        part = values[start : min(start + 1_000, warm_up)]
        now_ms, _ = processor.step_batch(state, part, range(len(part)), 0, now_ms)
    del values[:warm_up]
    rest = iter([values[start : start + 1_000] for start in range(0, len(values), 1_000)])

    def run() -> None:
        nonlocal now_ms
        for _ in range(len(ticks) // 1_000 // 8):
            part = next(rest)
            now_ms, _ = processor.step_batch(state, part, range(len(part)), 0, now_ms)

    return f"raw JSON to signals, {interval} bars, {instruments:,} instruments", len(ticks) // 8_000 * 1_000, run


def _trade(instrument: str, price: float, id: int, at_ms: int) -> bytes:
    from decimal import Decimal

    return encode(Trade(now_ms=at_ms, instrument=instrument, price=Decimal(f"{price:.1f}"), size=Decimal("0.006"),
                        side=Side.BUY, id=id, ts=at_ms))  # fmt: skip


def measure(contenders: Sequence[Contender], rounds: int) -> list[tuple[str, float]]:
    """Return (name, median nanoseconds per tick), contenders taking turns."""
    taken: dict[str, list[float]] = {name: [] for name, _, _ in contenders}
    for _ in range(rounds):
        for name, count, run in contenders:
            start = time.process_time_ns()
            run()
            taken[name].append((time.process_time_ns() - start) / count)
    return [(name, statistics.median(found)) for name, found in taken.items()]


def table(title: str, rows: Sequence[tuple[str, float]]) -> str:
    """Return a markdown table; ratios are to the first row."""
    lines = [f"| {title} | ns per tick | times the first |", "|---|---:|---:|"]
    lines += [f"| {name} | {value:,.0f} | {value / rows[0][1]:,.2f} |" for name, value in rows]
    return "\n".join(lines)


def machine() -> str:
    """Return one line that says where this was measured."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), model)
    except OSError:
        pass
    return f"{model}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, CPython {platform.python_version()}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; exit code 0."""
    parser = argparse.ArgumentParser(prog="python -m bench.indicators", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ticks", type=int, default=80_000, help="ticks per run of the fastest contenders")
    parser.add_argument("--rounds", type=int, default=7, help="runs of each contender, at most 8")
    options = parser.parse_args(arguments)
    if not 1 <= options.rounds <= 8 or options.ticks < 8_000:
        parser.error("--rounds must be 1 to 8, --ticks at least 8000")
    ticks, contenders, missing = prices(options.ticks), [], []
    for make in (our_kernel, our_batch, our_files, peer_ta, peer_talipp, peer_talib_stream, peer_talib_array):
        try:
            contenders.append(make(ticks))
        except ImportError as error:
            missing.append(str(error.name))
    print(f"Machine: {machine()}\n")
    print(table("indicators on every tick", measure(contenders, options.rounds)), "\n", flush=True)
    paths = [our_path(ticks, count, interval) for count, interval in
             ((10, "tick"), (500, "tick"), (10_000, "tick"), (10, "1s"), (500, "1s"))]  # fmt: skip
    print(table("step_batch", measure(paths, options.rounds)))
    if missing:
        print(f"\nNot installed, left out: {', '.join(missing)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
