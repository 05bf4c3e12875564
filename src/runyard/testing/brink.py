"""Places between two steps of an engine, at which a test can hold it, have its commit seem lost, or let it die."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from copy import copy
from typing import Any, Literal

from runyard.db.database import Database, Session
from runyard.domain.errors import DatabaseDownError
from runyard.executors.base import Executor

Fate = Literal["hold", "break"]
EFFECTS = ("launch", "stop", "sweep")


class Brink:
    """Lets so many places pass; at the next one everybody waits, or one is told that the database is gone."""

    def __init__(self) -> None:
        self._left: int | None = None
        self._fate: Fate = "hold"
        self._open = asyncio.Event()
        self.reached = asyncio.Event()

    def set(self, places: int, fate: Fate) -> None:
        self._left, self._fate = places, fate
        self._open.clear()

    def thaw(self) -> None:
        self._left = None
        self.reached.clear()
        self._open.set()

    async def come(self, *, may_break: bool = False) -> None:
        if self._left is None:
            return
        if self._left > 0:
            self._left -= 1
            return
        if self._fate == "hold":
            self.reached.set()
            await self._open.wait()
        elif may_break:
            self._left = None
            raise DatabaseDownError


class BrinkDatabase(Database):
    """A place before every write and after every commit; `wrote` is called after each."""

    brink: Brink
    wrote: Callable[[], None]

    def through(self, brink: Brink, wrote: Callable[[], None]) -> "BrinkDatabase":
        """The same database, for another engine."""
        seen = copy(self)
        seen.brink, seen.wrote = brink, wrote
        return seen

    @asynccontextmanager
    async def write(self, *, tenant: str | None = None, long: bool = False) -> AsyncIterator[Session]:
        await self.brink.come(may_break=True)
        async with super().write(tenant=tenant, long=long) as session:
            yield session
        self.wrote()
        await self.brink.come(may_break=True)


class BrinkExecutor:
    """A place after everything that is asked of an executor; `act` is called before what changes something there."""

    def __init__(self, executor: Executor, brink: Brink, act: Callable[[str, Any], None]) -> None:
        self._executor, self._brink, self._act = executor, brink, act
        self.name = executor.name

    def __getattr__(self, verb: str) -> Any:
        async def ask(*args: Any) -> Any:
            if verb in EFFECTS:
                self._act(verb, args[0])
            answer = await getattr(self._executor, verb)(*args)
            await self._brink.come()
            return answer

        return ask
