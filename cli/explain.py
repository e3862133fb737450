"""Why a copy was made, cut or skipped, in words: `explain(outcome, event)`.

1. Pure; one sentence for every RefusalReason and every state (a test walks both enums).
2. Numbers carry their units: ms, bps, %, the currency of the instrument. A number that no sentence says is listed.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Final

from schemas.reasons import OutcomeState, RefusalReason
from schemas.reasons import RefusalReason as R
from schemas.status import CopyCost, FanOut, Outcome

# Reason -> (always true, said instead where all of its numbers are there).
SENTENCES: Final[dict[RefusalReason, tuple[str, ...]]] = {
    R.MAX_POSITION: (
        "The position in this instrument has reached max_position_notional.",
        "Already {held} are held in this instrument; with {notional} more it would pass the limit.",
    ),
    R.TOTAL_EXPOSURE: (
        "All positions of the account together have reached its max_total_exposure.",
        "The account holds {exposure}; with {notional} more it would pass its limit of {max_total_exposure}.",
    ),
    R.OPEN_ORDERS: (
        "The account has as many open orders as it may.",
        "The account has {open_orders} open orders of at most {max_open_orders}.",
    ),
    R.DAILY_LOSS: (
        "The account has lost as much today as it may.",
        "The account has lost {loss} of its equity today ({day_equity} at 00:00 UTC); its limit is {max_daily_loss}.",
    ),
    R.DRAWDOWN: (
        "The account has fallen as far from its peak as it may.",
        "The account has fallen {fall} from its peak of {peak_equity}; its limit is {max_drawdown}.",
    ),
    R.STALE_SIGNAL: (
        "The leader's event was too old when its turn came.",
        "The leader's event was {age_ms} old; at most {max_signal_age_ms} are allowed for entries.",
        "The leader's event was {age_ms} old; at most {max_exit_age_ms} are allowed for exits.",
    ),
    R.PRICE_DRIFT: (
        "The price had moved too far from the leader's.",
        "The price was {price}, {drift_bps} from the leader's; at most {max_price_drift_bps} are allowed.",
    ),
    R.DUPLICATE: (
        "This event was answered before; the first answer stands.",
        "Event {sequence} repeats event {first_sequence}; the first answer stands.",
    ),
    R.COOL_DOWN: (
        "A position was closed a short while ago, and the cool-down after it was still running.",
        "The last position was closed {passed_ms} ago; the cool-down is {cool_down_ms}.",
    ),
    R.KILL_SWITCH: (
        "The account's kill switch is on: it opens nothing.",
        "The account's kill switch is on ({killed_by}): it opens nothing.",
    ),
    R.POSITION_OPEN: (
        "A position of the same side is open, and allow_second_entry is off.",
        "A position of {position} is open, and allow_second_entry is off.",
    ),
    R.ORDER_IN_FLIGHT: ("An order of this subscription in this instrument was still on its way.",),
    R.OPPOSITE_IGNORED: (
        "The event goes against the open position, and `opposite` is set to ignore.",
        "The event goes against the open position of {position}, and `opposite` is set to ignore.",
    ),
    R.NOTHING_TO_CLOSE: ("The leader reduced or closed a position of which this subscription holds nothing.",),
    R.BELOW_MINIMUM: (
        "The size came out below the smallest order the venue takes, and below_minimum is set to skip.",
        "The size came out at {size} ({notional}); the venue takes {min_size} and {min_notional} or more.",
    ),
    R.INSUFFICIENT_MARGIN: (
        "The account has not enough free margin for an order of the smallest size.",
        "The account's free margin allows {size} ({notional}); the venue takes {min_size} and {min_notional} or more.",
    ),
    R.NO_EQUITY: ("The account has no equity left to size an order with.",),
    R.NO_MARKET: ("No price of this instrument was known yet.",),
    R.UNKNOWN_INSTRUMENT: ("The trading rules of this instrument are not known: list it under `instruments`.",),
    R.UNKNOWN_ACCOUNT: ("The account of this subscription was never told of.",),
    R.NOT_TRADABLE: ("No valid stop-loss and take-profit could be placed at this price.",),
    R.PAUSED: (
        "The subscription was paused: it opens nothing and keeps what it has.",
        "Copying was paused by {paused_by}: it opens nothing and keeps what it has.",
    ),
    R.EXPIRED: (
        "The order was not sent, or not filled, in time (order_ttl_ms).",
        "The order was good until {not_after_ms}; it was {now_ms} when it could have gone on.",
    ),
    R.LEADER_PAUSED: ("The leader was paused: entries are not copied, exits are.",),
    R.LEADER_CLOSED: ("The leader was closed: entries are not copied any more.",),
    R.BREAKER_OPEN: (
        "Too many copies of this leader failed, so the circuit breaker is open: entries are not copied for a while.",
    ),
    R.RATE_LIMITED: ("The leader sent more events than its rate limit allows; entries beyond it are not copied.",),
    R.SUSPICIOUS: ("The leader's trading looked suspicious (flips, size or wash-like trades), so it was not copied.",),
    R.HALTED: (
        "The subscription was halted by an earlier error: resolve it by `wakeline halts resolve`.",
        "The subscription was halted by {open_errors} open error(s): resolve by `wakeline halts resolve`.",
    ),
    R.STOPPED: ("The subscription was stopped: it closes what it has and follows nothing more.",),
    R.NOTIFY_ONLY: ("The subscription is set to notify_only: events are told, never traded.",),
    R.SIGNAL_ONLY: ("The subscription's sizing mode is signal_only: events are told, never traded.",),
    R.NOT_LISTED: (
        "The lists of the subscription do not allow this instrument.",
        "The {list} of the subscription does not allow {instrument}.",
    ),
    R.CONDITION: (
        "The subscription's condition for copying did not hold.",
        "The leader's realised P&L was {leader_pnl}; the condition asks for {min_leader_pnl} or more.",
        "The leader won {leader_wins} of {leader_trades} trades; the condition asks for {min_leader_win_rate} or more.",
        "It was {hour} h UTC; the condition allows from {from_hour} h to {to_hour} h.",
        "The side was {side}; the condition allows {sides} only.",
    ),
    R.SLIPPAGE: ("The touch was worse than the leader's price by more than the subscription's slippage guard allows.",),
    R.MAX_ORDER: ("max_order_notional left less than the smallest order the venue takes.",),
    R.MAX_LEADER: ("All positions of this subscription together have reached max_leader_notional.",),
    R.DAY_AMOUNT: ("The entries of today have reached max_day_notional.",),
    R.DAY_ORDERS: (
        "The subscription has made as many entries today as it may.",
        "The subscription has made {day_orders} entries today; its limit is {max_day_orders}.",
    ),
    R.DAY_LOSS: (
        "The subscription has lost as much today as it may.",
        "The subscription has lost {day_loss} today; its limit is {max_day_loss}.",
    ),
    R.OPEN_TRADES: (
        "The subscription has positions in as many instruments as it may.",
        "The subscription has positions in {open_trades} instruments; its limit is {max_open_trades}.",
    ),
    R.NO_LEADER_SIZE: ("The sizing mode needs the leader's size, and this event told none.",),
    R.NO_LEADER_POSITION: ("The sizing mode needs the leader's position, and this event told none.",),
    R.NO_LEADER_EQUITY: ("The sizing mode needs the leader's equity, and this event told none.",),
    R.ACCUMULATED: ("The size was below the venue's smallest order; it is kept and added to the next one.",),
    R.IN_LINE: ("The position was where it should be already: nothing had to be traded.",),
    R.SUPERSEDED: (
        "The event waited while the position was being reduced, and a newer one of the leader took its place.",
        "The event waited while the position was being reduced; the leader's event {by_sequence} took its place.",
    ),
    R.CYCLE: (
        "The event came from this account's own trades through a circle of leaders.",
        "The event came through {chain}, which ends at this account's own leader {own_leader}: a circle.",
    ),
    R.NO_PROTECTION_CHANGE: (
        "The event changed only the leader's stop-loss or take-profit (or the leader itself), and nothing here follows "
        "from that.",
    ),
    R.BAD_SETTINGS: ("The subscription's settings contradict each other; see `wakeline follow show`.",),
}

STATES: Final[dict[OutcomeState, str]] = {
    OutcomeState.PENDING: "Not decided yet: the order or its fate is still on its way.",
    OutcomeState.COPIED: "Copied in full.",
    OutcomeState.REDUCED: "Copied, but smaller than wished.",
    OutcomeState.SKIPPED: "Not copied.",
    OutcomeState.FAILED: "Tried, and failed.",
}

_TIMES: Final = frozenset({"not_after_ms", "now_ms", "event_ms", "since_ms", "until_ms"})
_FRACTIONS: Final = frozenset({"loss", "max_daily_loss", "fall", "max_drawdown", "min_leader_win_rate", "failure_rate"})
_MONEY: Final = frozenset(
    {"held", "notional", "min_notional", "exposure", "max_total_exposure", "day_equity", "peak_equity", "leader_pnl"}
    | {"min_leader_pnl", "day_loss", "max_day_loss", "limit_value", "equity", "margin", "capital", "price"}
    | {"leader_price"}
)


def explain(outcome: Outcome, event: FanOut | None = None) -> list[str]:
    """Return the story of an outcome, a sentence or two per line; `event` is what the leader did, if it is known."""
    currency = _currency(outcome.instrument)
    lines = [_event(outcome, event, currency)] if event is not None else []
    said: set[str] = set()
    first = STATES.get(outcome.state, f"State {outcome.state}.")
    if outcome.state is OutcomeState.REDUCED:
        first = _reduced(outcome.numbers, currency, said) or first
    lines.append(first)
    if outcome.reason is not None:
        lines.append(_reason(outcome.reason, outcome.numbers, currency, said))
    if outcome.state is OutcomeState.FAILED:
        lines.append(f"The venue said: {outcome.message}" if outcome.message else "The venue gave no reason.")
    elif outcome.message:
        lines.append(outcome.message)
    if outcome.error_id:
        lines.append(
            f"Copying for {outcome.subscription} halted with error {outcome.error_id}; "
            f"resume it by `wakeline halts resolve {outcome.error_id}`."
        )
    if outcome.cost is not None:
        lines += _cost(outcome.cost, currency)
    left = {name: text for name, text in outcome.numbers.items() if name not in said}
    if left:
        numbers = [f"{name.removesuffix('_ms')} {_shown(name, text, currency)}" for name, text in sorted(left.items())]
        lines.append(f"Numbers: {'; '.join(numbers)}.")
    return lines


def _event(outcome: Outcome, event: FanOut, currency: str) -> str:
    what = f"{event.leader}: {event.action.value}"
    if event.side is not None and event.instrument:
        what += f", {event.side.value} {event.instrument}"
    if event.size is not None:
        what += f", size {_plain(event.size)}"
    if event.price is not None:
        what += f" at {_money(event.price, currency)}"
    if event.position is not None:
        what += f", position then {_plain(event.position)}"
    return f"{what} (event {event.sequence}, {_when(event.event_ms)}) for {outcome.subscription}."


def _reduced(numbers: Mapping[str, str], currency: str, said: set[str]) -> str:
    if not {"wanted", "size"} <= numbers.keys():
        return ""
    said |= {"wanted", "size"}
    line = f"Copied, but smaller: {numbers['size']} of {numbers['wanted']} wished"
    if "limit" in numbers:
        said |= {"limit", "limit_value"}
        line += f", because of {numbers['limit']}"
        if "limit_value" in numbers:
            line += f" ({_shown('limit_value', numbers['limit_value'], currency)})"
    return line + "."


def _reason(reason: RefusalReason, numbers: Mapping[str, str], currency: str, said: set[str]) -> str:
    plain, *detailed = SENTENCES[reason]
    for sentence in detailed:
        names = set(re.findall(r"{(\w+)}", sentence))
        if names <= numbers.keys():
            said |= names
            return sentence.format_map({name: _shown(name, numbers[name], currency) for name in names})
    return plain


def _cost(cost: CopyCost, currency: str) -> list[str]:
    stages = [("detected", cost.detected_ms), ("decided", cost.decided_ms), ("submitted", cost.submitted_ms)]
    stages += [("accepted", cost.accepted_ms), ("filled", cost.filled_ms)]
    told = [f"{name} after {at - cost.event_ms:,} ms" for name, at in stages if at is not None]
    lines = [f"Time since the leader's trade: {', '.join(told)}."]
    prices = f"Price: leader {_money(cost.leader_price, currency)}, ours when decided {_plain(cost.decided_price)}"
    if cost.fill_price is not None:
        prices += f", filled at {_plain(cost.fill_price)}"
        prices += "" if cost.size is None else f" (size {_plain(cost.size)})"
    lines.append(prices + ".")
    parts = [("drift until the decision", cost.drift_bps), ("slippage from there", cost.slippage_bps)]
    parts += [("together", cost.total_bps), ("fees", cost.fee_bps)]
    costs = [f"{name} {number:.2f} bps" for name, number in parts if number is not None]
    if costs:
        lines.append(f"Cost against the leader's price (above zero is worse for us): {', '.join(costs)}.")
    return lines


def _shown(name: str, text: str, currency: str) -> str:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return text
    if not number.is_finite():
        return text
    if name in _TIMES:
        return _when(int(number))
    if name.endswith("_ms"):
        return f"{number:,f} ms"
    if name.endswith("_bps"):
        return f"{number:f} bps"
    if name in _FRACTIONS:
        return f"{_plain(number * 100)} %"
    return _money(number, currency) if name in _MONEY else _plain(number)


def _money(number: Decimal, currency: str) -> str:
    return f"{_plain(number)} {currency}".rstrip()


def _plain(number: Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _when(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + " UTC"


def _currency(instrument: str) -> str:
    """Return the quote currency of venue:BASE/QUOTE[:SETTLE]; nothing where the symbol does not tell it."""
    symbol = instrument.partition(":")[2].partition(":")[0]
    return symbol.partition("/")[2]
