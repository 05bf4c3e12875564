"""Jobs from submission to their end, on both databases, with real processes."""

import asyncio
import json
import sys
import time

import pytest

from runyard.db.queries import artifacts
from runyard.domain.lifecycle import Cause
from runyard.domain.placement import Gpu, Machine
from runyard.protocol.events import Snapshot
from runyard.testing.yard import OBEDIENT, STUBBORN, Yard, appears, eventually

WHOLE_RUN = """
say("phase", phase="training")
for step in (1, 2, 3):
    metric(step, loss=1 / step)
    say("checkpoint", step=step, path=f"checkpoints/step-{step:06d}", size_bytes=5, metrics={"loss": 1}, best=step == 2)
say("checkpoint_removed", step=1)
say("artifact", path="final/model", kind="model", size_bytes=7, sha256="ab", metadata={"rank": 8})
say("finished", outcome="completed")
"""


async def test_a_job_runs_to_its_end_and_all_it_said_is_kept(running: Yard) -> None:
    await running.submit("job", WHOLE_RUN)
    job = await running.reaches("job", "completed")
    assert await running.states("job") == ["starting", "running", "completed"]
    assert await running.curve("job") == {1: 1.0, 2: 1 / 2, 3: 1 / 3}
    assert await running.checkpoints("job") == [1, 2, 3]
    assert job.snapshot is not None
    assert (job.snapshot["outcome"], job.snapshot["loss"], job.snapshot["n"]) == ("completed", 1 / 3, 10)
    assert job.created_at <= (job.started_at or 0) <= (job.finished_at or 0) <= time.time()
    [attempt] = await running.attempts("job")
    assert (attempt.exit_code, attempt.exit_signal, attempt.reason) == (0, None, None)
    async with running.database.read() as session:
        [artifact] = await artifacts.of_job(session, "job")
    assert (artifact.path, artifact.hash_sha256, artifact.details) == ("final/model", "ab", {"rank": 8})


@pytest.mark.parametrize(
    ("code", "reason", "words"),
    [
        ("say('finished', outcome='failed', reason='bad_data', message='row 3'); sys.exit(1)", "bad_data", "row 3"),
        ("raise ValueError('no such thing')", "crashed", "ValueError: no such thing"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "killed", "SIGSEGV"),
    ],
)
async def test_a_failure_says_why(running: Yard, code: str, reason: str, words: str) -> None:
    await running.submit("job", code)
    job = await running.reaches("job", "failed")
    assert job.reason == reason
    assert words in (job.message or "")
    [attempt] = await running.attempts("job")
    assert (attempt.reason, attempt.message) == (job.reason, job.message)


async def test_a_trainer_that_can_not_be_started_is_a_failure(running: Yard) -> None:
    running.context.runs.parent.joinpath("runs").write_text("a file where the folder should be")
    await running.submit("job", "")
    job = await running.reaches("job", "failed")
    assert job.reason == "not_started"
    running.context.runs.unlink()


async def at_step(yard: Yard, id_: str, step: int) -> bool:
    return step in await yard.curve(id_)


async def test_pause_and_resume_make_one_curve(running: Yard) -> None:
    code = """
if attempt == 1:
    signal.signal(signal.SIGTERM, leave)
    for step in (1, 2, 3):
        metric(step, loss=attempt)
    until("never")
say("resumed", step=2, checkpoint="checkpoints/step-000002")
for step in (3, 4):
    metric(step, loss=attempt)
say("finished", outcome="completed")
"""
    await running.submit("job", code)
    await eventually(lambda: at_step(running, "job", 3))
    await running.ask("job", Cause.PAUSE_ASKED)
    paused = await running.reaches("job", "paused")
    assert paused.finished_at is None
    assert (running.run("job") / "stop").read_text() == "save"
    await running.ask("job", Cause.RESUME_ASKED)
    await running.reaches("job", "completed")
    assert await running.curve("job") == {1: 1, 2: 1, 3: 2, 4: 2}
    assert [(a.number, a.stop_sent, a.exit_code) for a in await running.attempts("job")] == [
        (1, "save", 75),
        (2, None, 0),
    ]
    assert not (running.run("job") / "stop").exists()


async def test_a_trainer_that_is_asked_while_it_loads_just_ends_and_the_job_is_paused(running: Yard) -> None:
    await running.submit("job", "open('loading', 'w'); until('never')")
    await appears(running.run("job") / "loading")
    await running.ask("job", Cause.PAUSE_ASKED)
    await running.reaches("job", "paused")


async def test_cancel_leaves_nothing_behind(running: Yard) -> None:
    await running.submit("job", OBEDIENT + "until('never')")
    await running.reaches("job", "running")
    await running.ask("job", Cause.CANCEL_ASKED)
    job = await running.reaches("job", "cancelled")
    assert (job.reason, job.message) == (None, None)
    assert (running.run("job") / "stop").read_text() == "discard"


async def test_one_that_ignores_the_signal_is_killed_after_the_grace_time(running: Yard) -> None:
    await running.submit("job", STUBBORN + "until('never')")
    await running.reaches("job", "running")
    await running.ask("job", Cause.CANCEL_ASKED)
    await running.reaches("job", "cancelled")
    [attempt] = await running.attempts("job")
    assert (attempt.exit_code, attempt.exit_signal) == (137, 9)


async def test_pause_then_cancel_is_a_cancel(running: Yard) -> None:
    await running.submit("job", STUBBORN + "open('ready', 'w'); until('never')")
    await appears(running.run("job") / "ready")
    await running.ask("job", Cause.PAUSE_ASKED)
    await appears(running.run("job") / "stop")
    await running.ask("job", Cause.CANCEL_ASKED)
    await running.reaches("job", "cancelled")
    assert (await running.states("job"))[-3:] == ["pausing", "cancelling", "cancelled"]


async def test_cancel_before_the_launch_starts_nothing(yard: Yard) -> None:
    await yard.submit("job", "")
    await yard.engine.scheduler.tick()
    await yard.ask("job", Cause.CANCEL_ASKED)
    await yard.engine.supervisor.tick()
    assert await yard.states("job") == ["starting", "cancelling", "cancelled"]
    assert not yard.run("job").exists()


@pytest.mark.parametrize(("wish", "end"), [(Cause.CANCEL_ASKED, "cancelled"), (Cause.PAUSE_ASKED, "paused")])
async def test_a_wish_right_after_the_launch_is_heard(yard: Yard, wish: Cause, end: str) -> None:
    await yard.submit("job", "until('never')")
    await yard.engine.scheduler.tick()
    await yard.engine.supervisor.tick()
    await yard.ask("job", wish)
    yard.start()
    await yard.reaches("job", end)


async def test_a_wish_that_comes_too_late_keeps_what_was_done(yard: Yard) -> None:
    await yard.submit("job", "say('finished', outcome='completed')")
    await yard.engine.scheduler.tick()
    await yard.engine.supervisor.tick()
    await appears(yard.run("job") / "attempts" / "1" / "exit.json")
    await yard.ask("job", Cause.CANCEL_ASKED)
    yard.start()
    await yard.reaches("job", "completed")


async def test_a_stop_that_nobody_asked_for_puts_the_job_back_in_line(running: Yard) -> None:
    await running.submit("job", "if attempt == 1: leave()\nsay('finished', outcome='completed')")
    await running.reaches("job", "completed")
    assert await running.states("job") == ["starting", "running", "queued", "starting", "running", "completed"]


async def test_a_retry_is_a_new_attempt_in_the_same_folder(running: Yard) -> None:
    await running.submit("job", "sys.exit(attempt == 1)")
    await running.reaches("job", "failed")
    await running.ask("job", Cause.RETRY_ASKED)
    await running.reaches("job", "completed")
    assert (running.run("job") / "starts").read_text() == "xx"


async def test_higher_classes_first_and_in_order_within_one(yard: Yard) -> None:
    for id_, priority in [("a", "normal"), ("b", "low"), ("c", "urgent"), ("d", "normal")]:
        await yard.submit(id_, "time.sleep(0.01)", priority=priority)
    yard.start()
    for id_ in "abcd":
        await yard.reaches(id_, "completed")
    started = {id_: (await yard.attempts(id_))[0].created_at for id_ in "abcd"}
    assert sorted(started, key=lambda id_: started[id_]) == ["c", "a", "d", "b"]


async def test_places_in_line_are_told_when_they_change(yard: Yard) -> None:
    for id_ in ("a", "b", "c"):
        await yard.submit(id_, "until('never')")
    await yard.engine.scheduler.tick()
    await yard.engine.scheduler.tick()
    assert (await yard.job("b")).wait_cause == "waits for the job before it to end"
    await yard.ask("b", Cause.CANCEL_ASKED)
    await yard.engine.scheduler.tick()
    assert [event.data["position"] for event in await yard.feed("c", "queue")] == [2, 1]


async def test_each_job_has_gpus_of_its_own(yard: Yard) -> None:
    await yard.restart(machine=Machine(gpus=(Gpu(0), Gpu(1))))
    code = "open('devices', 'w').write(os.environ['CUDA_VISIBLE_DEVICES']); say('phase', phase='training'); until('go')"
    for id_ in ("a", "b", "c"):
        await yard.submit(id_, code)
    for id_ in ("a", "b"):
        await yard.reaches(id_, "running")
    assert {(yard.run(id_) / "devices").read_text() for id_ in "ab"} == {"0", "1"}

    async def is_told_why() -> bool:
        waiting = await yard.job("c")
        return (waiting.state, waiting.wait_cause) == ("queued", "needs 1 GPU, 0 free")

    await eventually(is_told_why)
    for id_ in ("a", "b"):
        (yard.run(id_) / "go").touch()
    await yard.reaches("c", "running")
    (yard.run("c") / "go").touch()
    await yard.reaches("c", "completed")


async def test_an_idle_engine_writes_nothing(running: Yard) -> None:
    await running.submit("job", "pass")
    await running.reaches("job", "completed")
    before = (await running.job("job")).updated_at
    for _ in range(3):
        running.engine.wake()
        await asyncio.sleep(0.02)

    async def rests() -> bool:
        return running.engine.ingest.pause() is None

    await eventually(rests)
    assert (await running.job("job")).updated_at == before


async def test_the_emitter_of_real_trainers_is_understood(running: Yard) -> None:
    """The snapshot that the engine makes from lines is the one that the trainer itself keeps."""
    code = f"""
sys.path[:] = {sys.path!r}
from pathlib import Path
from runyard.protocol.emitter import Emitter
from runyard.protocol.events import Snapshot
from runyard.protocol.rundir import RunDir
with Emitter(RunDir(Path.cwd()), attempt, time.time) as emitter:
    emitter.phase("loading")
    emitter.progress("training", 1, 2, epoch=0.5, eta_seconds=1.5)
    emitter.metric(1, {{"loss": 2.0, "grad_norm": float("nan")}})
    emitter.metric(1, {{"eval_loss": 3.0}}, split="eval")
    emitter.message("hello")
    emitter.finished("completed")
"""
    await running.submit("job", code)
    job = await running.reaches("job", "completed")
    kept = Snapshot.model_validate_json((running.run("job") / "progress.json").read_bytes())
    assert Snapshot.model_validate(job.snapshot) == kept


async def test_what_the_job_asked_is_in_its_folder(running: Yard) -> None:
    await running.submit("job", "pass")
    await running.reaches("job", "completed")
    assert json.loads((running.run("job") / "spec.json").read_text()) == {"code": "pass", "limits": {"retries": 0}}
