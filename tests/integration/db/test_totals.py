"""What the database counts by itself, whoever writes."""

from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, delete, select, text, update

from runyard.db.database import Database
from runyard.db.tables import Job, JobTotal
from runyard.domain import listing

ROW: dict[str, Any] = {"kind": "sft", "name": "n", "spec": {}, "resolved_spec": {}, "priority": "normal"}
ROW |= {"tenant": "main", "user": "local", "created_at": 1.0, "queued_at": 1.0, "updated_at": 1.0}


async def totals(database: Database) -> dict[str, tuple[int, int, float]]:
    async with database.read() as session:
        rows = await session.execute(
            select(JobTotal.state, JobTotal.jobs, JobTotal.measured, JobTotal.throughput).where(JobTotal.jobs > 0)
        )
    return {state: (jobs, measured, throughput) for state, jobs, measured, throughput in rows}


async def test_each_change_of_a_row_changes_what_they_come_to(database: Database) -> None:
    async with database.write() as session:
        session.add_all([Job(id="a", state="queued", **ROW), Job(id="b", state="queued", **ROW)])
        session.add(Job(id="c", state="completed", throughput=4.0, **ROW))
    assert await totals(database) == {"queued": (2, 0, 0.0), "completed": (1, 1, 4.0)}
    async with database.write() as session:
        await session.execute(update(Job).where(Job.id == "a").values(throughput=2.5))
        await session.execute(text("UPDATE jobs SET state = 'completed' WHERE id = 'a'"))
    assert await totals(database) == {"queued": (1, 0, 0.0), "completed": (2, 2, 6.5)}
    async with database.write() as session:
        await session.execute(update(Job).where(Job.id == "a").values(removed_at=5.0))
        await session.execute(delete(Job).where(Job.id == "b"))
    assert await totals(database) == {"completed": (1, 1, 4.0)}
    async with database.write() as session:
        await session.execute(delete(Job).where(Job.id == "a"))
    assert await totals(database) == {"completed": (1, 1, 4.0)}, "what is gone is not taken away twice"


async def test_a_change_that_is_rolled_back_is_not_counted(database: Database) -> None:
    try:
        async with database.write() as session:
            session.add(Job(id="a", state="queued", **ROW))
            await session.flush()
            raise LookupError
    except LookupError:
        pass
    assert await totals(database) == {}


OLD_JOB = """INSERT INTO jobs (id, kind, name, spec, resolved_spec, priority, state, events_offset, attempts,
    created_at, queued_at, updated_at) VALUES (:id, 'sft', :id, :spec, '{}', 'normal', :state, 0, 1, 1, 1, 1)"""
OLD_MOVE = "INSERT INTO moves (job_id, at, after, cause, actor) VALUES (:job, :at, :after, 'c', 'me')"


def upgrade_to_before(connection: Connection) -> None:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "runyard.db:migrations")
    command.upgrade(config, "0008")


async def test_what_is_known_of_jobs_that_were_there_is_filled_in(empty_database_url: str) -> None:
    database = Database(empty_database_url)
    async with database.write() as session:
        await (await session.connection()).run_sync(upgrade_to_before)
        for id_, state, spec in (
            ("Paused", "paused", '{"model": {"name": "Team/Base-8B"}}'),
            ("runs", "running", '{"model": "short"}'),
            ("script", "queued", '{"command": ["true"]}'),
        ):
            await session.execute(text(OLD_JOB), {"id": id_, "state": state, "spec": spec})
        moves = [("Paused", at, after) for at, after in ((1, "queued"), (10, "starting"), (11, "running"))]
        moves += [("Paused", 15, "pausing"), ("Paused", 16, "paused"), ("Paused", 30, "queued")]
        moves += [
            ("Paused", 40, "starting"),
            ("Paused", 44, "paused"),
            ("runs", 50, "starting"),
            ("runs", 51, "running"),
        ]
        for job, at, after in moves:
            await session.execute(text(OLD_MOVE), {"job": job, "at": at, "after": after})
    await database.migrate()
    async with database.read() as session:
        jobs = {job.id: job for job in await session.scalars(select(Job))}
    assert {id_: job.model for id_, job in jobs.items()} == {"Paused": "Team/Base-8B", "runs": "short", "script": None}
    assert jobs["Paused"].search == listing.line("Paused", "Team/Base-8B", [], "Paused")
    assert {id_: job.duration for id_, job in jobs.items()} == {"Paused": 6 + 4, "runs": None, "script": None}
    assert {id_: job.active_since for id_, job in jobs.items()} == {"Paused": None, "runs": 50, "script": None}
    assert jobs["script"].tags == []
    assert {state: found[0] for state, found in (await totals(database)).items()} == {
        "paused": 1, "running": 1, "queued": 1,
    }  # fmt: skip
    await database.close()
