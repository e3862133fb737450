"""What market data must be like to be used.

Entry points: `check_trade`, `check_quote`, `check_bar`, `LeanTrade`, `LeanQuote`, `LEAN`.

1. The checks here decide. The lean structs and the tests in the processor's fused path only ever accept a part of what
   the full decoder and these checks accept, with the same meaning; whatever they do not accept comes here.
2. A price outside [1/10, 10] of the last accepted one is refused. If `CONFIRMATIONS` refused prices in a row agree with
   each other, and nothing else was accepted in between, the market did move (or the first price was the wrong one): the
   next is accepted and told. Otherwise one bad first price would shut an instrument out for ever.
"""

from decimal import Decimal
from math import inf, isnan
from typing import Annotated, Any, Final, Literal

import msgspec

from processors.inbox import LATEST_MS
from processors.strategy.state import InstrumentState, PartitionState
from schemas.codec import BadRecord
from schemas.intervals import INTERVALS
from schemas.market import Bar, Quote, Trade

ABSURD: Final = 1e18
"""No price and no size reaches this: the largest token supplies traded are near 1e15 units."""
LARGEST_ID: Final = (1 << 63) - 1
AHEAD_MS: Final = 86_400_000
"""A venue's time further ahead of log time than this is an error of units or of clocks; it would make every later trade
late. Data of the past is welcome: that is what a backfill looks like."""
LONGEST_NUMBER: Final = 40
LONGEST_NUMBER_LEAN: Final = 32
"""Characters of a number. The lean limit is smaller, as the one spelling of "1e-6" is longer than what was written."""
LONGEST_NAME: Final = 128
RATIO: Final = 10.0
CONFIRMATIONS: Final = 20

_Number = Annotated[str, msgspec.Meta(max_length=LONGEST_NUMBER_LEAN)]
_Id = Annotated[int, msgspec.Meta(ge=0, le=LARGEST_ID)]
_Time = Annotated[int, msgspec.Meta(ge=0, lt=LATEST_MS)]


class LeanTrade(msgspec.Struct, tag="trade", tag_field="type", forbid_unknown_fields=True, gc=False):
    """The fields of schemas.market.Trade, prices left as text."""

    instrument: str
    price: _Number
    size: _Number
    side: Literal["buy", "sell"]
    id: _Id
    ts: _Time
    now_ms: _Time
    v: Literal[1] = 1


class LeanQuote(msgspec.Struct, tag="quote", tag_field="type", forbid_unknown_fields=True, gc=False):
    """The fields of schemas.market.Quote, prices left as text."""

    instrument: str
    bid: _Number
    bid_size: _Number
    ask: _Number
    ask_size: _Number
    id: _Id
    ts: _Time
    now_ms: _Time
    v: Literal[1] = 1


LEAN: Final = msgspec.json.Decoder(LeanTrade | LeanQuote)


def number(name: str, value: Decimal, limit: float = ABSURD) -> float:
    """Return `value` as float.

    Raises:
        BadRecord: it is not below `limit`, or written with too many digits.
    """
    found = float(value)
    if not found < limit or len(str(value)) > LONGEST_NUMBER:
        raise BadRecord(f"absurd {name}: {str(value)[:60]} (below {limit:g}, at most {LONGEST_NUMBER} characters)")
    return found


def check_name(name: str) -> None:
    """Raise BadRecord unless `name` can be an instrument."""
    if not 0 < len(name) <= LONGEST_NAME:
        raise BadRecord(f"instrument name has {len(name)} characters, wanted 1 to {LONGEST_NAME}")


def check_ids(event: Trade | Quote, now_ms: int) -> None:
    """Raise BadRecord unless the record's id and time are possible."""
    if not 0 <= event.id <= LARGEST_ID:
        raise BadRecord(f"id {event.id} is not between 0 and {LARGEST_ID}")
    check_time("ts", event.ts, now_ms)


def check_time(name: str, ts: int, now_ms: int) -> None:
    """Raise BadRecord unless the venue's time `ts` is possible at log time `now_ms`."""
    if not 0 <= ts <= now_ms + AHEAD_MS:
        raise BadRecord(f"{name} {ts} is not a venue time in ms: below 0, or a day ahead of log time {now_ms}")


def check_positive(name: str, value: float) -> None:
    """Raise BadRecord if `value`, which is above zero as Decimal, is zero as float."""
    if not value > 0.0:
        raise BadRecord(f"absurd {name}: too small to tell from zero")


def check_trade(state: PartitionState, instrument: InstrumentState, event: Trade, now_ms: int) -> tuple[float, bool]:
    """Return the price as float, and whether a new price level was confirmed by it.

    Raises:
        BadRecord: the trade cannot be used; only the counters and the streak of refusals have changed.
    """
    price, size = number("price", event.price, inf), number("size", event.size)
    check_positive("price", price)
    check_positive("size", size)
    return price, _check_level(state, instrument, ["trade", event.id], (price,), str(event.price))


def check_quote(state: PartitionState, instrument: InstrumentState, event: Quote, now_ms: int) -> tuple[float, bool]:
    """Return the bid as float, and whether a new price level was confirmed by it.

    Raises:
        BadRecord: the quote cannot be used; only the counters and the streak of refusals have changed.
    """
    bid, ask = number("bid", event.bid, inf), number("ask", event.ask, inf)
    number("bid_size", event.bid_size)
    number("ask_size", event.ask_size)
    check_positive("bid", bid)
    if bid > ask:
        state.counters["crossed"] += 1
        raise BadRecord(f"crossed quote: bid {event.bid} is above ask {event.ask}")
    text = f"{event.bid} / {event.ask}"
    return bid, _check_level(state, instrument, ["quote", event.id], (bid, ask), text)


def check_bar(state: PartitionState, instrument: InstrumentState, event: Bar, now_ms: int) -> tuple[float, bool]:
    """Return the close as float, and whether a new price level was confirmed by it.

    Raises:
        BadRecord: the bar cannot be used; only the counters and the streak of refusals have changed.
    """
    length_ms = INTERVALS.get(event.interval, 0)
    if length_ms == 0:
        known = ", ".join(name for name in INTERVALS if name != "tick")
        raise BadRecord(f"bar interval {event.interval[:32]!r} is unknown, one of: {known}")
    if event.start_ms % length_ms != 0 or event.end_ms != event.start_ms + length_ms:
        raise BadRecord(f"bar {event.start_ms} to {event.end_ms} is not one aligned {event.interval}")
    check_time("start_ms", event.start_ms, now_ms)
    if not 0 <= event.trades <= LARGEST_ID:
        raise BadRecord(f"bar counts {event.trades} trades")
    low, high, close = (number(name, getattr(event, name), inf) for name in ("low", "high", "close"))
    number("open", event.open, inf)
    number("volume", event.volume)
    check_positive("low", low)
    text = f"{event.low} to {event.high}"
    level = _check_level(state, instrument, [event.interval, event.start_ms], (low, high), text)
    return close, level


def _check_level(
    state: PartitionState, instrument: InstrumentState, key: list[Any], prices: tuple[float, ...], text: str
) -> bool:
    """Return True where these prices confirm a new level, False where they are near the last price or the first."""
    last = instrument.reference
    if isnan(last):
        _check_first(prices, text)
        return False
    if all(within(price, last) for price in prices):
        return False
    state.counters["absurd"] += 1
    stood = [instrument.trade_id, instrument.quote_id, sorted(instrument.bar_starts.items())]
    refused = instrument.refused
    streak = 1
    if refused and refused[3] == _plain(stood) and all(within(price, refused[2]) for price in prices):
        streak = refused[0] + (refused[1] != key)  # a repeat of the same record confirms nothing
    if streak > CONFIRMATIONS:
        _check_first(prices, text)
        instrument.refused = []
        return True
    instrument.refused = [streak, key, prices[0], _plain(stood)]
    raise BadRecord(f"absurd price {text}: outside [1/{RATIO:g}, {RATIO:g}] of the last one, {last:.12g}")


def _check_first(prices: tuple[float, ...], text: str) -> None:
    """Raise BadRecord unless these can be the first prices of an instrument; later ones are held against the last."""
    if not all(price < ABSURD for price in prices):
        raise BadRecord(f"absurd price {text}: not below {ABSURD:g}")


def _plain(value: Any) -> Any:
    """Return `value` with tuples as lists, as it is after a round through encoded state."""
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def within(price: float, last: float) -> bool:
    """Whether `price` lies in [1/10, 10] of `last`."""
    return 1.0 / RATIO <= price / last <= RATIO
