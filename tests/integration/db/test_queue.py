"""The line of waiting jobs as the database sees it."""

import re
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.event import listen

from runyard.db.database import Database
from runyard.db.queries import attempts, events, jobs, listing, overview, queue
from runyard.db.queries.attempts import Beginning, Lease
from runyard.db.tables import Job
from runyard.db.tables.facts import LISTS
from runyard.domain.lifecycle import Cause
from runyard.domain.listing import Filter, Order, Sorting
from runyard.domain.placement import RANK, Expected, Held, Needs, Start, Wait, Waiting, order
from runyard.services.queue import Passing, passings

NOW = 1_000_000.0
HOUR = 3600.0


async def add(database: Database, id_: str, **values: Any) -> None:
    row = {
        "tenant": "main",
        "user": "local",
        "kind": "sft",
        "name": id_,
        "spec": {},
        "resolved_spec": {},
        "priority": "normal",
        "state": "queued",
    }
    row |= {"created_at": NOW, "queued_at": NOW, "updated_at": NOW, "attempts": 0, "events_offset": 0}
    async with database.write() as session:
        session.add(Job(id=id_, **row | values))


async def test_the_line_is_read_with_all_that_placement_needs(database: Database) -> None:
    await add(
        database, "a", gpus=2, gpu_memory_mb=3, cpus=0.5, memory_mb=4, user="u", priority="low", estimated_seconds=9.0
    )
    await add(database, "b", state="running")
    await add(database, "c", not_before=NOW + 5)
    async with database.read() as session:
        found = await queue.waiting(session, NOW)
        assert found == [Waiting("a", "low", NOW, 2, 3, 0.5, 4, "u", 9.0)]
        assert await queue.next_start(session, NOW) == NOW + 5
        after_a_jump_back = await queue.waiting(session, NOW + 5 - 2 * HOUR)
        assert {job.job_id for job in after_a_jump_back} == {"a", "c"}, "no pause is as long"
        assert {job.job_id for job in await queue.waiting(session, NOW + 5)} == {"a", "c"}


async def test_places_are_those_of_the_scheduler(database: Database) -> None:
    for number, priority in enumerate([*RANK, *RANK, *RANK, *RANK]):
        hours = (0, 7, 13, 30)[number // 4] + number * 0.01
        await add(database, f"job{number:02}", priority=priority, queued_at=NOW - hours * HOUR)
    await add(database, "later", not_before=NOW + 5, priority="urgent")
    async with database.read() as session:
        line = list(order.line(await queue.waiting(session, NOW), NOW))
        ids = [job.job_id for job in line]
        assert await queue.first(session, NOW) == (ids[0], "main")
        assert await queue.places(session, ids, NOW) == {id_: place for place, id_ in enumerate(ids, 1)}
        assert await queue.places(session, [ids[3], "later", "no such job"], NOW) == {ids[3]: 4}


async def test_who_would_be_passed_is_counted_and_the_nearest_named(database: Database) -> None:
    for number, name in enumerate(("first", "second", "third", "mine", "behind")):
        await add(database, name, queued_at=NOW - 100 + number, tenant="other" if name == "second" else "main")
    await add(database, "long", priority="low", queued_at=NOW - 13 * HOUR)  # counts as normal by now
    await add(database, "high", priority="high", queued_at=NOW - 200)
    await add(database, "low", priority="low")
    await add(database, "later", not_before=NOW + 5)
    async with database.read() as session:
        mine = await session.get_one(Job, "mine")
        found = {one.priority: one for one in await passings(session, mine, "main", NOW)}
    assert list(found) == ["urgent", "high", "low", None]
    assert found["urgent"] == Passing("urgent", passes=True, count=5, names=["high", "long"])
    assert found["high"] == Passing("high", passes=True, count=4, names=["long", "first"])
    assert found["low"] == Passing("low", passes=False, count=1, names=["behind"])
    assert found[None] == Passing(None, passes=False, count=2, names=["behind", "low"])


async def test_a_job_that_was_held_while_it_waited_comes_back_to_its_place(database: Database) -> None:
    """One that ran, or was tried in vain, begins anew at the end."""
    for number, (name, state) in enumerate({"held": "queued", "ran": "running", "other": "queued"}.items()):
        await add(database, name, state=state, queued_at=NOW - 100 + number)
    causes = {"held": [Cause.PAUSE_ASKED], "ran": [Cause.PAUSE_ASKED, Cause.STOPPED]}
    async with database.write() as session:
        for name, asked in causes.items():
            for cause in [*asked, Cause.RESUME_ASKED]:
                await jobs.apply_move(session, await session.get_one(Job, name), cause, "me", NOW)
    async with database.read() as session:
        assert await queue.places(session, ["held", "other", "ran"], NOW) == {"held": 1, "other": 2, "ran": 3}


async def test_the_line_stays_in_order_when_the_clock_is_set_back(database: Database) -> None:
    for number, priority in enumerate(reversed(RANK)):
        await add(database, priority, priority=priority, queued_at=NOW + number)
    async with database.read() as session:
        assert [job.job_id for job in await queue.waiting(session, NOW - HOUR, head=9)] == list(RANK)
        assert await queue.lengths(session, NOW - HOUR) == {rank: 1 for rank in RANK.values()}


async def test_only_time_in_line_makes_a_job_move_up(database: Database) -> None:
    """One that ran for a day and lost its machine comes back to its place, as low as before."""
    await add(database, "long", priority="low", state="running", queued_at=NOW - 24 * HOUR)
    await add(database, "normal", priority="normal", queued_at=NOW - HOUR)
    await add(database, "behind", priority="low", queued_at=NOW - HOUR)
    async with database.write() as session:
        await jobs.apply_move(session, await session.get_one(Job, "long"), Cause.RETRIED, "engine", NOW)
    for later, expected in ((1, ["normal", "long", "behind"]), (11.5 * HOUR, ["normal", "behind", "long"])):
        async with database.read() as session:
            line = await queue.waiting(session, NOW + later)
            assert [job.job_id for job in order.line(line, NOW + later)] == expected
            assert await queue.places(session, expected, NOW + later) == {id_: n for n, id_ in enumerate(expected, 1)}


async def test_the_index_of_the_queue_is_all_that_is_read(database: Database) -> None:
    if database.dialect != "sqlite":
        pytest.skip("PostgreSQL chooses by the size of the table")
    query = (
        "EXPLAIN QUERY PLAN SELECT id, priority, queued_at, gpus, gpu_memory_mb, cpus, memory_mb, user,"
        " estimated_seconds, back_at FROM jobs WHERE state = 'queued' AND (not_before IS NULL OR not_before <= 5)"
    )
    async with database.read() as session:
        steps = [str(row[-1]) for row in (await session.execute(text(query))).all()]
    assert any("COVERING INDEX ix_jobs_queue" in step for step in steps), steps


@pytest.mark.parametrize("order", list(Order))
async def test_a_list_is_narrowed_by_what_the_index_of_its_order_holds(database: Database, order: Order) -> None:
    """So that what a filter keeps back is never looked at as a long row."""
    wanted = Filter(["failed"], "me", "sft", "a", "m", "t", "e", 1.0, 2.0, "w", "high")
    async with database.read(tenant="main") as session:
        asked: list[str] = []
        listen(session.get_bind(), "before_cursor_execute", lambda *of: asked.append(of[2]))
        await listing.page(session, wanted, Sorting(order), None, 50)
    used = {name for sql in asked for name in re.findall(r"jobs\.(\w+)", sql.partition("WHERE")[2])}
    [index] = [index for index in LISTS if index.name == f"ix_jobs_by_{order}"]
    assert {"priority", "kind", "search"} <= used
    assert used - {"removed_at"} <= {column.name for column in index.columns}, "removed_at is what it leaves out"


async def test_what_a_job_tells_seldom_is_found_without_what_it_tells_at_every_step(database: Database) -> None:
    if database.dialect != "sqlite":
        pytest.skip("PostgreSQL chooses by the size of the table")
    async with database.read() as session:
        asked: list[str] = []
        listen(session.get_bind(), "before_cursor_execute", lambda *of: asked.append(of[2]))
        await overview.told(session, "a", ("phase",), 5)
        await events.last_word(session, "a", 1)
        await events.settled(session, "a")
        found = [sql for sql in asked if "FROM events" in sql]
        assert len(found) == 3
        for sql in found:
            explained = await session.execute(text(f"EXPLAIN QUERY PLAN {sql.replace('?', '1')}"))
            steps = [str(row[-1]) for row in explained.all()]
            assert any("ix_events_turns" in step for step in steps), (sql, steps)


async def test_what_is_told_is_on_the_row_and_in_the_feed_until_it_starts(database: Database) -> None:
    await add(database, "a")
    await add(database, "b")
    async with database.write() as session:
        waits = [Wait("a", 1, "no room", Expected(NOW + 840, "here", (1,))), Wait("b", 2, "no room")]
        await queue.tell(session, waits, [], NOW)
    async with database.write() as session:
        assert set(await queue.told(session)) == {"a", "b"}
        assert [event.data for event in await events.after(session, 0)] == [
            {"position": 1, "wait_cause": "no room; 1st in line; about 14 min"},
            {"position": 2, "wait_cause": "no room; 2nd in line"},
        ]
        await queue.tell(session, [], ["b"], NOW)
    async with database.write() as session:
        assert await queue.told(session) == ["a"]
        job = await session.get_one(Job, "a")
        assert (job.wait_cause, job.expected_start) == ("no room", NOW + 840)
        assert job.expected_place == {"machine": "here", "gpus": [1]}
        await jobs.apply_move(session, job, Cause.PLACED, "scheduler", NOW)
        assert (job.wait_cause, job.expected_start, job.expected_place) == (None, None, None)


async def test_what_attempts_hold_until_it_is_released(database: Database) -> None:
    snapshot = {"attempt": 1, "at": NOW, "eta_seconds": 60.0}
    await add(database, "a", gpu_memory_mb=7, cpus=2.0, memory_mb=8, priority="low", resumable=True, snapshot=snapshot)
    needs = Needs(1, 7, 2.0, 8)
    held = Held("a", "here", (1,), needs, "low", "local", NOW, NOW + 60, resumable=True)

    async def taken(owner: str = "me") -> list[Held]:
        async with database.read() as session:
            return await attempts.taken(session, "here", owner)

    async with database.write() as session:
        job = await session.get_one(Job, "a")
        beginning = Beginning("x", "local", Lease("me", "token"))
        attempt = attempts.begin(session, job, beginning, Start("a", "once here", (1,)), NOW)
        assert (attempt.machine, attempt.gpu_memory_mb, attempt.cpus, attempt.memory_mb) == ("once here", 7, 2.0, 8)
        await jobs.apply_move(session, job, Cause.PLACED, "scheduler", NOW)
    assert await taken() == [held]
    assert await taken("another") == [held._replace(machine="once here")]
    async with database.write() as session:
        await attempts.save(session, "x", "token", ended_at=NOW + 1)
    assert await taken() == [held._replace(stopping=True)]
    async with database.write() as session:
        await session.execute(text("UPDATE attempts SET released_at = 1"))
    assert await taken() == []


async def test_who_left_a_machine_a_moment_ago_is_known_from_its_last_move(database: Database) -> None:
    """Also one that never said that it had started; not one that was cancelled while it waited or was paused."""
    causes = {
        "ran": [Cause.PLACED, Cause.STARTED, Cause.COMPLETED],
        "quick": [Cause.PLACED, Cause.COMPLETED],
        "waited": [Cause.CANCEL_ASKED],
        "paused": [Cause.PLACED, Cause.STARTED, Cause.PAUSE_ASKED, Cause.STOPPED, Cause.CANCEL_ASKED],
    }
    for number, (name, asked) in enumerate(causes.items()):
        await add(database, name)
        async with database.write() as session:
            for cause in asked:
                await jobs.apply_move(session, await session.get_one(Job, name), cause, "me", NOW + number)
    async with database.read() as session:
        assert [job.id for job in await overview.left_since(session, NOW - 10, 5)] == ["quick", "ran"]
        assert [job.id for job in await overview.left_since(session, NOW, 5)] == ["quick"]
