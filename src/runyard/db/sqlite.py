"""SQLite asked in the event loop's own thread: a short statement takes less time than the way to another thread."""

import asyncio
import sqlite3
from typing import Any, Self

from sqlalchemy import URL
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.pool import AsyncAdaptedQueuePool
from sqlalchemy.util.concurrency import await_

LOOK_SECONDS = 0.002, 0.1
"""How soon a lock that another process holds is asked for again: at first, and at the most."""


class _Cursor(sqlite3.Cursor):
    """What waits for a lock of another process lets the event loop go on meanwhile."""

    connection: "_Connection"

    def execute(self, sql: str, parameters: Any = (), /) -> Self:
        pause, longest = LOOK_SECONDS
        waited = 0.0
        while True:
            try:
                super().execute(sql, parameters)
            except sqlite3.OperationalError as error:
                if not _is_locked(error) or waited >= self.connection.patience:
                    raise
            else:
                return self
            await_(asyncio.sleep(pause))
            waited, pause = waited + pause, min(2 * pause, longest)

    async def _async_soft_close(self) -> None:
        """SQLAlchemy asks this of the cursors of asynchronous drivers."""


class _Connection(sqlite3.Connection):
    def __init__(self, database: str, *, timeout: float, **settings: Any) -> None:
        """SQLite itself waits for no lock, as nothing else would go on: `timeout` seconds are `patience`."""
        super().__init__(database, timeout=0, **settings)
        self.patience = timeout

    def cursor(self, factory: Any = _Cursor) -> Any:
        return super().cursor(factory)


def _is_locked(error: sqlite3.OperationalError) -> bool:
    """By somebody who will let go of it, unlike what was read before another wrote."""
    primary = error.sqlite_errorcode & 0xFF
    return primary == sqlite3.SQLITE_BUSY and error.sqlite_errorcode != sqlite3.SQLITE_BUSY_SNAPSHOT


class InLoop(SQLiteDialect_pysqlite):
    """SQLAlchemy's own dialect for the sqlite3 module, for its asynchronous engine."""

    driver = "inloop"
    is_async = True
    supports_statement_cache = True

    @classmethod
    def get_pool_class(cls, url: URL) -> type[AsyncAdaptedQueuePool]:
        return AsyncAdaptedQueuePool

    def connect(self, *arguments: Any, **settings: Any) -> Any:
        return super().connect(*arguments, factory=_Connection, **settings)
