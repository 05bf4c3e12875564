"""Failures that are followed by another try, and those that are not."""

from runyard.domain.lifecycle import Cause
from runyard.testing.yard import OBEDIENT, STUBBORN, Yard, appears

DIES_TWICE = OBEDIENT + "attempt < 3 and os.kill(os.getpid(), 9); metric(attempt, loss=attempt); "
ENDS = "say('finished', outcome='completed')"


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
