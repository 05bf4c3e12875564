"""The data folder, and the database that belongs to it: opened for a server, an engine, or a person without either."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial

from runyard.db.database import Database, Session
from runyard.domain.errors import RunyardError
from runyard.schemas.people import UserRead
from runyard.server import by_hand
from runyard.server.instance import Instance
from runyard.server.listening import StartError
from runyard.settings import Settings

PRIVATE = 0o077


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Database]:
    """The database, migrated. Raises StartError."""
    try:
        database = Database(settings.database)
    except Exception:  # noqa: BLE001 - what is wrong may be told with a part of the password
        raise StartError(
            "RUNYARD_DATABASE_URL is no address of a database that can be used: it looks like "
            "postgresql://USER:PASSWORD@HOST/NAME, with %2F for a slash in the password, and so on"
        ) from None
    try:
        await _migrate(database)
        yield database
    finally:
        await database.close()


def create_user(settings: Settings, fields: Mapping[str, object]) -> UserRead:
    """Make an account in the data folder itself; the first one is an admin of its tenant, and operator.

    Raises TakenError while a server has the folder for itself, StartError, and what the service raises.
    """
    return _in_folder(settings, partial(by_hand.create_user, fields=fields, at=time.time()))


def change_user(settings: Settings, name: str, fields: Mapping[str, object]) -> UserRead:
    """Change an account in the data folder itself, as whoever owns that may; see `create_user`."""
    return _in_folder(settings, partial(by_hand.change_user, name=name, fields=fields, at=time.time()))


def _in_folder(settings: Settings, work: Callable[[Session], Awaitable[UserRead]]) -> UserRead:
    """Done in one transaction, with no server there that could do it instead."""

    async def run() -> UserRead:
        async with opened(settings) as database, database.write() as session:
            return await work(session)

    umask = os.umask(PRIVATE)
    try:
        with Instance(settings.home, shared=is_shared(settings)):
            return asyncio.run(run())
    finally:
        os.umask(umask)


def is_shared(settings: Settings) -> bool:
    """May several processes use the data folder at once?"""
    return not settings.database.startswith("sqlite")


async def _migrate(database: Database) -> None:
    try:
        await database.migrate()
    except RunyardError as error:
        raise StartError(f"{error.message}: {error.hint}") from error
    except Exception as error:
        why = str(error).partition("\n")[0] or type(error).__name__
        # A password may stand among the options, too.
        raise StartError(f"the database {database.url.set(query={})!r} can't be used: {why}") from error
