"""What real attempts come to: over a pause, a struck-down trainer, and a server that starts anew."""

import os
import signal

from sqlalchemy import delete

from runyard.db.queries import metrics, rollups, series
from runyard.db.tables import Job, Rollup
from runyard.domain.lifecycle import Cause
from runyard.testing.yard import Yard, eventually

PAUSES = """
signal.signal(signal.SIGTERM, leave)
at = 1000.0 * attempt
time.time = lambda: at
say('phase', phase='loading')
at += 5
say('phase', phase='training')
if attempt == 2: say('resumed', step=2, checkpoint=None)
for step in range(1 if attempt == 1 else 3, 5):
    at += 10
    metric(step, loss=10.0 / step + attempt / 10)
    if step == 4 and attempt == 1: until('never')
say('finished', outcome='completed')
"""


async def kept(yard: Yard, id_: str) -> rollups.rollups.Rollup:
    async with yard.database.read() as session:
        found = await rollups.of_job(session, id_)
    assert found is not None
    return found


async def at_step(yard: Yard, id_: str, step: int) -> bool:
    return step in await yard.curve(id_)


async def test_a_pause_is_no_time_and_forgotten_steps_are_no_values(running: Yard) -> None:
    await running.submit("job", PAUSES)
    await eventually(lambda: at_step(running, "job", 4))
    await running.ask("job", Cause.PAUSE_ASKED)
    await running.reaches("job", "paused")
    await running.ask("job", Cause.RESUME_ASKED)
    job = await running.reaches("job", "completed")
    rollup = await kept(running, "job")
    # 40 s for steps 1 to 4, and 20 s for steps 3 and 4 again; the 900 s and more between the attempts are in none.
    assert rollup.seconds == {"loading": 10, "training": 60}
    loss = rollup.known("train", "loss")
    assert (loss.count, loss.first, loss.last) == (4, 10.1, 10.0 / 4 + 0.2)
    assert (job.best_value, job.best_step, job.last_loss) == (10.0 / 4 + 0.2, 4, 10.0 / 4 + 0.2)
    assert job.training_seconds == 60
    assert job.active_since is None
    assert job.duration is not None
    assert 0 < job.duration < 60


async def test_a_trainer_that_is_struck_down_and_an_engine_that_starts_anew_lose_and_double_nothing(yard: Yard) -> None:
    yard.start()
    code = "say('phase', phase='training')\nfor step in range(3000):\n    metric(step, loss=step)\nuntil('never')"
    await yard.submit("job", code)
    await eventually(lambda: at_step(yard, "job", 500))
    await yard.restart()
    await eventually(lambda: at_step(yard, "job", 2999))
    [attempt] = await yard.attempts("job")
    assert attempt.process is not None
    os.kill(attempt.process["trainer"]["pid"], signal.SIGKILL)
    await eventually(lambda: has_ended(yard))
    rollup = await kept(yard, "job")
    assert (rollup.known("train", "loss").count, rollup.known("train", "loss").total) == (3000, sum(range(3000)))
    async with yard.database.read() as session:
        lines = await series.lines(session, "job", rollup, "train", ["loss"], (0, 10**6))
        assert list(lines["loss"].steps) == [point.step for point in await metrics.of_job(session, "job")]
    assert rollup.sealed["train"] == 1023


async def has_ended(yard: Yard) -> bool:
    return (await yard.job("job")).state == "failed"


async def test_jobs_of_earlier_versions_are_counted_by_and_by(yard: Yard) -> None:
    yard.start()
    await yard.submit("old", "say('phase', phase='training')\nmetric(1, loss=2); metric(2, loss=1)")
    await yard.reaches("old", "completed")
    before = await kept(yard, "old")
    await yard.stop()
    async with yard.database.write() as session:
        await session.execute(delete(Rollup))
        job = await session.get_one(Job, "old")
        job.best_value = job.best_name = job.best_step = None
    await yard.restart()
    await eventually(lambda: is_counted(yard))
    assert (await kept(yard, "old")).tallies == before.tallies
    assert (await kept(yard, "old")).seconds == before.seconds


async def is_counted(yard: Yard) -> bool:
    return (await yard.job("old")).best_value == 1
