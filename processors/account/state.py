"""State of the account role: one partition's accounts, subscriptions, orders, positions and market.

Entry points: `State` (what `step` works on), `encode`, `decode`, and the records it is made of.

1. `Ledger` is all that is encoded; the rest of `State` is derived from it and rebuilt by `decode`.
2. Encoding sorts the keys of dicts, so equal states give equal bytes. Therefore no result may depend on the order of a
   dict: where order matters there is a list, or an index kept sorted.
3. Settings of accounts are kept as the JSON of the validated model, defaults filled in; those of subscriptions as the
   three texts they are inherited from, over the product's defaults, whose hash is part of the processor's
   configuration: a build with other defaults goes on only from a clean stop.
"""

from bisect import insort
from decimal import Decimal

import msgspec

from processors.account.lifecycle import NEW, PositionState
from processors.account.money import ZERO
from processors.account.params import AccountParams
from processors.copying.params import SubscriptionParams
from processors.copying.settings import LEVELS, Resolved, cascade, for_instrument
from schemas.accounts import InstrumentChanged
from schemas.leaders import LeaderEvent
from schemas.market import Mark
from schemas.reasons import Leg, Side

NEVER = 1 << 62
"""A log time that does not come."""
DAY_MS = 86_400_000
REMEMBERED_EVENTS = 256
"""Causes kept per leader to recognise one that is told again as another event."""


class Tracked(msgspec.Struct, array_like=True, omit_defaults=True):
    """An order or leg as the account knows it.

    size: ordered; of a leg, what its reports said (0 until they did). filled, cost: sums of size and price x size.
    numbers: why the size is less than the risk would allow, if it is. cancel_cause: why we asked to cancel, if we did.
    words: the last message of a report (the venue's words). over: an ended state was reached and dealt with.
    *_ms: log time of the stages of a copy, 0 while not reached; chain: leaders through whose copies the cause came.
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
    detected_ms: int = 0
    decided_ms: int = 0
    submitted_ms: int = 0
    accepted_ms: int = 0
    filled_ms: int = 0
    fees: Decimal = ZERO
    chain: tuple[str, ...] = ()


class Closing(msgspec.Struct, array_like=True):
    """A position is being closed: for `event` (then reversed, if asked), or by ourselves for `cause`.

    exits: order ids sent; empty while the entries in flight are waited for. leave: what stays open (own units, above
    zero) when the position is only reduced. after: size of the entry that follows a reversal, None: by the size mode.
    then: what is left is closed afterwards for this cause ("": it stays), since following ended meanwhile.
    """

    cause: str
    event: LeaderEvent | None
    reverse: bool
    exits: list[str] = []
    leave: Decimal = ZERO
    after: Decimal | None = None
    then: str = ""


class Holding(msgspec.Struct, array_like=True):
    """Position of one subscription in one instrument.

    size is signed (above zero long); cost = sum of price x signed size of what is open, so the average entry price is
    cost / size. realized and fees are sums since the subscription began. entries: orders whose bracket is not over.
    expected: signed position that the leader's trades and the rule of the subscription would have made, uncapped.
    kept_back: size below the instrument's minimum, kept for the next event. waiting: events that came while the
    position was being closed or reduced, oldest first. drift_ms: when a drift was told or repaired last.
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
    expected: Decimal = ZERO
    kept_back: Decimal = ZERO
    waiting: list[LeaderEvent] = []
    drift_ms: int = 0


class Account(msgspec.Struct, array_like=True):
    """One account: money, orders, positions and the anchors of its limits.

    working: entries and exits not over yet; open: keys of holdings that are not flat (both oldest first).
    over: ended orders kept for late reports; past_trades: `trade_key` of fills of orders forgotten since.
    Keys of holdings: see `holding_key`. venue_differs: what the venue holds more than our subscriptions, by instrument.
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
    venue_differs: dict[str, Decimal] = {}


class OpenError(msgspec.Struct, array_like=True):
    """A failure that halts a subscription until it is resolved (see schemas.status.TradeError)."""

    error_id: str
    kind: str
    message: str
    instrument: str
    order_id: str
    event_id: str
    cause: str


class DayUse(msgspec.Struct, array_like=True):
    """What a subscription used of its limits on one UTC day (number of days since 1970)."""

    day: int = -1
    orders: int = 0
    notional: Decimal = ZERO
    profit: Decimal = ZERO


class Subscription(msgspec.Struct, array_like=True):
    """An account follows a leader.

    levels: settings of leader, group and subscription (JSON texts) that apply; they stay as they were if a later change
    of the leader or group cannot be used. own: the subscription's own part as last asked. existing: "", "asked",
    "copied" or "ignored" (positions the leader held before). base: its P&L when it was (re)started, for the totals.
    """

    subscription: str
    account: str
    leader: str
    status: str
    levels: tuple[str, str, str]
    own: str
    group: str = ""
    errors: list[OpenError] = []
    use: DayUse = msgspec.field(default_factory=DayUse)
    existing: str = ""
    base: Decimal = ZERO


class FollowedLeader(msgspec.Struct, array_like=True):
    """What is known of a leader.

    sequence: last one heard. recent: (cause, event id, sequence) of its events, oldest first. source: the account that
    leads. defaults: settings its followers inherit (JSON). positions: last event by instrument where a position is
    open.
    """

    sequence: int = 0
    recent: list[tuple[str, str, int]] = []
    kind: str = "strategy"
    status: str = "active"
    source: str = ""
    defaults: str = "{}"
    positions: dict[str, LeaderEvent] = {}


class Ledger(msgspec.Struct, array_like=True):
    """All that is remembered of one partition.

    killed: reason of a `kill` of every account; killed_accounts: of accounts not known yet.
    resting: (log time to cancel at, account, order id) of limit entries, soonest first.
    report_due_ms: no account needs to be told before this log time. groups: settings by name (JSON). paused: reason by
    scope. transfers: ids counted, newest last. equity_due_ms: when the worth of subscriptions is told next. catch_ups:
    how many were made, which is part of their ids.
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
    groups: dict[str, str] = {}
    paused: dict[str, str] = {}
    transfers: list[str] = []
    equity_due_ms: int = 0
    catch_ups: int = 0


class State:
    """A partition's ledger with what is derived from it.

    followers: ids of subscriptions by leader, sorted; of_account: by account, sorted; account_ids: sorted; leads:
    leaders by the account that is their source, sorted; told: (event id, sequence) of a leader's recent events by
    (leader, cause). Parsed settings are cached by their texts.
    """

    __slots__ = (
        "_account_params", "_instrument_params", "_resolved", "account_ids", "followers", "leads", "ledger",
        "of_account", "told",
    )  # fmt: skip

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.account_ids = sorted(ledger.accounts)
        self.followers: dict[str, list[str]] = {}
        self.of_account: dict[str, list[str]] = {}
        self.leads: dict[str, list[str]] = {}
        self._account_params: dict[str, AccountParams] = {}
        self._resolved: dict[tuple[str, str, str], Resolved] = {}
        self._instrument_params: dict[tuple[tuple[str, str, str], str], SubscriptionParams] = {}
        texts: dict[str, str] = {}  # equal settings are one string: a hundred thousand followers share a few
        for name in sorted(ledger.subscriptions):
            subscription = ledger.subscriptions[name]
            leader, group, own = (texts.setdefault(text, text) for text in subscription.levels)
            subscription.levels = (leader, group, own)
            subscription.own = texts.setdefault(subscription.own, subscription.own)
            self.followers.setdefault(subscription.leader, []).append(name)
            self.of_account.setdefault(subscription.account, []).append(name)
        for name in sorted(ledger.leaders):
            if source := ledger.leaders[name].source:
                self.leads.setdefault(source, []).append(name)
        self.told = {
            (name, cause): (event_id, sequence)
            for name, leader in ledger.leaders.items()
            for cause, event_id, sequence in leader.recent
        }

    def told_before(self, event: LeaderEvent) -> int | None:
        """Return the sequence at which the leader told the same cause as another event, None if it did not.

        Of signals only: a trade through zero is an exit and an entry of one cause.
        """
        if event.position is not None:
            return None
        known = self.told.get((event.leader, event.cause))
        return None if known is None or known[0] == event.event_id else known[1]

    def leader(self, name: str) -> FollowedLeader:
        """Return what is known of a leader; made when it is heard of for the first time."""
        leader = self.ledger.leaders.get(name)
        if leader is None:
            leader = self.ledger.leaders[name] = FollowedLeader()
        return leader

    def remember(self, event: LeaderEvent) -> None:
        """Note the event as its leader's last one; the first event of a cause stands."""
        leader = self.leader(event.leader)
        leader.sequence = event.sequence
        if event.position is not None:
            if event.position == ZERO:
                leader.positions.pop(event.instrument, None)
            else:
                leader.positions[event.instrument] = event
        if (event.leader, event.cause) in self.told:
            return
        self.told[event.leader, event.cause] = (event.event_id, event.sequence)
        leader.recent.append((event.cause, event.event_id, event.sequence))
        if len(leader.recent) > REMEMBERED_EVENTS:
            del self.told[event.leader, leader.recent.pop(0)[0]]

    def params_of_account(self, account: Account) -> AccountParams:
        """Return the parsed settings of an account."""
        params = self._account_params.get(account.settings)
        if params is None:
            params = self._account_params[account.settings] = AccountParams.model_validate_json(account.settings)
        return params

    def resolve(self, levels: tuple[str, str, str], where: str) -> Resolved:
        """Return the settings of (leader, group, subscription) texts; raise ParamsError naming what is wrong."""
        found = self._resolved.get(levels)
        if found is None:
            parts = [(name, msgspec.json.decode(text)) for name, text in zip(LEVELS, levels, strict=True)]
            found = self._resolved[levels] = cascade(parts, where)
        return found

    def params_of(self, subscription: Subscription, instrument: str = "") -> SubscriptionParams:
        """Return the settings that apply to a subscription, with the overrides of an own instrument."""
        levels = subscription.levels
        found = self._resolved.get(levels)
        params = (self.resolve(levels, subscription.subscription) if found is None else found).params
        if not params.instruments or instrument not in params.instruments:
            return params
        special = self._instrument_params.get((levels, instrument))
        if special is None:
            special = self._instrument_params[levels, instrument] = for_instrument(params, instrument)
        return special

    def add_account(self, account: Account) -> None:
        """Add an account seen for the first time."""
        self.ledger.accounts[account.account] = account
        insort(self.account_ids, account.account)

    def put_subscription(self, subscription: Subscription) -> None:
        """Add a subscription."""
        name = subscription.subscription
        self.ledger.subscriptions[name] = subscription
        insort(self.of_account.setdefault(subscription.account, []), name)
        insort(self.followers.setdefault(subscription.leader, []), name)

    def report_later(self, account: Account) -> None:
        """Note that something of `account` changed and must be told."""
        account.changed = True
        due = account.told_ms + self.params_of_account(account).report_interval_ms
        self.ledger.report_due_ms = min(self.ledger.report_due_ms, due)


def use_of(subscription: Subscription, day: int) -> DayUse:
    """Return what the subscription used of its limits on this UTC day; begun anew on another."""
    if subscription.use.day != day:
        subscription.use = DayUse(day)
    return subscription.use


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
