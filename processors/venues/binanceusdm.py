"""Binance USD-M futures: public stream payloads -> Trade and Quote.

Entry points: `VENUE` (`mapper`, `instruments`), `BinanceUsdmMapper`.

Payloads as documented under "USDS-Margined Futures / Websocket Market Streams" and as captured in 2024
(tests/payloads), combined (`{"stream": ..., "data": ...}`) or bare. What becomes of each event:

| event                      | gives                                                 |
|----------------------------|-------------------------------------------------------|
| `trade` with X = MARKET    | Trade; id = `t`, contiguous per symbol                |
| `trade` with another X     | nothing (insurance fund, ADL, NA: not the market's)   |
| `bookTicker`               | Quote; id = `u`, rising per symbol, not contiguous    |
| `bookTicker`, an empty side| nothing (price 0: there is no best bid or ask)        |
| `aggTrade`                 | nothing, since `trade` tells the same trades; with    |
|                            | `aggregated=True` Trade (id = `a`), `trade` nothing   |
| answer to a subscription   | nothing; an error answer is a BadRecord               |
| any other event            | nothing                                               |

1. `side` is the taker's: `m` says that the buyer was the maker, so the taker sold.
2. `ts` is `T`, the matching engine's time; `now_ms` is when it was received. The two clocks differ.
3. Prices and sizes keep the venue's text digit for digit. Text that is not plain digits (NaN, exponents, signs, more
   than 15 digits before the point) is refused here, before any arithmetic.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from schemas.accounts import InstrumentChanged
from schemas.base import Message
from schemas.codec import BadRecord
from schemas.market import Quote, Trade
from schemas.reasons import Side

_Number = Annotated[str, Meta(pattern=r"^[0-9]{1,15}(\.[0-9]{1,18})?\Z")]
_Id = Annotated[int, Meta(ge=0, le=2**62)]
_Time = Annotated[int, Meta(ge=10**11, le=10**14)]  # 1973 to 5138 in milliseconds: seconds or microseconds fail


class _TradeEvent(Struct, tag_field="e", tag="trade", gc=False):
    s: str
    t: _Id
    p: _Number
    q: _Number
    T: _Time
    m: bool
    X: str


class _AggTradeEvent(Struct, tag_field="e", tag="aggTrade", gc=False):
    s: str
    a: _Id
    p: _Number
    q: _Number
    T: _Time
    m: bool


class _BookTickerEvent(Struct, tag_field="e", tag="bookTicker", gc=False):
    s: str
    u: _Id
    b: _Number
    B: _Number
    a: _Number
    A: _Number
    T: _Time


_Event = _TradeEvent | _AggTradeEvent | _BookTickerEvent


class _Combined(Struct, gc=False):
    stream: str
    data: _Event


_decode_combined = msgspec.json.Decoder(_Combined).decode
_decode_bare = msgspec.json.Decoder(_Event).decode
_decode_any = msgspec.json.Decoder().decode

OTHER_EVENT: Final = "other_event"
NOT_MARKET: Final = "not_market_trade"
EMPTY_SIDE: Final = "empty_side"
OTHER_TRADES: Final = "other_trade_stream"
ANSWER: Final = "answer"

_EVENTS: Final = ("trade", "aggTrade", "bookTicker")


class BinanceUsdmMapper:
    """Maps payloads of one connection; `aggregated` takes the trades from `aggTrade` instead of `trade`."""

    def __init__(self, symbols: Mapping[str, str], *, aggregated: bool = False) -> None:
        self.ignored: dict[str, int] = dict.fromkeys((OTHER_EVENT, NOT_MARKET, EMPTY_SIDE, OTHER_TRADES, ANSWER), 0)
        self._instruments = dict(symbols)
        self._aggregated = aggregated

    def map(self, payload: bytes | msgspec.Raw, now_ms: int) -> Sequence[Message]:
        """Return what one payload says; see processors.venues.Mapper."""
        try:
            frame = _decode_combined(payload)
            event = frame.data
            if not frame.stream.startswith(f"{event.s.lower()}@"):
                raise BadRecord(f"stream {frame.stream!r} carries symbol {event.s!r}")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            other = self._uncommon(payload, error)
            if other is None:
                return ()
            event = other
        instrument = self._instruments.get(event.s)
        if instrument is None:
            known = ", ".join(sorted(self._instruments))
            raise BadRecord(f"unknown symbol {event.s[:40]!r} at data.s (known: {known}): add it to `symbols`")
        try:
            if type(event) is _BookTickerEvent:
                return self._quote(event, instrument, now_ms)
            return self._trade(event, instrument, now_ms)
        except ValueError as error:
            raise BadRecord(f"{event.s} {type(event).__struct_config__.tag}: {error}") from error

    def _trade(self, event: Any, instrument: str, now_ms: int) -> Sequence[Message]:
        aggregated = type(event) is _AggTradeEvent
        if aggregated != self._aggregated:
            return self._ignore(OTHER_TRADES)
        if not aggregated and event.X != "MARKET":
            return self._ignore(NOT_MARKET)
        return (
            Trade(
                now_ms=now_ms,
                instrument=instrument,
                price=Decimal(event.p),
                size=Decimal(event.q),
                side=Side.SELL if event.m else Side.BUY,
                id=event.a if aggregated else event.t,
                ts=event.T,
            ),
        )

    def _quote(self, event: _BookTickerEvent, instrument: str, now_ms: int) -> Sequence[Message]:
        bid, ask = Decimal(event.b), Decimal(event.a)
        if bid == 0 or ask == 0:
            return self._ignore(EMPTY_SIDE)
        if bid > ask:
            raise BadRecord(f"bid {bid} is above ask {ask} (data.b, data.a)")
        return (
            Quote(
                now_ms=now_ms,
                instrument=instrument,
                bid=bid,
                bid_size=Decimal(event.B),
                ask=ask,
                ask_size=Decimal(event.A),
                id=event.u,
                ts=event.T,
            ),
        )

    def _ignore(self, reason: str) -> Sequence[Message]:
        self.ignored[reason] += 1
        return ()

    def _uncommon(self, payload: bytes | msgspec.Raw, error: Exception) -> Any:
        """Return the event of a bare payload, None if there is nothing to map; else raise what `error` means."""
        try:
            value = _decode_any(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as broken:
            raise BadRecord(f"not JSON: {broken}") from broken
        if not isinstance(value, dict):
            raise BadRecord(f"payload is a JSON {type(value).__name__}, not an object")
        if "error" in value or (value.get("code") is not None and "msg" in value):
            raise BadRecord(f"the venue answered with an error: {str(value)[:200]}")
        if "id" in value and "result" in value:
            self.ignored[ANSWER] += 1
            return None
        inner = value.get("data", value)
        name = inner.get("e") if isinstance(inner, dict) else None
        if not isinstance(name, str):
            raise BadRecord(f"payload is neither an event nor an answer: no text at `e` or `data.e` ({error})")
        if name not in _EVENTS:
            self.ignored[OTHER_EVENT] += 1
            return None
        if name == "trade" and isinstance(inner.get("X"), str) and inner["X"] != "MARKET":
            self.ignored[NOT_MARKET] += 1  # such trades may leave out or blank the fields that we require
            return None
        if "data" in value:
            raise BadRecord(f"{type(error).__name__}: {error}") from error
        try:
            return _decode_bare(payload)
        except msgspec.DecodeError as bad:
            raise BadRecord(f"{type(bad).__name__}: {bad}") from bad


_BTC: Final = "binanceusdm:BTC/USDT:USDT"
_ETH: Final = "binanceusdm:ETH/USDT:USDT"


class BinanceUsdm:
    """The venue; see processors.venues.Venue."""

    name = "binanceusdm"
    symbols: Mapping[str, str] = MappingProxyType({"BTCUSDT": _BTC, "ETHUSDT": _ETH})

    def mapper(self, symbols: Mapping[str, str] | None = None, *, aggregated: bool = False) -> BinanceUsdmMapper:
        """Return a new mapper; see processors.venues.Venue."""
        return BinanceUsdmMapper({**self.symbols, **(symbols or {})}, aggregated=aggregated)

    def instruments(self, now_ms: int) -> tuple[InstrumentChanged, ...]:
        """Return the trading rules as `GET /fapi/v1/exchangeInfo` gave them in 2024, when the recording was made.

        Filters PRICE_FILTER.tickSize, LOT_SIZE.stepSize and minQty, MIN_NOTIONAL.notional (Binance's futures
        documentation, "Exchange Information" and "Trading Rules of USDS-M Futures"). A live connection asks the venue
        instead: the numbers change. `max_leverage` is the first bracket's.
        """
        return tuple(
            InstrumentChanged(
                now_ms=now_ms,
                instrument=instrument,
                tick=Decimal(tick),
                lot=Decimal("0.001"),
                min_size=Decimal("0.001"),
                min_notional=Decimal(min_notional),
                max_leverage=125,
            )
            for instrument, tick, min_notional in ((_BTC, "0.10", "100"), (_ETH, "0.01", "20"))
        )


VENUE: Final = BinanceUsdm()
