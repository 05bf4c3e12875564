"""Of several engines on one database one leads; what any other writes or does is refused."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import update

from runyard.db.database import Database
from runyard.db.queries import leaders
from runyard.db.tables import Leader
from runyard.engine import leadership
from runyard.engine.engine import Engine
from runyard.engine.leadership import Leadership
from runyard.engine.seat import Seat
from runyard.testing.yard import OBEDIENT, Yard, eventually

STEPS = OBEDIENT + "metric(1, loss=1); until('go'); metric(2, loss=2); say('finished', outcome='completed')"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """All looks come twenty times as often, and a lease lasts as long as ever: a machine that is busy loses none."""
    for name in ("RENEW", "STANDBY"):
        seconds = getattr(leadership, f"{name}_SECONDS")
        monkeypatch.setattr(leadership, f"{name}_SECONDS", seconds / 20)


def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease that has run out is found to have after a moment: for where no clock jumps while somebody renews one."""
    monkeypatch.setattr(leadership, "WATCH_SECONDS", 2 * leadership.RENEW_SECONDS)


@asynccontextmanager
async def candidate(yard: Yard, name: str, seat: Path | None = None) -> AsyncIterator[Leadership]:
    """One that would lead, on a data folder of its own unless it shares a seat."""
    one = Leadership(yard.context, Seat(seat or yard.context.runs.parent / f"seat-{name}"), name)
    running = asyncio.create_task(one.run())
    yield one
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def until(holds: Callable[[], object]) -> None:
    async def found() -> object:
        return holds()

    await eventually(found)


async def leader(database: Database) -> Leader | None:
    async with database.read() as session:
        return await leaders.get(session)


async def set_row(database: Database, **values: object) -> None:
    async with database.write() as session:
        await session.execute(update(Leader).values(values))


async def is_renewed_for(database: Database, seconds: float) -> bool:
    found = await leader(database)
    return found is not None and found.expires_at - found.since > leadership.LEASE_SECONDS + seconds


async def test_one_leads_and_the_next_follows_when_it_leaves(quick: None, yard: Yard) -> None:
    async with candidate(yard, "b") as other:
        await until(lambda: other.leads)
        async with candidate(yard, "a") as one:
            await eventually(lambda: is_renewed_for(yard.database, 1.0))
            assert (one.leads, other.leads) == (False, True)
            found = await leader(yard.database)
            assert found
            assert found.owner == "b"
    assert await leader(yard.database) is None, "who leaves says so"
    async with candidate(yard, "a") as one:
        await until(lambda: one.leads)


async def test_a_job_goes_on_under_the_next_leader(quick: None, yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    soon(monkeypatch)
    async with candidate(yard, "a") as one:
        await until(lambda: one.leads)
        await yard.submit("job", STEPS)
        one.wake()
        await yard.reaches("job", "running")
        async with candidate(yard, "b") as other:
            await set_row(yard.database, token="somebody else's", expires_at=0.0)
            await until(lambda: not one.leads)
            assert (await yard.job("job")).state == "running", "losing the lead ends nothing"
            await until(lambda: one.leads or other.leads)
            (yard.run("job") / "go").touch()
            await yard.reaches("job", "completed")
    assert await yard.curve("job") == {1: 1, 2: 2}
    assert (yard.run("job") / "starts").read_text() == "x"


async def test_what_a_former_leader_writes_is_refused(yard: Yard) -> None:
    await yard.submit("job")
    async with yard.database.write() as session:
        await leaders.take(session, "a", "first", 10)
    engine = yard.database.fenced(partial(leaders.require, token="first"))
    async with engine.write() as session:
        await session.execute(update(Leader).values(owner="may write"))
    async with yard.database.write() as session:
        await leaders.take(session, "b", "second", 10)
    with pytest.raises(leaders.NotLeadingError, match="b leads now"):
        async with engine.write():
            raise AssertionError("it got in")
    found = await leader(yard.database)
    assert found
    assert found.owner == "b"


async def test_nothing_is_done_to_a_process_once_the_lease_may_have_run_out(
    quick: None, yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a freeze: our own clock says so before we could ask."""
    async with candidate(yard, "a") as one:
        await until(lambda: one.leads)
        engine = one._engine
        assert engine
        engine.supervisor._context.require_lead()
        one._trusted_until = asyncio.get_running_loop().time() - 1
        with pytest.raises(leaders.NotLeadingError):
            engine.supervisor._context.require_lead()
        await yard.submit("job", STEPS)
        await until(lambda: one._trusted_until > asyncio.get_running_loop().time())
        engine.supervisor._context.require_lead()


async def test_the_dead_are_followed_at_once_on_the_same_folder(
    yard: Yard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease has long to run, but the seat tells that its process is gone."""
    monkeypatch.setattr(leadership, "STANDBY_SECONDS", 3600.0)  # so that only the first look can tell
    seat = Seat(tmp_path / "seat")
    assert seat.take() is not None
    seat.sign("theirs")
    seat.leave()
    async with yard.database.write() as session:
        await leaders.take(session, "dead", "theirs", 3600)
    async with candidate(yard, "a", tmp_path / "seat") as one:
        await until(lambda: one.leads)


@pytest.mark.parametrize("jump", [3600, -3600])
async def test_a_clock_that_jumps_changes_no_leader(
    quick: None, yard: Yard, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    """Not even the database's own clock."""
    true = leaders.now
    jumped = [0.0]

    async def now(session: object) -> float:
        return await true(session) + jumped[0]  # type: ignore[arg-type]

    monkeypatch.setattr(leaders, "now", now)
    async with candidate(yard, "a") as one:
        await until(lambda: one.leads)
        async with candidate(yard, "b") as other:
            await asyncio.sleep(0.3)
            jumped[0] = jump
            await asyncio.sleep(1.5)
            assert (one.leads, other.leads) == (True, False)
            found = await leader(yard.database)
            assert found
            one._seat.leave()
            renewed_at = found.expires_at - leadership.LEASE_SECONDS
            await set_row(yard.database, token="of one that died", expires_at=renewed_at + 1)
            soon(monkeypatch)
            await until(lambda: not one.leads)
            await until(lambda: one.leads or other.leads)  # the dead one's lease is seen to run out all the same


@pytest.mark.parametrize("jump", [3600, -3600])
async def test_a_clock_that_jumps_changes_no_job(yard: Yard, jump: float) -> None:
    jumped = [0.0]
    mine = Yard(yard.database, yard.context.runs, clock=lambda: time.time() + jumped[0])
    mine.start()
    await mine.submit("job", STEPS)
    await mine.reaches("job", "running")
    [before] = await mine.attempts("job")
    jumped[0] = jump
    mine.engine.wake()
    await asyncio.sleep(0.5)
    [after] = await mine.attempts("job")
    assert (after.lease_token, after.ended_at) == (before.lease_token, None)
    (mine.run("job") / "go").touch()
    await mine.reaches("job", "completed")
    assert await mine.curve("job") == {1: 1, 2: 2}
    await mine.clean()


async def test_what_runs_in_another_data_folder_is_left_alone_and_said(quick: None, yard: Yard) -> None:
    there = Yard(yard.database, yard.context.runs.parent / "there", owner="there")
    await there.submit("job", STEPS)
    await there.engine.scheduler.tick()
    await there.engine.supervisor.tick()
    async with candidate(yard, "a") as one:
        await until(lambda: one.leads)
        await eventually(lambda: yard.feed("job", "message"))
        await asyncio.sleep(0.3)
        [said] = await yard.feed("job", "message")
        assert said.data["text"].startswith("attempt 1 runs in the data folder there, out of reach of a")
        [attempt] = await yard.attempts("job")
        assert (attempt.lease_owner, attempt.lease_token) == ("there", there.context.token)
    there.start()
    (there.run("job") / "go").touch()
    await there.reaches("job", "completed")
    await there.clean()


async def test_an_outage_of_the_database_changes_no_leader(
    quick: None, yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with candidate(yard, "a") as one:
        await until(lambda: one.leads)
        before = await leader(yard.database)
        good = leaders.renew
        tries: list[int] = []

        async def broken(*_: object) -> bool:
            tries.append(1)
            raise OSError("the database is gone")

        monkeypatch.setattr(leaders, "renew", broken)
        await until(lambda: tries)  # by now no earlier renewal is under way
        await set_row(yard.database, expires_at=0.0)
        one._trusted_until = asyncio.get_running_loop().time() - 1
        await until(lambda: len(tries) > 3)
        assert one.leads
        monkeypatch.setattr(leaders, "renew", good)
        await until(lambda: one._trusted_until > asyncio.get_running_loop().time())
        after = await leader(yard.database)
    assert before
    assert after
    assert before.token == after.token


async def test_an_engine_that_crashes_says_so_and_is_started_again(
    quick: None, yard: Yard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def crash(_: Engine) -> None:
        raise ZeroDivisionError("a mistake of ours")

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "run", crash)
        async with candidate(yard, "a") as one:
            await until(lambda: "the engine of a has crashed" in caplog.text)
            assert "a mistake of ours" in caplog.text
            patch.undo()
            await yard.submit("job", OBEDIENT + "say('finished', outcome='completed')")
            await yard.reaches("job", "completed")
            assert one.leads
