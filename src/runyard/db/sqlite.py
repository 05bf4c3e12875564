"""SQLite asked in the event loop's own thread: a short statement takes less time than the way to another thread.

What is long goes to a thread all the same, by one way there and back for each statement with all its rows.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import Any, ClassVar, Self

from sqlalchemy import URL
from sqlalchemy.dialects.sqlite.base import SQLiteExecutionContext
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.pool import AsyncAdaptedQueuePool
from sqlalchemy.util.concurrency import await_

LOOK_SECONDS = 0.002, 0.1
"""How soon a lock that another process holds is asked for again: at first, and at the most."""

INTERRUPT_SECONDS = 0.05
"""Between two requests to end a statement that nobody waits for any more."""
THREADS = ThreadPoolExecutor(4, "sqlite")
"""Not those for everything else: an upload may be summed for minutes."""
CHECKPOINTS = ThreadPoolExecutor(1, "checkpoint")
"""Nor those, nor a connection of theirs: writers wait for a checkpoint, and must not wait for who reads long."""


class _Cursor(sqlite3.Cursor):
    """What waits for a lock of another process lets the event loop go on meanwhile."""

    connection: "_Connection"

    def execute(self, sql: str, parameters: Any = (), /) -> Self:
        pause, longest = LOOK_SECONDS
        waited = 0.0
        while True:
            try:
                self._execute(sql, parameters)
            except sqlite3.OperationalError as error:
                if not _is_locked(error) or waited >= self.connection.patience:
                    raise
            else:
                return self
            await_(asyncio.sleep(pause))
            waited, pause = waited + pause, min(2 * pause, longest)

    def _execute(self, sql: str, parameters: Any) -> None:
        super().execute(sql, parameters)

    async def _async_soft_close(self) -> None:
        """SQLAlchemy asks this of the cursors of asynchronous drivers."""


class _LongCursor(_Cursor):
    """Executes in a thread, and has all rows when it comes back: SQLite looks for them when they are fetched."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        self._rows: list[Any] = []

    def _execute(self, sql: str, parameters: Any) -> None:
        if sql.startswith("BEGIN"):  # takes no time
            super()._execute(sql, parameters)
        else:
            await_(self._in_thread(lambda: self._bring(sql, parameters)))

    def executemany(self, sql: str, parameters: Any, /) -> Self:
        execute = super().executemany
        await_(self._in_thread(lambda: execute(sql, parameters)))
        return self

    def _bring(self, sql: str, parameters: Any) -> None:
        super()._execute(sql, parameters)
        self._rows = super().fetchall()[::-1]

    async def _in_thread(self, execute: Callable[[], object]) -> None:
        """Comes back when the thread is done, however often it is cancelled: two must not use the connection at once,
        and one of the two may close it."""
        running = asyncio.get_running_loop().run_in_executor(THREADS, execute)
        cancelled: asyncio.CancelledError | None = None
        while not running.done():
            try:
                await asyncio.wait([running], timeout=INTERRUPT_SECONDS if cancelled else None)
            except asyncio.CancelledError as error:
                cancelled = error
            if cancelled is not None:
                self.connection.interrupt()  # is of no effect on what has not begun
        if cancelled is not None:
            running.exception()  # most likely of the interrupt, of which nobody asked to hear
            raise cancelled
        running.result()

    def fetchone(self) -> Any:
        return self._rows.pop() if self._rows else None

    def fetchmany(self, size: int | None = None) -> list[Any]:
        return [self._rows.pop() for _ in range(min(len(self._rows), size or self.arraysize))]

    def fetchall(self) -> list[Any]:
        rows, self._rows = self._rows[::-1], []
        return rows


class _Connection(sqlite3.Connection):
    cursors: ClassVar[type[_Cursor]] = _Cursor

    def __init__(self, database: str, *, timeout: float, **settings: Any) -> None:
        """SQLite itself waits for no lock, as nothing else would go on: `timeout` seconds are `patience`."""
        super().__init__(database, timeout=0, **settings)
        self.patience = timeout

    def cursor(self, factory: Any = None) -> Any:
        return super().cursor(factory or self.cursors)


class _LongConnection(_Connection):
    cursors = _LongCursor


async def checkpoint(file: str) -> None:
    """Copy what was written from the log into the database file, without stopping anybody."""
    with suppress(sqlite3.Error):  # such as a full disk; the log is as safe as the file
        await asyncio.get_running_loop().run_in_executor(CHECKPOINTS, _checkpoint, file)


def _checkpoint(file: str) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")


def _is_locked(error: sqlite3.OperationalError) -> bool:
    """By somebody who will let go of it, unlike what was read before another wrote."""
    primary = error.sqlite_errorcode & 0xFF
    return primary == sqlite3.SQLITE_BUSY and error.sqlite_errorcode != sqlite3.SQLITE_BUSY_SNAPSHOT


class _Execution(SQLiteExecutionContext):
    def create_server_side_cursor(self) -> Any:
        """For rows that are asked for in parts: here they come as always."""
        return self._dbapi_connection.cursor()


class InLoop(SQLiteDialect_pysqlite):
    """SQLAlchemy's own dialect for the sqlite3 module, for its asynchronous engine."""

    driver = "inloop"
    is_async = True
    supports_statement_cache = True
    supports_server_side_cursors = True
    execution_ctx_cls = _Execution
    connections: ClassVar[type[_Connection]] = _Connection

    @classmethod
    def get_pool_class(cls, url: URL) -> type[AsyncAdaptedQueuePool]:
        return AsyncAdaptedQueuePool

    def connect(self, *arguments: Any, **settings: Any) -> Any:
        return super().connect(*arguments, factory=self.connections, **settings)


class InThread(InLoop):
    """The same for what is long."""

    driver = "inthread"
    supports_statement_cache = True
    connections = _LongConnection
