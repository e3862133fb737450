"""Settings of an account: its own limits over all of its subscriptions, with the product's defaults.

Entry points: `AccountParams`, `parse_account_params`. The rules of processors/copying/params.py hold here too.
"""

from decimal import Decimal
from typing import Annotated, Any

from pydantic import Field

from processors.copying.params import Fraction, Milliseconds, Money, Params, parse

FeeRate = Annotated[Decimal, Field(ge=0, lt=1, allow_inf_nan=False)]


class AccountParams(Params):
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


def parse_account_params(settings: dict[str, Any], where: str = "settings") -> AccountParams:
    """Return validated settings; raise ParamsError naming every wrong field by its path under `where`."""
    return parse(AccountParams, settings, where)
