"""Sessions: what is kept, what is thrown away, and who waits for whom."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from runyard.db import database as module
from runyard.db.database import Database
from runyard.db.queries import events
from runyard.db.tables import Job
from runyard.domain.errors import DatabaseDownError, InvalidError


def job(id_: str, **values: object) -> Job:
    row = {
        "id": id_,
        "tenant": "main",
        "user": "local",
        "kind": "sft",
        "name": id_,
        "spec": {},
        "resolved_spec": {},
        "priority": "normal",
        "state": "queued",
        "events_offset": 0,
        "attempts": 0,
        "created_at": 1.0,
        "queued_at": 1.0,
        "updated_at": 1.0,
    }
    return Job(**row | values)


async def add(database: Database, *jobs: Job) -> None:
    async with database.write() as session:
        session.add_all(jobs)


async def count(database: Database) -> int:
    async with database.read() as session:
        return int(await session.scalar(text("SELECT count(*) FROM jobs")) or 0)


async def test_a_write_is_kept_unless_it_fails(database: Database) -> None:
    await add(database, job("kept"))

    async def fail() -> None:
        async with database.write() as session:
            session.add(job("lost"))
            await session.flush()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await count(database) == 1


async def test_a_read_changes_nothing(database: Database) -> None:
    async with database.read() as session:
        session.add(job("lost"))
        await session.flush()
    assert await count(database) == 0


async def test_a_write_that_is_cancelled_leaves_the_door_open(database: Database) -> None:
    inside = asyncio.Event()

    async def stay() -> None:
        async with database.write() as session:
            session.add(job("lost"))
            await session.flush()
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(stay())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await add(database, job("next"))
    assert await count(database) == 1


async def test_check_then_write_is_safe_across_processes(database_url: str) -> None:
    """Each opens the database for itself, reads a number, and writes the next one."""
    databases = [Database(database_url) for _ in range(4)]
    await add(databases[0], job("counter"))

    async def count_up(database: Database) -> None:
        for _ in range(10):
            async with database.write() as session:
                row = await session.get_one(Job, "counter")
                await asyncio.sleep(0)
                row.attempts += 1

    await asyncio.gather(*(count_up(database) for database in databases))
    async with databases[0].read() as session:
        assert (await session.get_one(Job, "counter")).attempts == 40
    for database in databases:
        await database.close()


async def test_the_feed_has_no_late_comers(database_url: str) -> None:
    """A reader that goes on from the highest id it has seen misses nothing, with several writers at once."""
    writers = [Database(database_url) for _ in range(3)]
    reader = Database(database_url)
    await add(reader, job("job"))

    async def write(database: Database) -> None:
        for number in range(15):
            async with database.write() as session:
                await events.append(session, "job", 0.0, "message", {"number": number})
                await asyncio.sleep(0.001)

    async def follow() -> list[int]:
        seen: list[int] = []
        while len(seen) < 45:
            async with reader.read() as session:
                seen += [event.id for event in await events.after(session, seen[-1] if seen else 0)]
        return seen

    async with asyncio.timeout(30):
        seen, *_ = await asyncio.gather(follow(), *(write(database) for database in writers))
    assert len(set(seen)) == 45
    for database in [*writers, reader]:
        await database.close()


async def test_ids_of_the_feed_are_never_used_again(database: Database) -> None:
    await add(database, job("job"))
    async with database.write() as session:
        first = await events.append(session, "job", 0.0, "message", {})
    async with database.write() as session:
        await session.delete(await session.get_one(Job, "job"))
    await add(database, job("job"))
    async with database.write() as session:
        assert (await events.append(session, "job", 0.0, "message", {})).id > first.id


async def test_a_foreign_key_is_held_to(database: Database) -> None:
    with pytest.raises(IntegrityError):
        async with database.write() as session:
            await events.append(session, "nobody", 0.0, "message", {})


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
async def test_one_that_freezes_in_the_middle_of_a_write_does_not_stop_the_others(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SILENCE_SECONDS", 1)
    frozen, other = Database(database_url), Database(database_url)
    inside, written = asyncio.Event(), asyncio.Event()

    async def freeze() -> None:
        async with frozen.write() as session:
            session.add(job("lost"))
            await session.flush()
            inside.set()
            await written.wait()

    task = asyncio.create_task(freeze())
    await inside.wait()
    async with asyncio.timeout(10):
        await add(other, job("kept"))
    written.set()
    with pytest.raises(DatabaseDownError):
        await task
    assert await count(other) == 1
    await frozen.close()
    await other.close()


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
@pytest.mark.parametrize("condition", [Job.id == "a\0b", Job.failures == 2**40])
async def test_a_value_that_no_column_holds_is_who_asks_fault(database: Database, condition: Any) -> None:
    with pytest.raises(InvalidError, match="can't hold"):
        async with database.read() as session:
            await session.scalars(select(Job).where(condition))
    assert await count(database) == 0


async def test_json_comes_back_as_it_was(database: Database) -> None:
    odd = {"": [1, 2.5, None, True, {"é\u2028": "\\n\n"}], "big": 2**62, "small": 1e-300, "exact": 0.1 + 0.2}
    async with database.write() as session:
        session.add(job("job", resolved_spec=odd))
    async with database.read() as session:
        assert (await session.get_one(Job, "job")).resolved_spec == odd


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
async def test_json_that_utf_8_can_not_hold_comes_back_too(database: Database) -> None:
    async with database.write() as session:
        session.add(job("job", resolved_spec={"half a pair": "\ud83d"}))
    async with database.read() as session:
        assert (await session.get_one(Job, "job")).resolved_spec == {"half a pair": "\ud83d"}
