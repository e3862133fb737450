"""Joins what is asked for within one turn of the event loop into one transaction.

Entry points: `Group(write)`, `.join()`, `.flush()`; `Lookups(find)`, `await .find(key)`.

Ten thousand accounts that each write a few rows cost ten thousand transactions, or, joined, a few dozen; the promise is
the same: who joins goes on only after the commit of what it joined.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")
_MOST = 256
"""So many joined make one transaction, that an exit behind them does not wait for long."""


class Group:
    """`write` queues all that was changed until now and returns a future of its commit."""

    def __init__(self, write: Callable[[], "asyncio.Future[Any]"]) -> None:
        self._write = write
        self._waiting: list[asyncio.Future[None]] = []

    def join(self) -> "asyncio.Future[None]":
        """Return a future of the commit of what was changed until now; it may be written together with other things."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[None] = loop.create_future()
        self._waiting.append(answer)
        if len(self._waiting) == 1:
            loop.call_soon(self.flush)
        elif len(self._waiting) >= _MOST:
            self.flush()
        return answer

    def flush(self) -> None:
        """Queue it now: what is queued after this call comes after it."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        try:
            written = self._write()
        except BaseException as error:  # a database that has failed takes nothing more: those who wait hear of it
            _fail(waiting, error)
            return
        written.add_done_callback(lambda answer: _settle(waiting, answer))


def _settle(waiting: "list[asyncio.Future[None]]", answer: "asyncio.Future[Any]") -> None:
    error = asyncio.CancelledError() if answer.cancelled() else answer.exception()
    if error is not None:
        _fail(waiting, error)
        return
    for each in waiting:
        if not each.done():
            each.set_result(None)


def _fail(waiting: "list[asyncio.Future[Any]]", error: BaseException) -> None:
    for each in waiting:
        if isinstance(error, asyncio.CancelledError):
            each.cancel()
        elif not each.done():
            each.set_exception(error)
            each.exception()  # nobody need wait for it: a failed database ends the worker


class Lookups(Generic[T]):
    """Joins questions by key into one query."""

    def __init__(self, find: Callable[[list[str]], Awaitable[dict[str, T]]]) -> None:
        self._find = find
        self._keys: list[str] = []
        self._answer: asyncio.Task[dict[str, T]] | None = None

    async def find(self, key: str) -> T | None:
        """Return what is found under a key."""
        if self._answer is None or len(self._keys) >= _MOST:
            self._keys = []
            self._answer = asyncio.get_running_loop().create_task(self._ask(self._keys))
        self._keys.append(key)
        return (await asyncio.shield(self._answer)).get(key)

    async def _ask(self, keys: list[str]) -> dict[str, T]:
        if self._keys is keys:  # those who ask from now on are asked for by the next
            self._answer = None
        return await self._find(keys)
