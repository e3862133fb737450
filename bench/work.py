"""The work that every contender of the hot path does on every tick, and the ticks it does it on.

Entry points: `ticks`, `PARAMS`, `Book`, `expected`, `digest`.

One strategy with the product's defaults on interval "tick": every trade is a bar. A peer decodes with the leanest
decoder that we have (`LEAN`), runs our kernel, and emits our Signal record, made by our code, when the class changes:
what is compared is the runtime around it. Ours does more: it also checks ids, price jumps and times, stamps and chains
its records, publishes marks and the leader's events, and saves its state.
"""

import hashlib
from collections.abc import Iterable, Iterator
from random import Random
from typing import Any, Final

import msgspec

from processors.strategy.checks import LEAN
from processors.strategy.kernel import Kernel
from processors.strategy.messages import Strategy, tick_bar
from processors.strategy.params import StrategyParams
from schemas.codec import encode

START_MS: Final = 1_723_075_200_000
TICKS_PER_LOG_MS: Final = 10
"""Log time moves as in a market of 10,000 ticks a second, however fast the ticks are read."""
SAME_PRICE: Final = 0.659
PARAMS: Final = StrategyParams(name="bench", interval="tick")


def ticks(count: int, instruments: int = 64, seed: int = 7) -> Iterator[tuple[str, bytes]]:
    """Yield (instrument, value): trades in our wire form, instruments in turn; `ts` is one ms apart and names the tick.

    Two trades of three print the price of the one before, as in the built-in recording (0.659 of its 35,298 market
    trades); the rest move by a normal step of 0.05 %. That makes signals on about as many ticks as real trades do.
    Written as text, since encoding is not what is measured; tests/bench holds it to what schemas.codec writes.
    """
    random = Random(seed)
    uniform = random.random
    width = len(str(instruments - 1))
    names = [f"s:{number:0{width}d}" for number in range(instruments)]
    prices = [10_000 + random.randrange(80_000) for _ in names]
    moves = [sum(uniform() for _ in range(12)) - 6 for _ in range(4096)]
    for index in range(count):
        place = index % instruments
        if uniform() >= SAME_PRICE:
            prices[place] = max(5_000, prices[place] + round(prices[place] * 0.0005 * moves[random.getrandbits(12)]))
        price = prices[place]
        side = "buy" if index & 1 else "sell"
        yield (
            names[place],
            f'{{"type":"trade","now_ms":{START_MS + index // TICKS_PER_LOG_MS},"instrument":"{names[place]}",'
            f'"price":"{price // 100}.{price % 100:02d}","size":"0.{1 + index % 9}","side":"{side}",'
            f'"id":{index // instruments + 1},"ts":{START_MS + index}}}'.encode(),
        )


class Book:
    """The peers' state: one kernel per instrument in a plain dict."""

    def __init__(self) -> None:
        self.strategy = Strategy(PARAMS)
        self.kernels: dict[str, Kernel] = {}

    def tick(self, value: bytes) -> tuple[bytes, bytes] | None:
        """Take one trade; return (key, value) of the signal if its class changed to one that is told."""
        event = LEAN.decode(value)
        name = event.instrument
        kernel = self.kernels.get(name)
        if kernel is None:
            kernel = self.kernels[name] = self.strategy.plan.new()
        price = float(event.price)  # type: ignore[union-attr]
        code = kernel.tick(price)
        if code == kernel.last:
            return None
        if code == 0:
            kernel.last = 0
            return None
        return self.signal(kernel, event, code, price)

    def signal(self, kernel: Kernel, event: Any, code: int, price: float) -> tuple[bytes, bytes] | None:
        """Return the signal of the kernel's newest bar."""
        if not self.strategy.told(kernel, code):
            return None
        bar = tick_bar(event.ts, event.price, price, event.size)
        out = self.strategy.signal(kernel, event.instrument, bar, event.now_ms, event.now_ms)[0]
        return out.key.encode(), encode(out.value)


def expected(values: Iterable[bytes]) -> list[bytes]:
    """Return the values of all signals that these ticks make."""
    book = Book()
    return [made[1] for value in values if (made := book.tick(value)) is not None]


class _Logical(msgspec.Struct):
    """What must be equal whoever made it: all but the times at which it passed through."""

    signal_id: str
    instrument: str
    side: str
    signal_class: str
    strength: float
    buy_score: float
    sell_score: float
    reasons: list[str]
    indicators: dict[str, float]
    price: str
    bar_start_ms: int
    bar_volume: str


_logical = msgspec.json.Decoder(_Logical)


def digest(values: Iterable[bytes]) -> tuple[int, str]:
    """Return (how many, hash over their logical fields, whatever the order of partitions)."""
    lines = sorted(msgspec.json.encode(_logical.decode(value)) for value in values)
    return len(lines), hashlib.sha256(b"\n".join(lines)).hexdigest()[:16]
