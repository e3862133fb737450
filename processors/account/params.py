"""Settings of accounts and subscriptions: what people may decide, with the product's defaults.

Entry points: `AccountParams`, `SubscriptionParams`, `parse_account_params`, `parse_subscription_params`.

1. Frozen; unknown keys are refused; money and fractions are Decimal (0.02 means 2 %), basis points are Decimal too.
2. `None` switches a limit off. Nothing else does: zero is a number, not "off".
3. A position is never opened without a stop-loss and a take-profit, so neither has an off.
"""

from decimal import Decimal
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Money = Annotated[Decimal, Field(gt=0, allow_inf_nan=False, max_digits=28)]
Fraction = Annotated[Decimal, Field(gt=0, lt=1, allow_inf_nan=False)]
FeeRate = Annotated[Decimal, Field(ge=0, lt=1, allow_inf_nan=False)]
Milliseconds = Annotated[int, Field(gt=0, le=31_536_000_000)]


class _Params(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PercentDistance(_Params):
    """A distance from the entry price as a fraction of it (0.03 = 3 %)."""

    kind: Literal["percent"] = "percent"
    fraction: Fraction


class AtrDistance(_Params):
    """A distance from the entry price as a multiple of the average true range that the leader's event carries."""

    kind: Literal["atr"] = "atr"
    multiple: Annotated[Decimal, Field(gt=0, le=100, allow_inf_nan=False)] = Decimal(2)


Distance = Annotated[PercentDistance | AtrDistance, Field(discriminator="kind")]


class MarketEntry(_Params):
    """Enter at the market."""

    kind: Literal["market"] = "market"


class LimitEntry(_Params):
    """Enter with a limit order `offset_bps` basis points worse than the touch (below zero: better, so it rests).

    What has not filled after `order_ttl_ms` is cancelled.
    """

    kind: Literal["limit"] = "limit"
    offset_bps: Annotated[Decimal, Field(gt=-5_000, lt=5_000, allow_inf_nan=False)] = Decimal(0)


Entry = Annotated[MarketEntry | LimitEntry, Field(discriminator="kind")]


class AccountParams(_Params):
    """Limits of one account over all of its subscriptions; amounts are in the account's currency.

    leverage: at most this (and at most the instrument's own maximum); decides the margin an entry needs.
    max_position_notional: gross notional per instrument, all subscriptions together.
    max_total_exposure: gross notional of all positions and entries in flight.
    max_open_orders: entries and exits in flight (protective legs do not count).
    max_daily_loss: loss since 00:00 UTC (log time) as a fraction of the equity then.
    max_drawdown: fall from the highest equity seen, as a fraction of it.
    kill_switch: no new entries while true; exits go on. Also set and lifted by `kill` and `resume` commands.
    taker_fee_rate, maker_fee_rate: estimates, used for the margin of an entry and where a venue tells no fee.
    report_interval_ms: AccountState and marked positions are told at most once per this log time.
    """

    leverage: Annotated[int, Field(ge=1, le=125)] = 10
    max_position_notional: Money | None = None
    max_total_exposure: Money | None = Decimal(10_000)
    max_open_orders: Annotated[int, Field(ge=1)] | None = 20
    max_daily_loss: Fraction | None = Decimal("0.05")
    max_drawdown: Fraction | None = Decimal("0.20")
    kill_switch: bool = False
    taker_fee_rate: FeeRate = Decimal("0.0005")
    maker_fee_rate: FeeRate = Decimal("0.0002")
    report_interval_ms: Milliseconds = 1_000


class SubscriptionParams(_Params):
    """How one account follows one leader.

    risk_per_trade: fraction of equity lost when the stop-loss is hit; times the subscription's ratio.
    max_position_notional: cap of this subscription's position per instrument; larger sizes are reduced to it.
    stop_loss, take_profit: distances from the entry price; `trigger` says what market data fires them.
    opposite: what a leader's entry against our open position does: close it, ignore it, or close and turn.
    allow_second_entry: add to an open position of the same side.
    max_signal_age_ms, max_price_drift_bps: entries on older events, or with the touch further from the leader's
        price in either direction, are refused.
    cool_down_ms: no entry for this long after a position in the same instrument closed.
    order_ttl_ms: an entry not sent by then is not sent any more; a resting limit entry is cancelled then.
    on_lost_stop: what happens to an open position whose stop-loss the venue refuses.
    """

    risk_per_trade: Fraction = Decimal("0.02")
    max_position_notional: Money | None = Decimal(1_000)
    stop_loss: Distance = PercentDistance(fraction=Decimal("0.03"))
    take_profit: Distance = PercentDistance(fraction=Decimal("0.06"))
    trigger: Literal["trade", "quote"] = "trade"
    opposite: Literal["close", "ignore", "reverse"] = "close"
    allow_second_entry: bool = False
    max_signal_age_ms: Milliseconds | None = 10_000
    max_price_drift_bps: Annotated[Decimal, Field(ge=0, allow_inf_nan=False)] | None = Decimal(50)
    cool_down_ms: Milliseconds | None = None
    order: Entry = MarketEntry()
    order_ttl_ms: Milliseconds = 5_000
    on_lost_stop: Literal["close", "alert"] = "close"


class ParamsError(ValueError):
    """Settings cannot be used; the text names every wrong field with its path."""


P = TypeVar("P", bound=_Params)


def _parse(model: type[P], settings: dict[str, Any], where: str) -> P:
    try:
        return model.model_validate(settings)
    except ValidationError as error:
        lines = [f"{'.'.join((where, *map(str, item['loc'])))}: {item['msg']}" for item in error.errors()]
        raise ParamsError("; ".join(lines)) from error


def parse_account_params(settings: dict[str, Any], where: str = "settings") -> AccountParams:
    """Return validated settings; raise ParamsError naming every wrong field by its path under `where`."""
    return _parse(AccountParams, settings, where)


def parse_subscription_params(settings: dict[str, Any], where: str = "settings") -> SubscriptionParams:
    """Return validated settings; raise ParamsError naming every wrong field by its path under `where`."""
    return _parse(SubscriptionParams, settings, where)
