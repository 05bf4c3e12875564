"""SQLite in the event loop's own thread: what is short is done at once, and what is not keeps nobody waiting."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from runyard.db import database as module
from runyard.db import sqlite
from runyard.db.database import Database

COUNT = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000000) SELECT count(*) FROM n"


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'runyard.db'}")
    async with database.write() as session:
        await session.execute(text("CREATE TABLE notes (text TEXT)"))
    yield database
    await database.close()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """By a connection that knows nothing of ours, as another process has."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


async def note(database: Database, words: str) -> None:
    async with database.write() as session:
        await session.execute(text("INSERT INTO notes VALUES (:words)"), {"words": words})


async def notes(database: Database) -> int:
    async with database.read() as session:
        return int(await session.scalar(text("SELECT count(*) FROM notes")) or 0)


async def test_who_waits_for_the_lock_of_another_process_lets_all_others_go_on(
    database: Database, tmp_path: Path
) -> None:
    with locked(tmp_path / "runyard.db"):
        writing = asyncio.create_task(note(database, "late"))
        for _ in range(20):
            await asyncio.sleep(0.01)
            assert await notes(database) == 0
        assert not writing.done()
    await writing
    assert await notes(database) == 1


async def test_a_lock_that_is_never_let_go_ends_the_wait_with_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUSY_SECONDS", 0.2)
    database = Database(f"sqlite:///{tmp_path / 'runyard.db'}")
    async with database.write() as session:
        await session.execute(text("CREATE TABLE notes (text TEXT)"))
    with locked(tmp_path / "runyard.db"), pytest.raises(OperationalError, match="locked"):
        await note(database, "never")
    await note(database, "after all")
    assert await notes(database) == 1
    await database.close()


async def test_a_write_that_is_cancelled_while_it_waits_leaves_nothing_behind(
    database: Database, tmp_path: Path
) -> None:
    with locked(tmp_path / "runyard.db"):
        writing = asyncio.create_task(note(database, "cancelled"))
        await asyncio.sleep(0.05)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
    await note(database, "next")
    assert await notes(database) == 1


async def test_a_long_read_keeps_nobody_waiting(database: Database) -> None:
    async def look_long() -> int:
        async with database.read(long=True) as session:
            return int(await session.scalar(text(COUNT)) or 0)

    looking = asyncio.create_task(look_long())
    for number in range(10):
        await note(database, str(number))
        await asyncio.sleep(0)
    assert await notes(database) == 10
    assert not looking.done()
    assert await looking == 5_000_000


async def test_a_long_read_does_not_wait_for_what_else_is_done_in_threads(database: Database) -> None:
    done = threading.Event()
    busy = [asyncio.create_task(asyncio.to_thread(done.wait)) for _ in range(40)]
    await asyncio.sleep(0)
    try:
        async with asyncio.timeout(10), database.read(long=True) as session:
            assert await session.scalar(text("SELECT 7")) == 7
    finally:
        done.set()
    await asyncio.gather(*busy)


async def test_who_reads_long_keeps_no_writer_waiting(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHECKPOINT_WRITES", 1)
    async with AsyncExitStack() as stack:
        for _ in range(15):  # as many as there are connections for them
            session = await stack.enter_async_context(database.read(long=True))
            await session.execute(text("SELECT count(*) FROM notes"))
        async with asyncio.timeout(10):
            await note(database, "not late")
    assert await notes(database) == 1


async def test_a_long_read_that_nobody_waits_for_any_more_ends_at_once(database: Database) -> None:
    async def look(sql: str) -> int:
        async with database.read(long=True) as session:
            return int(await session.scalar(text(sql)) or 0)

    looking = asyncio.create_task(look(COUNT.replace("5000000", "5000000000000")))
    await asyncio.sleep(0.05)
    looking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await looking
    assert await look("SELECT 7") == 7


async def test_nobody_touches_the_connection_of_a_thread_that_is_at_work_however_often_it_is_cancelled(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those who serve streams cancel at every turn of the loop; a connection closed meanwhile would end the process."""
    at_work, done = threading.Event(), threading.Event()

    def bring(cursor: Any, sql: str, parameters: Any) -> None:
        at_work.set()
        done.wait(30)

    async def look() -> None:
        async with database.read(long=True) as session:
            await session.execute(text("SELECT 7"))

    with monkeypatch.context() as patch:
        patch.setattr(sqlite._LongCursor, "_bring", bring)
        looking = asyncio.create_task(look())
        await asyncio.to_thread(at_work.wait)
        for _ in range(5):
            looking.cancel()
            await asyncio.sleep(0.01)
            assert not looking.done()
        done.set()
        with pytest.raises(asyncio.CancelledError):
            await looking
    await look()


async def test_a_long_write_does_all_that_a_short_one_does(database: Database) -> None:
    notes_ = [{"words": str(number)} for number in range(1000)]
    async with database.write(long=True) as session:
        await session.execute(text("INSERT INTO notes VALUES (:words)"), notes_)
        gone = await session.execute(text("DELETE FROM notes WHERE text < '2' RETURNING text"))
        assert len(gone.all()) == 112
        assert (await session.execute(text("SELECT text FROM notes ORDER BY text"))).first() == ("2",)
        parts = (await session.execute(text("SELECT text FROM notes"))).partitions(300)
        assert [len(part) for part in parts] == [300, 300, 288]

    async def fail() -> None:
        async with database.write(long=True) as session:
            await session.execute(text("DELETE FROM notes"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await notes(database) == 888


async def test_a_mistake_in_a_long_statement_is_told_as_such(database: Database) -> None:
    with pytest.raises(OperationalError, match="no such table"):
        async with database.read(long=True) as session:
            await session.execute(text("SELECT 1 FROM letters"))


async def test_the_log_of_what_was_written_does_not_grow(database: Database, tmp_path: Path) -> None:
    """Each row fills five pages of 4 kB, so that all of them together would make it 16 MB."""
    for _ in range(3 * module.CHECKPOINT_WRITES + 1):
        await note(database, 20_000 * "x")
    assert (tmp_path / "runyard.db-wal").stat().st_size < 8_000_000
    assert (tmp_path / "runyard.db").stat().st_size > 14_000_000
