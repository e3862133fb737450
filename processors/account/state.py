"""State of the account role: one partition's accounts, subscriptions, orders, positions and market.

Entry points: `State` (what `step` works on), `encode`, `decode`, and the records it is made of.

1. `Ledger` is all that is encoded; the rest of `State` is derived from it and rebuilt by `decode`.
2. Encoding sorts the keys of dicts, so equal states give equal bytes. Therefore no result may depend on the order of a
   dict: where order matters there is a list, or an index kept sorted.
3. Settings are kept as the JSON of the validated model, defaults filled in: another build's defaults change nothing
   until somebody changes the settings.
"""

from bisect import insort
from decimal import Decimal

import msgspec

from processors.account.lifecycle import NEW, PositionState
from processors.account.money import ZERO
from processors.account.params import AccountParams
from processors.copying.params import SubscriptionParams
from schemas.accounts import InstrumentChanged
from schemas.leaders import LeaderEvent
from schemas.market import Mark
from schemas.reasons import Leg, Side

NEVER = 1 << 62
"""A log time that does not come."""
REMEMBERED_EVENTS = 256
"""Causes kept per leader to recognise one that is told again as another event."""


class Tracked(msgspec.Struct, array_like=True, omit_defaults=True):
    """An order or leg as the account knows it.

    size: ordered; of a leg, what its reports said (0 until they did). filled, cost: sums of size and price x size.
    numbers: why the size is less than the risk would allow, if it is. cancel_cause: why we asked to cancel, if we did.
    words: the last message of a report (the venue's words). over: an ended state was reached and dealt with.
    Of entries only: stop_loss, take_profit and their order ids, and open_size = filled less what legs and exits closed.
    """

    order_id: str
    subscription: str
    leader: str
    instrument: str
    leg: Leg
    side: Side
    size: Decimal
    cause: str
    event_id: str
    sequence: int
    event_ms: int
    leader_price: Decimal
    entry_order_id: str
    reference_price: Decimal = ZERO
    state: str = NEW
    filled: Decimal = ZERO
    cost: Decimal = ZERO
    limit_price: Decimal | None = None
    venue_order_id: str = ""
    trades: list[str] = []
    numbers: dict[str, str] = {}
    cancel_cause: str = ""
    words: str = ""
    not_after_ms: int = 0
    over: bool = False
    stop_loss: Decimal | None = None
    take_profit: Decimal | None = None
    stop_loss_order_id: str = ""
    take_profit_order_id: str = ""
    open_size: Decimal = ZERO


class Closing(msgspec.Struct, array_like=True):
    """A position is being closed: for `event` (then reversed, if asked), or by ourselves for `cause`.

    exits: order ids sent; empty while the entries in flight are waited for.
    """

    cause: str
    event: LeaderEvent | None
    reverse: bool
    exits: list[str] = []


class Holding(msgspec.Struct, array_like=True):
    """Position of one subscription in one instrument.

    size is signed (above zero long); cost = sum of price x signed size of what is open, so the average entry price is
    cost / size. realized and fees are sums since the subscription began. entries: orders whose bracket is not over.
    """

    subscription: str
    leader: str
    instrument: str
    contract_size: Decimal
    state: str = PositionState.FLAT
    size: Decimal = ZERO
    cost: Decimal = ZERO
    realized: Decimal = ZERO
    fees: Decimal = ZERO
    entries: list[str] = []
    closing: Closing | None = None
    closed_ms: int | None = None
    told_mark: Decimal | None = None


class Account(msgspec.Struct, array_like=True):
    """One account: money, orders, positions and the anchors of its limits.

    working: entries and exits not over yet; open: keys of holdings that are not flat (both oldest first).
    over: ended orders kept for late reports; past_trades: `trade_key` of fills of orders forgotten since.
    Keys of holdings: see `holding_key`.
    """

    account: str
    venue: str
    currency: str
    settings: str
    balance: Decimal
    day_equity: Decimal
    peak_equity: Decimal
    realized: Decimal = ZERO
    fees: Decimal = ZERO
    killed: str | None = None
    orders: dict[str, Tracked] = {}
    working: list[str] = []
    over: list[str] = []
    past_trades: list[str] = []
    holdings: dict[str, Holding] = {}
    open: list[str] = []
    changed: bool = True
    told_ms: int = 0
    told_equity: Decimal | None = None


class Subscription(msgspec.Struct, array_like=True):
    """An account follows a leader."""

    subscription: str
    account: str
    leader: str
    status: str
    ratio: Decimal
    settings: str


class FollowedLeader(msgspec.Struct, array_like=True):
    """Last sequence heard of a leader, and its recent (cause, event id, sequence), oldest first."""

    sequence: int
    recent: list[tuple[str, str, int]] = []


class Ledger(msgspec.Struct, array_like=True):
    """All that is remembered of one partition.

    killed: reason of a `kill` of every account; killed_accounts: of accounts not known yet.
    resting: (log time to cancel at, account, order id) of limit entries, soonest first.
    report_due_ms: no account needs to be told before this log time.
    """

    accounts: dict[str, Account] = {}
    subscriptions: dict[str, Subscription] = {}
    instruments: dict[str, InstrumentChanged] = {}
    marks: dict[str, Mark] = {}
    leaders: dict[str, FollowedLeader] = {}
    killed: str | None = None
    killed_accounts: dict[str, str] = {}
    resting: list[tuple[int, str, str]] = []
    report_due_ms: int = NEVER
    day: int = -1


class State:
    """A partition's ledger with what is derived from it.

    followers: ids of subscriptions by leader, sorted; account_ids: sorted; params by settings text; told: (event id,
    sequence) of a leader's recent events by (leader, cause).
    """

    __slots__ = ("account_ids", "account_params", "followers", "ledger", "subscription_params", "told")

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.account_ids = sorted(ledger.accounts)
        self.followers: dict[str, list[str]] = {}
        self.account_params: dict[str, AccountParams] = {}
        self.subscription_params: dict[str, SubscriptionParams] = {}
        for account in ledger.accounts.values():
            self.params_of_account(account)
        for subscription_id in sorted(ledger.subscriptions):
            subscription = ledger.subscriptions[subscription_id]
            self.params_of(subscription)
            self.followers.setdefault(subscription.leader, []).append(subscription_id)
        self.told = {
            (name, cause): (event_id, sequence)
            for name, leader in ledger.leaders.items()
            for cause, event_id, sequence in leader.recent
        }

    def told_before(self, event: LeaderEvent) -> int | None:
        """Return the sequence at which the leader told the same cause as another event, None if it did not."""
        known = self.told.get((event.leader, event.cause))
        return None if known is None or known[0] == event.event_id else known[1]

    def remember(self, event: LeaderEvent) -> None:
        """Note the event as its leader's last one; the first event of a cause stands."""
        leader = self.ledger.leaders.get(event.leader)
        if leader is None:
            leader = self.ledger.leaders[event.leader] = FollowedLeader(event.sequence)
        leader.sequence = event.sequence
        if (event.leader, event.cause) in self.told:
            return
        self.told[event.leader, event.cause] = (event.event_id, event.sequence)
        leader.recent.append((event.cause, event.event_id, event.sequence))
        if len(leader.recent) > REMEMBERED_EVENTS:
            del self.told[event.leader, leader.recent.pop(0)[0]]

    def params_of_account(self, account: Account) -> AccountParams:
        """Return the parsed settings of an account."""
        params = self.account_params.get(account.settings)
        if params is None:
            params = self.account_params[account.settings] = AccountParams.model_validate_json(account.settings)
        return params

    def params_of(self, subscription: Subscription) -> SubscriptionParams:
        """Return the parsed settings of a subscription."""
        params = self.subscription_params.get(subscription.settings)
        if params is None:
            params = SubscriptionParams.model_validate_json(subscription.settings)
            self.subscription_params[subscription.settings] = params
        return params

    def add_account(self, account: Account) -> None:
        """Add an account seen for the first time."""
        self.ledger.accounts[account.account] = account
        insort(self.account_ids, account.account)

    def put_subscription(self, subscription: Subscription) -> None:
        """Add a subscription, or replace the one of its id."""
        known = self.ledger.subscriptions.get(subscription.subscription)
        if known is not None:
            self.followers[known.leader].remove(known.subscription)
        self.ledger.subscriptions[subscription.subscription] = subscription
        insort(self.followers.setdefault(subscription.leader, []), subscription.subscription)

    def report_later(self, account: Account) -> None:
        """Note that something of `account` changed and must be told."""
        account.changed = True
        due = account.told_ms + self.params_of_account(account).report_interval_ms
        self.ledger.report_due_ms = min(self.ledger.report_due_ms, due)


def holding_key(subscription: str, instrument: str) -> str:
    """Return the key of a holding in `Account.holdings`."""
    return f"{subscription}|{instrument}"


def trade_key(instrument: str, trade_id: str) -> str:
    """Return the key of a fill in `Account.past_trades`; the venue's trade ids are unique per instrument."""
    return f"{instrument}|{trade_id}"


def holding_of(state: State, account: Account, subscription: str, leader: str, instrument: str) -> Holding:
    """Return the holding, or a flat one that is not kept yet (see `keep`): most events never become a position."""
    key = holding_key(subscription, instrument)
    holding = account.holdings.get(key)
    if holding is None:
        rules = state.ledger.instruments.get(instrument)
        contract_size = Decimal(1) if rules is None else rules.contract_size
        return Holding(subscription, leader, instrument, contract_size)
    return holding


def keep(account: Account, holding: Holding) -> None:
    """Make `holding` part of the account."""
    account.holdings[holding_key(holding.subscription, holding.instrument)] = holding


_encoder = msgspec.msgpack.Encoder(order="deterministic")
_decoder = msgspec.msgpack.Decoder(Ledger)


def encode(state: State) -> bytes:
    """Return the state as msgpack; equal states give equal bytes."""
    return _encoder.encode(state.ledger)


def decode(data: bytes) -> State:
    """Inverse of `encode`."""
    return State(_decoder.decode(data))
