"""Nothing is started on a disk that is nearly full; it goes on by itself when there is room again."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from runyard.db.database import Database
from runyard.services.context import Context as Limits
from runyard.testing.executor_contract import is_gone
from runyard.testing.yard import Yard, appears, eventually

MEGABYTE = 1_000_000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 16 MB, where this user may make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("making a small disk needs root")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
async def yard(database: Database, disk: Path) -> AsyncIterator[Yard]:
    yard = Yard(database, disk / "runs", limits=Limits(home=disk, min_free=8 * MEGABYTE))
    yield yard
    await yard.clean()


async def test_starts_are_held_with_the_reason_until_there_is_room(yard: Yard, disk: Path) -> None:
    (disk / "filler").write_bytes(bytes(12 * MEGABYTE))
    yard.start()
    await yard.submit("a", "say('finished', outcome='completed')")
    await yard.submit("b", "say('finished', outcome='completed')", priority="high")

    async def told() -> bool:
        return all([(await yard.job(id_)).wait_cause for id_ in "ab"])

    await eventually(told)
    for id_ in "ab":
        job = await yard.job(id_)
        assert (job.state, job.wait_cause) == (
            "queued",
            "the server's disk is nearly full: 8.0 MB must stay free",
        )
    assert [event.data["position"] for event in await yard.feed("b", "queue")] == [1]
    (disk / "filler").unlink()
    yard.engine.wake()
    await yard.reaches("a", "completed")
    await yard.reaches("b", "completed")


async def test_what_runs_already_is_left_alone(yard: Yard, disk: Path) -> None:
    yard.start()
    await yard.submit("a", "say('phase', phase='training')\nuntil('go')\nsay('finished', outcome='completed')")
    await yard.reaches("a", "running")
    (disk / "filler").write_bytes(bytes(12 * MEGABYTE))
    await yard.submit("b")

    async def told() -> bool:
        return "must stay free" in ((await yard.job("b")).wait_cause or "")

    await eventually(told)
    (yard.run("a") / "go").touch()
    await yard.reaches("a", "completed")


async def test_a_disk_that_is_full_at_the_start_is_not_the_jobs_failure(database: Database, disk: Path) -> None:
    yard = Yard(database, disk / "runs", limits=Limits(home=disk, min_free=0))
    fill(disk)
    yard.start()
    await yard.submit("a", "say('finished', outcome='completed')")
    await yard.reaches("a", "queued", after="starting")
    (disk / "filler").unlink()
    job = await yard.reaches("a", "completed")
    first, *_ = await yard.attempts("a")
    assert (first.reason, first.exit_code) == ("not_started", None)
    assert "No space left on device" in (first.message or "")
    assert job.reason is None
    await yard.clean()


async def test_an_exit_on_a_full_disk_is_recorded_when_there_is_room(database: Database, disk: Path) -> None:
    yard = Yard(database, disk / "runs", limits=Limits(home=disk, min_free=0))
    yard.start()
    await yard.submit("a", "open('ready', 'w'); until('go'); sys.exit(7)")
    await appears(yard.run("a") / "ready")
    fill(disk)
    (yard.run("a") / "go").touch()
    record = yard.run("a") / "attempts" / "1" / "process.json"
    trainer = json.loads(record.read_text())["trainer"]["pid"]
    await eventually(lambda: asyncio.to_thread(is_gone, trainer))
    await asyncio.sleep(0.5)
    assert (await yard.job("a")).state in ("starting", "running")
    (disk / "filler").unlink()
    await yard.reaches("a", "failed")
    assert [attempt.exit_code for attempt in await yard.attempts("a")] == [7]
    await yard.clean()


def fill(disk: Path) -> None:
    with (disk / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(4096))
