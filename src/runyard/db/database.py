"""The door to the database: sessions to read or write with, and the schema's version."""

import asyncio
import copy
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

from pydantic_core import PydanticSerializationError, from_json, to_json
from sqlalchemy import URL, Connection, event, inspect, make_url, text
from sqlalchemy.dialects import registry
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from runyard.db import sqlite, tenancy
from runyard.domain.errors import DatabaseDownError, InvalidError, NewerDatabaseError

Session = AsyncSession

DRIVERS = {"sqlite": "sqlite+inloop", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}
THREADED = "sqlite+inthread"
registry.register("sqlite.inloop", sqlite.__name__, sqlite.InLoop.__name__)
registry.register("sqlite.inthread", sqlite.__name__, sqlite.InThread.__name__)
VERSIONS = Path(__file__).parent / "migrations" / "versions"
BUSY_SECONDS = 60
DATA_EXCEPTION = "22"
"""What the codes of all such errors of PostgreSQL begin with."""
WRITER_LOCK = 0x52554E59  # "RUNY": any number that no other program takes on this database
SILENCE_SECONDS = 5
"""A process that is frozen in the middle of a write would keep all others waiting: PostgreSQL ends its transaction."""
TAKE_TURN = text(
    "SELECT set_config('idle_in_transaction_session_timeout', :silence, true), pg_advisory_xact_lock(:key)"
)
WRITING = {"runyard_begin": "BEGIN IMMEDIATE"}
CHECKPOINT_WRITES = 250
"""After so many writes to SQLite, what they left in its log goes into the database file: in a thread, as the disk may
be slow. Should that not be enough, SQLite does it at ten times its usual length of the log, wherever it is."""
SQLITE_SETTINGS = (
    "journal_mode=WAL",
    "wal_autocheckpoint=10000",
    "synchronous=NORMAL",
    "foreign_keys=ON",
    "mmap_size=2147418112",  # the most there is: a list is looked through in two thirds of the time
)


class Database:
    """SQLite or PostgreSQL behind one face: any number of readers, one writer at a time.

    One writer at a time, across processes too, makes a check followed by a write safe without further thought, lets
    the ids of the feed become visible in their order, and leaves nothing to deadlock.
    """

    def __init__(self, url: str) -> None:
        """`url` is sqlite:///FILE or postgresql://...; the async drivers are filled in."""
        parsed = make_url(url)
        self.url: URL = parsed.set(drivername=DRIVERS.get(parsed.drivername, parsed.drivername))
        self.dialect = self.url.get_backend_name()
        if self.dialect == "sqlite":
            self._engine, self._threaded = _sqlite(self.url), _sqlite(self.url.set(drivername=THREADED))
        else:
            self._engine = self._threaded = _postgresql(self.url)
        self._writing = self._engine.execution_options(**WRITING)
        self._writing_threaded = self._threaded.execution_options(**WRITING)
        self._writes = itertools.count(1)
        self._turn = asyncio.Lock()  # first come, first served; SQLite's own waiting is not fair
        self._check: Callable[[Session], Awaitable[None]] | None = None

    @asynccontextmanager
    async def read(self, *, tenant: str | None = None, long: bool = False) -> AsyncIterator[Session]:
        """A session whose changes, should there be any, are thrown away. For a `tenant`, nothing of others is there.

        On SQLite nothing else goes on meanwhile, unless it is `long`: what looks through all there is, or brings much.
        """
        async with self._session(self._threaded if long else self._engine, tenant) as session:
            yield session

    @asynccontextmanager
    async def write(self, *, tenant: str | None = None, long: bool = False) -> AsyncIterator[Session]:
        """One transaction: committed at the end, rolled back when an error leaves the block. Not to be nested.

        `tenant` and `long` as for `read`; other writers wait in any case.
        """
        async with self._turn:
            async with self._session(self._writing_threaded if long else self._writing, tenant, keep=True) as session:
                if self.dialect == "postgresql":
                    await session.execute(TAKE_TURN, {"key": WRITER_LOCK, "silence": f"{SILENCE_SECONDS}s"})
                if self._check is not None:
                    await self._check(session)
                yield session
            if self.dialect == "sqlite" and next(self._writes) % CHECKPOINT_WRITES == 0:
                # Nobody writes meanwhile: else the log would never be copied to its end, and grow.
                await sqlite.checkpoint(str(self.url.database))

    @asynccontextmanager
    async def _session(self, engine: AsyncEngine, tenant: str | None, *, keep: bool = False) -> AsyncIterator[Session]:
        """Raises DatabaseDownError where there is no connection to be had, or it is lost on the way, and InvalidError
        for a value that the database can't hold, whoever let it come so far."""
        try:
            async with (
                tenancy.session(engine, tenant) as session,
                session.begin() if keep else nullcontext(),
            ):
                if self.dialect == "postgresql":
                    await _connect(session)
                yield session
        except DBAPIError as error:
            if error.connection_invalidated:
                raise DatabaseDownError from error
            if (getattr(error.orig, "sqlstate", None) or "").startswith(DATA_EXCEPTION):
                raise InvalidError(
                    "the database can't hold a value: a text with a NUL, or too large a number"
                ) from error
            raise

    def fenced(self, check: Callable[[Session], Awaitable[None]]) -> "Database":
        """The same database for one who may have been overtaken: `check` begins each write, and raises to refuse it."""
        fenced = copy.copy(self)
        fenced._check = check
        return fenced

    @asynccontextmanager
    async def driver_connection(self) -> AsyncIterator[Any]:
        """A connection as its driver gives it, thrown away afterwards."""
        connection = await self._engine.raw_connection()
        try:
            yield connection.driver_connection
        finally:
            connection.invalidate()

    async def migrate(self) -> None:
        """Bring the schema up to date.

        Raises NewerDatabaseError for a database that a later version of Runyard has changed.
        """
        async with self._turn, self._writing.begin() as connection:
            if self.dialect == "postgresql":
                await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": WRITER_LOCK})
            await connection.run_sync(_upgrade)

    async def close(self) -> None:
        await self._threaded.dispose()
        await self._engine.dispose()


async def _connect(session: Session) -> None:
    try:
        await session.connection()
    except Exception as error:  # whatever the driver raises, or that no connection is left
        raise DatabaseDownError from error


def _dumps(value: Any) -> str:
    """As JSON, five times as fast as Python's own way, which is for what UTF-8 can't hold."""
    try:
        return to_json(value).decode()
    except PydanticSerializationError:
        return json.dumps(value)


def _loads(text: str) -> Any:
    try:
        return from_json(text)
    except ValueError:
        return json.loads(text)


JSON = {"json_serializer": _dumps, "json_deserializer": _loads}


def _sqlite(url: URL) -> AsyncEngine:
    engine = create_async_engine(url, connect_args={"timeout": BUSY_SECONDS}, **JSON)

    @event.listens_for(engine.sync_engine, "connect")
    def configure(connection: Any, _: object) -> None:
        connection.isolation_level = None  # the driver would begin transactions later than we ask for
        cursor = connection.cursor()
        for setting in SQLITE_SETTINGS:
            cursor.execute(f"PRAGMA {setting}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        # A transaction that reads first and writes later is refused at once when another wrote in between.
        connection.exec_driver_sql(connection.get_execution_options().get("runyard_begin", "BEGIN"))

    return engine


def _postgresql(url: URL) -> AsyncEngine:
    limits = {"lock_timeout": f"{BUSY_SECONDS}s", "idle_in_transaction_session_timeout": f"{BUSY_SECONDS}s"}
    return create_async_engine(url, pool_pre_ping=True, connect_args={"server_settings": limits}, **JSON)


def _upgrade(connection: Connection) -> None:
    known = sorted(path.name.partition("_")[0] for path in VERSIONS.glob("[0-9]*_*.py"))
    found = _revision(connection)
    if found is not None and found not in known:
        raise NewerDatabaseError(found)
    if found != known[-1]:
        from runyard.db.migrations import upgrade  # noqa: PLC0415 - slow to load, and seldom needed

        upgrade(connection)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found
