"""The execution store (SQLite or PostgreSQL): see store.py."""

from executors.store.store import Changes, Claim, OutboxRow, Record, Store, check_lease

__all__ = ["Changes", "Claim", "OutboxRow", "Record", "Store", "check_lease"]
