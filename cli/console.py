"""What `wakeline` says on stderr while it works: stdout carries results only.

Entry points: `Steps`, `quiet_clients`.
"""

import logging
import sys
import time

import click


def quiet_clients() -> None:
    """Keep the Kafka client's own warnings off the screen: what matters comes back as an error or as lag."""
    logger = logging.getLogger("aiokafka")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False


class Steps:
    """Progress of long work: one line per step; in a terminal the running one is rewritten in place."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._began = time.monotonic()
        self._open = False

    def progress(self, line: str) -> None:
        """Show where the running step stands; only in a terminal."""
        if self._quiet or not self._terminal:
            return
        click.echo(f"\r\x1b[K  {line}", err=True, nl=False)
        self._open = True

    def say(self, line: str) -> None:
        """Print a line with the seconds since the start."""
        if self._quiet:
            return
        self.clear()
        click.echo(f"{time.monotonic() - self._began:6.1f} s  {line}", err=True)

    def clear(self) -> None:
        """Take the line of the running step away."""
        if self._open:
            click.echo("\r\x1b[K", err=True, nl=False)
            self._open = False
