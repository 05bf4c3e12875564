"""What happens between two steps of the engine: nothing is decided by what is true no more."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runyard.db.database import Database
from runyard.db.queries import attempts, limits
from runyard.db.tables import Limit
from runyard.domain.gpus import Usage
from runyard.domain.lifecycle import Cause
from runyard.domain.placement import Gpu, Machine
from runyard.engine import gpus
from runyard.engine.quotas import COUNTED_SECONDS, Allowances
from runyard.testing.yard import OBEDIENT, Yard, appears, eventually

WAITS = OBEDIENT + "open('ready', 'w'); until('never')"
ALL_OF_IT = 40.0
"""GPU-hours."""


async def begin(yard: Yard, id_: str, code: str = WAITS, **values: Any) -> None:
    """A job whose trainer runs, though no loop of the engine does."""
    await yard.submit(id_, code, **values)
    await yard.engine.scheduler.tick()
    await yard.engine.supervisor.tick()
    await appears(yard.run(id_) / "ready")


def afterwards(patch: pytest.MonkeyPatch, place: Any, name: str, also: Callable[[], Awaitable[object]]) -> None:
    """The first time that this has been done, something more happens."""
    real = getattr(place, name)

    async def then(*arguments: Any) -> Any:
        patch.setattr(place, name, real)
        found = await real(*arguments)
        await also()
        return found

    patch.setattr(place, name, then)


async def test_lines_that_two_read_at_the_same_time_count_once_and_none_is_left(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a trainer ends, or is judged, while its lines are read."""
    await begin(yard, "job", OBEDIENT + "file.write(b'{half\\n[]\\n')\nopen('ready', 'w'); until('never')")
    [source] = yard.engine.ingest._sources.values()
    read, lines = asyncio.Event(), yard.run("job") / "events.jsonl"
    said = {"at": 1e9, "attempt": 1, "type": "metric", "values": {"loss": 1}}

    async def go_on() -> None:
        with lines.open("a") as file:
            file.writelines(json.dumps({**said, "n": 3 + step, "step": step}) + "\n" for step in range(1, 60))
        read.set()

    afterwards(monkeypatch, yard.context.executor, "read_events", go_on)
    async with yard.database.write():  # somebody else's turn: what is read first is written later
        first = asyncio.create_task(yard.engine.ingest.tick())
        await read.wait()
        second = asyncio.create_task(yard.engine.ingest.read_to_now(source))
        await asyncio.sleep(0.1)
    assert await second
    assert source.offset == lines.stat().st_size
    await first
    assert len(await yard.curve("job")) == source.signs.moves - 1 == 59
    [warning] = await yard.feed("job", "message")
    assert warning.data["data"]["skipped"] == 2


async def test_an_attempt_that_ended_before_it_was_handed_over_is_not_launched(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed: list[Any] = []
    with monkeypatch.context() as patch:
        patch.setattr(yard.engine.supervisor, "place", placed.extend)
        await yard.submit("job", WAITS)
        await yard.engine.scheduler.tick()
    await yard.ask("job", Cause.CANCEL_ASKED)
    await yard.engine.supervisor.tick()
    assert (await yard.job("job")).state == "cancelled"
    yard.engine.supervisor.place(placed)
    await yard.engine.supervisor.tick()
    assert not (yard.run("job") / "attempts").exists()


async def test_who_leaves_the_line_and_comes_back_is_told_again_why_it_waits(yard: Yard) -> None:
    await begin(yard, "first")
    await yard.submit("second")
    await yard.engine.scheduler.tick()
    told = (await yard.job("second")).wait_cause
    assert told
    await yard.ask("second", Cause.PAUSE_ASKED)
    await yard.ask("second", Cause.RESUME_ASKED)
    assert (await yard.job("second")).wait_cause is None
    await yard.engine.scheduler.tick()
    assert (await yard.job("second")).wait_cause == told


async def test_what_all_are_looked_at_for_is_not_forgotten_when_the_look_fails(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> None:
        raise OSError("the database is away")

    await begin(yard, "job")
    yard.engine.supervisor.look_at_all()
    with monkeypatch.context() as patch:
        patch.setattr(attempts, "within_reach", away)
        with pytest.raises(OSError, match="away"):
            await yard.engine.supervisor.tick()
    assert yard.engine.supervisor.pause() == 0


@pytest.fixture
async def lost(database: Database, tmp_path: Path) -> Any:
    """A yard whose GPU holds on to memory when a job has ended, and is asked for by another."""
    used = {0: 0.0}
    machine = Machine(slots=1, gpus=(Gpu(0, 24_000),))
    yard = Yard(database, tmp_path / "runs", machine=machine, gpu_usage=lambda: {0: Usage(used[0])}, grace_seconds=0.3)
    await begin(yard, "first", OBEDIENT + "open('ready', 'w')", gpus=1)
    used[0] = 9000.0
    await eventually(lambda: has_ended(yard, "first"))
    await yard.submit("second", WAITS, gpus=1)
    yield yard
    await yard.clean()


async def has_ended(yard: Yard, id_: str) -> bool:
    yard.engine.supervisor.look_at_all()
    await yard.engine.supervisor.tick()
    return (await yard.job(id_)).state == "completed"


async def test_who_sees_a_gpu_let_go_of_sees_that_it_is_put_aside(lost: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    async def look() -> None:
        seen.append(dict(lost.engine.guard.unusable()))

    seen: list[dict[int, str]] = []
    monkeypatch.setattr(gpus, "RELEASE_SECONDS", 0.0)
    afterwards(monkeypatch, attempts, "release", look)
    await lost.engine.guard.tick()
    assert [list(one) for one in seen] == [[0]]
    await lost.engine.scheduler.tick()
    assert (await lost.job("second")).state == "queued"


async def test_a_gpu_that_is_put_aside_while_the_line_is_read_is_not_given(
    lost: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has just been let go of is read first, and what can't be used afterwards."""
    taken = attempts.taken

    async def after_release(*arguments: Any) -> Any:
        monkeypatch.setattr(attempts, "taken", taken)
        await lost.engine.guard.tick()
        return await taken(*arguments)

    monkeypatch.setattr(gpus, "RELEASE_SECONDS", 0.0)
    monkeypatch.setattr(attempts, "taken", after_release)
    await lost.engine.scheduler.tick()
    assert (await lost.job("second")).state == "queued"


async def test_hours_that_could_not_be_counted_are_counted_at_the_next_look(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hours(*_: Any) -> dict[tuple[str, str], float]:
        asked.append(now)
        if len(asked) == 1:
            raise OSError("the database is away")
        return {("main", "greedy"): 3600 * ALL_OF_IT}

    asked: list[float] = []
    now = 1000.0
    allowances = Allowances(replace(yard.context, monotonic=lambda: now))
    monkeypatch.setattr(limits, "gpu_seconds", hours)
    async with yard.database.write() as session:
        session.add(Limit(tenant="main", of="user greedy", quota="gpu_hours", amount=ALL_OF_IT))
    async with yard.database.read() as session:
        with pytest.raises(OSError, match="away"):
            await allowances.now(session)
        assert ("user", "greedy") in (await allowances.now(session)).spent
        now += COUNTED_SECONDS - 1
        assert ("user", "greedy") in (await allowances.now(session)).spent
    assert len(asked) == 2


async def test_a_limit_that_is_set_again_holds_at_once(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hours(*_: Any) -> dict[tuple[str, str], float]:
        return {("main", "greedy"): 3600 * ALL_OF_IT}

    monkeypatch.setattr(limits, "gpu_seconds", hours)
    allowances = Allowances(yard.context)
    for amount in (ALL_OF_IT, None, ALL_OF_IT):
        async with yard.database.write() as session:
            if amount is None:
                await session.delete(await session.get_one(Limit, ("main", "user greedy", "gpu_hours")))
            else:
                session.add(Limit(tenant="main", of="user greedy", quota="gpu_hours", amount=amount))
        async with yard.database.read() as session:
            assert bool((await allowances.now(session)).spent) == (amount is not None)
