"""Market data for the strategy's tests: real bars and ticks, random walks, and messages made of them."""

import csv
import gzip
import json
import pathlib
import random
from collections.abc import Iterator
from decimal import Decimal
from functools import lru_cache
from typing import Any

from processors.inbox import InboxCore, Record
from processors.protocols import Meta, Out
from processors.strategy.params import StrategyParams
from processors.strategy.processor import StrategyProcessor
from schemas.codec import encode
from schemas.market import Bar, Clock, FeedGap, Quote, Trade
from schemas.reasons import Side

RECORDINGS = pathlib.Path(__file__).parents[3] / "replay" / "recordings"
BTC, ETH = "binanceusdm:BTC/USDT:USDT", "binanceusdm:ETH/USDT:USDT"
START_MS = 1_723_161_600_000  # midnight UTC: aligned for every interval


@lru_cache(maxsize=1)
def real_bars() -> list[tuple[float, ...]]:
    """(open, high, low, close, volume) of half a year of five-minute bars."""
    with gzip.open(RECORDINGS / "btcusd-5m-2025-10-2026-04.csv.gz", "rt") as file:
        return [tuple(float(cell) for cell in row[1:]) for row in list(csv.reader(file))[1:]]


@lru_cache(maxsize=4)
def recorded(count: int) -> tuple[Trade | Quote, ...]:
    """The first messages of the recorded futures feed, log time being the receive time."""
    names = {"BTCUSDT": BTC, "ETHUSDT": ETH}
    out: list[Trade | Quote] = []
    with gzip.open(RECORDINGS / "binanceusdm-ws-2024-08-08.jsonl.gz", "rt") as file:
        for line in file:
            row = json.loads(line)
            data, now_ms = row["message"]["data"], row["received_ns"] // 1_000_000
            name = names[data["s"]]
            if data["e"] == "trade":
                out.append(Trade(now_ms=now_ms, instrument=name, price=Decimal(data["p"]), size=Decimal(data["q"]),
                                 side=Side.SELL if data["m"] else Side.BUY, id=data["t"], ts=data["T"]))  # fmt: skip
            else:
                out.append(Quote(now_ms=now_ms, instrument=name, bid=Decimal(data["b"]), bid_size=Decimal(data["B"]),
                                 ask=Decimal(data["a"]), ask_size=Decimal(data["A"]), id=data["u"],
                                 ts=data["T"]))  # fmt: skip
            if len(out) == count:
                break
    return tuple(out)


def trade(
    at_ms: int, price: Any, id: int, *, size: Any = "1", instrument: str = BTC, now_ms: int | None = None
) -> Trade:
    """A trade `at_ms` after START_MS; log time is the same unless given."""
    received_ms = START_MS + (at_ms if now_ms is None else now_ms)
    return Trade(now_ms=received_ms, instrument=instrument, price=Decimal(str(price)), size=Decimal(str(size)),
                 side=Side.BUY, id=id, ts=START_MS + at_ms)  # fmt: skip


def quote(at_ms: int, bid: Any, ask: Any, id: int, *, instrument: str = BTC) -> Quote:
    """A quote `at_ms` after START_MS."""
    return Quote(now_ms=START_MS + at_ms, instrument=instrument, bid=Decimal(str(bid)), bid_size=Decimal(1),
                 ask=Decimal(str(ask)), ask_size=Decimal(1), id=id, ts=START_MS + at_ms)  # fmt: skip


def clock(at_ms: int) -> Clock:
    """The clock `at_ms` after START_MS."""
    return Clock(now_ms=START_MS + at_ms, feed="test", position=at_ms)


def bar(start_ms: int, interval: str, length_ms: int, prices: tuple[Any, Any, Any, Any], *, volume: Any = "1") -> Bar:
    """A closed bar of the feed, received when it ends."""
    open_, high, low, close = (Decimal(str(price)) for price in prices)
    return Bar(now_ms=START_MS + start_ms + length_ms, instrument=BTC, interval=interval, start_ms=START_MS + start_ms,
               end_ms=START_MS + start_ms + length_ms, open=open_, high=high, low=low, close=close,
               volume=Decimal(str(volume)), trades=1)  # fmt: skip


def gap(at_ms: int, reason: str = "socket lost") -> FeedGap:
    """A gap told by the feed."""
    return FeedGap(now_ms=START_MS + at_ms, instrument=BTC, reason=reason)


def wander(count: int, seed: int = 1, gap_ms: int = 100) -> Iterator[Trade]:
    """Trades of a random walk."""
    rnd, price = random.Random(seed), 60_000.0
    for place in range(count):
        price += rnd.choice((-3, -1, 0, 0, 1, 3)) * 0.1 * rnd.randint(0, 40)
        yield trade(place * gap_ms, f"{price:.1f}", place + 1, size=f"0.{rnd.randint(1, 999):03d}")


class Runner:
    """Steps a processor one by one and keeps what comes out."""

    def __init__(self, *params: StrategyParams, **settings: Any) -> None:
        self.processor = StrategyProcessor(params, **settings)
        self.state = self.processor.initial(0)
        self.now_ms = self.offset = 0
        self.outs: list[Out] = []

    def __call__(self, *events: Any) -> list[Out]:
        """Step these events; return what they made."""
        made: list[Out] = []
        for event in events:
            now_ms = max(self.now_ms, event.now_ms)
            made += self.processor.step(self.state, event, Meta(now_ms, 0, self.offset))
            self.now_ms = now_ms
            self.offset += 1
        self.outs += made
        return made

    def restart(self) -> None:
        """Go on from encoded state."""
        self.state = self.processor.decode(self.processor.encode(self.state))

    def told(self, topic: str) -> list[Any]:
        """Every message to a topic so far."""
        return [out.value for out in self.outs if out.topic == topic]


class _Topic:
    def __init__(self, messages: tuple[str, ...], edge: bool) -> None:
        self.messages, self.partitions, self.edge = messages, 4, edge


def one_by_one(processor: StrategyProcessor) -> InboxCore:
    """An inbox that decodes in full and steps one by one: what the fused path has to equal."""
    tags = ("trade", "quote", "bar", "feed_gap", "clock")
    topics = {
        name: _Topic((), False) for name in ("signals", "bars", "leader-events", "account-events", "alerts", "parked")
    }
    core = InboxCore(processor, {**topics, "market-data": _Topic(tags, True)})
    core._step_batch = None
    return core


def fused(processor: StrategyProcessor) -> InboxCore:
    """The inbox as it runs live."""
    core = one_by_one(processor)
    core._step_batch = processor.step_batch
    return core


def records(events: Any) -> list[Record]:
    """Records of messages, or of raw bytes."""
    return [Record(offset, event if isinstance(event, bytes | None) else encode(event))
            for offset, event in enumerate(events)]  # fmt: skip
