"""The ring and the database together are one feed, wherever in it somebody begins."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

import pytest

from runyard.db.database import Database
from runyard.db.queries import events
from runyard.db.tables import Job
from runyard.server import feed
from runyard.server.feed import Entry, Hub

SECONDS = 30
RING = 20
JOBS = ("even", "odd")


@pytest.fixture
async def jobs(database: Database) -> None:
    row = {
        "tenant": "main",
        "user": "local",
        "kind": "sft",
        "spec": {},
        "resolved_spec": {},
        "priority": "normal",
        "state": "running",
    }
    times = {"events_offset": 0, "attempts": 0, "created_at": 1.0, "queued_at": 1.0, "updated_at": 1.0}
    async with database.write() as session:
        session.add_all([Job(id=job_id, name=job_id, **row, **times) for job_id in JOBS])


@pytest.fixture
async def hub(database: Database, jobs: None) -> AsyncIterator[Hub]:
    hub = Hub(database, size=RING)
    await hub.start()
    reading = asyncio.create_task(hub.run())
    yield hub
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)


async def tell(database: Database, hub: Hub, numbers: Sequence[int], text: str = "") -> None:
    """Of the two jobs by turns."""
    rows = [{"job_id": JOBS[n % 2], "at": float(n), "type": "message", "data": {"text": text}} for n in numbers]
    async with database.write() as session:
        await events.append_all(session, rows)
    hub.notify()


def follow(hub: Hub, cursor: int, job_id: str | None) -> AsyncIterator[Sequence[Entry]]:
    """One job, or all of the tenant's."""
    return hub.follow(cursor, "main") if job_id is None else hub.follow_job(cursor, job_id)


async def take(hub: Hub, cursor: int, job_id: str | None, last: int) -> list[int]:
    """The ids of all that comes after a cursor, up to the last."""
    found: list[int] = []
    async with asyncio.timeout(SECONDS), aclosing(follow(hub, cursor, job_id)) as batches:  # type: ignore[type-var]
        async for batch in batches:
            found += [entry.id for entry in batch]
            if found and found[-1] >= last:
                break
    return found


def expected(cursor: int, job_id: str | None, last: int) -> list[int]:
    return [n for n in range(cursor + 1, last + 1) if job_id is None or JOBS[n % 2] == job_id]


async def test_all_get_the_same_wherever_they_begin_while_it_is_written(database: Database, hub: Hub) -> None:
    """Most begin below the ring, some in it, some at its end; it goes round many times meanwhile."""
    total, joining = 200, []
    for start in range(1, total, 5):
        await tell(database, hub, range(start, start + 5))
        for cursor in {0, start // 2, max(0, start - RING), start}:
            for job_id in (None, *JOBS):
                last = total - (job_id == "odd")
                joining.append((cursor, job_id, last, asyncio.create_task(take(hub, cursor, job_id, last))))
    await tell(database, hub, [])
    for cursor, job_id, last, taking in joining:
        assert await taking == expected(cursor, job_id, last)


async def test_large_entries_are_not_all_kept(database: Database, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "RING_BYTES", 100_000)
    following = asyncio.create_task(take(hub, 0, None, 60))
    for start in range(1, 61, 5):
        await tell(database, hub, range(start, start + 5), "x" * 30_000)
    assert await following == list(range(1, 61))
    assert sum(len(entry.text) for entry in hub._entries) <= 2 * 100_000 + 5 * 31_000
    assert await take(hub, 0, "odd", 59) == expected(0, "odd", 59)


async def test_one_entry_larger_than_the_ring_passes_through(
    database: Database, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "RING_BYTES", 1000)
    following = asyncio.create_task(take(hub, 0, None, 3))
    for number in (1, 2, 3):
        await tell(database, hub, [number], "x" * 30_000)
    assert await following == [1, 2, 3]
    assert await take(hub, 1, "odd", 3) == [3]


async def test_a_sign_of_life_comes_to_those_for_whom_there_is_nothing(
    database: Database, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "PULSE_SECONDS", 0.1)
    monkeypatch.setattr(feed, "FALLBACK_SECONDS", 0.05)

    async def first(job_id: str | None) -> Sequence[Entry]:
        return await anext(follow(hub, 0, job_id))

    async with asyncio.timeout(SECONDS):
        assert list(await asyncio.gather(*map(first, (None, *JOBS)))) == [[], [], []]
