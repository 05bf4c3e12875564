"""A session for one tenant: nothing of others is there, whatever is asked."""

from typing import Any

import pytest
from sqlalchemy import delete, func, select, text, update
from sqlalchemy.exc import DBAPIError, StatementError

from runyard.db.database import Database
from runyard.db.queries import events, jobs
from runyard.db.tables import (
    ApiKey,
    Artifact,
    Attempt,
    AuditEntry,
    Channel,
    Checkpoint,
    DataSet,
    Delivery,
    FeedEvent,
    IdempotencyKey,
    Job,
    JobTotal,
    Metric,
    Move,
    Rollup,
    Sample,
    Schedule,
    Secret,
    Series,
    Table,
    Template,
    Tenant,
    User,
)

OWNED = (Job, JobTotal, DataSet, Schedule, Template, FeedEvent, Secret, User, AuditEntry, Channel, Delivery)
OF_JOBS = (Attempt, Move, Metric, Checkpoint, Artifact, Rollup, Sample, Series)
OF_USERS = (ApiKey, IdempotencyKey)
FOR_ALL = {"tenants", "access", "quarantines", "cleanups", "leaders", "cursors", "alembic_version"}
JOBS = Table.metadata.tables["jobs"]
TIMES = {"created_at": 1.0, "queued_at": 1.0, "updated_at": 1.0}


@pytest.fixture
async def two_tenants(database: Database) -> Database:
    """One row of everything for each of two tenants."""
    async with database.write() as session:
        for tenant in ("ours", "theirs"):
            session.add(Tenant(name=tenant, created_at=1.0))
            await session.flush()
            whose = {"tenant": tenant, "user": tenant}
            session.add(User(name=tenant, tenant=tenant, role="admin", created_at=1.0))
            await session.flush()
            row: dict[str, Any] = {"kind": "sft", "name": "n", "spec": {}, "resolved_spec": {}, "priority": "normal"}
            session.add(Job(id=tenant, state="queued", **row, **TIMES, **whose))
            await session.flush()
            of_job: dict[str, Any] = {"job_id": tenant}
            session.add_all(
                [
                    DataSet(id=tenant, name="d", path="p", format="jsonl", size_bytes=1, hash_sha256="h", report={},
                            created_at=1.0, **whose),
                    Schedule(id=tenant, name="s", spec={}, timezone="UTC", created_at=1.0, **whose),
                    Template(id=tenant, name="t", version=1, saved_by=tenant, kind="sft", spec={}, variables=[],
                             job_id=tenant, created_at=1.0, **whose),
                    Secret(name="S", sealed=b"", changed_at=1.0, **whose),
                    AuditEntry(at=1.0, action="a", details={}, **whose),
                    FeedEvent(tenant=tenant, at=1.0, type="t", data={}, **of_job),
                    Attempt(id=tenant, number=1, executor="local", gpus=[], created_at=1.0, **of_job),
                    Move(at=1.0, after="queued", cause="submitted", actor="me", **of_job),
                    Metric(split="train", step=1, attempt=1, at=1.0, values={}, **of_job),
                    Checkpoint(step=1, attempt=1, path="p", size_bytes=1, metrics={}, best=False, files={},
                               created_at=1.0, **of_job),
                    Artifact(id=tenant, path="p", kind="k", size_bytes=1, hash_sha256="h", created_at=1.0, details={},
                             **of_job),
                    Rollup(content={}, **of_job),
                    Series(split="train", name="loss", first_step=1, last_step=1, tally=[], times=b"", numbers=b"",
                           began_at=1.0, **of_job),
                    Sample(step=0, index=0, attempt=1, at=1.0, prompt="p", answer="a", truncated=False, **of_job),
                    ApiKey(id=tenant, user=tenant, name="k", prefix="p", sha256=tenant, scope="read", created_at=1.0),
                    IdempotencyKey(user=tenant, key="k", body_sha256="b", created_at=1.0, **of_job),
                    Channel(id=tenant, name="c", of="user", kind="webhook", states=[], sealed=b"", shown="",
                            after_event=0, created_at=1.0, changed_at=1.0, **whose),
                ]
            )  # fmt: skip
            await session.flush()
            session.add(
                Delivery(
                    id=tenant, tenant=tenant, channel_id=tenant, type="t", body={}, status="x", created_at=1, **of_job
                )
            )
    return database


def test_every_table_belongs_to_somebody_or_is_named_here() -> None:
    """A new table is either a tenant's, or one of the few that are for all."""
    theirs = {table.__tablename__ for table in (*OWNED, *OF_JOBS, *OF_USERS)} | {"limits", "sessions"}
    assert set(Table.metadata.tables) | {"alembic_version"} == theirs | FOR_ALL


@pytest.mark.parametrize("table", [*OWNED, *OF_JOBS, *OF_USERS], ids=lambda table: table.__tablename__)
async def test_a_session_of_a_tenant_sees_its_own_alone(two_tenants: Database, table: Any) -> None:
    key = table.__mapper__.primary_key
    async with two_tenants.read() as session:
        theirs = next(row for row in await session.scalars(select(table)) if "theirs" in str(vars(row).values()))
        identity = tuple(getattr(theirs, column.key) for column in key)
    async with two_tenants.read(tenant="ours") as session:
        rows = (await session.scalars(select(table))).all()
        assert len(rows) == 1
        assert "theirs" not in str(vars(rows[0]).values())
        assert await session.get(table, identity) is None
        assert await session.scalar(select(func.count()).select_from(table)) == 1
        first = getattr(table, key[0].key)
        assert len((await session.scalars(select(table).where(first.in_(select(first))))).all()) == 1
        aliased = select(table).join(Job, Job.id == table.job_id) if hasattr(table, "job_id") else select(table)
        assert len((await session.scalars(aliased)).all()) == 1


@pytest.mark.parametrize("table", [Job, DataSet, Metric, ApiKey], ids=lambda table: table.__tablename__)
async def test_what_it_changes_or_deletes_is_its_own(two_tenants: Database, table: Any) -> None:
    column = next(name for name in ("name", "split") if hasattr(table, name))
    async with two_tenants.write(tenant="ours") as session:
        await session.execute(update(table).values({column: "changed"}))
    async with two_tenants.read() as session:
        assert sorted(await session.scalars(select(getattr(table, column)))) != ["changed", "changed"]
    async with two_tenants.write(tenant="ours") as session:
        await session.execute(delete(table))
    async with two_tenants.read() as session:
        assert await session.scalar(select(func.count()).select_from(table)) == 1


async def test_a_row_that_does_not_say_whose_it_is_is_refused(database: Database) -> None:
    row: dict[str, Any] = {"kind": "sft", "name": "n", "spec": {}, "resolved_spec": {}, "priority": "normal"}
    with pytest.raises(StatementError, match="whose"):
        async with database.write() as session:
            session.add(Job(id="nobody's", state="queued", **row, **TIMES))
    with pytest.raises(StatementError):
        async with database.write() as session:
            await jobs.add_all(session, [(Job(id="nobody's", state="queued", **row, **TIMES), "me")])


async def test_an_event_is_the_tenants_whose_job_it_tells_of(two_tenants: Database) -> None:
    async with two_tenants.write() as session:
        await events.append(session, "theirs", 2.0, "one", {})
        await events.append_all(session, [{"job_id": "theirs", "at": 3.0, "type": "many", "data": {}}])
    async with two_tenants.read(tenant="theirs") as session:
        assert [event.type for event in await events.after(session, 0)] == ["t", "one", "many"]
    async with two_tenants.read(tenant="ours") as session:
        assert [event.type for event in await events.after(session, 0)] == ["t"]


@pytest.mark.parametrize("change", ["UPDATE audit SET action = 'nothing'", "DELETE FROM audit"])
async def test_the_database_keeps_the_audit_log_from_being_altered(two_tenants: Database, change: str) -> None:
    with pytest.raises(DBAPIError, match="append-only"):
        async with two_tenants.write() as session:
            await session.execute(text(change))
    async with two_tenants.read() as session:
        assert await session.scalar(select(func.count()).select_from(AuditEntry)) == 2


@pytest.mark.parametrize("statement", [select(JOBS.c.id), update(JOBS).values(name="x"), delete(JOBS)], ids=str)
async def test_what_could_go_past_the_condition_is_refused(two_tenants: Database, statement: Any) -> None:
    with pytest.raises(LookupError, match="one tenant"):
        async with two_tenants.write(tenant="ours") as session:
            await session.execute(statement)
