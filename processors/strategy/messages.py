"""What the strategy role says: signals, bars and alerts, made of its state.

Entry points: `Strategy` (`signal`), `bar_message`, `marks_messages`, `Alerts`.
"""

import hashlib
from decimal import Decimal
from typing import Final, Literal

from processors.protocols import ALL, Out
from processors.scoring import CLASSES, TRADED
from processors.strategy.bars import ClosedBar
from processors.strategy.kernel import Kernel, KernelPlan
from processors.strategy.params import StrategyParams
from processors.strategy.state import PartitionState
from schemas.market import Bar, Mark, Marks
from schemas.reasons import Side
from schemas.signals import Signal
from schemas.system import Alert

SIGNALS = "signals"
LEADER_EVENTS = "leader-events"
BARS = "bars"
ALERTS = "alerts"
ACCOUNT_EVENTS = "account-events"
MARKS_PER_RECORD: Final = 4_000
"""Keeps a record of marks well below the broker's 1 MB limit; only a partition with more instruments sends several."""


class Strategy:
    """One strategy: its parameters, what its kernels share, and its signals' ids.

    Raises:
        ValueError: see `KernelPlan`.
    """

    def __init__(self, params: StrategyParams) -> None:
        self.params = params
        self.plan = KernelPlan(params)
        self.on_change = params.emit == "on_change"
        self.key = (params.name, params.params_hash)
        self._ids: dict[str, hashlib.blake2b] = {}

    def told(self, kernel: Kernel, code: int) -> bool:
        """Whether a bar of class `code`, known not to be `kernel.last`, is a signal; remembers it."""
        if self.on_change:
            kernel.last = code
        return code != 0

    def signal(self, kernel: Kernel, instrument: str, bar: ClosedBar, received_ms: int, now_ms: int) -> list[Out]:
        """Return the outputs of the kernel's newest bar, which has a class: to `signals`, traded ones to the leader."""
        count, score, values = kernel.report()
        signal_class = CLASSES[score.code]
        assert signal_class is not None
        params = self.params
        close = Decimal(bar.close)
        one_price = bar.open is bar.close and bar.high is bar.close and bar.low is bar.close
        signal = Signal(
            now_ms=now_ms,
            signal_id=self.signal_id(instrument, bar.start_ms, count),
            strategy=params.name,
            params_hash=self.key[1],
            instrument=instrument,
            interval=params.interval,
            side=Side.BUY if score.buy > score.sell else Side.SELL,
            signal_class=signal_class,
            strength=score.strength,
            buy_score=score.buy,
            sell_score=score.sell,
            reasons=score.reasons,
            indicators=values,
            price=close,
            bar_start_ms=bar.start_ms,
            bar_end_ms=bar.end_ms,
            bar_open=close if one_price else Decimal(bar.open),
            bar_high=close if one_price else Decimal(bar.high),
            bar_low=close if one_price else Decimal(bar.low),
            bar_close=close,
            bar_volume=bar.volume,
            received_ms=received_ms,
            atr=values["atr"],
        )
        outs = [Out(SIGNALS, f"{params.name}/{instrument}", signal)]
        if score.code in TRADED:
            outs.append(Out(LEADER_EVENTS, params.name, signal))
        return outs

    def signal_id(self, instrument: str, bar_start_ms: int, bar_index: int) -> str:
        """Return derive_id("signal", strategy, params_hash, instrument, interval, bar_start_ms, bar_index).

        The same hash with its beginning worked out once per instrument: ids are a good part of a signal's cost.
        """
        begun = self._ids.get(instrument)
        if begun is None:
            begun = hashlib.blake2b(digest_size=16)
            for field in ("signal", *self.key, instrument, self.params.interval):
                begun.update(_field(field))
            self._ids[instrument] = begun
        digest = begun.copy()
        digest.update(_field(str(bar_start_ms)) + _field(str(bar_index)))
        return digest.hexdigest()


def _field(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(4, "big") + data


def bar_message(instrument: str, interval: str, bar: ClosedBar, now_ms: int) -> Out:
    """Return the output of a closed bar."""
    message = Bar(
        now_ms=now_ms,
        instrument=instrument,
        interval=interval,
        start_ms=bar.start_ms,
        end_ms=bar.end_ms,
        open=Decimal(bar.open),
        high=Decimal(bar.high),
        low=Decimal(bar.low),
        close=Decimal(bar.close),
        volume=bar.volume,
        trades=bar.trades,
    )
    return Out(BARS, instrument, message)


def tick_bar(ts: int, price_text: str, price: float, size: str) -> ClosedBar:
    """Return one trade as a bar: it starts at its venue time and ends one millisecond later."""
    return ClosedBar(ts, ts + 1, price_text, price_text, price_text, price_text, price, price, price, price,
                     Decimal(size), 1)  # fmt: skip


def marks_messages(state: PartitionState, now_ms: int) -> list[Out]:
    """Return the broadcast of the best bid and ask of every instrument that changed, and forget which did.

    Without a fresh quote the last price is both.
    """
    marks = []
    for instrument in state.dirty:
        instrument.dirty = False
        if instrument.bid != "" and (instrument.price == "" or now_ms <= instrument.quote_until_ms):
            bid, ask = Decimal(instrument.bid), Decimal(instrument.ask)
        else:
            bid = ask = Decimal(instrument.price)
        marks.append(Mark(now_ms=now_ms, instrument=instrument.name, bid=bid, ask=ask))
    state.dirty.clear()
    parts = [tuple(marks[start : start + MARKS_PER_RECORD]) for start in range(0, len(marks), MARKS_PER_RECORD)]
    return [Out(ACCOUNT_EVENTS, "*", Marks(now_ms=now_ms, marks=part), ALL) for part in parts]


class Alerts:
    """The alerts of one step: where they come from and when."""

    def __init__(self, source: str, now_ms: int) -> None:
        self.source = source
        self.now_ms = now_ms

    def _out(self, kind: str, severity: Literal["info", "warning", "critical"], text: str, **numbers: object) -> Out:
        told = {name: str(value)[:40] for name, value in numbers.items()}
        message = Alert(now_ms=self.now_ms, kind=kind, severity=severity, source=self.source, text=text, numbers=told)
        return Out(ALERTS, self.source, message)

    def feed_gap(self, instrument: str, gap: list[str]) -> Out:
        """Market data is missing; `gap` is [after_id, before_id, reason]."""
        text = (
            f"{instrument}: market data is missing ({gap[2]}); indicators go on from the next record and differ from "
            "those of a full feed until their windows are refilled"
        )
        return self._out("feed_gap", "warning", text, after_id=gap[0], before_id=gap[1])

    def late_data(self, instrument: str, interval: str, late_ms: int, count: int) -> Out:
        """Data for a bar that is closed already, later than is tolerated."""
        text = (
            f"{instrument}: data came {late_ms} ms too late for its {interval} bar and was left out "
            f"({count} times so far)"
        )
        return self._out("late_data", "warning", text, late_ms=late_ms, count=count)

    def id_regression(self, instrument: str, trade_id: int, last_id: int, count: int) -> Out:
        """A trade whose time is new and whose id is not."""
        text = (
            f"{instrument}: trade id {trade_id} is not above {last_id}, but its time is later: dropped ({count} so "
            "far). If the venue numbers its trades anew, start this worker from an empty state"
        )
        return self._out("id_regression", "critical", text, id=trade_id, last_id=last_id)

    def price_level_changed(self, instrument: str, before: float, after: float) -> Out:
        """A price far from the last one was confirmed often enough to be believed."""
        text = f"{instrument}: the price moved from {before:.12g} to {after:.12g} and stayed there"
        return self._out("price_level_changed", "critical", text, before=before, after=after)

    def bar_source_changed(self, instrument: str, interval: str, source_ms: int) -> Out:
        """A series is built from a better source from now on."""
        text = (
            f"{instrument}: its {interval} bars are now made of the feed's bars of {source_ms} ms; an open bar made of "
            "a lesser source was dropped"
        )
        return self._out("bar_source_changed", "info", text, source_ms=source_ms)


def is_power_of_two(count: int) -> bool:
    """Whether something that happened `count` times is told again: at the 1st, 2nd, 4th, 8th ... time."""
    return count & (count - 1) == 0
