"""The account role: single writer of every account whose AccountChanged came to its partition.

Entry point: `AccountProcessor`, from `account-events` to `orders`, `order-status`, `outcomes` and `alerts`.

1. Leader events, instruments, marks, clock and commands for all accounts stand once in every partition; accounts,
   subscriptions and venue reports only in their own account's.
2. A subscription of an account or leader not known yet is kept and works as soon as they come.
3. Outputs depend on state, event and step time alone; money is computed under `money_context`.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from processors.account import gate, telling
from processors.account.catch_up import answer, copy_existing, repair
from processors.account.following import close_all, follow, follow_state
from processors.account.halts import resolve
from processors.account.money import money_context, usable, usable_or_zero
from processors.account.params import parse_account_params
from processors.account.reconciling import compare
from processors.account.reporting import begin_day, sweep, tell_worth
from processors.account.reports import apply_report
from processors.account.settings import group_changed, subscription_changed
from processors.account.state import Account, Ledger, State, decode, encode
from processors.account.trades import KEPT_ORDERS, KEPT_TRADES, ask_cancel
from processors.copying.params import ParamsError, SubscriptionParams
from processors.copying.sizing import CAPS, MODES
from processors.protocols import Meta, Out
from schemas.accounts import (
    AccountChanged,
    Command,
    GroupChanged,
    InstrumentChanged,
    SubscriptionChanged,
    Transfer,
)
from schemas.codec import BadRecord
from schemas.ids import derive_id
from schemas.leaders import LeaderEvent, LeaderStateChanged
from schemas.market import Clock, Marks
from schemas.reasons import Leg
from schemas.status import VenuePosition, VenueReport
from schemas.system import ControlState, scopes_of

KEPT_TRANSFERS = 1_000
_LARGEST_CONTRACT = Decimal("1e6")


class AccountProcessor:
    """Sizes, checks and protects entries, books fills, tells what became of every leader event."""

    name = "account"
    inbox = "account-events"
    state_schema = 2
    config_hash = derive_id(
        "config",
        "account",
        KEPT_ORDERS,
        KEPT_TRADES,
        *(f"{check.name}:{check.rank}" for check in gate.CHECKS),
        *(f"{cap.name}:{cap.rank}" for cap in CAPS),
        *sorted(MODES),
        SubscriptionParams().model_dump_json(),  # what is not said is the product's
    )

    def initial(self, partition: int) -> State:
        """Return the state of a partition that has seen nothing."""
        return State(Ledger())

    def step(self, state: State, event: Any, meta: Meta) -> Sequence[Out]:
        """Apply one event of the inbox.

        Raises:
            BadRecord: the event cannot be used; the state is untouched.
        """
        with money_context():
            apply = _APPLY.get(type(event))
            if apply is None:
                raise BadRecord(f"the account role does not read {type(event).__name__}")
            return apply(state, event, meta)

    def encode(self, state: State) -> bytes:
        """Return the state as bytes; equal states give equal bytes."""
        return encode(state)

    def decode(self, data: bytes) -> State:
        """Inverse of `encode`."""
        return decode(data)


def _marks(state: State, event: Marks, meta: Meta) -> list[Out]:
    now_ms = meta.now_ms
    begin_day(state, now_ms)
    outs: list[Out] = []
    known = state.ledger.marks
    for mark in event.marks:
        if not (usable(mark.bid) and usable(mark.ask)) or mark.bid > mark.ask:
            text = f"Mark of {mark.instrument} ignored: bid {mark.bid}, ask {mark.ask}"
            outs.append(telling.alert("", "bad_mark", "warning", text, now_ms))
            continue
        before = known.get(mark.instrument)
        if before is None or mark.now_ms >= before.now_ms:
            known[mark.instrument] = mark
    return outs + sweep(state, meta.partition, now_ms)


def _clock(state: State, event: Clock, meta: Meta) -> list[Out]:
    begin_day(state, meta.now_ms)
    return sweep(state, meta.partition, meta.now_ms)


def _leader_event(state: State, event: LeaderEvent, meta: Meta) -> list[Out]:
    if not usable(event.price) or event.sequence < 1:
        raise BadRecord(f"leader event {event.event_id}: bad price {event.price} or number {event.sequence}")
    for number in (event.size, event.position, event.equity):
        if number is not None and not usable_or_zero(abs(number)):
            raise BadRecord(f"leader event {event.event_id}: size, position or equity {number} is out of range")
    begin_day(state, meta.now_ms)
    return follow(state, event, meta.partition, meta.now_ms)


def _leader_state(state: State, event: LeaderStateChanged, meta: Meta) -> list[Out]:
    if event.sequence < 1:
        raise BadRecord(f"leader state {event.event_id}: bad number {event.sequence}")
    return follow_state(state, event, meta.partition, meta.now_ms)


def _report(state: State, event: VenueReport, meta: Meta) -> list[Out]:
    return apply_report(state, event, meta.now_ms)


def _group_changed(state: State, event: GroupChanged, meta: Meta) -> list[Out]:
    return group_changed(state, event, meta.now_ms)


def _account_changed(state: State, event: AccountChanged, meta: Meta) -> list[Out]:
    now_ms = meta.now_ms
    try:
        params = parse_account_params(event.settings, f"account {event.account}: settings")
    except ParamsError as error:
        raise BadRecord(str(error)) from error
    account = state.ledger.accounts.get(event.account)
    if account is not None:
        if (event.venue, event.currency) != (account.venue, account.currency):
            raise BadRecord(
                f"account {event.account} is at {account.venue} in {account.currency}, which cannot become "
                f"{event.venue} in {event.currency}: make another account"
            )
        account.settings = params.model_dump_json()
        state.params_of_account(account)
    else:
        balance = event.initial_balance
        if not usable_or_zero(balance):
            raise BadRecord(f"account {event.account}: initial_balance {balance} is no amount")
        account = Account(
            account=event.account,
            venue=event.venue,
            currency=event.currency,
            settings=params.model_dump_json(),
            balance=balance,
            day_equity=balance,
            peak_equity=balance,
            killed=state.ledger.killed_accounts.pop(event.account, None),
        )
        state.add_account(account)
    state.report_later(account)
    return _stop_entries(account, "kill", "settings", now_ms) if params.kill_switch else []


def _subscription_changed(state: State, event: SubscriptionChanged, meta: Meta) -> list[Out]:
    subscription, anew = subscription_changed(state, event, meta.now_ms)
    outs = telling.follower_state(state, subscription, meta.now_ms)
    account = state.ledger.accounts.get(event.account)
    if account is not None and event.status != "active":
        outs += _stop_entries(account, "paused", event.status, meta.now_ms, f"subscription:{event.subscription}")
    if event.status == "stopped":
        outs += close_all(state, subscription, f"stop-{meta.now_ms}", meta.now_ms)
    outs += tell_worth(state, subscription, meta.now_ms)
    if anew:
        outs += copy_existing(state, subscription, meta.partition, meta.now_ms)
    return outs


def _instrument_changed(state: State, event: InstrumentChanged, meta: Meta) -> list[Out]:
    amounts = (event.tick, event.lot, event.min_size, event.contract_size)
    if not all(usable(amount) for amount in amounts) or not usable_or_zero(event.min_notional):
        raise BadRecord(
            f"instrument {event.instrument}: tick, lot, min_size, min_notional or contract_size out of range"
        )
    if event.contract_size > _LARGEST_CONTRACT:
        raise BadRecord(f"instrument {event.instrument}: contract_size {event.contract_size} is out of range")
    if event.max_leverage < 1:
        raise BadRecord(f"instrument {event.instrument}: max_leverage {event.max_leverage} must be at least 1")
    state.ledger.instruments[event.instrument] = event
    return []


def _command(state: State, event: Command, meta: Meta) -> list[Out]:
    if event.action in ("kill", "resume"):
        return _kill(state, event, meta.now_ms)
    if event.action == "resolve":
        return resolve(state, event.account, event.subject, meta.now_ms)
    subscription = state.ledger.subscriptions.get(event.subject)
    if subscription is None or subscription.account != event.account:
        raise BadRecord(f"{event.action}: account {event.account} has no subscription {event.subject!r}")
    if event.action != "repair":
        return answer(state, subscription, event.action == "copy_existing", meta.partition, meta.now_ms)
    account = state.ledger.accounts.get(event.account)
    outs: list[Out] = []
    for key in sorted(account.holdings) if account is not None else ():
        assert account is not None
        holding = account.holdings[key]
        if holding.subscription == event.subject:
            outs += repair(state, account, subscription, holding, meta.partition, meta.now_ms)
    return outs


def _kill(state: State, event: Command, now_ms: int) -> list[Out]:
    reason = f"{event.command_id} {event.reason}".strip() if event.action == "kill" else None
    ledger = state.ledger
    if event.account == "*":
        ledger.killed = reason
        names = state.account_ids
    elif event.account in ledger.accounts:
        ledger.accounts[event.account].killed = reason
        names = [event.account]
    else:  # told before its account: kept until it comes
        ledger.killed_accounts.pop(event.account, None)
        if reason is not None:
            ledger.killed_accounts[event.account] = reason
        names = []
    if reason is None:
        return []
    return [out for name in names for out in _stop_entries(ledger.accounts[name], "kill", event.command_id, now_ms)]


def _control(state: State, event: ControlState, meta: Meta) -> list[Out]:
    """A pause of a scope: no new entries; those in flight are cancelled."""
    paused = state.ledger.paused
    if not event.paused:
        paused.pop(event.scope, None)
        return []
    paused[event.scope] = event.reason or "no reason given"
    accounts = [state.ledger.accounts[name] for name in state.account_ids]
    return [
        out for account in accounts for out in _stop_entries(account, "paused", event.scope, meta.now_ms, event.scope)
    ]


def _venue_position(state: State, event: VenuePosition, meta: Meta) -> list[Out]:
    return compare(state, event, meta.now_ms)


def _transfer(state: State, event: Transfer, meta: Meta) -> list[Out]:
    """Money in or out: the anchors of the limits move with it, so that it is neither profit nor loss."""
    account = state.ledger.accounts.get(event.account)
    if account is None:
        raise BadRecord(f"transfer {event.transfer_id}: account {event.account} is not known")
    if not event.amount.is_finite() or not usable(abs(event.amount)):
        raise BadRecord(f"transfer {event.transfer_id}: {event.amount} is no amount")
    if event.transfer_id in state.ledger.transfers:
        return []
    state.ledger.transfers.append(event.transfer_id)
    del state.ledger.transfers[:-KEPT_TRANSFERS]
    account.balance += event.amount
    account.day_equity += event.amount
    account.peak_equity += event.amount
    state.report_later(account)
    return [Out("orders", event.account, event)]  # a venue that keeps balances itself (paper) must know too


def _stop_entries(account: Account, why: str, cause: str, now_ms: int, scope: str = "*") -> list[Out]:
    """Ask to cancel the account's entries in flight, those of `scope`."""
    outs: list[Out] = []
    for order_id in account.working:
        order = account.orders[order_id]
        if order.leg is Leg.ENTRY and scope in scopes_of(order.leader, account.account, order.subscription):
            outs += ask_cancel(account, order, why, cause, now_ms)
    return outs


_APPLY: dict[type, Callable[[State, Any, Meta], list[Out]]] = {
    LeaderEvent: _leader_event,
    LeaderStateChanged: _leader_state,
    VenueReport: _report,
    Marks: _marks,
    Clock: _clock,
    AccountChanged: _account_changed,
    SubscriptionChanged: _subscription_changed,
    GroupChanged: _group_changed,
    InstrumentChanged: _instrument_changed,
    ControlState: _control,
    Command: _command,
    Transfer: _transfer,
    VenuePosition: _venue_position,
}
