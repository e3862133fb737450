"""One thread, one connection, group commit: the only way to the execution store.

Entry points: `Database(url)`, `await database.run(function)`, `database.close()`.

1. Functions run one at a time, in the order in which `run` was called, each seeing what those before it wrote. Callers
   rely on it: they change memory, call `run`, and know that the store is always a prefix of memory's history.
2. What waits when the thread is free shares one commit (one fsync for many accounts). If one function of such a group
   fails, the group is rolled back and its functions run again one by one: so functions must not touch anything but
   their connection.
3. `run` returns after the commit is durable (SQLite: WAL, synchronous=FULL; PostgreSQL: its own setting).
4. A failed function fails the database: every later `run` raises its error, since memory is ahead of the store from
   then on.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

import sqlalchemy as sa

from executors.errors import StoreFailed

T = TypeVar("T")
Work = Callable[[sa.Connection], Any]
_GROUP = 256


class Database:
    """An SQLite or PostgreSQL database with one writing thread."""

    def __init__(self, url: str) -> None:
        """Open `url` (SQLAlchemy form).

        Raises:
            StoreFailed: it cannot be opened.
        """
        self.engine = sa.create_engine(url, poolclass=sa.NullPool)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        if self.is_sqlite:
            _prepare_sqlite(self.engine)
        self._queue: queue.SimpleQueue[tuple[Work, Future[Any]] | None] = queue.SimpleQueue()
        self._failure: BaseException | None = None
        opened: Future[None] = Future()
        self._thread = threading.Thread(target=self._work, args=(opened,), name="execution-store", daemon=True)
        self._thread.start()
        try:
            opened.result()
        except sa.exc.SQLAlchemyError as error:
            raise StoreFailed(f"cannot open the execution store {self.engine.url!r}: {error}") from error

    async def run(self, function: Callable[[sa.Connection], T]) -> T:
        """Run `function(connection)` in a transaction; return its result once that is committed.

        Cancelling the caller does not cancel the function.

        Raises:
            StoreFailed: the database failed; else what the function itself raised, which then wrote nothing.
        """
        return await self.enqueue(function)

    def enqueue(self, function: Callable[[sa.Connection], T]) -> "asyncio.Future[T]":
        """Queue `function` now (its place in the order is fixed) and return a future of its result."""
        answer = asyncio.wrap_future(self._submit(function))
        return asyncio.shield(answer)

    def run_blocking(self, function: Callable[[sa.Connection], T]) -> T:
        """Like `run`, without an event loop."""
        return self._submit(function).result()

    def close(self) -> None:
        """Finish what is queued and close."""
        self._queue.put(None)
        self._thread.join()
        self.engine.dispose()

    def _submit(self, function: Callable[[sa.Connection], T]) -> "Future[T]":
        if self._failure is not None:
            raise self._failure
        answer: Future[T] = Future()
        answer.add_done_callback(self._note)
        self._queue.put((function, answer))
        return answer

    def _note(self, answer: "Future[Any]") -> None:
        if not answer.cancelled() and answer.exception() is not None:
            self._failure = self._failure or answer.exception()

    # ---- in the thread

    def _work(self, opened: "Future[None]") -> None:
        try:
            connection = self.engine.connect()
        except BaseException as error:  # the caller of __init__ gets it
            opened.set_exception(error)
            return
        opened.set_result(None)
        with connection:
            running = True
            while running:
                group = [self._queue.get()]
                while len(group) < _GROUP:
                    try:
                        group.append(self._queue.get_nowait())
                    except queue.Empty:
                        break
                running = None not in group
                self._commit([item for item in group if item is not None], connection)

    def _commit(self, group: list[tuple[Work, "Future[Any]"]], connection: sa.Connection) -> None:
        if not group:
            return
        try:
            with connection.begin():
                results = [function(connection) for function, _ in group]
        except BaseException as error:
            if len(group) == 1:
                group[0][1].set_exception(_typed(error))
                return
            for item in group:
                self._commit([item], connection)
            return
        for (_, answer), result in zip(group, results, strict=True):
            answer.set_result(result)


def _typed(error: BaseException) -> BaseException:
    if isinstance(error, sa.exc.SQLAlchemyError):
        failed = StoreFailed(f"the execution store failed: {error}")
        failed.__cause__ = error
        return failed
    return error


def _prepare_sqlite(engine: sa.Engine) -> None:
    @sa.event.listens_for(engine, "connect")
    def connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # SQLAlchemy's own BEGIN below, none of the driver's
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA busy_timeout=5000")
        # A fan-out to thousands of accounts writes far more than the usual 2 MB cache and 4 MB between checkpoints.
        cursor.execute("PRAGMA cache_size=-65536")
        cursor.execute("PRAGMA wal_autocheckpoint=8000")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
