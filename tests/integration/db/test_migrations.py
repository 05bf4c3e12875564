"""The schema that the revisions make is the one that the code expects."""

import asyncio

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text

from runyard.db.database import Database
from runyard.db.tables import Table
from runyard.domain.errors import NewerDatabaseError


def differences(connection: Connection) -> list[object]:
    options = {"compare_type": True, "compare_server_default": True}
    return list(compare_metadata(MigrationContext.configure(connection, opts=options), Table.metadata))


async def test_from_empty_gives_the_schema_of_the_tables(empty_database_url: str) -> None:
    database = Database(empty_database_url)
    await database.migrate()
    async with database.read() as session:
        connection = await session.connection()
        assert await connection.run_sync(differences) == []
        assert await session.scalar(text("SELECT count(*) FROM jobs")) == 0
    await database.close()


async def test_a_second_run_changes_nothing(database: Database) -> None:
    async with database.write() as session:
        await session.execute(text("INSERT INTO datasets VALUES ('d', 'n', 'p', 'jsonl', 1, 'h', 1, '{}', 0)"))
    await database.migrate()
    async with database.read() as session:
        assert await session.scalar(text("SELECT count(*) FROM datasets")) == 1
        assert await session.scalar(text("SELECT count(*) FROM alembic_version")) == 1


async def test_two_servers_that_start_at_once_migrate_once(empty_database_url: str) -> None:
    databases = [Database(empty_database_url) for _ in range(3)]
    await asyncio.gather(*(database.migrate() for database in databases))
    async with databases[0].read() as session:
        assert await session.scalar(text("SELECT count(*) FROM alembic_version")) == 1
    for database in databases:
        await database.close()


async def test_a_newer_database_is_refused_and_left_alone(database: Database) -> None:
    async with database.write() as session:
        await session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(NewerDatabaseError, match="9999") as refusal:
        await database.migrate()
    assert refusal.value.hint is not None
    async with database.read() as session:
        assert await session.scalar(text("SELECT version_num FROM alembic_version")) == "9999"
