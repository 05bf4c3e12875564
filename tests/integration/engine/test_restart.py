"""The server dies, and nothing of a job does."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from runyard.db.database import Database
from runyard.db.queries import attempts
from runyard.domain.lifecycle import Cause
from runyard.domain.placement import Machine
from runyard.protocol.rundir import RunDir
from runyard.services.logs import Reader
from runyard.testing.executor_contract import is_gone
from runyard.testing.yard import OBEDIENT, STUBBORN, Yard, appears, eventually

SERVER = """
import asyncio, sys
from pathlib import Path
from runyard.db.database import Database
from runyard.testing.yard import make_context
from runyard.engine.engine import Engine

async def serve():
    await Engine(make_context(Database(sys.argv[1]), Path(sys.argv[2]))).run()

asyncio.run(serve())
"""
STEPS = """
say("phase", phase="training")
for step in range(1, 31):
    metric(step, loss=step)
    if step == 10:
        until("half")
    if step == 20:
        until("go")
"""


def pid_of(run: Path, which: str) -> int:
    return int(json.loads((run / "attempts" / "1" / "process.json").read_text())[which]["pid"])


@pytest.fixture
def engine_process(database_url: str, tmp_path: Path) -> subprocess.Popen[bytes]:
    """An engine in a process of its own, to be killed."""
    return subprocess.Popen([sys.executable, "-c", SERVER, database_url, str(tmp_path / "runs")])


async def has_step(yard: Yard, step: int) -> bool:
    return step in await yard.curve("job")


def kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


async def test_a_killed_server_is_followed_by_one_that_goes_on_with_the_curve(
    engine_process: subprocess.Popen[bytes], yard: Yard
) -> None:
    await yard.submit("job", STEPS + "say('finished', outcome='completed')")
    await yard.reaches("job", "running")
    kill(engine_process)
    yard.start()
    (yard.run("job") / "half").touch()
    await eventually(lambda: has_step(yard, 20))
    assert [attempt.lease_token for attempt in await yard.attempts("job")] == [yard.context.token]
    (yard.run("job") / "go").touch()
    await yard.reaches("job", "completed")
    assert await yard.curve("job") == {step: step for step in range(1, 31)}
    assert [len(await yard.feed("job", type_)) for type_ in ("phase", "metric", "finished")] == [1, 30, 1]
    assert (yard.run("job") / "starts").read_text() == "x"
    assert [attempt.exit_code for attempt in await yard.attempts("job")] == [0]


@pytest.mark.parametrize(
    ("end", "state", "code"),
    [("sys.exit(3)", "failed", 3), ("os.kill(os.getpid(), 9)", "failed", 137), ("", "completed", 0)],
)
async def test_an_exit_that_nobody_saw_is_read_afterwards(yard: Yard, end: str, state: str, code: int) -> None:
    yard.start()
    await yard.submit("job", f"say('phase', phase='training'); until('go')\nmetric(1, loss=1)\n{end}")
    await yard.reaches("job", "running")
    await yard.stop()
    (yard.run("job") / "go").touch()
    await appears(yard.run("job") / "attempts" / "1" / "exit.json")
    await yard.restart()
    await yard.reaches("job", state)
    assert [attempt.exit_code for attempt in await yard.attempts("job")] == [code]
    assert await yard.curve("job") == {1: 1}


async def test_a_trainer_that_was_started_but_not_written_down_is_found(yard: Yard) -> None:
    """The server died between the start of the process and the commit of its handle."""
    yard.start()
    await yard.submit("job", OBEDIENT + "until('go'); say('finished', outcome='completed')")
    await yard.reaches("job", "running")
    await yard.stop()
    await forget_handle(yard)
    await yard.restart()
    (yard.run("job") / "go").touch()
    await yard.reaches("job", "completed")
    assert (yard.run("job") / "starts").read_text() == "x"


async def test_one_that_was_not_written_down_is_found_to_be_cancelled_too(yard: Yard) -> None:
    yard.start()
    await yard.submit("job", OBEDIENT + "until('never')")
    await yard.reaches("job", "running")
    await yard.stop()
    await forget_handle(yard)
    await yard.ask("job", Cause.CANCEL_ASKED)
    await yard.restart()
    await yard.reaches("job", "cancelled")
    assert is_gone(pid_of(yard.run("job"), "trainer"))


async def forget_handle(yard: Yard) -> None:
    async with yard.database.write() as session:
        [attempt] = await attempts.of_job(session, "job")
        attempt.handle = None


async def test_one_that_was_meant_to_start_and_did_not_is_started(yard: Yard) -> None:
    """The server died between the commit of the intent and the start of the process."""
    await yard.submit("job", "say('finished', outcome='completed')")
    await yard.engine.scheduler.tick()
    await yard.restart()
    await yard.reaches("job", "completed")
    assert (yard.run("job") / "starts").read_text() == "x"


async def test_a_cancel_outlives_the_server(yard: Yard) -> None:
    yard.start()
    await yard.submit("job", STUBBORN + "open('ready', 'w'); until('never')")
    await appears(yard.run("job") / "ready")
    await yard.ask("job", Cause.CANCEL_ASKED)
    await appears(yard.run("job") / "stop")
    await yard.restart()
    await yard.reaches("job", "cancelled")
    assert [(a.exit_code, a.exit_signal) for a in await yard.attempts("job")] == [(137, 9)]


async def test_a_wish_made_while_no_server_ran_is_granted(yard: Yard) -> None:
    yard.start()
    await yard.submit("job", OBEDIENT + "until('never')")
    await yard.reaches("job", "running")
    await yard.stop()
    await yard.ask("job", Cause.PAUSE_ASKED)
    await yard.restart()
    await yard.reaches("job", "paused")


async def test_a_job_without_wrapper_is_still_looked_after(yard: Yard) -> None:
    yard.start()
    await yard.submit("job", OBEDIENT + "until('go'); metric(1, loss=1); say('finished', outcome='completed')")
    await yard.reaches("job", "running")
    os.kill(pid_of(yard.run("job"), "wrapper"), signal.SIGKILL)
    await yard.restart()
    await asyncio.sleep(0.3)
    assert (await yard.job("job")).state == "running"
    (yard.run("job") / "go").touch()
    await yard.reaches("job", "completed")
    assert await yard.curve("job") == {1: 1}


async def test_a_job_without_wrapper_that_ignores_the_signal_is_killed_by_the_server(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runyard.engine.supervisor.MARGIN_SECONDS", 0.1)
    yard.start()
    await yard.submit("job", STUBBORN + "until('never')")
    await yard.reaches("job", "running")
    os.kill(pid_of(yard.run("job"), "wrapper"), signal.SIGKILL)
    await yard.ask("job", Cause.CANCEL_ASKED)
    await yard.reaches("job", "cancelled")
    assert is_gone(pid_of(yard.run("job"), "trainer"))


async def test_a_job_whose_processes_are_all_gone_is_lost(yard: Yard) -> None:
    yard.start()
    await yard.submit("job", "say('phase', phase='training'); until('never')")
    await yard.reaches("job", "running")
    await yard.stop()
    for which in ("wrapper", "trainer"):
        os.kill(pid_of(yard.run("job"), which), signal.SIGKILL)
    await yard.restart()
    job = await yard.reaches("job", "failed")
    assert job.reason == "lost"
    assert job.message == "the trainer was lost: its process is gone and left no exit record"


async def test_a_restarted_machine_is_said_so(yard: Yard) -> None:
    yard.start()
    await yard.submit("job", "say('phase', phase='training'); until('go')")
    await yard.reaches("job", "running")
    await yard.stop()
    path = yard.run("job") / "attempts" / "1" / "process.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"boot_id": "the one before"}))
    await yard.restart()
    job = await yard.reaches("job", "failed")
    assert (job.reason, job.message) == ("machine_restarted", "its machine was restarted while it ran")
    [attempt], moves = await yard.attempts("job"), await yard.moves("job")
    assert (attempt.reason, moves[-1].reason) == ("machine_restarted", "machine_restarted")


async def test_what_can_not_be_found_out_changes_nothing_and_is_said_once(yard: Yard) -> None:
    yard.start()
    await yard.submit("job", "say('phase', phase='training'); until('go')")
    await yard.submit("next", "pass")
    await yard.reaches("job", "running")
    path = yard.run("job") / "attempts" / "1" / "process.json"
    content = path.read_bytes()
    path.write_text("{")
    await eventually(lambda: yard.feed("job", "message"))
    await asyncio.sleep(0.3)
    [said] = await yard.feed("job", "message")
    assert "can't find out whether the trainer is alive" in said.data["text"]
    assert ((await yard.job("job")).state, (await yard.job("next")).state) == ("running", "queued")
    path.write_bytes(content)
    (yard.run("job") / "go").touch()
    await yard.reaches("next", "completed")


async def test_an_engine_that_was_followed_stands_down(yard: Yard, database: Database) -> None:
    """Another takes its attempts over; what it then writes is dropped."""
    await yard.submit("job", "say('phase', phase='training'); until('go'); metric(1, loss=1)")
    await yard.engine.scheduler.tick()
    await yard.engine.supervisor.tick()
    other = Yard(database, yard.context.runs)
    await other.engine.supervisor.tick()
    assert [attempt.lease_token for attempt in await yard.attempts("job")] == [other.context.token]
    (yard.run("job") / "go").touch()
    await appears(yard.run("job") / "attempts" / "1" / "exit.json")
    await yard.engine.ingest.tick()
    assert (await yard.job("job")).state == "starting"
    assert await yard.curve("job") == {}
    other.start()
    await other.reaches("job", "completed")
    assert await yard.curve("job") == {1: 1}
    await other.stop()


@pytest.mark.parametrize("ticks", [0, 40])
async def test_downtime_changes_nothing(yard: Yard, ticks: int) -> None:
    """Jobs that ran, paused, were being cancelled or waited when the server ended are so when it comes again."""
    await yard.restart(machine=Machine(slots=3), grace_seconds=5.0)
    for id_ in ("runs", "pauses", "ends"):
        await yard.submit(id_, STUBBORN + "open('ready', 'w'); until('go'); leave()")
        await appears(yard.run(id_) / "ready")
        await yard.reaches(id_, "running")
    await yard.submit("waits", OBEDIENT + "say('finished', outcome='completed')")
    await yard.ask("pauses", Cause.PAUSE_ASKED)
    await yard.ask("ends", Cause.CANCEL_ASKED)
    await appears(yard.run("ends") / "stop")
    await yard.stop()
    for _ in range(ticks):
        await asyncio.sleep(0.01)
    states = [(await yard.job(id_)).state for id_ in ("runs", "pauses", "ends", "waits")]
    assert states == ["running", "pausing", "cancelling", "queued"]
    await yard.restart()
    for id_ in ("pauses", "ends"):
        (yard.run(id_) / "go").touch()
    await yard.reaches("pauses", "paused")
    await yard.reaches("ends", "cancelled")
    await yard.reaches("waits", "completed")
    assert (await yard.job("runs")).state == "running"
    assert {id_: len((yard.run(id_) / "starts").read_text()) for id_ in ("runs", "pauses", "ends", "waits")} == {
        "runs": 1, "pauses": 1, "ends": 1, "waits": 1,
    }  # fmt: skip


@pytest.mark.parametrize("lines", [1, 1000, 20_000])
async def test_the_log_of_a_killed_trainer_is_what_it_wrote(running: Yard, lines: int) -> None:
    code = f"""
ledger = open("ledger", "ab", buffering=0)
number = 0
while True:
    number += 1
    line = b"%d %s\\n" % (number, b"x" * (number % 200))
    os.write(1, line)
    ledger.write(line)
    if number == {lines}:
        open("ready", "w")
"""
    await running.submit("job", code)
    await appears(running.run("job") / "ready")
    os.kill(pid_of(running.run("job"), "trainer"), signal.SIGKILL)
    await running.reaches("job", "failed")
    whole, _, _ = (running.run("job") / "ledger").read_bytes().rpartition(b"\n")  # a kill cuts a write at a page's end
    written = whole.decode().splitlines()
    reader = Reader(RunDir(running.run("job")), "stdout")
    found = []
    while more := reader.read(ended=True):
        found += more
    assert found[: len(written)] == written
    assert len(found) - len(written) <= 1
