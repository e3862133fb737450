"""State of the statistics role: one partition's leaders, each with its own record and its subscriptions.

Entry points: `State`, `Leader`, `Subscription`, `encode`, `decode`.

A subscription's records and a leader's lie in one order on every topic; those of different subscriptions interleave as
they like, and nothing here depends on how. Nothing is ever walked in the order of a dict.
"""

from decimal import Decimal

import msgspec

from processors.account.money import ZERO
from processors.statistics.sums import Capital, Copies, Money


class Open(msgspec.Struct, array_like=True):
    """What a subscription holds in one instrument: size and entry fees not yet closed, and the last closing order."""

    size: Decimal = ZERO
    fees: Decimal = ZERO
    closing_order: str = ""
    closing_net: Decimal = ZERO


class Position(msgspec.Struct, array_like=True):
    """What a leader holds in one instrument: signed size, and cost = sum of price x signed size of what is open."""

    size: Decimal = ZERO
    cost: Decimal = ZERO


class Subscription(msgspec.Struct, array_like=True):
    """One subscription to the leader; `status` is empty until it was told."""

    account: str
    status: str = ""
    money: Money = msgspec.field(default_factory=Money)
    copies: Copies = msgspec.field(default_factory=Copies)
    capital: Capital = msgspec.field(default_factory=Capital)
    open: dict[str, Open] = msgspec.field(default_factory=dict)

    @property
    def follows(self) -> bool:
        """Whether it counts as a follower: paused and halted ones do."""
        return self.status not in ("", "stopped", "closed")


class Leader(msgspec.Struct, array_like=True):
    """A leader's own record, and the sums over its subscriptions.

    sampled: followers whose capital is known, aum: the sum of it. told_ms: log time of the last Statistics of it.
    """

    sequence: int = 0
    money: Money = msgspec.field(default_factory=Money)
    capital: Capital = msgspec.field(default_factory=Capital)
    positions: dict[str, Position] = msgspec.field(default_factory=dict)
    subscriptions: dict[str, Subscription] = msgspec.field(default_factory=dict)
    copies: Copies = msgspec.field(default_factory=Copies)
    copiers_realized: Decimal = ZERO
    copiers_fees: Decimal = ZERO
    followers: int = 0
    sampled: int = 0
    aum: Decimal = ZERO
    told_ms: int = -1


State = dict[str, Leader]

_encoder = msgspec.msgpack.Encoder(order="deterministic")
_decoder = msgspec.msgpack.Decoder(State)


def encode(state: State) -> bytes:
    """Return the state as msgpack; equal states give equal bytes."""
    return _encoder.encode(state)


def decode(data: bytes) -> State:
    """Inverse of `encode`."""
    return _decoder.decode(data)
