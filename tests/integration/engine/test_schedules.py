"""What is due is submitted once, whatever happens; the clock is an argument, so nothing here waits."""

import asyncio
import errno
from collections.abc import AsyncIterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from sqlalchemy import select

from runyard.db.database import Database
from runyard.db.queries import jobs as queue
from runyard.db.queries import schedules as queries
from runyard.db.tables import Job, Schedule
from runyard.domain import schedules as calendar
from runyard.domain.access import LOCAL
from runyard.domain.errors import DatabaseDownError
from runyard.domain.lifecycle import Cause
from runyard.domain.quotas import Quota
from runyard.engine.schedules import Calendar
from runyard.protocol.specs import job_spec
from runyard.services import datasets, schedules, submissions
from runyard.services.context import Context as Limits
from runyard.services.schedules import Request
from runyard.services.sources import resolve
from runyard.services.submissions import Submission
from runyard.testing.yard import Yard, eventually

HOUR = 3600.0
START = 1_800_000_000.0 - 1_800_000_000 % HOUR
ROWS = '{"prompt": "two eggs", "completion": "2"}\n'


class Clock:
    now = START

    def __call__(self) -> float:
        return self.now


class Place:
    """A calendar of an engine that is moved by hand."""

    def __init__(self, yard: Yard) -> None:
        self.yard, self.database, self.clock = yard, yard.database, yard.context.clock
        self.rows = str(yard.context.limits.allowed_paths[0] / "rows.jsonl")
        assert isinstance(self.clock, Clock)
        self.woken = 0
        self.start()

    def start(self) -> None:
        """Again, as after a crash: what an engine knows is in the database alone."""
        self.calendar = Calendar(self.yard.context, self._wake)

    def _wake(self) -> None:
        self.woken += 1

    async def add(self, cron: str | None = "0 * * * *", at: str | None = None, name: str = "hourly") -> Schedule:
        spec = job_spec.validate_python({"kind": "sft", "model": "owner/model", "data": self.rows, "name": name})
        async with self.database.write() as session:
            return (await schedules.add(session, Request(spec, name, cron, at, "UTC"), LOCAL, name[:6], self.clock()))[
                0
            ]

    async def until(self, now: float) -> None:
        self.clock.now = now
        await self.calendar.tick()

    async def jobs(self) -> list[Job]:
        async with self.database.read() as session:
            return list((await session.scalars(select(Job).order_by(Job.created_at, Job.id))).all())

    async def schedule(self, name: str = "hourly") -> Schedule:
        async with self.database.read() as session:
            return await schedules.get(session, name)

    async def empty_queue(self) -> None:
        async with self.database.write() as session:
            for job in (await session.scalars(select(Job).where(Job.state == "queued"))).all():
                await queue.apply_move(session, job, Cause.CANCEL_ASKED, "me", self.clock())


@pytest.fixture
async def place(database: Database, tmp_path: Path) -> AsyncIterator[Place]:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "rows.jsonl").write_text(ROWS)
    limits = Limits(home=tmp_path, allowed_paths=(shared,), each_user={Quota.WAITING: 2}, min_free=0)
    yard = Yard(database, tmp_path / "runs", clock=Clock(), limits=limits)
    yield Place(yard)
    await yard.clean()


async def test_a_due_job_is_submitted_once_with_its_schedules_id(place: Place) -> None:
    made = await place.add()
    await place.until(START + HOUR - 1)
    assert await place.jobs() == []
    assert place.calendar.pause() == 1
    await place.until(START + HOUR)
    await place.until(START + HOUR + 1)
    [job] = await place.jobs()
    assert (job.schedule_id, job.name, job.state, job.created_at) == (made.id, "hourly", "queued", START + HOUR)
    assert job.resolved_spec["data"]["train"] == place.rows
    assert [(move.cause, move.actor) for move in await place.yard.moves(job.id)] == [("submitted", "schedule:hourly")]
    assert [event.data["actor"] for event in await place.yard.feed(job.id, "state")] == ["schedule:hourly"]
    after = await place.schedule()
    assert (after.last_job_id, after.last_error, after.next_at) == (job.id, None, START + 2 * HOUR)
    assert place.woken == 1


async def test_what_was_missed_while_the_server_was_down_runs_once_and_then_on_from_now(place: Place) -> None:
    await place.add()
    place.start()
    await place.until(START + 5.5 * HOUR)
    await place.until(START + 5.6 * HOUR)
    assert len(await place.jobs()) == 1
    assert (await place.schedule()).next_at == START + 6 * HOUR


async def test_two_engines_at_once_submit_one_job(place: Place) -> None:
    await place.add()
    place.clock.now = START + HOUR
    await asyncio.gather(*(Calendar(place.yard.context, lambda: None).tick() for _ in range(4)))
    assert len(await place.jobs()) == 1


class KilledError(BaseException):
    """Ends everything at once, as a kill would."""


@pytest.mark.parametrize("point", ["require_usable", "submit"])
async def test_a_server_that_dies_in_the_middle_has_submitted_nothing_and_does_it_next_time(
    place: Place, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await place.add()
    module = datasets if point == "require_usable" else submissions
    real = getattr(module, point)

    async def die(*args):
        await real(*args)
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(module, point, die)
        with pytest.raises(KilledError):
            await place.until(START + HOUR)
    assert await place.jobs() == []
    place.start()
    await place.until(START + HOUR + 60)
    assert len(await place.jobs()) == 1
    assert (await place.schedule()).next_at == START + 2 * HOUR


async def test_a_single_time_is_over_once_it_was_submitted(place: Place) -> None:
    moment = calendar.datetime.fromtimestamp(START + 90, calendar.UTC).isoformat()
    await place.add(cron=None, at=moment)
    await place.until(START + 90)
    await place.until(START + HOUR)
    assert len(await place.jobs()) == 1
    assert schedules.is_over(await place.schedule())
    await place.add()  # the name is free again
    assert (await place.schedule()).cron == "0 * * * *"


async def test_a_full_queue_is_said_and_a_cron_line_tries_at_its_next_time(place: Place) -> None:
    await place.add()
    for hour in (1, 2, 3):
        await place.until(START + hour * HOUR)
    assert len(await place.jobs()) == 2
    refused = await place.schedule()
    assert "local has 2 waiting jobs, and may have 2" in (refused.last_error or "")
    assert refused.next_at == START + 4 * HOUR
    await place.empty_queue()
    await place.until(START + 4 * HOUR)
    assert len(await place.jobs()) == 3
    assert (await place.schedule()).last_error is None


async def test_what_became_of_each_time_is_kept_and_no_more_than_the_last_of_them(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    await place.add()
    await place.until(START + HOUR)
    await place.until(START + 2.5 * HOUR)
    await place.until(START + 3 * HOUR)
    first, late, refused = (await place.schedule()).history
    jobs = await place.jobs()
    assert first == {"due": START + HOUR, "at": START + HOUR, "job_id": jobs[0].id, "error": None}
    assert (late["due"], late["at"], late["job_id"]) == (START + 2 * HOUR, START + 2.5 * HOUR, jobs[1].id)
    assert (refused["due"], refused["job_id"]) == (START + 3 * HOUR, None)
    assert "local has 2 waiting jobs, and may have 2" in refused["error"]
    monkeypatch.setattr(schedules, "LONGEST_HISTORY", 2)
    await place.until(START + 4 * HOUR)
    assert [last["due"] for last in (await place.schedule()).history] == [START + 3 * HOUR, START + 4 * HOUR]


async def test_a_single_time_waits_for_room_in_the_queue(place: Place) -> None:
    await place.add()
    moment = calendar.datetime.fromtimestamp(START + 2.5 * HOUR, calendar.UTC).isoformat()
    await place.add(cron=None, at=moment, name="once")
    await place.until(START + HOUR)
    await place.until(START + 2 * HOUR)
    await place.until(START + 2.5 * HOUR)
    waiting = await place.schedule("once")
    assert "local has 2 waiting jobs, and may have 2" in (waiting.last_error or "")
    assert waiting.next_at == START + 2.5 * HOUR + calendar.RETRY_SECONDS
    await place.empty_queue()
    await place.until(START + 2.5 * HOUR + calendar.RETRY_SECONDS)
    done = await place.schedule("once")
    assert schedules.is_over(done)
    assert done.last_error is None


@pytest.mark.parametrize("fault", [DatabaseDownError(), OSError(errno.EMFILE, "Too many open files")])
async def test_a_fault_of_the_server_costs_a_single_time_nothing_but_a_while(
    place: Place, fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = calendar.datetime.fromtimestamp(START + 90, calendar.UTC).isoformat()
    await place.add(cron=None, at=moment, name="once")

    async def fail(*_: object) -> None:
        raise fault

    is_outage = isinstance(fault, DatabaseDownError)
    with monkeypatch.context() as patch:
        patch.setattr(submissions, "submit", fail)
        with pytest.raises(DatabaseDownError) if is_outage else nullcontext():
            await place.until(START + 90)
    waiting = await place.schedule("once")
    said = None if is_outage else "the server has a fault; its log says more"
    again = START + 90 + (0 if is_outage else calendar.RETRY_SECONDS)
    assert (waiting.last_error, waiting.next_at) == (said, again)
    await place.until(again)
    [job] = await place.jobs()
    assert (job.created_at, (await place.schedule("once")).last_error) == (again, None)


async def test_data_that_are_gone_or_a_spec_of_another_version_are_said_and_the_others_run(place: Place) -> None:
    await place.add(name="a")
    await place.add(name="b")
    async with place.database.write() as session:
        changed = await queries.get(session, "a")
        assert changed is not None
        changed.spec = {**changed.spec, "data": {"train": "gone.jsonl"}}
    await place.until(START + HOUR)
    assert [job.name for job in await place.jobs()] == ["b"]
    assert "data.train: 'gone.jsonl'" in ((await place.schedule("a")).last_error or "")
    async with place.database.write() as session:
        changed = await queries.get(session, "a")
        assert changed is not None
        changed.spec = {**changed.spec, "optimiser_of_the_future": 1}
    await place.until(START + 2 * HOUR)
    assert "optimiser_of_the_future" in ((await place.schedule("a")).last_error or "")
    assert (await place.schedule("a")).next_at == START + 3 * HOUR


async def test_a_paused_one_submits_nothing_and_goes_on_from_now(place: Place) -> None:
    await place.add()
    async with place.database.write() as session:
        await schedules.pause(session, "hourly", LOCAL)
    await place.until(START + 10 * HOUR)
    async with place.database.write() as session:
        await schedules.resume(session, "hourly", LOCAL, place.clock())
    await place.until(START + 10.5 * HOUR)
    assert await place.jobs() == []
    await place.until(START + 11 * HOUR)
    assert len(await place.jobs()) == 1


async def test_a_schedule_changed_while_its_data_were_checked_is_left_alone(place: Place) -> None:
    seen = await place.add()
    async with place.database.write() as session:
        await schedules.remove(session, "hourly", LOCAL)
    spec = schedules.spec_of(seen)
    resolved = await resolve(place.database, spec, LOCAL, place.yard.context.limits)
    async with place.database.write() as session:
        submission = Submission(spec, resolved, "j", LOCAL, "me", START)
        assert await schedules.submit(session, seen, submission, place.yard.context.limits) is None
    assert await place.jobs() == []


async def test_the_running_engine_looks_at_the_schedules_by_itself(place: Place) -> None:
    await place.add()
    place.clock.now = START + HOUR
    place.yard.start()
    await eventually(place.jobs)
