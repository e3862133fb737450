"""What the configuration file decides, put on the log exactly once (design laws 2 and 5; facts of an outbox below).

Entry point: `DecisionStore`: `decide(settings, ...)` compares the configuration with what was decided before and, in
one transaction, records the difference and numbers its records; `rows()` and `sent()` serve the relay
(streams/outbox.py).

1. A number is given in the transaction that changes the decision, so a crash loses and doubles nothing.
2. A subscription that left the file is closed; an account that left keeps its last settings (its positions are real).
3. The generation rises with `renew_generation`, when the store is restored from a backup.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from processors.inbox import partition_of
from schemas.accounts import AccountChanged, InstrumentChanged, SubscriptionChanged
from schemas.base import Message
from schemas.codec import decode, encode
from schemas.ids import derive_id
from streams.outbox import OutboxRow
from streams.settings import Settings

INBOX = "account-events"

_metadata = sa.MetaData()
_meta = sa.Table("decision_meta", _metadata, sa.Column("generation", sa.Integer, primary_key=True))
_decided = sa.Table(
    "decided",
    _metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("value", sa.LargeBinary, nullable=False),
)
_outbox = sa.Table(
    "decision_outbox",
    _metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("partition", sa.Integer, nullable=False),
    sa.Column("previous", sa.Integer),
    sa.Column("key", sa.String, nullable=False),
    sa.Column("value", sa.LargeBinary, nullable=False),
    sa.Column("sent", sa.Boolean, nullable=False, default=False),
)


class DecisionStore:
    """Decisions and their outbox in SQL; one writer at a time (the `outbox` role)."""

    source = "outbox"

    def __init__(self, dsn: str, partitions: int) -> None:
        self._engine = sa.create_engine(dsn)
        self._partitions = partitions
        if self._engine.dialect.name == "sqlite":
            sa.event.listen(self._engine, "connect", _durable)
        _metadata.create_all(self._engine)
        with self._engine.begin() as tx:
            if tx.execute(sa.select(_meta.c.generation)).first() is None:
                tx.execute(_meta.insert().values(generation=1))

    def decide(self, settings: Settings, instruments: Sequence[InstrumentChanged], now_ms: int) -> int:
        """Record what `settings` and the feed's `instruments` change; return how many records that makes."""
        wanted = _wanted(settings, instruments, now_ms)
        with self._engine.begin() as tx:
            before = {row.name: row.value for row in tx.execute(sa.select(_decided))}
            changes = [
                (name, key, message)
                for name, (key, message) in wanted.items()
                if name not in before or _logical(decode(before[name])) != _logical(message)
            ]
            for name in before.keys() - wanted.keys():
                old = decode(before[name])
                if isinstance(old, SubscriptionChanged) and old.status != "closed":
                    closed = _replaced(old, status="closed", now_ms=now_ms)
                    changes.append((name, old.account, closed))
            for name, key, message in changes:
                self._record(tx, name, key, message)
        return len(changes)

    def rows(self, limit: int = 500) -> list[OutboxRow]:
        """Return the rows not yet sent, in order."""
        with self._engine.connect() as tx:
            query = sa.select(_outbox).where(~_outbox.c.sent).order_by(_outbox.c.number).limit(limit)
            return [
                OutboxRow(
                    row.generation,
                    row.number,
                    None if row.previous is None else (row.generation, row.previous),
                    INBOX,
                    row.partition,
                    row.key.encode(),
                    row.value,
                )
                for row in tx.execute(query)
            ]

    def sent(self, number: int) -> None:
        """Mark every row up to `number` as sent."""
        with self._engine.begin() as tx:
            tx.execute(_outbox.update().where(_outbox.c.number <= number).values(sent=True))

    def renew_generation(self) -> int:
        """Start a new generation (after a restore from a backup) and return it; chains begin anew."""
        with self._engine.begin() as tx:
            generation = tx.execute(sa.select(sa.func.max(_meta.c.generation))).scalar_one() + 1
            tx.execute(_meta.update().values(generation=generation))
        return int(generation)

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def _record(self, tx: sa.Connection, name: str, key: str, message: Message) -> None:
        value = encode(message)
        tx.execute(_decided.delete().where(_decided.c.name == name))
        tx.execute(_decided.insert().values(name=name, value=value))
        generation = tx.execute(sa.select(sa.func.max(_meta.c.generation))).scalar_one()
        everywhere = isinstance(message, InstrumentChanged)
        targets = range(self._partitions) if everywhere else [partition_of(key.encode(), self._partitions)]
        for partition in targets:
            last = tx.execute(sa.select(sa.func.max(_outbox.c.number))).scalar_one()
            chain = sa.select(sa.func.max(_outbox.c.number)).where(
                _outbox.c.partition == partition, _outbox.c.generation == generation
            )
            tx.execute(
                _outbox.insert().values(
                    number=0 if last is None else last + 1,
                    generation=generation,
                    partition=partition,
                    previous=tx.execute(chain).scalar_one(),
                    key=key,
                    value=value,
                    sent=False,
                )
            )


def _wanted(
    settings: Settings, instruments: Sequence[InstrumentChanged], now_ms: int
) -> dict[str, tuple[str, Message]]:
    """Every decision of the configuration by name, with the key of its record; instruments come first."""
    wanted: dict[str, tuple[str, Message]] = {}
    configured = [InstrumentChanged(now_ms=now_ms, **instrument.model_dump()) for instrument in settings.instruments]
    for rules in [*instruments, *configured]:  # the configuration wins over the feed's own description
        wanted[f"instrument/{rules.instrument}"] = (rules.instrument, _replaced(rules, now_ms=now_ms))
    for account in settings.accounts:
        wanted[f"account/{account.account}"] = (
            account.account,
            AccountChanged(
                account=account.account,
                venue=account.venue,
                currency=account.currency,
                initial_balance=account.initial_balance,
                settings=account.settings.model_dump(mode="json"),
                now_ms=now_ms,
            ),
        )
    for account in settings.accounts:
        for subscription in account.subscriptions:
            name = subscription.name or f"{account.account}/{subscription.leader}"
            wanted[f"subscription/{name}"] = (
                account.account,
                SubscriptionChanged(
                    subscription=name,
                    account=account.account,
                    leader=subscription.leader,
                    status=subscription.status,
                    ratio=subscription.ratio,
                    settings=subscription.settings.model_dump(mode="json"),
                    now_ms=now_ms,
                ),
            )
    return wanted


def _logical(message: Message) -> str:
    """Hash of a decision without its time: what makes two decisions the same."""
    return derive_id("decision", encode(_replaced(message, now_ms=0)).decode())


def _replaced(message: Any, **changes: Any) -> Any:
    return type(message)(**{name: getattr(message, name) for name in message.__struct_fields__} | changes)


def _durable(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


def open_decisions(settings: Settings, partitions: int) -> DecisionStore:
    """Return the store under the data folder, or beside the execution store when that is a server."""
    dsn = settings.execution.store
    if dsn is None or dsn.startswith("sqlite"):
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        dsn = f"sqlite:///{settings.data_dir / 'decisions.db'}"
    return DecisionStore(dsn, partitions)
