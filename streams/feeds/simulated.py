"""A seeded market: any number of instruments, any rate; demonstrations and load.

Entry point: `SimulatedFeed`.

1. Same seed and parameters, same bytes, on every machine: only additions, multiplications and table look-ups of
   Python's Mersenne Twister, no library function whose last bit differs between platforms.
2. Each instrument's middle price walks geometrically; a day's return has the standard deviation `volatility`. Prices
   are whole ticks, the spread one to four of them; one record in four is a trade, at the touch of its side.
3. Record k stands at k / rate seconds. Quote and trade ids of an instrument rise by one each.
4. Values are written as text, since encoding messages one by one is what limits a load generator; a test holds them
   to be byte for byte what schemas.codec writes.
"""

from collections.abc import Iterator
from decimal import Decimal
from random import Random
from typing import Final

from schemas.accounts import InstrumentChanged
from streams.feeds.base import QUOTE, TRADE, FeedRecord, parameter_hash
from streams.feeds.params import FeedParams

_TABLE: Final = 4096  # normal variates, drawn once
_DAY_S: Final = 86_400
LOT: Final = Decimal("0.001")


class _Instrument:
    __slots__ = ("highest", "lowest", "middle", "name", "quote_id", "spread", "trade_id")

    def __init__(self, name: str, price_ticks: int) -> None:
        self.name = name
        self.middle = float(price_ticks)
        self.lowest = price_ticks / 100
        self.highest = price_ticks * 100.0
        self.spread = 1
        self.quote_id = 0
        self.trade_id = 0


class SimulatedFeed:
    """See streams.feeds.base.Feed; `origin_ms` is 0: its times are relative."""

    origin_ms = 0
    step_ms = 1_000
    shifted = True

    def __init__(self, params: FeedParams) -> None:
        wanted = params.instruments
        self.names = (
            tuple(f"sim:S{number:04d}/USD" for number in range(1, wanted + 1)) if isinstance(wanted, int) else wanted
        )
        self.limit = params.limit
        self.ignored: dict[str, int] = {}
        self.backwards = 0
        self._rate = params.rate
        self._seed = params.seed
        self._volatility = params.volatility
        settings = parameter_hash(self.names, params.rate, params.volatility)
        self.name = f"simulated:seed-{params.seed}:{settings}"

    def instruments(self, now_ms: int) -> tuple[InstrumentChanged, ...]:
        """Return the trading rules: tick 0.01, lot 0.001, 5 USD at least."""
        return tuple(
            InstrumentChanged(
                now_ms=now_ms,
                instrument=name,
                tick=Decimal("0.01"),
                lot=LOT,
                min_size=LOT,
                min_notional=Decimal(5),
            )
            for name in self.names
        )

    def records(self, origin_ms: int, after: int = -1) -> Iterator[FeedRecord]:
        """Return the records behind position `after`, without end unless limited.

        Going on walks the prices again from the beginning (about 2 million records a second), so that nothing but
        the seed decides them.
        """
        random = Random(self._seed)
        uniform, bits = random.random, random.getrandbits
        instruments = [_Instrument(name, 1_000 + bits(22)) for name in self.names]  # 10 to 41,953 USD
        per_record = self._volatility / (self._rate / len(instruments) * _DAY_S) ** 0.5
        # Sums of twelve uniform numbers: near enough to normal, and exact on every machine.
        moves = [1 + per_record * (sum(uniform() for _ in range(12)) - 6) for _ in range(_TABLE)]
        lots = [1 + int(2_000 * uniform() ** 4) for _ in range(_TABLE)]
        sizes = [f"{lot // 1000}.{lot % 1000:03d}" for lot in lots]
        count = len(instruments)
        per_second = self._rate / 1000
        position = -1
        last = None if self.limit is None else self.limit - 1
        while position != last:
            position += 1
            drawn = bits(56)
            instrument = instruments[(drawn >> 28) % count]
            instrument.middle *= moves[drawn & 4095]
            if not instrument.lowest < instrument.middle < instrument.highest:
                instrument.middle = min(max(instrument.middle, instrument.lowest), instrument.highest)
            if drawn & 0x3000:
                instrument.quote_id += 1
                if drawn & 0xC000 == 0:
                    instrument.spread = 1 + (drawn >> 16 & 3)
                if position <= after:
                    continue
                yield _quote(instrument, origin_ms + int(position / per_second), sizes, drawn)
            else:
                instrument.trade_id += 1
                if position <= after:
                    continue
                yield _trade(instrument, origin_ms + int(position / per_second), sizes, drawn)


def _quote(instrument: _Instrument, now_ms: int, sizes: list[str], drawn: int) -> FeedRecord:
    bid = int(instrument.middle)
    ask = bid + instrument.spread
    value = (
        f'{{"type":"quote","now_ms":{now_ms},"instrument":"{instrument.name}",'
        f'"bid":"{bid // 100}.{bid % 100:02d}","bid_size":"{sizes[drawn >> 18 & 4095]}",'
        f'"ask":"{ask // 100}.{ask % 100:02d}","ask_size":"{sizes[drawn >> 6 & 4095]}",'
        f'"id":{instrument.quote_id},"ts":{now_ms}}}'
    )
    return FeedRecord(QUOTE, now_ms, instrument.name, instrument.quote_id, value.encode())


def _trade(instrument: _Instrument, now_ms: int, sizes: list[str], drawn: int) -> FeedRecord:
    price = int(instrument.middle)
    side = "sell"
    if drawn & 0x4000:
        price += instrument.spread
        side = "buy"
    value = (
        f'{{"type":"trade","now_ms":{now_ms},"instrument":"{instrument.name}",'
        f'"price":"{price // 100}.{price % 100:02d}","size":"{sizes[drawn >> 18 & 4095]}",'
        f'"side":"{side}","id":{instrument.trade_id},"ts":{now_ms}}}'
    )
    return FeedRecord(TRADE, now_ms, instrument.name, instrument.trade_id, value.encode())
