"""Parameters of a market-data feed, as people write them (configuration file, `--feed`, `--speed`).

Entry points: `FeedParams`, `BUILTIN_RECORDING`.
"""

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.intervals import TimeInterval

RECORDINGS: Final = Path(__file__).resolve().parents[2] / "replay" / "recordings"
BUILTIN_RECORDING: Final = RECORDINGS / "binanceusdm-ws-2024-08-08.jsonl.gz"


class FeedParams(BaseModel):
    """One feed. Which fields count for which kind is said beside them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["recording", "simulated", "file"] = "recording"
    speed: Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)] | Literal["max"] = 10.0
    """Milliseconds of log time per millisecond of wall time; "max": as fast as the account role follows."""
    loop: bool | None = None
    """Begin again at the end, with shifted times and ids. None: a recording does, a file does not."""
    limit: int | None = Field(default=None, gt=0)
    """End after this many records (None: never, or where the input ends)."""
    clock_interval_ms: int = Field(default=1_000, ge=10, le=3_600_000)
    """Log time between two Clock messages."""
    lead_ms: int = Field(default=2_000, ge=100, le=86_400_000)
    """Speed "max": log time that the feed may be ahead of the account role. Well below the age at which subscriptions
    refuse a signal and the life of their orders, or both will be late; bars of minutes want minutes, or each waits."""
    times: Literal["shifted", "kept"] = "shifted"
    """recording, file: shifted: log time begins near wall time; kept: as recorded."""

    path: Path | None = None
    """recording (None: the built-in one), file: .jsonl, .csv or .parquet, the first two also with .gz."""
    venue: str = "binanceusdm"
    """recording: whose payloads these are (a file of processors/venues/)."""
    symbols: dict[str, str] = Field(default_factory=dict)
    """recording: the venue's symbol -> instrument, beyond those that the venue's mapper knows."""

    instrument: str | None = Field(default=None, pattern=r"^[a-z0-9_]+:\S+$")
    """file: `venue:SYMBOL`; None: made from the file's name, `btcusd-5m.csv` -> `file:BTC/USD`."""
    interval: TimeInterval | None = None
    """file of bars: their interval; None: the commonest step between the first rows."""
    columns: dict[str, str] = Field(default_factory=dict)
    """file: our column name -> the file's, where they differ (timestamp_ms, open, high, low, close, volume;
    timestamp_ms, price, size, side, id)."""
    time_unit: Literal["s", "ms", "us", "ns"] = "ms"
    """file: unit of the time column."""
    tick: Decimal | None = Field(default=None, gt=0)
    """file: price step; None: the finest seen in the first rows."""
    lot: Decimal | None = Field(default=None, gt=0)
    """file: size step; None: the finest seen in the first rows."""

    instruments: Annotated[int, Field(ge=1, le=100_000)] | tuple[str, ...] = 10
    """simulated: how many (`sim:S0001/USD`, ...), or their names."""
    rate: float = Field(default=1_000.0, gt=0, le=10_000_000, allow_inf_nan=False)
    """simulated: records per second of log time, all instruments together."""
    seed: int = 1
    """simulated: the same seed and parameters give the same bytes."""
    volatility: float = Field(default=0.05, gt=0, le=10, allow_inf_nan=False)
    """simulated: standard deviation of a day's return."""

    @model_validator(mode="after")
    def _consistent(self) -> "FeedParams":
        if self.kind == "file" and self.path is None:
            raise ValueError("feed kind `file` needs `path`")
        if self.kind == "simulated" and self.path is not None:
            raise ValueError("feed kind `simulated` reads no file: leave `path` out, or use kind `file`")
        if self.instruments == ():
            raise ValueError("`instruments` must be a number or name at least one instrument")
        if not isinstance(self.instruments, int):
            doubled = sorted({name for name in self.instruments if self.instruments.count(name) > 1})
            if doubled:
                raise ValueError(f"`instruments` names {', '.join(doubled)} more than once")
        return self

    @property
    def loops(self) -> bool:
        """Whether the input begins again at its end."""
        return self.kind == "recording" if self.loop is None else self.loop

    @property
    def source(self) -> Path:
        """The file that is read (recording and file)."""
        return self.path if self.path is not None else BUILTIN_RECORDING
