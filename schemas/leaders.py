"""What leaders do, what people decide about leaders, and what the leader role makes of both."""

from decimal import Decimal
from typing import Any, Literal

import msgspec

from schemas.base import Message, require_positive
from schemas.reasons import LeaderAction, RefusalReason, Side, SignalClass

MarginMode = Literal["cross", "isolated"]
LeaderKind = Literal["strategy", "account", "feed"]


class LeaderEvent(Message, frozen=True, kw_only=True, tag="leader_event"):
    """One trade or signal of a leader, in the leader's order; broadcast once to every partition of `account-events`.

    `event_id` = derive_id("leader-event", leader, cause, index); `sequence` rises by one per leader, from 1, and is
    shared with LeaderStateChanged. `event_ms` is the time of the cause at its source, `detected_ms` when we learned of
    it (log time). `price` is the leader's price.

    A strategy gives side, class and strength, and no size. Other leaders give `size` (of the change, base units, above
    zero) and `position` (after the change, base units, signed); `equity` in the leader's currency if known.
    `blocked`: entries and increases must not be copied, for this reason and these numbers (leader paused, breaker open,
    rate limit, suspicious pattern); exits and reductions always are.
    `realized_pnl`, `trades`, `wins`: the leader's own record at its own prices before this event.
    `chain`: the leaders through whose copies the cause came, outermost first (a follower that leads).
    """

    event_id: str
    leader: str
    sequence: int
    action: LeaderAction
    instrument: str
    side: Side
    price: Decimal
    cause: str
    event_ms: int
    detected_ms: int = 0
    signal_class: SignalClass | None = None
    strength: float | None = None
    atr: float | None = None
    size: Decimal | None = None
    position: Decimal | None = None
    equity: Decimal | None = None
    leverage: int | None = None
    margin_mode: MarginMode | None = None
    stop_loss: Decimal | None = None
    take_profit: Decimal | None = None
    blocked: RefusalReason | None = None
    blocked_by: dict[str, str] = msgspec.field(default_factory=dict)
    realized_pnl: Decimal = Decimal(0)
    trades: int = 0
    wins: int = 0
    chain: tuple[str, ...] = ()


class LeaderStateChanged(Message, frozen=True, kw_only=True, tag="leader_state"):
    """A leader was paused, resumed, closed, or its settings changed; broadcast, in one sequence with LeaderEvent.

    `source` is the account that leads, for kind `account`. `defaults` are the settings its followers inherit (a part of
    processors.copying.params.SubscriptionParams).
    """

    event_id: str
    leader: str
    sequence: int
    action: LeaderAction
    cause: str
    event_ms: int
    kind: LeaderKind
    status: Literal["active", "paused", "closed"]
    reason: str = ""
    source: str = ""
    defaults: dict[str, Any] = msgspec.field(default_factory=dict)


class LeaderTrade(Message, frozen=True, kw_only=True, tag="leader_trade"):
    """A trade of an account that leads, or of an external feed; input of the leader role.

    `trade_id` is unique per leader: a repeat is recognised. `size` (base units, above zero) or `position` (base units,
    signed, after the trade) may be missing: the leader role completes one from the other; without both it is a signal.
    kind `protection`: only stop-loss and take-profit changed. Other fields as in LeaderEvent.
    """

    leader: str
    trade_id: str
    kind: Literal["trade", "protection"]
    instrument: str
    side: Side
    price: Decimal
    event_ms: int
    detected_ms: int
    size: Decimal | None = None
    position: Decimal | None = None
    equity: Decimal | None = None
    leverage: int | None = None
    margin_mode: MarginMode | None = None
    stop_loss: Decimal | None = None
    take_profit: Decimal | None = None
    chain: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require_positive("price", self.price)
        if self.size is not None:
            require_positive("size", self.size)
        if self.position is not None and not self.position.is_finite():
            raise ValueError(f"position must be a finite number, not {self.position}")


class LeaderChanged(Message, frozen=True, kw_only=True, tag="leader_changed"):
    """People made or changed a leader. `settings` is the JSON form of processors.leader.params.LeaderParams.

    `source`: the account that leads, for kind `account`.
    """

    leader: str
    kind: LeaderKind
    status: Literal["active", "paused", "closed"]
    settings: dict[str, Any]
    source: str = ""


class PauseRequest(Message, frozen=True, kw_only=True, tag="pause_request"):
    """A person pauses or resumes a scope: `*`, `leader:NAME`, `account:NAME`, `subscription:NAME`.

    `leader` is the record's key: the leader of the scope, `*` for every other scope.
    """

    command_id: str
    leader: str
    scope: str
    paused: bool
    reason: str = ""


class FollowerReport(Message, frozen=True, kw_only=True, tag="follower_report"):
    """Copies of one leader event in one partition: how many were tried, or that one failed (for the breakers).

    `leader` is the record's key; a second copy under `*` feeds the breaker over all leaders.
    """

    leader: str
    of: str
    event_id: str
    attempted: int = 0
    failed: int = 0
    subscription: str = ""
    error: str = ""
