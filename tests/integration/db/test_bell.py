"""While a process can't hear of the others' commits, it finds them by looking."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from runyard.db.bell import CHANNEL, Bell
from runyard.db.database import Database
from runyard.db.queries import events
from runyard.server.feed import Hub
from runyard.testing.yard import SECONDS, Yard, eventually

pytestmark = pytest.mark.parametrize("backend", ["postgresql"], indirect=True)


class HardOfHearing(Database):
    """Everything works but the connection for what others tell, while `is_deaf`."""

    is_deaf = False

    @asynccontextmanager
    async def driver_connection(self) -> AsyncIterator[Any]:
        if self.is_deaf:
            raise ConnectionRefusedError("no connection to listen with")
        async with super().driver_connection() as connection:
            yield connection


class Breaking(Database):
    """The first connection breaks when there is something to be rung."""

    has_broken = False

    @asynccontextmanager
    async def driver_connection(self) -> AsyncIterator[Any]:
        async with super().driver_connection() as connection:
            yield Fragile(self, connection)


class Fragile:
    def __init__(self, database: Breaking, connection: Any) -> None:
        self._database, self._connection = database, connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def execute(self, query: str, channel: str, topic: str, **options: Any) -> None:
        if topic and not self._database.has_broken:
            self._database.has_broken = True
            raise ConnectionResetError("broken in the middle of it")
        await self._connection.execute(query, channel, topic, **options)


class Listener:
    """A process that reads the feed, and counts how often it is told to."""

    def __init__(self, url: str) -> None:
        self.database = HardOfHearing(url)
        self.hub = Hub(self.database)
        self.told = 0
        self.steps: list[int] = []
        self.bell = Bell(self.database, {"feed": self._hear, "work": self._hear})

    def _hear(self) -> None:
        self.told += 1
        self.hub.notify()

    async def follow(self) -> None:
        async for batch in self.hub.follow(0, "main"):
            self.steps += [int(entry.text.partition(b'"step":')[2].rstrip(b"}")) for entry in batch]

    async def go_deaf(self) -> None:
        self.database.is_deaf = True
        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query = "
        async with self.database.read() as session:
            ended = (await session.scalars(text(query + ":query"), {"query": f'LISTEN "{CHANNEL}"'})).all()
        assert ended, "somebody listened"


@pytest.fixture
async def running() -> AsyncIterator[Any]:
    """Starts what runs until the test is over."""
    async with AsyncExitStack() as stack:

        def start(*coroutines: Any) -> None:
            for task in map(asyncio.create_task, coroutines):
                stack.push_async_callback(asyncio.gather, task, return_exceptions=True)
                stack.callback(task.cancel)

        yield start


async def test_the_feed_goes_on_while_nothing_is_heard(database: Database, database_url: str, running: Any) -> None:
    await Yard(database, Path("runs")).submit("job")
    listener, bell = Listener(database_url), Bell(database, {})
    await listener.hub.start()
    running(bell.run(), listener.bell.run(), listener.hub.run(), listener.follow())

    async def tell(step: int) -> None:
        async with database.write() as session:
            await events.append(session, "job", 0.0, "metric", {"step": step})
        bell.ring("feed")

    await eventually(lambda: is_so(listener.told == 2))  # the connection stands
    await tell(1)
    await eventually(lambda: is_so(listener.told == 3 and listener.steps == [1]))
    await listener.go_deaf()
    for step in (2, 3):
        await tell(step)
        await eventually(lambda step=step: is_so(listener.steps[-1] == step))
    assert listener.told == 3, "by looking alone"
    listener.database.is_deaf = False
    await eventually(lambda: is_so(listener.told == 5))
    await tell(4)
    await eventually(lambda: is_so(listener.told == 6 and listener.steps == [1, 2, 3, 4]))
    await listener.database.close()


async def test_jobs_are_started_while_nothing_is_heard(
    database: Database, database_url: str, tmp_path: Path, running: Any
) -> None:
    """The engine looks by itself every few seconds."""
    listener = HardOfHearing(database_url)
    engine, submitting = Yard(listener, tmp_path / "runs"), Yard(database, tmp_path / "runs")
    listener.is_deaf = True
    running(Bell(listener, {"work": engine.engine.wake}).run())
    engine.start()
    await submitting.submit("job", "say('finished', outcome='completed')")
    async with asyncio.timeout(SECONDS):
        await engine.reaches("job", "completed")
    await engine.clean()
    await listener.close()


async def test_what_rang_while_the_connection_broke_rings_again(
    database: Database, database_url: str, running: Any
) -> None:
    listener, breaking = Listener(database_url), Breaking(database_url)
    bell = Bell(breaking, {})
    running(bell.run(), listener.bell.run())
    await eventually(lambda: is_so(listener.told == 2))  # the connection stands
    bell.ring("feed", "work")
    await eventually(lambda: is_so(listener.told == 4))
    assert breaking.has_broken
    await listener.database.close()
    await breaking.close()


async def is_so(value: object) -> object:
    return value
