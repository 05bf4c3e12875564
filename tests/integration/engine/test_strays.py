"""Nothing is left behind, and nothing of others is touched."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runyard.domain.lifecycle import Cause
from runyard.engine import strays
from runyard.executors import cgroups, wrapper
from runyard.executors.launcher import NONCE_VARIABLE
from runyard.testing.executor_contract import is_gone
from runyard.testing.yard import OBEDIENT, STUBBORN, Yard, appears, eventually

ENDS = "say('finished', outcome='completed')"
ESCAPES = """
child = os.fork()
if child == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    open("fleeing", "w").write(str(os.getpid()))
    os.rename("fleeing", "escaped")
    until("never")
os.waitpid(child, 0)
until("escaped")
"""


@pytest.fixture
def stray(request: pytest.FixtureRequest) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that a test starts with a nonce; those that live are ended after it."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


def start_with(nonce: str, started: list[subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    code = "import time; print('ready', flush=True); time.sleep(60)"
    environment = {NONCE_VARIABLE: nonce}
    process = subprocess.Popen([sys.executable, "-S", "-c", code], env=environment, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    started.append(process)
    return process


@pytest.mark.parametrize("way", [Cause.CANCEL_ASKED, Cause.PAUSE_ASKED])
async def test_a_child_that_ran_away_is_gone_with_its_job(running: Yard, way: Cause) -> None:
    """Forked twice, in a session of its own, deaf to SIGTERM."""
    await running.submit("job", OBEDIENT + ESCAPES + "until('never')")
    await appears(running.run("job") / "escaped")
    child = (running.run("job") / "escaped").read_text()
    assert not is_gone(child)
    await running.ask("job", way)
    began = time.monotonic()
    await running.reaches("job", "cancelled" if way == Cause.CANCEL_ASKED else "paused")
    assert is_gone(child)
    assert time.monotonic() - began < 10  # two seconds on a machine with nothing else to do


async def test_a_child_of_a_completed_job_is_gone_too(running: Yard) -> None:
    await running.submit("job", OBEDIENT + ESCAPES + ENDS)
    await running.reaches("job", "completed")
    assert is_gone((running.run("job") / "escaped").read_text())


async def test_what_an_ended_attempt_left_is_swept_and_strangers_are_not(
    running: Yard, stray: list[subprocess.Popen[bytes]]
) -> None:
    await running.submit("done", ENDS)
    await running.submit("works", OBEDIENT + "until('go'); " + ENDS)
    await running.reaches("works", "running")
    [done], [works] = await running.attempts("done"), await running.attempts("works")
    left = start_with(done.id, stray)
    stranger = start_with("of another server", stray)
    helper = start_with(works.id, stray)
    await running.restart()
    assert await asyncio.to_thread(left.wait, 30) == -signal.SIGKILL
    assert (stranger.poll(), helper.poll()) == (None, None)

    async def said() -> bool:
        return bool(await running.feed("done", "message"))

    await eventually(said)
    [message] = await running.feed("done", "message")
    assert (message.data["level"], message.data["text"]) == ("warning", "ended what attempt 1 had left running")
    assert not await running.feed("works", "message")
    (running.run("works") / "go").touch()
    await running.reaches("works", "completed")


async def test_an_empty_cgroup_that_was_left_is_removed_and_no_other(running: Yard) -> None:
    """Its wrapper was killed before it could remove it; nothing runs there, so nobody is told."""
    if missing := cgroups.missing():
        pytest.skip(missing)
    await running.submit("done", ENDS)
    await running.submit("works", OBEDIENT + "until('go'); " + ENDS)
    await running.reaches("works", "running")
    [done], [works] = await running.attempts("done"), await running.attempts("works")
    [place] = cgroups.of(works.id)
    left, stranger = place.with_name(f"runyard-{done.id}"), place.with_name(f"runyard-not-{done.id}")
    await running.reaches("done", "completed")
    await eventually(lambda: asyncio.to_thread(lambda: not left.exists()))  # its own wrapper has gone
    left.mkdir()
    stranger.mkdir()
    try:
        await running.restart()
        await eventually(lambda: asyncio.to_thread(lambda: not left.exists()))
        assert stranger.is_dir()
        assert place.is_dir()
    finally:
        stranger.rmdir()
    assert not await running.feed("done", "message")
    (running.run("works") / "go").touch()
    await running.reaches("works", "completed")


async def test_a_sweep_that_fails_holds_up_nothing(running: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken() -> set[str]:
        raise OSError("no /proc here")

    monkeypatch.setattr(running.context.executor, "running", broken)
    await strays.sweep(running.context)
    await running.submit("job", ENDS)
    await running.reaches("job", "completed")


async def test_no_zombie_is_left_by_many_jobs(running: Yard) -> None:
    for number in range(4):
        await running.submit(f"job{number}", ENDS if number % 2 else "os.kill(os.getpid(), 9)")
    for number in range(4):
        await running.reaches(f"job{number}", "completed" if number % 2 else "failed")
    wrappers = [pid_of(running.run(f"job{number}")) for number in range(4)]
    assert [wrapper.stat_fields(pid) for pid in wrappers] == [None] * 4


def pid_of(run: Path) -> int:
    pid: int = json.loads((run / "attempts" / "1" / "process.json").read_text())["wrapper"]["pid"]
    return pid


async def test_a_running_job_is_taken_up_again_in_the_first_tick(yard: Yard) -> None:
    """One look of each loop, with no pause between them, so that it takes what a few queries take."""
    yard.start()
    await yard.submit("job", STUBBORN + "metric(1, loss=1); until('half'); metric(2, loss=2); until('go'); " + ENDS)
    await yard.reaches("job", "running")
    await yard.stop()
    (yard.run("job") / "half").touch()
    await eventually(lambda: has_line(yard.run("job") / "events.jsonl", '"step": 2'))
    await yard.restart()
    await yard.stop()
    await yard.engine.supervisor.tick()
    await yard.engine.ingest.tick()
    assert await yard.curve("job") == {1: 1, 2: 2}
    [attempt] = await yard.attempts("job")
    assert attempt.lease_token == yard.context.token
    (yard.run("job") / "go").touch()
    await appears(yard.run("job") / "attempts" / "1" / "exit.json")
    await yard.engine.supervisor.tick()
    assert (await yard.job("job")).state == "completed"


async def has_line(path: Path, words: str) -> bool:
    return words in await asyncio.to_thread(path.read_text)
