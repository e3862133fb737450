"""People's decisions and leaders' events, as they stand in the inbox of the account role."""

from decimal import Decimal
from typing import Any, Literal

from schemas.base import Message, require_positive
from schemas.reasons import Side, SignalClass


class LeaderEvent(Message, frozen=True, kw_only=True, tag="leader_event"):
    """One leader's event, in the leader's order; broadcast once to every partition of `account-events`.

    `event_id` = derive_id("leader-event", leader, cause). `sequence` rises by one per leader, from 1.
    `event_ms` is the log time of the cause (for ages); `price` is the leader's price.
    """

    event_id: str
    leader: str
    sequence: int
    action: Literal["entry", "exit"]
    instrument: str
    side: Side
    signal_class: SignalClass
    strength: float
    price: Decimal
    cause: str
    event_ms: int
    atr: float | None = None


class InstrumentChanged(Message, frozen=True, kw_only=True, tag="instrument_changed"):
    """Trading rules of an instrument: price step, size step, minimums (in base units and in quote currency)."""

    instrument: str
    tick: Decimal
    lot: Decimal
    min_size: Decimal
    min_notional: Decimal
    contract_size: Decimal = Decimal(1)
    max_leverage: int = 125

    def __post_init__(self) -> None:
        for name in ("tick", "lot", "min_size", "contract_size"):
            require_positive(name, getattr(self, name))


class AccountChanged(Message, frozen=True, kw_only=True, tag="account_changed"):
    """An account was made or its settings changed.

    `settings` is the JSON form of processors.account.params.AccountParams (validated again on receipt).
    `initial_balance` counts once, when the account is first seen.
    """

    account: str
    venue: str
    currency: str
    initial_balance: Decimal
    settings: dict[str, Any]


class SubscriptionChanged(Message, frozen=True, kw_only=True, tag="subscription_changed"):
    """An account follows a leader. `ratio` multiplies the risk-based size.

    `settings` is the JSON form of processors.account.params.SubscriptionParams (validated again on receipt).
    """

    subscription: str
    account: str
    leader: str
    status: Literal["active", "paused", "closed"]
    ratio: Decimal
    settings: dict[str, Any]

    def __post_init__(self) -> None:
        require_positive("ratio", self.ratio)


class Command(Message, frozen=True, kw_only=True, tag="command"):
    """A person's order to the account role. `kill` stops new entries of the scope, `resume` allows them again.

    `account` "*" means every account.
    """

    command_id: str
    account: str
    action: Literal["kill", "resume"]
    reason: str = ""
