"""Parameters of the matching core: fees, slippage, latency, how much of the book an order may take."""

from decimal import Decimal
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Latency(BaseModel):
    """One way of the latency model in ms of market time: `fixed_ms` plus a hash-derived 0..`jitter_ms`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fixed_ms: int = Field(default=0, ge=0, le=60_000)
    jitter_ms: int = Field(default=0, ge=0, le=60_000)


class MatchingParams(BaseModel):
    """What decides the fills of the matching core.

    seed: enters every jitter; equal seeds, orders and market data give equal fills.
    order_latency, cancel_latency: from the moment of sending to the moment the venue acts on it.
    slippage_bps: added to the touch against the taker on market orders and fired triggers.
    partial_fills: an order takes at most the size shown at the touch, the rest waits for the following quotes or
        trades. Off: every order fills whole at the touch.
    limit_fill: a resting limit order fills on a trade `through` its price (strictly better) or already at a `touch`.
        A quote whose far side reaches the limit price fills it in both cases.
    trigger: which price fires a stop or take-profit that does not say so itself.

    Funding is left out: positions pay none. Neither is there liquidation, nor an effect of our orders on the market:
    each account sees the whole size shown, and only its own orders share it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = 0
    order_latency: Latency = Latency(fixed_ms=20, jitter_ms=10)
    cancel_latency: Latency = Latency(fixed_ms=20, jitter_ms=10)
    slippage_bps: Decimal = Field(default=Decimal("1"), ge=0, le=1000)
    taker_fee: Decimal = Field(default=Decimal("0.0005"), ge=-1, lt=1)
    maker_fee: Decimal = Field(default=Decimal("0.0002"), ge=-1, lt=1)
    partial_fills: bool = True
    limit_fill: Literal["through", "touch"] = "through"
    trigger: Literal["trade", "quote"] = "trade"
