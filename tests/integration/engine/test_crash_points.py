"""The engine dies right after any of its durable steps, or is told that a step failed which was done: nothing is lost,
nothing is done twice."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import pytest

from runyard.db.database import Database, Session
from runyard.domain.lifecycle import FINAL, Cause
from runyard.testing.yard import Yard, eventually

POINTS = [*(("sqlite", point) for point in range(1, 15)), *(("postgresql", point) for point in range(2, 13, 3))]
"""Of the durable steps; no job here takes more than fourteen."""
RUN = """
signal.signal(signal.SIGTERM, leave)
say("phase", phase="training")
saved = os.path.exists("saved")
if saved:
    say("resumed", step=2, checkpoint="checkpoints/step-000002")
for step in (3,) if saved else (1, 2, 3):
    metric(step, loss=step)
say("checkpoint", step=2, path="checkpoints/step-000002", size_bytes=5, metrics={}, best=False)
open("saved", "w")
"""
WAIT = "saved or until('go')\n"
FINISH = """
say("artifact", path="final/model", kind="model", size_bytes=7, sha256="ab")
say("finished", outcome="completed")
"""


class DiedError(Exception):
    """What a process that is dead would not see."""


class DyingDatabase(Database):
    """The database of an engine that dies right after its n-th commit, which is done: from then on nothing is read or
    written."""

    def __init__(self, url: str, last: int) -> None:
        super().__init__(url)
        self.left = last

    @property
    def is_dead(self) -> bool:
        return self.left <= 0

    @asynccontextmanager
    async def read(self, *, tenant: str | None = None, long: bool = False) -> AsyncIterator[Session]:
        if self.is_dead:
            raise DiedError
        async with super().read(tenant=tenant, long=long) as session:
            yield session

    @asynccontextmanager
    async def write(self, *, tenant: str | None = None, long: bool = False) -> AsyncIterator[Session]:
        if self.is_dead:
            raise DiedError
        async with super().write(tenant=tenant, long=long) as session:
            yield session
        self.left -= 1
        if self.is_dead:
            raise DiedError


class LyingDatabase(Database):
    """Says of some commits that they failed although they did not, as a lost connection does."""

    def __init__(self, url: str, seed: int) -> None:
        super().__init__(url)
        self._random = random.Random(seed)
        self.lies = 0

    @asynccontextmanager
    async def write(self, *, tenant: str | None = None, long: bool = False) -> AsyncIterator[Session]:
        async with super().write(tenant=tenant, long=long) as session:
            yield session
        if self._random.random() < 0.3:
            self.lies += 1
            raise ConnectionError("the connection was lost after the commit")


async def until_dead_or_done(yard: Yard, engine: DyingDatabase, states: Iterable[str]) -> None:
    async def holds() -> bool:
        return engine.is_dead or (await yard.job("job")).state in states

    await eventually(holds)


async def engine_dies_after(commits: int, url: str, yard: Yard, states: Iterable[str]) -> None:
    """An engine works on the yard until it dies, or until the job is in one of the states."""
    engine = DyingDatabase(url, commits)
    mortal = Yard(engine, yard.context.runs, grace_seconds=0.3, owner=yard.context.owner)
    mortal.start()
    await until_dead_or_done(yard, engine, states)
    await mortal.stop()
    await engine.close()


@pytest.mark.parametrize(("backend", "point"), POINTS, indirect=["backend"])
async def test_crash_after_each_durable_step_of_a_run(point: int, database_url: str, yard: Yard) -> None:
    await yard.submit("job", RUN + FINISH)
    await engine_dies_after(point, database_url, yard, FINAL)
    yard.start()
    job = await yard.reaches("job", "completed")
    assert (yard.run("job") / "starts").read_text() == "x"
    assert job.attempts == 1
    assert await yard.curve("job") == {1: 1, 2: 2, 3: 3}
    assert await yard.checkpoints("job") == [2]
    assert (await yard.states("job"))[-1] == "completed"
    assert (await yard.states("job")).count("completed") == 1


@pytest.mark.parametrize(("backend", "point"), POINTS, indirect=["backend"])
@pytest.mark.parametrize(("wish", "end"), [(Cause.PAUSE_ASKED, "paused"), (Cause.CANCEL_ASKED, "cancelled")])
async def test_crash_after_each_durable_step_of_a_stop(
    wish: Cause, end: str, point: int, database_url: str, yard: Yard
) -> None:
    await yard.submit("job", RUN + WAIT + FINISH)
    dying = asyncio.create_task(engine_dies_after(point, database_url, yard, {end}))
    await ask_when_possible(yard, wish, dying)
    await dying
    yard.start()
    await yard.reaches("job", end)
    if wish == Cause.PAUSE_ASKED:
        await yard.ask("job", Cause.RESUME_ASKED)
        yard.run("job").mkdir(parents=True, exist_ok=True)
        (yard.run("job") / "go").touch()
        await yard.reaches("job", "completed")
        assert await yard.curve("job") == {1: 1, 2: 2, 3: 3}
    starts = yard.run("job") / "starts"
    runs = [attempt for attempt in await yard.attempts("job") if attempt.started_at is not None]
    assert len(starts.read_text() if starts.exists() else "") <= len(await yard.attempts("job"))
    assert all(attempt.ended_at is not None for attempt in runs)


async def ask_when_possible(yard: Yard, wish: Cause, dying: "asyncio.Task[None]") -> None:
    """Once the job runs, or else when the engine has died."""

    async def holds() -> bool:
        return dying.done() or (await yard.job("job")).state == "running"

    await eventually(holds)
    await yard.ask("job", wish)


@pytest.mark.parametrize("seed", range(5))
async def test_commits_that_are_done_and_said_to_have_failed(seed: int, database_url: str, yard: Yard) -> None:
    engine = LyingDatabase(database_url, seed)
    lied_to = Yard(engine, yard.context.runs, grace_seconds=0.3, owner=yard.context.owner)
    for number in range(3):
        await yard.submit(f"job{number}", RUN + FINISH)
    lied_to.start()
    for number in range(3):
        job = await yard.reaches(f"job{number}", "completed")
        assert (yard.run(job.id) / "starts").read_text() == "x" * job.attempts == "x"
        assert await yard.curve(job.id) == {1: 1, 2: 2, 3: 3}
    assert engine.lies > 0
    await lied_to.stop()
    await engine.close()
