"""The schema that the revisions make is the one that the code expects."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, select, text

from runyard.db.database import Database
from runyard.db.queries import attempts
from runyard.db.tables import Attempt, Job, Move, Table
from runyard.domain.errors import NewerDatabaseError
from runyard.testing.yard import Yard


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


NEW_DATASET = """INSERT INTO datasets (id, name, path, format, size_bytes, hash_sha256, report, created_at)
    VALUES ('d', 'n', 'p', 'jsonl', 1, 'h', '{}', 0)"""


async def test_a_second_run_changes_nothing(database: Database) -> None:
    async with database.write() as session:
        await session.execute(text(NEW_DATASET))
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


@pytest.fixture
async def first_database(empty_database_url: str) -> AsyncIterator[Database]:
    """As the first revision left it, with a job that ran to its end, one that runs, and one that waits."""
    database = Database(empty_database_url)
    async with database.write() as session:
        await (await session.connection()).run_sync(upgrade_to_the_first)
        for id_, state in (("ended", "completed"), ("runs", "running"), ("waits", "queued")):
            await session.execute(text(OLD_JOB), {"id": id_, "state": state})
        for id_, ended in (("ended", 5.0), ("runs", None)):
            await session.execute(text(OLD_ATTEMPT), {"job": id_, "ended": ended})
        await session.execute(
            text(
                "INSERT INTO moves (job_id, at, after, cause, actor) VALUES ('ended', 1, 'queued', 'submitted', 'api')"
            )
        )
    yield database
    await database.close()


def upgrade_to_the_first(connection: Connection) -> None:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "runyard.db:migrations")
    command.upgrade(config, "0001")


OLD_JOB = """INSERT INTO jobs (id, kind, name, spec, resolved_spec, priority, state, events_offset, attempts,
    created_at, queued_at, updated_at) VALUES (:id, 'sft', :id, '{}',
    '{"code": "say(''finished'', outcome=''completed'')"}', 'normal', :state, 0, 1, 1, 1, 1)"""
OLD_ATTEMPT = """INSERT INTO attempts (id, job_id, number, executor, gpus, lease_owner, lease_token, lease_expires_at,
    created_at, ended_at) VALUES (:job, :job, 1, 'local', '[]', 'host:/home', 'old', 99, 1, :ended)"""


async def test_from_the_first_revision_with_data_in_it(first_database: Database) -> None:
    await first_database.migrate()
    async with first_database.read() as session:
        connection = await session.connection()
        assert await connection.run_sync(differences) == []
        jobs = {job.id: job for job in await session.scalars(select(Job))}
        tries = {attempt.id: attempt for attempt in await session.scalars(select(Attempt))}
        [move] = await session.scalars(select(Move))
    assert {id_: job.state for id_, job in jobs.items()} == {"ended": "completed", "runs": "running", "waits": "queued"}
    waits = jobs["waits"]
    assert (waits.tenant, waits.user) == ("main", "local"), "what there was belongs to the first tenant"
    assert (waits.failures, waits.resumable, waits.not_before) == (0, True, None)
    assert (tries["ended"].released_at, tries["runs"].released_at) == (5.0, None), "what has ended holds nothing"
    assert (move.reason, move.message) == (None, None)
    async with first_database.read() as session:
        taken_over = await attempts.to_claim(session, attempts.Lease("this folder", "new"))
    assert taken_over == ["runs"]


async def test_jobs_of_the_first_revision_finish(first_database: Database, tmp_path: Path) -> None:
    await first_database.migrate()
    yard = Yard(first_database, tmp_path / "runs")
    yard.start()
    await yard.reaches("waits", "completed")
    await yard.reaches("runs", "completed")
    await yard.clean()


async def test_two_that_start_at_once_migrate_what_is_old_once(first_database: Database) -> None:
    other = Database(first_database.url.render_as_string(hide_password=False))
    await asyncio.gather(first_database.migrate(), other.migrate())
    async with other.read() as session:
        assert len((await session.scalars(select(Job))).all()) == 3
    await other.close()


async def test_rows_written_by_an_earlier_version_and_columns_of_a_later_one_do_no_harm(
    database: Database, tmp_path: Path
) -> None:
    async with database.write() as session:
        await session.execute(text("ALTER TABLE jobs ADD COLUMN of_later TEXT"))
        await session.execute(text("ALTER TABLE attempts ADD COLUMN of_later TEXT"))
        await session.execute(text(OLD_JOB), {"id": "old", "state": "queued"})
    yard = Yard(database, tmp_path / "runs")
    yard.start()
    await yard.submit("new", "say('finished', outcome='completed')")
    await yard.reaches("old", "completed")
    await yard.reaches("new", "completed")
    await yard.clean()
