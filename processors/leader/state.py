"""State of the leader role: one partition of `leader-events`.

Entry points: `LeaderState`, `Leader`, `Pauses`, `encode`, `decode`, `params_of`.

1. Encoding sorts the keys of dicts, so equal states give equal bytes. No result may depend on the order of a dict:
   where order matters there is a list.
2. Everything grows to a bound and no further, but for the number of leaders, which people and configuration decide.
3. Settings are kept as the JSON of the validated model, defaults filled in: another build's defaults change nothing
   until somebody changes the settings. A leader of whom nobody said anything has the product's.
"""

from functools import lru_cache
from typing import Any

import msgspec

from processors.leader.book import Book, Record
from processors.leader.breaker import Breaker, BreakerState
from processors.leader.memory import Memory
from processors.leader.params import LeaderParams
from processors.leader.suspicion import Watch

REMEMBERED = 1024
"""Signal, trade and command ids kept (per leader, commands per partition): far more than come twice between two
snapshots."""


class Pauses(msgspec.Struct, array_like=True):
    """Why copies of a scope do not pass: a person's request (command and reason), or the breaker."""

    requested_by: str = ""
    reason: str = ""
    breaker: Breaker = msgspec.field(default_factory=Breaker)

    @property
    def paused(self) -> bool:
        """Whether either holds."""
        return self.requested_by != "" or self.breaker.state is BreakerState.OPEN


class Leader(msgspec.Struct, array_like=True):
    """One leader.

    kind: "" until a signal or LeaderChanged tells it. declared: a LeaderChanged came. settings: JSON of LeaderParams,
    "" for the product's. recent: signal and trade ids with a fingerprint of each. book: positions by its own trades;
    signals: by its signals, at a notional of book.UNIT; record: of both. passed: times of events for the rate limit.
    suspended: why a suspicious pattern paused it, since suspended_ms.
    """

    kind: str = ""
    status: str = "active"
    source: str = ""
    settings: str = ""
    declared: bool = False
    sequence: int = 0
    recent: Memory = msgspec.field(default_factory=Memory)
    book: Book = msgspec.field(default_factory=Book)
    signals: Book = msgspec.field(default_factory=Book)
    record: Record = msgspec.field(default_factory=Record)
    pauses: Pauses = msgspec.field(default_factory=Pauses)
    passed: list[int] = []
    watch: Watch = msgspec.field(default_factory=Watch)
    suspended: str = ""
    suspended_ms: int = 0

    @property
    def effective_status(self) -> str:
        """The status told to followers: a suspended leader is paused."""
        return "paused" if self.suspended and self.status == "active" else self.status


class LeaderState(msgspec.Struct, array_like=True):
    """State of one partition; `everything` is the scope `*`, which lies in the partition of the key `*`."""

    leaders: dict[str, Leader] = {}
    commands: Memory = msgspec.field(default_factory=Memory)
    everything: Pauses = msgspec.field(default_factory=Pauses)


_encoder = msgspec.msgpack.Encoder(order="deterministic")
_decoder = msgspec.msgpack.Decoder(LeaderState)
_json = msgspec.json.Encoder(order="deterministic")


def encode(state: LeaderState) -> bytes:
    """Return the state as msgpack; equal states give equal bytes."""
    return _encoder.encode(state)


def decode(data: bytes) -> LeaderState:
    """Inverse of `encode`."""
    return _decoder.decode(data)


def text_of(params: LeaderParams) -> str:
    """Return settings as they are kept: canonical JSON, so that equal settings are equal texts."""
    return _json.encode(params.model_dump(mode="json")).decode()


@lru_cache(maxsize=1024)
def _parsed(settings: str) -> LeaderParams:
    # A strategy that nobody registered may speak as often as it has instruments.
    return LeaderParams.model_validate_json(settings) if settings else LeaderParams(rate_limit=None)


def params_of(leader: Leader) -> LeaderParams:
    """Return the parsed settings of a leader; nobody may change them."""
    return _parsed(leader.settings)


def defaults_of(leader: Leader) -> dict[str, Any]:
    """Return the settings that followers inherit."""
    return params_of(leader).defaults
