"""Venues: raw payload + time received -> market messages, purely (one file per venue, each exporting `VENUE`).

Sockets, files and clocks live elsewhere: the same mapper serves a live connection, a recording and a test. How to add
one: docs/adding-a-venue.md. Every venue is held to tests/contracts/test_venues.py, which finds it by itself.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from schemas.accounts import InstrumentChanged
from schemas.base import Message


class Mapper(Protocol):
    """Maps the payloads of one connection. It keeps nothing but counts."""

    ignored: dict[str, int]
    """How many payloads gave no message although nothing was wrong with them, by reason (a closed set)."""

    def map(self, payload: bytes | msgspec.Raw, now_ms: int) -> Sequence[Message]:
        """Return the messages (schemas.market) in one payload as it came off the wire; often one, sometimes none.

        Args:
            payload: the frame's bytes, unchanged.
            now_ms: log time at which it was received.

        Raises:
            schemas.codec.BadRecord: the payload is not what the venue documents; says what is wrong and where.
        """
        ...


class Venue(Protocol):
    """One venue.

    name: the part of its instruments before the colon.
    symbols: the venue's symbol -> instrument, those it knows without being told.
    """

    name: str
    symbols: Mapping[str, str]

    def mapper(self, symbols: Mapping[str, str] | None = None) -> Mapper:
        """Return a new mapper that knows `symbols` (the venue's symbol -> instrument) beside the venue's own."""
        ...

    def instruments(self, now_ms: int) -> tuple[InstrumentChanged, ...]:
        """Return the trading rules of the instruments in `symbols`."""
        ...
