"""What a database can suffer: many processes at once, a copy made in the middle, connections that end, none left."""

import asyncio
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from runyard.db.database import Database
from runyard.testing.yard import OBEDIENT, Yard, eventually

ROOT = Path(__file__).parents[3]
STEPS = (
    OBEDIENT
    + """
step = 0
while not os.path.exists('go'):
    step += 1
    metric(step, loss=step)
    time.sleep(0.02)
say('finished', outcome='completed')
"""
)

on_postgresql = pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
on_sqlite = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)


@pytest.fixture
async def yard(database: Database, tmp_path: Path) -> AsyncIterator[Yard]:
    yard = Yard(database, tmp_path / "runs", grace_seconds=0.3)
    yield yard
    await yard.clean()


def test_eight_processes_on_one_sqlite_file_never_find_it_locked() -> None:
    """The long form: python bench/contention.py --processes 8 --seconds 60."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "contention.py"), "--seconds", "5"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["writes"] > 100
    assert (found["errors"], found["lost"], found["integrity"]) == (0, 0, "ok")


@on_sqlite
async def test_a_file_and_log_copied_in_the_middle_of_writes_are_whole(database: Database, tmp_path: Path) -> None:
    """As a power cut leaves them: the writer stands still at any moment."""
    yard = Yard(database, tmp_path / "runs")
    await yard.submit("counter")
    url = f"sqlite:///{database.url.database}"
    command = [sys.executable, str(ROOT / "bench" / "contention.py"), "--worker", url, "--seconds", "60"]
    path, last = Path(str(database.url.database)), 0
    with subprocess.Popen(command) as writer:  # noqa: ASYNC220 - returns at once
        await eventually(lambda: more(database, 0))
        for number in range(10):
            await asyncio.sleep(0.05 + 0.013 * number)
            await eventually(lambda last=last: more(database, last))
            copy = tmp_path / f"copy-{number}.db"
            writer.send_signal(signal.SIGSTOP)
            shutil.copyfile(path, copy)
            shutil.copyfile(f"{path}-wal", f"{copy}-wal")
            writer.send_signal(signal.SIGCONT)
            state, attempts, told = await asyncio.to_thread(look_at, copy)
            assert (state, attempts) == ("ok", told)
            assert attempts > last
            last = attempts
        writer.kill()


def look_at(path: Path) -> tuple[str, int, int]:
    connection = sqlite3.connect(path)
    (state,) = connection.execute("PRAGMA integrity_check").fetchone()
    (attempts,) = connection.execute("SELECT attempts FROM jobs").fetchone()
    (told,) = connection.execute("SELECT count(*) FROM events").fetchone()
    connection.close()
    return state, attempts, told


async def end_connections(database: Database) -> None:
    query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> "
    async with database.read() as session:
        await session.execute(text(query + "pg_backend_pid()"))


@on_postgresql
async def test_connections_that_are_ended_change_no_state(database: Database, database_url: str, yard: Yard) -> None:
    other = Database(database_url)
    yard.start()
    await yard.submit("job", STEPS)
    await yard.reaches("job", "running")
    for _ in range(5):
        seen = len(await yard.curve("job"))
        await end_connections(other)
        await eventually(lambda seen=seen: more(other, seen, "metrics"))
    await other.close()
    (yard.run("job") / "go").touch()
    await yard.reaches("job", "completed")
    assert await yard.states("job") == ["starting", "running", "completed"]
    told = [event.data["step"] for event in await yard.feed("job", "metric")]
    assert told == list(range(1, len(told) + 1))
    assert (yard.run("job") / "starts").read_text() == "x"


async def more(database: Database, count: int, table: str = "events") -> bool:
    async with database.read() as session:
        return int(await session.scalar(text(f"SELECT count(*) FROM {table}")) or 0) > count


@on_postgresql
async def test_when_no_connection_is_left_all_wait_and_none_is_lost(database: Database, yard: Yard) -> None:
    yard.start()
    await yard.submit("job", STEPS)
    await yard.reaches("job", "running")
    release = asyncio.Event()

    async def hold() -> None:
        async with database.read() as session:
            await session.execute(text("SELECT 1"))
            await release.wait()

    holding = [asyncio.create_task(hold()) for _ in range(20)]
    await asyncio.sleep(1)
    release.set()
    await asyncio.gather(*holding)
    (yard.run("job") / "go").touch()
    await yard.reaches("job", "completed")
    assert await yard.states("job") == ["starting", "running", "completed"]
