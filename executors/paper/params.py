"""Parameters of the paper venue."""

from collections.abc import Mapping
from decimal import Decimal

from pydantic import Field

from processors.matching.params import Latency, MatchingParams


class PaperParams(MatchingParams):
    """Matching parameters (fees, slippage, latency, seed) and those of the venue around the core.

    report_latency: from an event at the venue to the moment the engine hears of it.
    journal_interval_ms: how often a market position without any change is journalled (wall time).
    warm_up_records: how far before the end of each market-data partition a venue without a journal starts reading,
        so that it knows a book before the first order.
    receive_window_ms: an attempt that reaches the venue later than this after it was prepared is refused; 0 turns
        that off (the lease epoch, compared in the journal's transaction, is the paper venue's fence).
    balances: what accounts have at the venue when it first sees them ("*": every other account), in their currency. An
        entry whose margin (notional / leverage) and fee exceed what is free is then rejected `insufficient_balance`, as
        an exchange does; transfers, realised profit and loss and fees change the balance, which is journalled. An
        account that is not named is not checked. A small amount lets an operator see what a follower's failed order
        halts, and a deposit mends, without touching anything real.
    """

    report_latency: Latency = Latency(fixed_ms=10, jitter_ms=5)
    journal_interval_ms: int = Field(default=1000, ge=10, le=60_000)
    warm_up_records: int = Field(default=2000, ge=0, le=1_000_000)
    receive_window_ms: int = Field(default=0, ge=0, le=600_000)
    balances: Mapping[str, Decimal] = Field(default_factory=dict)
