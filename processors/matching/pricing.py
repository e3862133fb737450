"""Small pure rules: slippage, latency, fee currency, ids."""

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from processors.matching.params import Latency
from schemas.ids import derive_id
from schemas.reasons import Side

_BPS = Decimal(10_000)


def slipped(price: Decimal, side: Side, bps: Decimal) -> Decimal:
    """Return `price` moved against a taker on `side`, rounded against it too.

    The result has as many decimals as `price`, and at least six significant digits (a price told as "5" must not
    slip by a fifth).
    """
    if bps == 0:
        return price
    exponent = price.as_tuple().exponent
    assert isinstance(exponent, int)  # prices are finite (schemas.market)
    step = Decimal(1).scaleb(min(exponent, price.adjusted() - 5))
    if side is Side.BUY:
        return (price * (1 + bps / _BPS)).quantize(step, rounding=ROUND_CEILING)
    worse = (price * (1 - bps / _BPS)).quantize(step, rounding=ROUND_FLOOR)
    return worse if worse > 0 else step


def delay_ms(latency: Latency, seed: int, way: str, key: str) -> int:
    """Return the delay of one message: derived from ids and seed, so that a replay meets the same one."""
    if latency.jitter_ms == 0:
        return latency.fixed_ms
    return latency.fixed_ms + int(derive_id("latency", seed, way, key)[:12], 16) % (latency.jitter_ms + 1)


def fee_currency(instrument: str) -> str:
    """Return the currency of fees: the settlement currency of `venue:BASE/QUOTE:SETTLE`, else the quote currency."""
    symbol = instrument.partition(":")[2]
    pair, _, settle = symbol.partition(":")
    return settle or pair.partition("/")[2]


def venue_order_id(client_order_id: str) -> str:
    """Return the venue's own id of an order."""
    return derive_id("venue-order", client_order_id)[:16]


def trade_id(client_order_id: str, fill: int) -> str:
    """Return the id of an order's n-th fill, equal on every replay."""
    return derive_id("trade", client_order_id, fill)
