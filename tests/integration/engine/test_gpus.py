"""GPUs that are free, that do not come back, and that are somebody else's."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runyard.db.database import Database
from runyard.db.queries import quarantines
from runyard.domain.gpus import Holder
from runyard.domain.lifecycle import Cause
from runyard.domain.placement import Gpu, Machine
from runyard.engine.gpus import RELEASE_SECONDS
from runyard.testing.gpus import Gpus
from runyard.testing.yard import OBEDIENT, Yard, appears, eventually

ENDS = "say('finished', outcome='completed')"
HOLDS = OBEDIENT + "open('ready', 'w'); until('go'); " + ENDS


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def gpus() -> Gpus:
    return Gpus(0, 1)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def yard(database: Database, tmp_path: Path, gpus: Gpus, clock: Clock) -> AsyncIterator[Yard]:
    machine = Machine(gpus=(Gpu(0, 24_000), Gpu(1, 24_000)))
    yard = Yard(database, tmp_path / "runs", machine=machine, gpu_usage=gpus, monotonic=clock)
    yield yard
    await yard.clean()


async def start(yard: Yard, id_: str, code: str = HOLDS, **values: object) -> str:
    """A job that has begun to work on its GPU; the id of its attempt."""
    await yard.submit(id_, code, **values)
    await yard.reaches(id_, "running")
    [attempt] = await yard.attempts(id_)
    return attempt.id


async def end(yard: Yard, id_: str) -> None:
    (yard.run(id_) / "go").touch()
    await yard.reaches(id_, "completed")


async def is_released(yard: Yard, id_: str) -> bool:
    [attempt] = await yard.attempts(id_)
    return attempt.released_at is not None


async def aside(yard: Yard) -> dict[int, str]:
    async with yard.database.read() as session:
        return {row.gpu: row.cause for row in await quarantines.of_machine(session, yard.context.machine.name)}


async def looks(yard: Yard, times: int = 3) -> None:
    for _ in range(times):
        await yard.engine.guard.tick()


async def test_a_gpu_is_kept_until_its_memory_is_back(yard: Yard, gpus: Gpus) -> None:
    yard.start()
    gpus.use(0, 100.0)
    await start(yard, "first")
    assert (await yard.attempts("first"))[0].gpu_baseline == {"0": 100.0}
    gpus.use(0, 9000.0)
    await end(yard, "first")
    await looks(yard)
    assert not await is_released(yard, "first")
    await start(yard, "second")
    assert (await yard.attempts("second"))[0].gpus == [1]
    gpus.use(0, 120.0)
    await eventually(lambda: is_released(yard, "first"))
    assert await aside(yard) == {}
    await start(yard, "third")
    assert (await yard.attempts("third"))[0].gpus == [0]
    for id_ in ("second", "third"):
        await end(yard, id_)


async def test_one_whose_memory_does_not_come_back_is_put_aside_until_it_does(
    yard: Yard, gpus: Gpus, clock: Clock
) -> None:
    yard.start()
    await start(yard, "job")
    gpus.use(0, 9000.0)
    await end(yard, "job")
    await looks(yard)
    clock.now += RELEASE_SECONDS - 0.01
    await looks(yard)
    assert (await aside(yard), await is_released(yard, "job")) == ({}, False)
    clock.now += 0.01
    await looks(yard)
    words = "9000 MB of its memory did not come back when a job had ended"
    assert (await aside(yard), await is_released(yard, "job")) == ({0: words}, True)
    [said] = await yard.feed("job", "message")
    assert (said.data["level"], said.data["text"]) == ("warning", f"GPU 0 is put aside until it is free: {words}")
    await yard.submit("both", HOLDS, gpus=2)
    await eventually(lambda: waits_because_of(yard, "both", "put aside"))
    await yard.restart()
    await looks(yard)
    assert (await yard.job("both")).state == "queued"
    gpus.use(0, 0.0)
    await looks(yard)
    assert await aside(yard) == {}
    assert [event.data["text"] for event in await yard.feed("job", "message")][1:] == ["GPU 0 is free again"]
    await yard.reaches("both", "running")
    await end(yard, "both")


async def waits_because_of(yard: Yard, id_: str, words: str) -> bool:
    return words in ((await yard.job(id_)).wait_cause or "")


async def test_two_who_look_at_the_same_time_say_once_that_it_is_free_again(
    yard: Yard, gpus: Gpus, clock: Clock
) -> None:
    yard.start()
    await start(yard, "job")
    gpus.use(0, 9000.0)
    await end(yard, "job")
    await looks(yard)
    clock.now += RELEASE_SECONDS
    await looks(yard)
    assert list(await aside(yard)) == [0]
    await yard.stop()
    gpus.use(0, 0.0)
    await asyncio.gather(yard.engine.guard.tick(), yard.engine.guard.tick())
    assert await aside(yard) == {}
    assert [event.data["text"] for event in await yard.feed("job", "message")][1:] == ["GPU 0 is free again"]


async def test_a_process_that_the_driver_still_shows_keeps_the_gpu(yard: Yard, gpus: Gpus, clock: Clock) -> None:
    yard.start()
    attempt = await start(yard, "job")
    gpus.use(0, 0.0, Holder(4242, None, "python", attempt))
    await end(yard, "job")
    await looks(yard)
    assert not await is_released(yard, "job")
    clock.now += RELEASE_SECONDS
    await looks(yard)
    assert await aside(yard) == {0: "process 4242 (python) of a job that has ended is still on it"}
    gpus.use(0, 0.0)
    await looks(yard)
    assert await aside(yard) == {}


async def test_a_gpu_that_somebody_else_uses_is_left_alone(yard: Yard, gpus: Gpus) -> None:
    gpus.use(0, 4100.0, Holder(77, 4000.0, "python"))
    yard.start()
    await start(yard, "job")
    assert (await yard.attempts("job"))[0].gpus == [1]
    await yard.submit("next", HOLDS, gpus=2)
    await eventually(lambda: waits_because_of(yard, "next", "in use by somebody else"))
    await end(yard, "job")
    gpus.use(0, 0.0)
    await looks(yard)
    await yard.reaches("next", "running")
    await end(yard, "next")


async def test_somebody_who_came_meanwhile_is_no_reason_to_put_it_aside(yard: Yard, gpus: Gpus, clock: Clock) -> None:
    yard.start()
    await start(yard, "job")
    gpus.use(0, 4000.0, Holder(77, 4000.0, "python"))
    await end(yard, "job")
    await eventually(lambda: is_released(yard, "job"))
    clock.now += RELEASE_SECONDS
    await looks(yard)
    assert await aside(yard) == {}
    assert yard.engine.guard.unusable() == {0: "in use by somebody else: process 77 (python)"}


async def test_who_shares_a_gpu_leaves_it_without_waiting_for_the_others(yard: Yard, gpus: Gpus, clock: Clock) -> None:
    yard.start()
    gpus.use(0, 50.0)
    await start(yard, "one", gpu_memory_mb=8000)
    gpus.use(0, 6000.0)
    await start(yard, "two", gpu_memory_mb=8000)
    rows = [(await yard.attempts(id_))[0] for id_ in ("one", "two")]
    assert [(row.gpus, row.gpu_baseline) for row in rows] == [([0], {"0": 50.0})] * 2
    gpus.use(0, 9000.0)
    await end(yard, "one")
    await eventually(lambda: is_released(yard, "one"))
    await end(yard, "two")
    await looks(yard)
    assert not await is_released(yard, "two")
    clock.now += RELEASE_SECONDS
    await looks(yard)
    assert await aside(yard) == {0: "8950 MB of its memory did not come back when a job had ended"}


async def test_while_the_driver_does_not_answer_nothing_is_started_and_nothing_released(
    yard: Yard, gpus: Gpus, clock: Clock
) -> None:
    yard.start()
    await start(yard, "job")
    gpus.is_broken = True
    await end(yard, "job")
    clock.now += 2 * RELEASE_SECONDS
    with pytest.raises(OSError, match="does not answer"):
        await yard.engine.guard.tick()
    await yard.submit("next", HOLDS)
    await eventually(lambda: waits_because_of(yard, "next", "its driver does not answer"))
    assert (await is_released(yard, "job"), await aside(yard)) == (False, {})
    gpus.is_broken = False
    await yard.engine.guard.tick()
    assert await is_released(yard, "job")
    await yard.reaches("next", "running")
    await end(yard, "next")


async def test_declared_gpus_are_free_when_no_process_is_left(yard: Yard, gpus: Gpus) -> None:
    gpus.usage.clear()
    yard.start()
    await start(yard, "job")
    await yard.ask("job", Cause.CANCEL_ASKED)
    await yard.reaches("job", "cancelled")
    await eventually(lambda: is_released(yard, "job"))
    assert (await yard.attempts("job"))[0].gpu_baseline is None


async def test_a_restarted_server_goes_on_waiting_for_the_memory(yard: Yard, gpus: Gpus, clock: Clock) -> None:
    yard.start()
    await start(yard, "job")
    gpus.use(0, 9000.0)
    await end(yard, "job")
    await yard.restart()
    await looks(yard)
    assert not await is_released(yard, "job")
    clock.now += RELEASE_SECONDS
    await looks(yard)
    assert list(await aside(yard)) == [0]


async def test_what_held_gpus_is_released_by_a_server_that_sees_none(yard: Yard) -> None:
    yard.start()
    await start(yard, "job")
    await yard.restart(machine=Machine(), gpu_usage=dict)
    await looks(yard)
    assert not await is_released(yard, "job")
    await end(yard, "job")
    await eventually(lambda: is_released(yard, "job"))
    assert yard.engine.guard.pause() is None


async def test_a_gpu_in_use_by_whom_the_driver_does_not_name_is_left_alone_unless_a_job_of_ours_is_on_it(
    yard: Yard, gpus: Gpus
) -> None:
    gpus.use(0, 4100.0)
    yard.start()
    await start(yard, "one", gpu_memory_mb=8000)
    gpus.use(1, 6000.0)
    await looks(yard)
    assert yard.engine.guard.unusable() == {0: "in use by somebody who can't be seen from here"}
    await start(yard, "two", gpu_memory_mb=8000)
    assert [(await yard.attempts(id_))[0].gpus for id_ in ("one", "two")] == [[1], [1]]
    for id_ in ("one", "two"):
        await end(yard, id_)


async def test_a_machine_without_gpus_is_not_looked_at(database: Database, tmp_path: Path) -> None:
    looked = []

    def count() -> dict[int, object]:
        looked.append(1)
        return {}

    yard = Yard(database, tmp_path / "runs", gpu_usage=count)
    yard.start()
    await yard.submit("job", ENDS)
    await yard.reaches("job", "completed")
    await looks(yard)
    assert (len(looked), yard.engine.guard.pause()) == (1, None)
    await appears(yard.run("job") / "attempts" / "1" / "exit.json")
    await yard.clean()
