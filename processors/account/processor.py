"""The account role: single writer of every account whose AccountChanged came to its partition.

Entry point: `AccountProcessor`, from `account-events` to `orders`, `order-status`, `outcomes` and `alerts`.

1. Leader events, instruments, marks, clock and commands for all accounts stand once in every partition; accounts,
   subscriptions and venue reports only in their own account's.
2. A subscription of an account or leader not known yet is kept and works as soon as they come.
3. Outputs depend on state, event and step time alone; money is computed under `money_context`.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from processors.account import gate, telling
from processors.account.following import follow
from processors.account.money import money_context, usable, usable_or_zero
from processors.account.params import parse_account_params
from processors.account.reporting import begin_day, sweep
from processors.account.reports import apply_report
from processors.account.state import Account, Ledger, State, Subscription, decode, encode
from processors.account.trades import KEPT_ORDERS, KEPT_TRADES, ask_cancel
from processors.copying.params import ParamsError, parse_subscription_params
from processors.protocols import Meta, Out
from schemas.accounts import AccountChanged, Command, InstrumentChanged, SubscriptionChanged
from schemas.codec import BadRecord
from schemas.ids import derive_id
from schemas.leaders import LeaderEvent
from schemas.market import Clock, Marks
from schemas.reasons import Leg
from schemas.status import VenueReport

_LARGEST_CONTRACT = Decimal("1e6")


class AccountProcessor:
    """Sizes, checks and protects entries, books fills, tells what became of every leader event."""

    name = "account"
    inbox = "account-events"
    state_schema = 1
    config_hash = derive_id(
        "config", "account", KEPT_ORDERS, KEPT_TRADES, *(f"{check.name}:{check.rank}" for check in gate.CHECKS)
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
            if type(event) is LeaderEvent:
                if not usable(event.price) or event.sequence < 1:
                    raise BadRecord(
                        f"leader event {event.event_id}: bad price {event.price} or number {event.sequence}"
                    )
                begin_day(state, meta.now_ms)
                return follow(state, event, meta.now_ms)
            if type(event) is VenueReport:
                return apply_report(state, event, meta.now_ms)
            if type(event) is Marks:
                begin_day(state, meta.now_ms)
                return [*_marks(state, event, meta.now_ms), *sweep(state, meta.now_ms)]
            if type(event) is Clock:
                begin_day(state, meta.now_ms)
                return sweep(state, meta.now_ms)
            if type(event) is AccountChanged:
                return _account_changed(state, event, meta.now_ms)
            if type(event) is SubscriptionChanged:
                return _subscription_changed(state, event, meta.now_ms)
            if type(event) is InstrumentChanged:
                return _instrument_changed(state, event)
            if type(event) is Command:
                return _command(state, event, meta.now_ms)
        raise BadRecord(f"the account role does not read {type(event).__name__}")

    def encode(self, state: State) -> bytes:
        """Return the state as bytes; equal states give equal bytes."""
        return encode(state)

    def decode(self, data: bytes) -> State:
        """Inverse of `encode`."""
        return decode(data)


def _marks(state: State, event: Marks, now_ms: int) -> list[Out]:
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
    return outs


def _account_changed(state: State, event: AccountChanged, now_ms: int) -> list[Out]:
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


def _subscription_changed(state: State, event: SubscriptionChanged, now_ms: int) -> list[Out]:
    try:
        params = parse_subscription_params(event.settings, f"subscription {event.subscription}: settings")
    except ParamsError as error:
        raise BadRecord(str(error)) from error
    known = state.ledger.subscriptions.get(event.subscription)
    if known is not None and known.account != event.account:
        raise BadRecord(
            f"subscription {event.subscription} belongs to account {known.account}, not {event.account}: make another"
        )
    ratio = params.ratio if event.ratio is None else event.ratio
    if not usable(ratio):
        raise BadRecord(f"subscription {event.subscription}: ratio {ratio} is out of range")
    subscription = Subscription(
        event.subscription, event.account, event.leader, event.status, ratio, params.model_dump_json()
    )
    state.put_subscription(subscription)
    account = state.ledger.accounts.get(event.account)
    if account is None or event.status == "active":
        return []
    return _stop_entries(account, "paused", event.status, now_ms, event.subscription)


def _instrument_changed(state: State, event: InstrumentChanged) -> list[Out]:
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


def _command(state: State, event: Command, now_ms: int) -> list[Out]:
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


def _stop_entries(account: Account, why: str, cause: str, now_ms: int, subscription: str | None = None) -> list[Out]:
    """Ask to cancel the account's entries in flight, or those of one subscription."""
    outs: list[Out] = []
    for order_id in account.working:
        order = account.orders[order_id]
        if order.leg is Leg.ENTRY and subscription in (None, order.subscription):
            outs += ask_cancel(account, order, why, cause, now_ms)
    return outs
