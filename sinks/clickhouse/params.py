"""Settings of the ClickHouse sink: where it writes, how large its batches are, how long rows are kept.

Entry point: `ClickHouseParams`.
"""

from pathlib import Path
from urllib.parse import quote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

SERVER_SCHEMES = ("http", "https", "clickhouse", "clickhouses")


class Retention(BaseModel):
    """Days that rows are kept, by table, counted from the wall time at which Kafka took the record.

    What goes with another table is kept as long: cancels, protection_changes and transfers as orders, leader_events as
    outcomes.
    At most 10,000: ClickHouse's TTL counts in 32-bit seconds, and a date past 2106 would wrap and drop rows at once.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    bars: int = Field(default=90, ge=1, le=10_000)
    signals: int = Field(default=365, ge=1, le=10_000)
    orders: int = Field(default=3_650, ge=1, le=10_000)
    order_status: int = Field(default=3_650, ge=1, le=10_000)
    fills: int = Field(default=3_650, ge=1, le=10_000)
    positions: int = Field(default=365, ge=1, le=10_000)
    accounts: int = Field(default=365, ge=1, le=10_000)
    outcomes: int = Field(default=3_650, ge=1, le=10_000)
    trade_errors: int = Field(default=3_650, ge=1, le=10_000)
    followers: int = Field(default=3_650, ge=1, le=10_000)
    drift: int = Field(default=365, ge=1, le=10_000)
    statistics: int = Field(default=365, ge=1, le=10_000)
    alerts: int = Field(default=90, ge=1, le=10_000)
    parked: int = Field(default=90, ge=1, le=10_000)
    pipeline_latency: int = Field(default=14, ge=1, le=10_000)


class ClickHouseParams(BaseModel):
    """How the sink writes.

    dsn: `chdb:///absolute/folder` (embedded) or `http[s]://user:password@host:port`; None: `<data folder>/clickhouse`.
    database: made if it is missing.
    flush_rows, flush_bytes, flush_interval_ms: a batch is written when the first of them is reached.
    sync_writes: fsync each part before its position is stored, so that a power cut loses nothing either.
    latency_topics: topics of whose records `pipeline_latency` keeps a row.
    retry_seconds: how long one flush tries again after a passing error before it gives up (nothing is lost by that).
    query_*: limits of `wakeline query`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dsn: SecretStr | None = None
    database: str = Field(default="wakeline", pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")
    flush_rows: int = Field(default=50_000, ge=1, le=1_000_000)
    flush_bytes: int = Field(default=64 * 1024 * 1024, ge=1_024, le=1024 * 1024 * 1024)
    flush_interval_ms: int = Field(default=1_000, ge=10, le=60_000)
    sync_writes: bool = True
    latency_topics: tuple[str, ...] = ("signals", "orders", "order-status", "outcomes")
    retention_days: Retention = Retention()
    retry_seconds: float = Field(default=60.0, ge=0, le=86_400)
    retry_first_ms: int = Field(default=100, ge=1, le=60_000)
    retry_longest_ms: int = Field(default=10_000, ge=1, le=600_000)
    query_rows: int = Field(default=10_000, ge=1, le=10_000_000)
    query_seconds: int = Field(default=30, ge=1, le=3_600)
    query_memory_bytes: int = Field(default=1024 * 1024 * 1024, ge=1_048_576)

    @field_validator("dsn")
    @classmethod
    def _dsn_is_known(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        parts = urlsplit(value.get_secret_value())
        if parts.scheme == "chdb":
            if parts.netloc or not parts.path.startswith("/"):
                raise ValueError("an embedded dsn is chdb:///absolute/folder, with three slashes")
        elif parts.scheme not in SERVER_SCHEMES:
            raise ValueError("dsn must start with chdb:///, http://, https://, clickhouse:// or clickhouses://")
        elif not parts.hostname:
            raise ValueError(f"dsn names no host: {parts.scheme}://user:password@host:port")
        return value

    @property
    def embedded(self) -> bool:
        """True if the engine runs inside the sink's own process (chDB)."""
        return self.dsn is None or self.dsn.get_secret_value().startswith("chdb:")

    def address(self, data_dir: Path) -> str:
        """Return the DSN to connect to; it may hold a password, so never log it."""
        if self.dsn is None:
            return "chdb://" + quote(str((data_dir / "clickhouse").resolve()))
        return self.dsn.get_secret_value()
