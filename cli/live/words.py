"""How a follower copies, and why a copy was cut, skipped or failed, in a few words for a column.

Entry points: `how`, `why`, `last_reason`. Pure; `wakeline follow show` and `outcomes explain` have the whole of it.
"""

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from cli.live.copies import FollowerRow
from cli.live.text import amount, instrument
from processors.copying.params import ParamsError, SubscriptionParams, parse_subscription_params
from schemas.reasons import OutcomeState, RefusalReason
from schemas.reasons import RefusalReason as R
from schemas.status import FollowerState, Outcome

# The first form whose numbers are all there is said, without any the reason alone.
_FORMS: Final[Mapping[RefusalReason, tuple[str, ...]]] = {
    R.MAX_POSITION: ("position {held} + {notional} > {max_position_notional}", "position {held}, max {limit_value}"),
    R.TOTAL_EXPOSURE: ("exposure {exposure} + {notional} > {max_total_exposure}",),
    R.OPEN_ORDERS: ("{open_orders} of {max_open_orders} open orders",),
    R.DAILY_LOSS: ("daily loss {loss} > {max_daily_loss}",),
    R.DRAWDOWN: ("drawdown {fall} > {max_drawdown}",),
    R.STALE_SIGNAL: ("stale {age_ms} > {max_signal_age_ms} ms", "stale {age_ms} > {max_exit_age_ms} ms"),
    R.PRICE_DRIFT: ("price drift {drift_bps} > {max_price_drift_bps} bps",),
    R.COOL_DOWN: ("cool down {passed_ms} of {cool_down_ms} ms",),
    R.POSITION_OPEN: ("position open {position}",),
    R.OPPOSITE_IGNORED: ("opposite ignored {position}",),
    R.BELOW_MINIMUM: ("below minimum {notional} < {min_notional}",),
    R.INSUFFICIENT_MARGIN: ("no margin {notional} < {min_notional}",),
    R.PAUSED: ("paused {paused_by}",),
    R.HALTED: ("halted, {open_errors} open errors",),
    R.NOT_LISTED: ("not listed {instrument}",),
    R.CONDITION: (
        "condition {side}, {sides} only",
        "condition hour {hour}, {from_hour}-{to_hour}",
        "condition P&L {leader_pnl} < {min_leader_pnl}",
        "condition wins {leader_wins}/{leader_trades} < {min_leader_win_rate}",
    ),
    R.SLIPPAGE: (
        "slippage {slippage_bps} > {max_slippage_bps} bps",
        "slippage {slippage} > {max_slippage_ticks} ticks of {tick}",
    ),
    R.DAY_AMOUNT: ("day amount, max {limit_value}",),
    R.DAY_ORDERS: ("{day_orders} of {max_day_orders} orders a day",),
    R.DAY_LOSS: ("day loss {day_loss} > {max_day_loss}",),
    R.OPEN_TRADES: ("{open_trades} of {max_open_trades} open trades",),
    R.MAX_ORDER: ("max order {limit_value}",),
    R.MAX_LEADER: ("max leader {limit_value}",),
    R.SUPERSEDED: ("superseded by event {by_sequence}",),
}


def how(told: FollowerState | None) -> str:
    """Return how a subscription copies: its sizing mode, then what else is its own."""
    if told is None:
        return "-"
    try:
        params = parse_subscription_params(told.settings)
    except ParamsError:  # told by another build
        return "?"
    return ", ".join(["notify only"] if params.notify_only else [_mode(params), *_more(params, told)])


def why(outcome: Outcome) -> str:
    """Return why an outcome is not a plain copy, with the numbers that decided."""
    numbers = outcome.numbers
    if outcome.state is OutcomeState.REDUCED and {"wanted", "size"} <= numbers.keys():
        cause = numbers.get("limit") or (outcome.reason.value if outcome.reason else "part filled")
        limit = _number(numbers["limit_value"]) if "limit_value" in numbers else ""
        size, wanted = _number(numbers.get("filled", numbers["size"])), _number(numbers["wanted"])
        return f"{size} of {wanted}: {_plain(cause.removesuffix('_notional'))} {limit}".rstrip()
    if outcome.reason is not None:
        return _reason(outcome.reason, numbers)
    return f"{outcome.state.value} {outcome.message}".rstrip()


def last_reason(row: FollowerRow) -> str:
    """Return what keeps a follower from copying, or why its last copy was none; nothing where all were made."""
    if row.errors:
        error = max(row.errors.values(), key=lambda error: (error.now_ms, error.error_id))
        number = f"{len(row.errors)} errors, last " if len(row.errors) > 1 else ""
        return f"{number}{_plain(error.kind)} {error.message}".rstrip()
    return "" if row.why is None else why(row.why)


def _mode(params: SubscriptionParams) -> str:
    size: Any = params.size
    times = f" x{amount(params.ratio)}"
    own = "" if params.ratio == 1 else times
    match size.kind:
        case "risk_percent":
            return f"risk {_percent(params.risk_per_trade)}{own}"
        case "fixed_quantity":
            return f"fixed size {amount(size.quantity)}{own}"
        case "fixed_notional":
            return f"fixed {amount(size.notional)}{own}"
        case "balance_percent":
            return f"{_percent(size.fraction)} of balance{own}"
        case "equity_proportional":
            return f"by equity{own}"
        case "tiers":
            return f"{len(size.tiers)} tiers{own}"
        case "signal_only":
            return "signal only"
        case "inverse" if size.follows == "position":
            return f"inverse mirror{times}"
        case kind:
            return f"{_plain(kind)}{times}"


def _more(params: SubscriptionParams, told: FollowerState) -> list[str]:
    listed = [instrument(name).partition("/")[0] for name in params.whitelist or ()]
    caps = (("max", params.max_order_notional), ("day max", params.max_day_notional))
    slippage = params.entry_slippage
    words = [
        "" if params.opposite == "close" or "opposite" not in told.origins else params.opposite,
        "" if params.condition.sides == "both" else f"{params.condition.sides} only",
        f"{'+'.join(listed[:2])}{'+..' if len(listed) > 2 else ''} only" if listed else "",
        *(f"{name} {amount(cap)}" for name, cap in caps if cap is not None),
        "" if params.max_day_orders is None else f"{params.max_day_orders} a day",
        "" if slippage.bps is None else f"slippage {amount(slippage.bps)} bps",
        "" if slippage.ticks is None else f"slippage {slippage.ticks} ticks",
    ]
    return [word for word in words if word]


def _reason(reason: RefusalReason, numbers: Mapping[str, str]) -> str:
    for form in _FORMS.get(reason, ()):
        names = set(re.findall(r"{(\w+)}", form))
        if names <= numbers.keys():
            return form.format_map({name: _shown(name, numbers[name]) for name in names})
    return _plain(reason.value)


def _shown(name: str, text: str) -> str:
    if name == "paused_by":  # "SCOPE: reason"
        return f"all{text[1:]}" if text.startswith("*") else text
    return instrument(text) if name == "instrument" else _number(text)


def _number(text: str) -> str:
    """Return a number with at most six digits that matter; what is none as it is."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        return text
    if not number.is_finite():
        return text
    digits = max(0, 5 - number.adjusted()) if number else 0
    return amount(round(number, min(digits, 10)))


def _percent(fraction: Decimal) -> str:
    return f"{amount(fraction * 100)}%"


def _plain(name: str) -> str:
    return name.replace("_", " ")
