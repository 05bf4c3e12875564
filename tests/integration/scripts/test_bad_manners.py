"""Scripts that shout, flood, daemonise, or do not listen: each to its defined end, and the job beside it untouched.

`pytest tests/integration/scripts/test_bad_manners.py --long` writes a gigabyte, and metrics for a minute.
"""

import asyncio
import json
import time
import tracemalloc
from pathlib import Path

import pytest
from sqlalchemy import func, select

from runyard.db.tables import FeedEvent
from runyard.domain.lifecycle import Cause
from runyard.executors import wrapper
from runyard.protocol.rundir import RunDir
from runyard.services.logs import Reader
from runyard.testing.pauses import pauses
from runyard.testing.yard import Yard, appears, eventually

LINE = 128
STREAMED = 16 << 20
"""Memory that reading a log may take, whatever its size."""

DAEMON = """
import os, pathlib, signal, time
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pathlib.Path("daemon").write_text(str(os.getpid()))
    while True:
        time.sleep(1)
while not pathlib.Path("daemon").exists() or not pathlib.Path("daemon").read_text():
    time.sleep(0.01)
pathlib.Path("ready").touch()
"""


def is_gone(pid: str) -> bool:
    fields = wrapper.stat_fields(int(pid))
    return fields is None or fields[0] == "Z"


async def a_job_beside_it_completes(yard: Yard) -> None:
    await yard.submit_script("neighbour", "print('hello')")
    began = time.monotonic()
    await yard.reaches("neighbour", "completed")
    assert time.monotonic() - began < 10


@pytest.fixture
def is_long(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--long", default=False))


async def completes(yard: Yard, id_: str) -> None:
    async with asyncio.timeout(600):
        while True:
            if (await yard.job(id_)).state == "completed":
                return
            await asyncio.sleep(0.05)


async def test_a_huge_log_is_kept_whole_and_read_piece_by_piece(yard: Yard, is_long: bool) -> None:
    megabytes = 1024 if is_long else 64
    code = f"""
import sys
block = (("x" * {LINE - 1}) + "\\n") * ({1 << 20} // {LINE})
for _ in range({megabytes}):
    sys.stdout.write(block)
print("the last line")
"""
    await yard.submit_script("job", code)
    await a_job_beside_it_completes(yard)
    await completes(yard, "job")
    rundir = RunDir(yard.run("job"))
    assert (rundir.attempt(1) / "stdout.log").stat().st_size == (megabytes << 20) + len("the last line\n")
    tracemalloc.start()
    try:
        tail, whole = await asyncio.to_thread(read, rundir)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(tail) == 50
    assert tail[-1] == "the last line"
    assert whole == (megabytes << 20) // LINE + 1
    assert peak < STREAMED


def read(rundir: RunDir) -> tuple[list[str], int]:
    """The last lines, and how many lines there are when all are read."""
    reader = Reader(rundir, "stdout")
    reader.skip_to_tail(50)
    tail = reader.read(ended=True)
    reader = Reader(rundir, "stdout")
    count = 0
    while lines := reader.read(ended=True):
        count += len(lines)
    return tail, count


async def test_thousands_of_metrics_a_second_arrive_once_each(yard: Yard, is_long: bool) -> None:
    steps = 600_000 if is_long else 20_000
    code = f"import runyard\nfor step in range({steps}):\n    runyard.metric(step, loss=1.0)"
    await yard.submit_script("job", code)
    await yard.reaches("job", "running")
    async with pauses() as seen:
        await a_job_beside_it_completes(yard)
        await completes(yard, "job")
    async with yard.database.read() as session:
        is_metric = (FeedEvent.job_id == "job", FeedEvent.type == "metric")
        assert await session.scalar(select(func.count()).where(*is_metric)) == steps
    assert set(await yard.curve("job")) == set(range(steps))
    assert max(seen) < 1.0, "the server must answer meanwhile"


@pytest.mark.parametrize("ending", ["by itself", "cancelled"])
async def test_a_daemon_ends_with_its_job(yard: Yard, tmp_path: Path, ending: str) -> None:
    """At once: whoever gave it the time that a job has to leave would not see the end of this test."""
    await yard.restart(grace_seconds=600)
    await yard.submit_script("job", DAEMON + ("" if ending == "by itself" else "while True: time.sleep(1)"))
    await appears(tmp_path / "ready")
    daemon = (tmp_path / "daemon").read_text()
    if ending == "cancelled":
        await yard.ask("job", Cause.CANCEL_ASKED)
    await yard.reaches("job", "completed" if ending == "by itself" else "cancelled")
    assert is_gone(daemon)
    assert json.loads((RunDir(yard.run("job")).attempt(1) / "exit.json").read_text())["left"] == []
    await a_job_beside_it_completes(yard)


async def test_one_that_ignores_the_request_is_killed_when_its_time_is_over(yard: Yard, tmp_path: Path) -> None:
    code = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + DAEMON + "while True: time.sleep(1)"
    await yard.submit_script("job", code)
    await appears(tmp_path / "ready")
    daemon = (tmp_path / "daemon").read_text()
    await yard.ask("job", Cause.CANCEL_ASKED)
    await yard.reaches("job", "cancelled")
    assert is_gone(daemon)
    [attempt] = await yard.attempts("job")
    assert (attempt.stop_sent, attempt.exit_signal) == ("discard", 9), "by its wrapper, before the engine steps in"
    await eventually(lambda: asyncio.to_thread(is_gone, daemon))
