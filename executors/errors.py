"""Failures of the execution role. All of them end the worker; start-up is the recovery path."""


class ExecutionError(RuntimeError):
    """Base of this package's errors."""


class StoreLocked(ExecutionError):
    """Another execution worker has the SQLite store open."""


class StoreFailed(ExecutionError):
    """The store could not be opened, read or written; nothing may be sent without it."""


class LeaseLost(ExecutionError):
    """Another worker has taken over the partition: this one may write nothing of it any more."""


class MarketLost(ExecutionError):
    """The paper venue's market data cannot be read on from its journalled position."""
