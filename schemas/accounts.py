"""People's decisions about accounts, as they stand in the inbox of the account role."""

from decimal import Decimal
from typing import Any, Literal

from schemas.base import Message, require_positive


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


class GroupChanged(Message, frozen=True, kw_only=True, tag="group_changed"):
    """Settings that the subscriptions of a group inherit; broadcast. A part of SubscriptionParams as JSON."""

    group: str
    settings: dict[str, Any]


class SubscriptionChanged(Message, frozen=True, kw_only=True, tag="subscription_changed"):
    """An account follows a leader.

    `settings` is a part of processors.copying.params.SubscriptionParams as JSON: what is missing is inherited from the
    group, then from the leader, then from the product. `ratio`, if given, stands for settings.ratio.
    `stopped` closes every position of the subscription and follows nothing more; `closed` leaves them to their legs.
    """

    subscription: str
    account: str
    leader: str
    status: Literal["active", "paused", "stopped", "closed"]
    settings: dict[str, Any]
    ratio: Decimal | None = None
    group: str = ""

    def __post_init__(self) -> None:
        if self.ratio is not None:
            require_positive("ratio", self.ratio)


class Command(Message, frozen=True, kw_only=True, tag="command"):
    """A person's order to the account role; `account` "*" means every account.

    kill: no new entries of the account; resume: lifts it. resolve: the trade error `subject` is dealt with.
    copy_existing, ignore_existing: the answer for the positions the leader of subscription `subject` held before.
    repair: bring subscription `subject` to its expected positions now.
    """

    command_id: str
    account: str
    action: Literal["kill", "resume", "resolve", "copy_existing", "ignore_existing", "repair"]
    reason: str = ""
    subject: str = ""


class Transfer(Message, frozen=True, kw_only=True, tag="transfer"):
    """Money paid into (above zero) or out of an account, in its currency; each transfer_id counts once."""

    transfer_id: str
    account: str
    amount: Decimal
