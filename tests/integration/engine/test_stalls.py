"""Trainers that hang are found, asked what they do, ended and tried again; slow ones are left alone."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runyard.db.database import Database
from runyard.db.queries import artifacts
from runyard.domain.lifecycle import Cause
from runyard.domain.placement import Machine
from runyard.executors.base import Handle
from runyard.executors.local import LocalExecutor
from runyard.testing.executor_contract import is_gone
from runyard.testing.yard import OBEDIENT, STUBBORN, Yard, appears, eventually

MOVES = """
while not os.path.exists("end"):
    metric(number, loss=1)
    time.sleep(0.05)
"""
SPINS = """
import faulthandler, threading
faulthandler.register(signal.SIGUSR1, open(f"attempts/{attempt}/stacks.txt", "a"))
signal.signal(signal.SIGTERM, signal.SIG_IGN)
say("phase", phase="training")
if attempt > 1:
    say("resumed", step=2, checkpoint="checkpoints/step-000002")
    metric(3, loss=3)
    say("finished", outcome="completed")
    sys.exit()

def heartbeat():
    while True:
        metric(2, loss=2, alive=time.time())
        time.sleep(0.01)

def never_comes_back():
    while True:
        pass

for step in (1, 2):
    metric(step, loss=step)
say("checkpoint", step=2, path="checkpoints/step-000002", size_bytes=5, metrics={}, best=True)
threading.Thread(target=heartbeat, daemon=True).start()
never_comes_back()
"""
ENDS = "say('finished', outcome='completed')"


class Clock:
    """Stands still until it is turned."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def no_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runyard.engine.supervisor.MARGIN_SECONDS", 0.1)


async def test_a_loop_that_spins_beside_a_heartbeat_is_found_dumped_killed_and_tried_again(running: Yard) -> None:
    await running.submit("job", SPINS, {"stall_timeout": 0.5, "retries": None})
    await running.reaches("job", "completed")
    first, second = await running.attempts("job")
    assert (first.stop_reason, first.stop_sent, first.exit_signal, first.reason) == ("stalled", "kill", 9, "stalled")
    assert first.message == "no progress for 0.5 s in phase training at step 2"
    assert (second.stop_reason, second.exit_code) == (None, 0)
    assert await running.curve("job") == {1: 1, 2: 2, 3: 3}
    [retried] = [move for move in await running.moves("job") if move.cause == "retried"]
    assert (retried.reason, retried.message) == ("stalled", first.message)
    [said] = await running.feed("job", "message")
    assert said.data["level"] == "warning"
    assert said.data["text"] == f"{first.message}; what it was doing is in attempts/1/stacks.txt"
    told = (running.run("job") / "attempts" / "1" / "stacks.txt").read_text()
    assert "never_comes_back" in told
    assert "heartbeat" in told
    async with running.database.read() as session:
        [report] = await artifacts.of_job(session, "job")
    assert (report.path, report.kind, report.size_bytes) == ("attempts/1/stacks.txt", "report", len(told.encode()))


async def test_to_the_second_on_a_clock_of_our_own(yard: Yard) -> None:
    clock = Clock()
    await yard.restart(monotonic=clock)
    await yard.stop()
    await yard.submit("job", STUBBORN + "metric(7, loss=1); open('ready', 'w'); until('never')", {"retries": None})
    await yard.engine.scheduler.tick()
    await yard.engine.supervisor.tick()
    await appears(yard.run("job") / "ready")
    await yard.engine.supervisor.tick()
    await yard.engine.ingest.tick()
    await yard.engine.supervisor.tick()
    for _ in range(10):
        clock.now += 59.99
        await yard.engine.supervisor.tick()
    [attempt] = await yard.attempts("job")
    assert attempt.stop_reason is None
    clock.now += 600.0 - 10 * 59.99
    await eventually(lambda: is_told_to_stop(yard))
    [attempt] = await yard.attempts("job")
    assert (attempt.stop_reason, attempt.stop_sent) == ("stalled", "save")
    assert attempt.message == "no progress for 10 min in phase training at step 7"


async def is_told_to_stop(yard: Yard) -> bool:
    """What it does is written down beside: no time passes on a clock that stands still, but more than a tick."""
    await yard.engine.supervisor.tick()
    return (await yard.attempts("job"))[0].stop_sent is not None


async def test_one_that_hangs_is_found_by_servers_of_which_none_lives_long_enough(yard: Yard) -> None:
    """Each looks for three minutes, reads a heartbeat at the same step, and is followed by another."""
    clock = Clock()
    code = STUBBORN + "metric(7, loss=1)\nwhile True: metric(7, loss=1); time.sleep(0.005)"
    await yard.submit("job", code, {"retries": None})
    for _ in range(5):
        await yard.restart(monotonic=clock)
        await yard.stop()
        await yard.engine.scheduler.tick()
        await yard.engine.supervisor.tick()
        await appears(yard.run("job") / "events.jsonl")
        await eventually(lambda: has_been_read(yard))
        for _ in range(4):
            clock.now += 45.0
            await yard.engine.supervisor.tick()
            await yard.engine.ingest.tick()
    await eventually(lambda: is_told_to_stop(yard))
    [attempt] = await yard.attempts("job")
    assert attempt.message == "no progress for 10 min in phase training at step 7"
    assert (clock.now, attempt.stop_reason) == (900.0, "stalled")


async def has_been_read(yard: Yard) -> bool:
    await yard.engine.supervisor.tick()
    before = (await yard.job("job")).events_offset
    await yard.engine.ingest.tick()
    return before > 0 and (await yard.job("job")).events_offset > before


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
async def test_no_clock_that_jumps_ends_a_job_early_or_late(yard: Yard, jump: float) -> None:
    clock, wall = Clock(), Clock()
    await yard.restart(monotonic=clock, clock=wall)
    await yard.stop()
    await yard.submit("job", OBEDIENT + "metric(7, loss=1); open('ready', 'w'); until('never')", {"max_runtime": 900})
    await yard.engine.scheduler.tick()
    await yard.engine.supervisor.tick()
    await appears(yard.run("job") / "ready")
    for minute in range(1, 10):
        wall.now += jump
        clock.now += 60.0
        await yard.restart(monotonic=clock, clock=wall)
        await yard.stop()
        await yard.engine.supervisor.tick()
        await yard.engine.ingest.tick()
        [attempt] = await yard.attempts("job")
        assert attempt.stop_reason is None, minute
    for _ in range(3):
        clock.now += 60.0
        await yard.engine.supervisor.tick()
    await eventually(lambda: is_told_to_stop(yard))
    [attempt] = await yard.attempts("job")
    assert attempt.stop_reason == "stalled"


async def test_one_that_evaluates_for_long_is_left_alone(running: Yard) -> None:
    code = OBEDIENT + "say('phase', phase='evaluating'); time.sleep(1.5); " + ENDS
    await running.submit("job", code, {"stall_timeout": 0.2})
    await running.reaches("job", "completed")
    assert [attempt.stop_reason for attempt in await running.attempts("job")] == [None]


async def test_one_that_steps_slowly_is_left_alone(running: Yard) -> None:
    code = OBEDIENT + "for step in range(8): time.sleep(0.3); metric(step, loss=1)\n" + ENDS
    await running.submit("job", code, {"stall_timeout": 1.5})
    await running.reaches("job", "completed")
    assert len(await running.attempts("job")) == 1


async def test_one_that_obeys_after_all_was_still_stuck(running: Yard) -> None:
    await running.restart(grace_seconds=30.0)
    await running.submit("job", OBEDIENT + "until('never')", {"stall_timeout": 0.3})
    job = await running.reaches("job", "failed")
    assert (job.reason, job.message) == ("stalled", "no progress for 0.3 s in phase training")
    assert [(a.exit_code, a.stop_sent) for a in await running.attempts("job")] == [(75, "save")]
    assert (running.run("job") / "stop").read_text() == "save"


async def test_one_that_ends_well_meanwhile_has_ended_well(running: Yard) -> None:
    code = (
        "def done(*_): say('finished', outcome='completed'); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, done)\nsay('phase', phase='training'); until('never')"
    )
    await running.restart(grace_seconds=30.0)
    await running.submit("job", code, {"stall_timeout": 0.3})
    await running.reaches("job", "completed")


async def test_the_time_of_an_attempt_has_an_end(running: Yard) -> None:
    code = OBEDIENT + "step = 0\nwhile True: step += 1; metric(step, loss=1); time.sleep(0.01)"
    await running.submit("job", code, {"max_runtime": 0.6, "retries": None})
    job = await running.reaches("job", "failed")
    assert (job.reason, job.attempts) == ("timeout", 1)
    assert job.message == "it ran for 0.6 s, which is all that limits.max_runtime allows"
    assert not (running.run("job") / "attempts" / "1" / "stacks.txt").exists()


async def test_a_job_that_asks_for_it_is_tried_again_after_its_time(running: Yard) -> None:
    clock = Clock()
    await running.restart(monotonic=clock)
    code = OBEDIENT + "attempt == 1 and until('never')\n" + ENDS
    await running.submit("job", code, {"max_runtime": 0.6, "retries": 1})
    await running.reaches("job", "running")
    clock.now += 0.6
    await running.reaches("job", "completed")
    assert [a.reason for a in await running.attempts("job")] == ["timeout", None]


async def test_the_reason_outlives_the_server(yard: Yard) -> None:
    yard.start()
    await yard.restart(grace_seconds=600.0)
    await yard.submit("job", STUBBORN + "until('never')", {"stall_timeout": 0.3})
    await appears(yard.run("job") / "stop")
    await yard.restart(grace_seconds=0.1, save_seconds=0.1)
    job = await yard.reaches("job", "failed")
    assert job.reason == "stalled"


async def test_one_that_is_ended_as_stuck_can_be_cancelled(yard: Yard) -> None:
    yard.start()
    await yard.restart(grace_seconds=600.0)
    await yard.submit("job", STUBBORN + "until('never')", {"stall_timeout": 0.3, "retries": None})
    await appears(yard.run("job") / "stop")
    await yard.stop()
    await yard.ask("job", Cause.CANCEL_ASKED)
    await yard.restart(grace_seconds=0.1)
    await yard.reaches("job", "cancelled")
    assert len(await yard.attempts("job")) == 1


async def test_a_script_that_reports_nothing_is_left_alone_unless_it_asks(yard: Yard) -> None:
    clock = Clock()
    await yard.restart(monotonic=clock, machine=Machine(slots=3))
    await yard.stop()
    writes = "while True: print('here', flush=True); time.sleep(0.01)"
    sleeps = "print('once', flush=True); until('never')"
    for id_, code, timeout in (("quiet", sleeps, None), ("asks", sleeps, 300.0), ("writes", writes, 300.0)):
        await yard.submit(id_, code, {"stall_timeout": timeout}, kind="script")
    await yard.engine.scheduler.tick()
    await yard.engine.supervisor.tick()
    for id_ in ("quiet", "asks", "writes"):
        await grows(yard, id_, 0)
    for _ in range(7):
        await yard.engine.supervisor.tick()
        clock.now += 60.0
        await grows(yard, "writes", output_of(yard, "writes"))
    await eventually(lambda: is_found(yard, "asks"))
    assert [(await yard.attempts(id_))[0].stop_reason for id_ in ("quiet", "asks", "writes")] == [None, "stalled", None]


def output_of(yard: Yard, id_: str) -> int:
    path = yard.run(id_) / "attempts" / "1" / "stdout.log"
    return path.stat().st_size if path.exists() else 0


async def grows(yard: Yard, id_: str, size: int) -> None:
    async def has_grown() -> bool:
        return output_of(yard, id_) > size

    await eventually(has_grown)


async def is_found(yard: Yard, id_: str) -> bool:
    await yard.engine.supervisor.tick()
    return (await yard.attempts(id_))[0].stop_reason is not None


async def test_every_loader_of_a_stuck_trainer_dies_with_it(running: Yard) -> None:
    code = STUBBORN + (
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os.setsid()\n"
        "    if os.fork(): os._exit(0)\n"
        "    open('escaped', 'w').write(str(os.getpid()))\n"
        "    until('never')\n"
        "until('never')"
    )
    await running.submit("job", code, {"stall_timeout": 0.5})
    job = await running.reaches("job", "failed")
    assert job.reason == "stalled"
    assert is_gone((running.run("job") / "escaped").read_text())


async def test_a_trainer_whose_words_cannot_be_read_is_not_called_stuck(running: Yard) -> None:
    """Its progress is there and we can't see it: nothing may be concluded."""
    await running.submit("job", OBEDIENT + "open('ready', 'w'); until('go'); " + ENDS, {"stall_timeout": 1.0})
    await running.reaches("job", "running")
    path = running.run("job") / "events.jsonl"
    path.rename(running.run("job") / "kept")
    path.mkdir()
    (path / "so that it has another size").touch()
    await asyncio.sleep(2.5)
    assert [a.stop_reason for a in await running.attempts("job")] == [None]
    (path / "so that it has another size").unlink()
    path.rmdir()
    (running.run("job") / "kept").rename(path)
    (running.run("job") / "go").touch()
    await running.reaches("job", "completed")


class SlowDump(LocalExecutor):
    """Cannot tell what a process does until it is let."""

    def __init__(self) -> None:
        super().__init__({})
        self.asked, self.let = 0, asyncio.Event()

    async def dump(self, handle: Handle) -> str | None:
        self.asked += 1
        await self.let.wait()
        return await super().dump(handle)

    async def is_asked(self) -> bool:
        return self.asked > 0


@pytest.fixture
async def slow(database: Database, tmp_path: Path) -> AsyncIterator[tuple[Yard, SlowDump]]:
    """A yard with a stuck job, while what that does is being found out."""
    executor = SlowDump()
    yard = Yard(database, tmp_path / "runs", executor=executor, machine=Machine(slots=2), grace_seconds=0.3)
    yard.start()
    await yard.submit("stuck", SPINS, {"stall_timeout": 0.5})
    await eventually(executor.is_asked)
    yield yard, executor
    await yard.clean()


async def test_nobody_waits_while_it_is_looked_into_what_a_stuck_one_does(slow: tuple[Yard, SlowDump]) -> None:
    yard, executor = slow
    await yard.submit("next", OBEDIENT + ENDS)
    await yard.reaches("next", "completed")
    assert [(a.stop_reason, a.stop_sent) for a in await yard.attempts("stuck")] == [(None, None)]
    assert executor.asked == 1
    executor.let.set()
    await eventually(lambda: has_failed(yard, "stuck"))
    [attempt] = await yard.attempts("stuck")
    assert (attempt.stop_reason, attempt.reason) == ("stalled", "stalled")
    [said] = await yard.feed("stuck", "message")
    assert said.data["text"].endswith("what it was doing is in attempts/1/stacks.txt")
    assert executor.asked == 1


@pytest.mark.parametrize("wish", [None, Cause.PAUSE_ASKED])
async def test_one_that_lives_again_while_it_is_looked_into_is_left_alone(
    slow: tuple[Yard, SlowDump], wish: Cause | None
) -> None:
    """And one that somebody has asked to leave meanwhile has left as asked."""
    yard, executor = slow
    executor.asked = 0
    await yard.submit("slow", OBEDIENT + "until('go')\n" + MOVES + ENDS, {"stall_timeout": 3})
    await eventually(executor.is_asked)
    if wish:
        await yard.ask("slow", wish)
    else:
        (yard.run("slow") / "go").touch()
        await eventually(lambda: has_moved(yard, "slow"))
    executor.let.set()
    await eventually(lambda: has_failed(yard, "stuck"))
    [attempt] = await yard.attempts("slow")
    assert (attempt.stop_reason, await yard.feed("slow", "message")) == (None, [])
    (yard.run("slow") / "end").touch()
    await yard.reaches("slow", "paused" if wish else "completed")


async def has_moved(yard: Yard, id_: str) -> bool:
    return bool(await yard.curve(id_))


async def test_an_engine_that_leaves_amid_a_look_leaves_it_to_the_next(slow: tuple[Yard, SlowDump]) -> None:
    yard, _ = slow
    async with asyncio.timeout(5):
        await yard.restart()
    await eventually(lambda: has_failed(yard, "stuck"))
    [attempt] = await yard.attempts("stuck")
    assert attempt.reason == "stalled"


async def has_failed(yard: Yard, id_: str) -> bool:
    return (await yard.job(id_)).state == "failed"


async def test_the_process_of_an_attempt_is_on_record(running: Yard) -> None:
    await running.submit("job", OBEDIENT + "until('go'); " + ENDS)

    async def recorded() -> bool:
        attempts = await running.attempts("job")
        return bool(attempts) and attempts[0].process is not None

    await eventually(recorded)
    [attempt] = await running.attempts("job")
    assert attempt.process == json.loads((running.run("job") / "attempts" / "1" / "process.json").read_text())
    (running.run("job") / "go").touch()
    await running.reaches("job", "completed")
    [attempt] = await running.attempts("job")
    assert attempt.released_at == attempt.ended_at is not None
