"""Indicators against TA-Lib and ta on half a year of real five-minute bars and on real trades.

TA-Lib must agree from the first value (the macd pair has its own seeds there, see the indicator's file). ta starts its
averages from single values; it must agree from the bar named in `TA_AGREES_FROM` on, and must not before it, so that
what docs/adding-an-indicator.md says stays true.
"""

import csv
import gzip
import json
import pathlib

import numpy as np
import pandas as pd
import pytest

from processors import indicators
from processors.registry import discover

talib = pytest.importorskip("talib")
ta = pytest.importorskip("ta")

RECORDINGS = pathlib.Path(__file__).parents[3] / "replay" / "recordings"
INDICATORS = discover(indicators, "INDICATOR")
TOLERANCE = 1e-9


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    with gzip.open(RECORDINGS / "btcusd-5m-2025-10-2026-04.csv.gz", "rt") as file:
        rows = [[float(cell) for cell in row[1:]] for row in list(csv.reader(file))[1:]]
    return pd.DataFrame(rows, columns=["open", "high", "low", "close", "volume"])


@pytest.fixture(scope="module")
def ticks() -> pd.DataFrame:
    prices = []
    with gzip.open(RECORDINGS / "binanceusdm-ws-2024-08-08.jsonl.gz", "rt") as file:
        for line in file:
            data = json.loads(line)["message"]["data"]
            if data["e"] == "trade" and data["s"] == "BTCUSDT":
                prices.append(float(data["p"]))
    frame = pd.DataFrame({"close": prices})
    for name in ("open", "high", "low"):
        frame[name] = frame["close"]
    frame["volume"] = 1.0
    return frame


def ours(name: str, frame: pd.DataFrame, **settings: float) -> np.ndarray:
    spec = INDICATORS[name]
    indicator = spec.new(**{**spec.settings, **settings})
    out = np.full((len(frame), len(spec.outputs)), np.nan)
    for place, bar in enumerate(frame[["open", "high", "low", "close", "volume"]].to_numpy().tolist()):
        indicator.update(*bar)
        values = indicator.values()
        if values is not None:
            out[place] = values
    return out


def off(found: np.ndarray, wanted: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return the error of each bar relative to the larger of the value and `scale`."""
    return np.abs(found - wanted) / np.maximum(np.abs(wanted), scale)


CASES = ["sma-20", "sma-50", "ema-12", "ema-26", "rsi", "macd", "bollinger", "atr"]
# Bars (counted from 1) from which ta is within 1e-9 of ours; macd and atr relative to the price, the rest to the value.
TA_AGREES_FROM = {"sma-20": 20, "sma-50": 50, "bollinger": 20}
TA_AGREES_WITHIN = {"ema-12": 8 * 12, "ema-26": 8 * 26, "rsi": 20 * 14, "macd": 8 * 26, "atr": 11 * 14}


def by_libraries(case: str, frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | float]:
    """Return (ours, TA-Lib's, ta's, scale of errors) of one case, one column per output."""
    name, _, period = case.partition("-")
    length = int(period or 0)
    close, high, low = frame["close"], frame["high"], frame["low"]
    price = close.to_numpy()
    if name == "sma":
        return (ours(name, frame, period=length)[:, 0], talib.SMA(price, length),
                ta.trend.SMAIndicator(close, length).sma_indicator().to_numpy(), 0.0)  # fmt: skip
    if name == "ema":
        return (ours(name, frame, period=length)[:, 0], talib.EMA(price, length),
                ta.trend.EMAIndicator(close, length).ema_indicator().to_numpy(), 0.0)  # fmt: skip
    if name == "rsi":
        return (ours(name, frame)[:, 0], talib.RSI(price, 14),
                ta.momentum.RSIIndicator(close, 14).rsi().to_numpy(), 1.0)  # fmt: skip
    if name == "atr":
        theirs = ta.volatility.AverageTrueRange(high, low, close, 14).average_true_range().to_numpy()
        return ours(name, frame)[:, 0], talib.ATR(high.to_numpy(), low.to_numpy(), price, 14), theirs, price
    if name == "macd":
        peer = ta.trend.MACD(close, 26, 12, 9)
        theirs = np.column_stack([peer.macd(), peer.macd_signal(), peer.macd_diff()])
        return ours(name, frame), np.column_stack(talib.MACD(price, 12, 26, 9)), theirs, price[:, None]
    upper, middle, lower = talib.BBANDS(price, 20, 2, 2)
    peer = ta.volatility.BollingerBands(close, 20, 2)
    theirs = np.column_stack([peer.bollinger_lband(), peer.bollinger_mavg(), peer.bollinger_hband()])
    return ours(name, frame)[:, :3], np.column_stack([lower, middle, upper]), theirs, 0.0


@pytest.mark.parametrize("source", ["bars", "ticks"])
@pytest.mark.parametrize("case", CASES)
def test_equals_talib_from_the_first_value(case: str, source: str, request: pytest.FixtureRequest) -> None:
    frame = request.getfixturevalue(source)
    found, wanted, _, scale = by_libraries(case, frame)
    first = 12 * 26 if case == "macd" else 0  # its fast average is seeded late there; exact below by EMA - EMA
    if case == "rsi":  # a market that does not move: we say 50, TA-Lib 0
        wanted = np.where((wanted == 0.0) & (found == 50.0), 50.0, wanted)
    if first == 0:
        assert (np.isnan(found) == np.isnan(wanted)).all()
    assert np.nanmax(off(found, wanted, np.asarray(scale))[first:]) <= TOLERANCE


def test_bands_stay_exact_where_ticks_hardly_move(ticks: pd.DataFrame) -> None:
    price = ticks["close"].to_numpy()
    windows = np.lib.stride_tricks.sliding_window_view(price, 20)
    deviation = np.std(windows - windows[:, :1], axis=1)  # shifted first: exact to the last digits
    middle = windows[:, 0] + (windows - windows[:, :1]).mean(axis=1)
    found = ours("bollinger", ticks)[19:, :3]
    wanted = np.column_stack([middle - 2 * deviation, middle, middle + 2 * deviation])
    assert np.max(np.abs(found - wanted) / wanted) <= 1e-10


def test_macd_is_the_difference_of_talibs_averages(bars: pd.DataFrame) -> None:
    price = bars["close"].to_numpy()
    wanted = talib.EMA(price, 12) - talib.EMA(price, 26)
    found = ours("macd", bars)
    assert np.nanmax(off(found[:, 0], wanted, price)) <= 1e-13
    signal = talib.EMA(wanted[25:], 9)
    assert np.nanmax(off(found[25:, 1], signal, price[25:])) <= 1e-13


@pytest.mark.parametrize("case", CASES)
def test_equals_ta_after_its_warm_up(case: str, bars: pd.DataFrame) -> None:
    found, _, theirs, scale = by_libraries(case, bars)
    error = off(found, theirs, np.asarray(scale))
    error = error if error.ndim == 1 else error.max(axis=1)
    if case in TA_AGREES_FROM:
        assert (np.isnan(found) == np.isnan(theirs)).all()
        assert np.nanmax(error) <= TOLERANCE
    else:
        wrong = np.flatnonzero(error > TOLERANCE)
        assert 0 < wrong[-1] < TA_AGREES_WITHIN[case], f"they agree from bar {wrong[-1] + 2} on"
