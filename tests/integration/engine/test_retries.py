"""Failures that are followed by another try, and those that are not."""

import errno
from functools import partial

import pytest
from sqlalchemy import text

from runyard.db.database import Session
from runyard.db.queries import estimates
from runyard.db.tables import Job
from runyard.domain.lifecycle import Cause
from runyard.executors.base import Handle, Launch, LaunchError
from runyard.services import fixes
from runyard.testing.memory_executor import MemoryExecutor
from runyard.testing.yard import OBEDIENT, STUBBORN, Yard, appears, eventually

DIES_TWICE = OBEDIENT + "attempt < 3 and os.kill(os.getpid(), 9); metric(attempt, loss=attempt); "
ENDS = "say('finished', outcome='completed')"
SAVES = "say('checkpoint', step=attempt, path='x', size_bytes=1, metrics={}, best=False); "
COPIED = {"tenant": "main", "user": "local",
          "kind": "sft", "name": "copy", "spec": {}, "resolved_spec": {}, "priority": "normal", "state": "paused",
          "created_at": 0.0, "queued_at": 0.0, "updated_at": 0.0}  # fmt: skip


async def test_a_killed_trainer_is_tried_again_and_the_history_says_why(running: Yard) -> None:
    await running.submit("job", DIES_TWICE + ENDS, {"retries": None})
    job = await running.reaches("job", "completed")
    assert (job.attempts, job.failures, job.reason) == (3, 2, None)
    attempts = await running.attempts("job")
    assert [(a.exit_code, a.exit_signal, a.reason) for a in attempts] == [
        (137, 9, "killed"), (137, 9, "killed"), (0, None, None),
    ]  # fmt: skip
    retried = [move for move in await running.moves("job") if move.cause == "retried"]
    assert [(move.before, move.after, move.reason) for move in retried] == [("running", "queued", "killed")] * 2
    assert all("SIGKILL" in (move.message or "") for move in retried)


@pytest.mark.parametrize("code", [OBEDIENT + ENDS, "1 / 0"])
async def test_a_fault_in_what_follows_from_an_end_keeps_no_job_from_it(
    running: Yard, code: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(session: Session, job: Job, *_: object) -> None:
        session.add(Job(id="half made", **COPIED))
        await session.execute(text("INSERT INTO jobs (id) VALUES ('without the rest')"))

    monkeypatch.setattr(estimates, "renew", fail)
    monkeypatch.setattr(fixes, "follow", fail)
    await running.submit("job", code, workload="a kind", work=1.0)
    await eventually(lambda: ended(running, "job"))
    assert (await running.job("job")).state in {"completed", "failed"}
    assert "what follows from the end of job job could not be done" in caplog.text
    async with running.database.read() as session:
        assert await session.get(Job, "half made") is None
    monkeypatch.undo()
    await running.submit("next", OBEDIENT + ENDS)
    await running.reaches("next", "completed")


async def ended(yard: Yard, id_: str) -> bool:
    return any(attempt.ended_at is not None for attempt in await yard.attempts(id_))


async def test_tries_come_to_an_end_and_so_does_the_job(running: Yard) -> None:
    await running.submit("job", "os.kill(os.getpid(), 9)", {"retries": None})
    job = await running.reaches("job", "failed")
    assert (job.attempts, job.reason) == (3, "killed")


async def test_an_error_of_the_job_is_its_end_unless_it_asks_for_more(running: Yard) -> None:
    await running.submit("once", "1 / 0", {"retries": None})
    await running.submit("thrice", "1 / 0", {"retries": 2})
    assert (await running.reaches("once", "failed")).attempts == 1
    thrice = await running.reaches("thrice", "failed")
    assert (thrice.attempts, thrice.reason) == (3, "crashed")


async def test_a_retry_waits_for_its_time(yard: Yard) -> None:
    yard.start()
    await yard.restart(retry_seconds=3600.0)
    await yard.submit("job", "os.kill(os.getpid(), 9)", {"retries": 1})
    job = await yard.reaches("job", "queued", after="starting")
    assert job.not_before is not None
    assert 3590 < job.not_before - job.updated_at <= 3600
    await yard.submit("next", ENDS)
    await yard.reaches("next", "completed")
    assert (await yard.job("job")).state == "queued"


async def test_a_person_who_retries_gives_new_tries_and_no_pause(yard: Yard) -> None:
    yard.start()
    await yard.restart(retry_seconds=3600.0)
    await yard.submit("job", "os.kill(os.getpid(), 9)", {"retries": 0})
    await yard.reaches("job", "failed")
    await yard.ask("job", Cause.RETRY_ASKED)
    job = await yard.reaches("job", "failed", after="queued")
    assert (job.attempts, job.failures) == (2, 0)


async def test_one_that_must_be_killed_while_it_is_paused_is_paused(yard: Yard) -> None:
    yard.start()
    await yard.restart(save_seconds=0.1)
    await yard.submit("job", STUBBORN + "open('ready', 'w'); until('never')", {"retries": 2})
    await appears(yard.run("job") / "ready")
    await yard.ask("job", Cause.PAUSE_ASKED)
    job = await yard.reaches("job", "paused")
    assert [a.exit_signal for a in await yard.attempts("job")] == [9]
    assert job.attempts == 1


async def test_one_that_stops_unasked_is_not_started_over_and_over(yard: Yard) -> None:
    yard.start()
    await yard.restart(retry_seconds=3600.0)
    await yard.submit("job", "sys.exit(75)")
    job = await yard.reaches("job", "queued", after="starting")
    assert job.not_before is not None


class Clock:
    """Stands still until it is turned."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Full(MemoryExecutor):
    """Of a machine whose disk is full."""

    async def launch(self, launch: Launch) -> Handle:
        raise LaunchError("no room") from OSError(errno.ENOSPC, "no room")


async def pauses_of(yard: Yard, clock: Clock, count: int) -> list[float]:
    """Seconds that the job has to wait after each of its first attempts."""
    pauses = []
    for number in range(1, count + 1):
        await eventually(partial(has_stopped, yard, number))
        job = await yard.job("job")
        assert job.not_before is not None
        pauses.append(job.not_before - clock.now)
        clock.now = job.not_before
        yard.engine.wake()
    return pauses


async def has_stopped(yard: Yard, times: int) -> bool:
    job = await yard.job("job")
    return (job.state, job.attempts) == ("queued", times)


@pytest.mark.parametrize(
    ("code", "pauses"),
    [
        ("sys.exit(75)", [10, 20, 40, 80]),
        (OBEDIENT + "metric(7, loss=1); leave()", [10, 20, 40, 80]),
        (OBEDIENT + "metric(attempt // 2, loss=1); leave()", [10, 10, 20, 10]),
        (OBEDIENT + SAVES + "leave()", [10, 10, 10, 10]),
    ],
    ids=["it says nothing", "always to the same step", "further every second time", "it saves"],
)
async def test_one_that_stops_again_and_again_waits_for_longer_until_it_comes_further(
    yard: Yard, code: str, pauses: list[float]
) -> None:
    clock = Clock()
    await yard.restart(clock=clock, retry_seconds=10.0)
    await yard.submit("job", code)
    assert await pauses_of(yard, clock, len(pauses)) == pauses


async def test_on_a_machine_without_room_it_is_tried_less_and_less_often(yard: Yard) -> None:
    clock = Clock()
    full = Yard(yard.database, yard.context.runs, executor=Full(), clock=clock, retry_seconds=10.0)
    full.start()
    try:
        await full.submit("job")
        assert await pauses_of(full, clock, 3) == [10, 20, 40]
        assert {attempt.reason for attempt in await full.attempts("job")} == {"not_started"}
    finally:
        await full.stop()
