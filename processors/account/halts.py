"""Trade errors: a follower's failed order halts its subscription until a person has resolved it.

Entry points: `fail`, `resolve`, `tried`.

1. An error is opened once per order and kind; while one is open, entries of the subscription are skipped (`halted`),
   exits and reductions go on, other subscriptions notice nothing.
2. Which kinds halt is a setting (`halt_on`); every failure is reported to the leader role, whose breakers count it.
3. Unknown is not a failure: an order whose fate is not proven opens nothing.
"""

from collections.abc import Sequence

from processors.account import telling
from processors.account.state import OpenError, State, Subscription
from processors.protocols import Out
from schemas.ids import derive_id
from schemas.leaders import FollowerReport, LeaderEvent
from schemas.orders import Order
from schemas.status import TradeError

MOST_OPEN = 64
"""Open errors kept per subscription: it is halted by the first one."""
EVERYBODY = "*"


def fail(
    state: State,
    name: str,
    kind: str,
    message: str,
    now_ms: int,
    *,
    instrument: str,
    order_id: str,
    event_id: str,
    cause: str,
    numbers: dict[str, str] | None = None,
) -> tuple[str, list[Out]]:
    """Note that an order of a subscription failed; return the id of the error ("" if it does not halt) and the
    outputs."""
    subscription = state.ledger.subscriptions.get(name)
    if subscription is None:
        return "", []
    halts = kind in state.params_of(subscription, instrument).halt_on
    # An entry that came too late is no fault of the venue, unless the follower calls it one.
    outs = [] if kind == "expired" and not halts else _report(subscription, event_id, kind, now_ms)
    if not halts:
        return "", outs
    error_id = derive_id("error", order_id, kind)
    if any(error.error_id == error_id for error in subscription.errors) or len(subscription.errors) >= MOST_OPEN:
        return error_id, outs
    error = OpenError(error_id, kind, message, instrument, order_id, event_id, cause)
    subscription.errors.append(error)
    outs.append(_told(subscription, error, "open", now_ms, numbers))
    if len(subscription.errors) == 1:
        outs += telling.follower_state(state, subscription, now_ms)
    return error_id, outs


def resolve(state: State, account: str, subject: str, now_ms: int) -> list[Out]:
    """Resolve an open error by its id, or all of a subscription by its name; the last one resumes copying."""
    for name in state.of_account.get(account, ()):
        subscription = state.ledger.subscriptions[name]
        found = [error for error in subscription.errors if subject in (error.error_id, name)]
        if not found:
            continue
        outs = []
        for error in found:
            subscription.errors.remove(error)
            outs.append(_told(subscription, error, "resolved", now_ms, None))
        if not subscription.errors:
            outs += telling.follower_state(state, subscription, now_ms)
            owner = state.ledger.accounts.get(account)
            if owner is not None:
                state.report_later(owner)  # a repair that was due may go now
        return outs
    text = f"Nothing to resolve: account {account} has no open trade error {subject}; see `wakeline halts list`"
    return [telling.alert(account, "nothing_to_resolve", "warning", text, now_ms)]


def tried(event: LeaderEvent, outs: Sequence[Out], now_ms: int) -> list[Out]:
    """Tell the breakers of the leader and of all how many copies of an event were tried; nothing if none was."""
    count = sum(1 for out in outs if type(out.value) is Order and out.value.event_id == event.event_id)
    if count == 0:
        return []
    return [
        Out(
            "leader-events",
            leader,
            FollowerReport(now_ms=now_ms, leader=leader, of=event.leader, event_id=event.event_id, attempted=count),
        )
        for leader in (event.leader, EVERYBODY)
    ]


def _told(subscription: Subscription, error: OpenError, state: str, now_ms: int, numbers: dict[str, str] | None) -> Out:
    told = TradeError(
        now_ms=now_ms,
        error_id=error.error_id,
        state="open" if state == "open" else "resolved",
        kind=error.kind,
        message=error.message,
        account=subscription.account,
        subscription=subscription.subscription,
        leader=subscription.leader,
        instrument=error.instrument,
        order_id=error.order_id,
        event_id=error.event_id,
        cause=error.cause,
        open_errors=len(subscription.errors),
        numbers={} if numbers is None else numbers,
    )
    return Out("outcomes", subscription.account, told)


def _report(subscription: Subscription, event_id: str, kind: str, now_ms: int) -> list[Out]:
    outs = []
    for leader in (subscription.leader, EVERYBODY):
        report = FollowerReport(
            now_ms=now_ms,
            leader=leader,
            of=subscription.leader,
            event_id=event_id,
            failed=1,
            subscription=subscription.subscription,
            error=kind,
        )
        outs.append(Out("leader-events", leader, report))
    return outs
