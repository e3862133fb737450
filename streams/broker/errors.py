"""What can go wrong with the broker: each error says what, where, and how to mend it."""


class BrokerError(RuntimeError):
    """The broker cannot be installed, started, reached or used; `mend` says what to do about it."""

    def __init__(self, message: str, mend: str) -> None:
        self.message, self.mend = message, mend
        super().__init__(f"{message}; {mend}")


class NotInstalled(BrokerError):
    """Jars or Java are missing or damaged."""


class BrokerBusy(BrokerError):
    """A port is taken, or the data folder is in use by another broker."""


class DiskFull(BrokerError):
    """No space is left where the broker writes."""
