"""The execution store (SQLite or PostgreSQL): see store.py."""

from executors.store.sql import Record, check_lease
from executors.store.store import Changes, Claim, OutboxRow, Store

__all__ = ["Changes", "Claim", "OutboxRow", "Record", "Store", "check_lease"]
