"""Removing what is old: from rows and disk together, finished after any crash, and never what is needed."""

import asyncio
import gc
import json
import os
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from runyard.db.database import Database
from runyard.db.queries import attempts, checkpoints, listing, metrics
from runyard.db.queries import events as feed
from runyard.db.queries import jobs as job_queries
from runyard.db.queries.leaders import NotLeadingError
from runyard.db.tables import Attempt, Checkpoint, Cleanup, FeedEvent, Job, Metric, Schedule
from runyard.domain.access import LOCAL
from runyard.domain.lifecycle import Cause
from runyard.domain.listing import Filter, Sorting
from runyard.domain.retention import DAY, Item, Policy
from runyard.engine import janitor
from runyard.engine.janitor import Janitor
from runyard.protocol.rundir import RunDir
from runyard.protocol.specs.language import SftSpec
from runyard.services import retention
from runyard.services.context import Context as Limits
from runyard.testing.pauses import pauses
from runyard.testing.yard import Yard

NOW = 1_800_000_000.0
SPEC = SftSpec.model_validate({"model": "owner/model", "data": "/home/datasets/rows.jsonl"}).model_dump(mode="json")
NEW_STEP = {"attempt": 2, "path": "checkpoints/step-000010", "size_bytes": 1, "metrics": {}, "best": False, "files": {},
            "created_at": NOW}  # fmt: skip


class Place:
    """A janitor whose clock stands where the test says."""

    def __init__(self, database: Database, home: Path) -> None:
        self.now = NOW
        self.limits = Limits(home=home, min_free=0, retention=Policy(cache_bytes=1000))
        self.yard = Yard(database, home / "runs", clock=lambda: self.now, limits=self.limits)
        self.database = database
        self.janitor = Janitor(self.yard.context)

    async def job(self, id_: str, days: float, state: str = "completed", **values: Any) -> RunDir:
        """A job that ended so many days ago, with a run folder of one attempt and three checkpoints."""
        at = NOW - days * DAY
        row: dict[str, Any] = {
            "tenant": "main",
            "user": "local",
            "kind": "sft",
            "name": id_,
            "spec": {},
            "resolved_spec": {},
            "priority": "normal",
        }
        row |= {"attempts": 1, "created_at": at, "queued_at": at, "updated_at": at}
        async with self.database.write() as session:
            session.add(Job(id=id_, state=state, finished_at=at, **row | values))
            await session.flush()
            for step, best in ((10, False), (20, True), (30, False), (40, False)):
                path = f"checkpoints/step-{step:06d}"
                session.add(Checkpoint(job_id=id_, step=step, attempt=1, path=path, size_bytes=1, metrics={},
                                       best=best, files={}, created_at=at))  # fmt: skip
            session.add(Metric(job_id=id_, split="train", step=1, attempt=1, at=at, values={"loss": 1.0}))
            await feed.append(session, id_, at, "metric", {})
        rundir = self.limits.rundir(id_)
        for step in (10, 20, 30, 40):
            rundir.checkpoint(step).mkdir(parents=True)
            (rundir.checkpoint(step) / "weights").write_bytes(bytes(1000))
        rundir.attempt(1).mkdir(parents=True)
        for name in ("stdout.log", "stderr.log", "exit.json"):
            (rundir.attempt(1) / name).write_text("hello\n")
        return rundir

    async def look(self) -> retention.Found:
        async with self.database.read(long=True) as session:
            return await retention.find(session, self.limits, self.now)

    async def clean(self) -> Cleanup:
        """A pass that was asked for."""
        async with self.database.write() as session:
            await retention.ask(session, self.now)
        await self.janitor.tick()
        async with self.database.read() as session:
            row = await session.get_one(Cleanup, "all")
            assert row.asked_at is None
            return row

    async def count(self, table: Any) -> int:
        async with self.database.read() as session:
            return int(await session.scalar(select(func.count()).select_from(table)) or 0)


@pytest.fixture
async def place(database: Database, tmp_path: Path) -> AsyncIterator[Place]:
    place = Place(database, tmp_path / "home")
    yield place
    await place.yard.clean()


async def test_an_old_job_goes_with_its_files_the_feed_tells_and_its_rows_follow(place: Place) -> None:
    old, new = await place.job("oldone", 91), await place.job("newone", 0.5)
    done = await place.clean()
    assert not old.root.exists()
    assert (done.removed, done.failed) == (1, None)
    assert done.freed_bytes == 4018
    assert new.checkpoint_steps() == [10, 20, 30, 40]
    async with place.database.read() as session:
        assert await job_queries.get(session, "oldone") is None
        assert await job_queries.count_by_state(session) == {"completed": 1}
        assert [job.id for job in await listing.page(session, Filter(), Sorting(), None, 10)] == ["newone"]
        told = [event for event in await feed.after(session, 0, "oldone") if event.type == "job_removed"]
    assert [event.data["why"] for event in told] == ["completed more than 90 days ago"]
    place.now += janitor.FORGET_SECONDS
    await place.clean()
    assert [await place.count(table) for table in (Job, Metric, FeedEvent, Checkpoint)] == [1, 1, 1, 4]


async def test_millions_of_rows_go_in_pieces(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from runyard.db.queries import retention as queries

    monkeypatch.setattr(queries, "PIECE", 3)
    await place.job("oldone", 91)
    async with place.database.write() as session:
        for step in range(2, 12):
            session.add(Metric(job_id="oldone", split="train", step=step, attempt=1, at=0.0, values={}))
    await place.clean()
    place.now += janitor.FORGET_SECONDS
    await place.clean()
    async with place.database.read() as session:
        assert await metrics.of_job(session, "oldone") == []
    assert await place.count(Job) == 0


async def test_logs_and_checkpoints_go_and_the_job_stays(place: Place) -> None:
    rundir = await place.job("orders", 8)
    done = await place.clean()
    assert rundir.checkpoint_steps() == [20, 40]
    assert sorted(path.name for path in rundir.attempt(1).iterdir()) == ["exit.json"]
    assert done.removed == 3
    assert (await place.look()).items == []
    async with place.database.read() as session:
        rows = (await session.scalars(select(Checkpoint).order_by(Checkpoint.step))).all()
        assert [row.step for row in rows if row.removed_at is None] == [20, 40]
        types = [event.type for event in await feed.after(session, 0, "orders")]
    assert sorted(types) == ["checkpoint_removed", "checkpoint_removed", "logs_removed", "metric"]


@pytest.mark.parametrize(
    "holder",
    [
        {"state": "queued", "parent_id": "basejob"},
        {"state": "paused", "resolved_spec": {"model": {"name": "/home/runs/basejob/merged"}}},
        {"state": "running", "resolved_spec": {"continue_from": "/home/runs/basejob/checkpoints/step-000020"}},
        {"state": "completed", "kept": True, "parent_id": "basejob"},
        {"state": "failed", "kept": True, "resolved_spec": {"args": ["--base=runs/basejob/final"]}},
        {"state": "queued", "resolved_spec": {"command": "exec\nbasejob é\tbasejob"}},
    ],
)
async def test_what_others_need_stays_and_so_does_what_that_needs(place: Place, holder: dict[str, Any]) -> None:
    await place.job("rootjob", 400)
    await place.job("basejob", 400, parent_id="rootjob")
    await place.job("unneeded", 400)
    await place.job("holder", 400, **holder)
    found = await place.look()
    assert [item.job_id for item in found.items] == ["unneeded"]
    reasons = {item.job_id: item.why for item in found.spared}
    assert "job holder needs it" in reasons["basejob"]
    assert reasons["rootjob"] == "the completed job basejob needs it"
    await place.clean()
    for id_ in ("rootjob", "basejob"):
        assert place.limits.rundir(id_).checkpoint_steps() == [10, 20, 30, 40]
    assert not place.limits.rundir("unneeded").root.exists()


async def test_what_a_schedule_names_stays_until_the_schedule_is_over(place: Place) -> None:
    await place.job("basejob", 400)
    async with place.database.write() as session:
        spec = {"model": {"name": "/x/runs/basejob/merged"}}
        whose = {"tenant": "main", "user": "local"}
        session.add(Schedule(id="s", name="nightly", spec=spec, cron="0 2 * * *", timezone="UTC", paused=True,
                             created_at=0.0, **whose))  # fmt: skip
    assert [item.why for item in (await place.look()).spared] == ["the schedule nightly names it"]
    async with place.database.write() as session:
        (await session.get_one(Schedule, "s")).paused = False
    assert [item.job_id for item in (await place.look()).items] == ["basejob"]


async def test_a_kept_job_stays_whole_until_it_is_let_go(place: Place) -> None:
    rundir = await place.job("orders", 400)
    async with place.database.write() as session:
        await retention.keep(session, "orders", True, LOCAL)
    await place.clean()
    assert rundir.checkpoint_steps() == [10, 20, 30, 40]
    async with place.database.write() as session:
        await retention.keep(session, "orders", False, LOCAL)
    await place.clean()
    assert not rundir.root.exists()


class KilledError(BaseException):
    """Ends everything at once, as a kill would."""


@pytest.mark.parametrize("point", ["before the files", "amid the files", "after the files"])
async def test_a_pass_that_was_cut_off_is_finished_by_the_next(
    place: Place, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, thin = await place.job("oldone", 91), await place.job("thinned", 8)

    def die(*_: object) -> None:
        raise KilledError

    def die_amid(path: Path) -> None:
        os.unlink(next(child for child in path.rglob("*") if child.is_file()))
        raise KilledError

    with monkeypatch.context() as patch:
        if point == "before the files":
            patch.setattr(janitor, "remove", die)
        elif point == "amid the files":
            patch.setattr(janitor.shutil, "rmtree", die_amid)
        else:
            patch.setattr(place.janitor, "_forget", die)
        with pytest.raises(KilledError):
            await place.janitor.tick()
    place.janitor = Janitor(place.yard.context)
    await place.janitor.tick()
    assert list(old.root.parent.glob("*oldone*")) == []
    assert thin.checkpoint_steps() == [20, 40]
    assert [path.name for path in thin.checkpoints.iterdir() if path.name.startswith(".")] == []
    assert not list(thin.attempt(1).glob("*.log"))
    async with place.database.read() as session:
        assert [event.type for event in await feed.after(session, 0, "oldone")] == ["metric", "job_removed"]


async def test_who_may_have_been_followed_removes_nothing(place: Place) -> None:
    old, thin = await place.job("oldone", 91), await place.job("thinned", 8)

    def followed() -> None:
        raise NotLeadingError("another may lead")

    standing_by = Janitor(replace(place.yard.context, require_lead=followed))
    with pytest.raises(NotLeadingError):
        await standing_by.tick()
    assert old.root.is_dir()
    assert thin.checkpoint_steps() == [10, 20, 30, 40]
    await place.janitor.tick()
    assert not old.root.exists()
    assert thin.checkpoint_steps() == [20, 40]


async def test_the_lead_that_is_lost_on_the_way_ends_a_pass(place: Place) -> None:
    folders = [await place.job(name, 91) for name in ("a", "b", "c")]
    asked = 0

    def lead() -> None:
        nonlocal asked
        asked += 1
        if asked > 1:
            raise NotLeadingError("another may lead")

    with pytest.raises(NotLeadingError):
        await Janitor(replace(place.yard.context, require_lead=lead)).tick()
    assert sum(rundir.root.exists() for rundir in folders) == 2


async def test_what_cannot_be_removed_is_said_and_tried_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    thin = await place.job("thinned", 2)
    await place.job("oldone", 91)
    real = janitor.remove

    def refuse(path: Path) -> int:
        if path.name == "step-000010":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(janitor, "remove", refuse)
        for _ in range(2):
            done = await place.clean()
            assert done.failed == f"{thin.checkpoint(10).relative_to(place.limits.home)}: Permission denied"
            place.now += 60
    assert thin.checkpoint_steps() == [10, 20, 40]
    assert (await place.clean()).failed is None
    assert thin.checkpoint_steps() == [20, 40]


async def test_a_job_that_was_retried_keeps_what_it_writes(place: Place) -> None:
    rundir = await place.job("orders", 8, "failed")
    await place.clean()
    async with place.database.write() as session:
        job = await session.get_one(Job, "orders")
        await job_queries.apply_move(session, job, Cause.RETRY_ASKED, "me", place.now)
    (rundir.attempt(1) / "stdout.log").write_text("again\n")
    rundir.checkpoint(10).mkdir()
    place.now += 30 * DAY
    await place.clean()
    assert (rundir.attempt(1) / "stdout.log").exists()
    assert rundir.checkpoint_steps() == [10, 20, 40]


@pytest.mark.parametrize("fails", [False, True])
async def test_a_job_that_is_retried_amid_a_pass_keeps_what_it_writes(
    place: Place, fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await place.job("first", 9, "failed")
    rundir = await place.job("second", 8, "failed")
    loop, real, done = asyncio.get_running_loop(), janitor.remove, []

    async def retry() -> None:
        async with place.database.write() as session:
            job = await session.get_one(Job, "second")
            await job_queries.apply_move(session, job, Cause.RETRY_ASKED, "me", place.now)
            await checkpoints.record(session, "second", 10, NEW_STEP)
        rundir.attempt(2).mkdir()
        (rundir.attempt(2) / "stdout.log").write_text("again\n")

    def remove(path: Path) -> int:
        if not done:
            done.append(asyncio.run_coroutine_threadsafe(retry(), loop).result(10))
        if fails:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(janitor, "remove", remove)
        await place.clean()
    assert (rundir.attempt(2) / "stdout.log").exists()
    assert rundir.checkpoint_steps() == [10, 20, 30, 40]
    async with place.database.read() as session:
        kept = await checkpoints.of_job(session, "second")
    assert [row.step for row in kept if row.removed_at is None] == [10, 20, 40]


async def test_what_was_asked_for_before_the_clock_was_set_back_is_done_once(place: Place) -> None:
    async with place.database.write() as session:
        await retention.ask(session, place.now + 3000)
    await place.janitor.tick()
    async with place.database.read() as session:
        row = await session.get_one(Cleanup, "all")
    assert (row.asked_at, row.ended_at) == (None, place.now)


async def test_what_is_asked_for_amid_a_pass_is_done_by_the_next(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    async with place.database.write() as session:
        await retention.ask(session, place.now)
    real = place.janitor._marked

    async def marked(since: float) -> list[Item]:
        async with place.database.write() as session:
            await retention.ask(session, place.now + 1)
        return await real(since)

    monkeypatch.setattr(place.janitor, "_marked", marked)
    await place.janitor.tick()
    async with place.database.read() as session:
        assert (await session.get_one(Cleanup, "all")).asked_at == place.now + 1


async def test_a_pass_comes_every_hour_by_itself_and_does_nothing_in_between(place: Place) -> None:
    await place.janitor.tick()
    rundir = await place.job("orders", 91)
    place.now += janitor.EVERY_SECONDS - 1
    await place.janitor.tick()
    assert rundir.root.exists()
    place.now += 1
    await place.janitor.tick()
    assert not rundir.root.exists()


async def test_the_cache_is_pruned_but_not_what_a_running_job_may_use(place: Place) -> None:
    cache = place.limits.cache
    for name, used in (("prepared/a", 100.0), ("prepared/b", 300.0), ("gguf/c", 200.0), ("prepared/.draft-x", 50.0)):
        (cache / name).mkdir(parents=True)
        (cache / name / "data").write_bytes(bytes(600))
        os.utime(cache / name, (used, used))
    await place.job("running", 0, "running")
    async with place.database.write() as session:
        session.add(Attempt(id="a", job_id="running", number=1, executor="local", gpus=[], created_at=150.0))
    await place.clean()
    assert sorted(str(path.relative_to(cache)) for path in cache.glob("*/*")) == ["gguf/c", "prepared/b"]
    async with place.database.write() as session:
        for attempt in await attempts.of_job(session, "running"):
            attempt.ended_at = NOW
    await place.clean()
    assert [str(path.relative_to(cache)) for path in cache.glob("*/*")] == ["prepared/b"]


async def test_what_a_trainer_begins_to_use_while_the_cache_is_pruned_stays(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        folder = place.limits.cache / "prepared" / name
        folder.mkdir(parents=True)
        (folder / "data").write_bytes(bytes(900))
        os.utime(folder, (100.0, 100.0))
    real = janitor.remove

    def remove(path: Path) -> int:
        os.utime(path.with_name("b"), (NOW + 1, NOW + 1))
        return real(path)

    place.limits = replace(place.limits, retention=Policy(cache_bytes=1))
    place.janitor = Janitor(replace(place.yard.context, limits=place.limits))
    with monkeypatch.context() as patch:
        patch.setattr(janitor, "remove", remove)
        await place.clean()
    assert [path.name for path in (place.limits.cache / "prepared").iterdir()] == ["b"]


async def many(place: Place, state: str, spec: dict[str, Any], **values: Any) -> None:
    at = NOW - 40 * DAY
    row: dict[str, Any] = {
        "tenant": "main",
        "user": "local",
        "kind": "sft",
        "name": "x",
        "spec": {},
        "priority": "normal",
        "attempts": 1,
    }
    row |= {"created_at": at, "queued_at": at, "updated_at": at, "resolved_spec": spec}
    async with place.database.write() as session:
        session.add_all(Job(id=f"{state}{n}", state=state, **row | values) for n in range(10_000))


@pytest.fixture
def moment() -> Iterator[float]:
    """What this machine needs to read ten thousand specs as JSON, ten times, in seconds of processor time.

    One query for each job, or each job compared with each, takes at least twice as long; what it should be, a quarter.
    """
    gc.collect()
    gc.freeze()  # what earlier tests have left is not gone through again and again
    text = json.dumps(SPEC)
    began = time.process_time()
    for _ in range(10 * 10_000):
        json.loads(text)
    yield time.process_time() - began
    gc.unfreeze()


async def test_ten_thousand_jobs_are_looked_through_in_a_moment(place: Place, moment: float) -> None:
    at = NOW - 40 * DAY
    await many(place, "completed", {"model": {"name": "x"}}, logs_removed_at=at, finished_at=at)
    began = time.process_time()
    assert (await place.look()).items == []
    assert time.process_time() - began < moment


async def test_ten_thousand_that_wait_are_asked_in_a_moment_what_they_need(place: Place, moment: float) -> None:
    await many(place, "queued", SPEC)
    await place.job("unneeded", 400)
    await place.job("basejob", 400)
    await place.job("holder", 1, "queued", resolved_spec=SPEC | {"continue_from": "runs/basejob/final"})
    began = time.process_time()
    async with pauses() as seen:
        found = await place.look()
    assert time.process_time() - began < moment
    assert max(seen) < 0.5, "requests are answered in between"  # a hundredth on a machine with nothing else to do
    assert ([item.job_id for item in found.items], [item.job_id for item in found.spared]) == (
        ["unneeded"],
        ["basejob"],
    )
