"""A look at the yard for those who measure it; looks that follow each other closely share one."""

import asyncio
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from runyard.db.database import Database
from runyard.db.queries import figures, leaders
from runyard.schemas.system import GpuRead
from runyard.server.meters import Meters

SECONDS = 5.0
"""So old the figures of the yard may be; those of the server itself are as they are."""
PAGE = 1000

log = logging.getLogger(__name__)


@dataclass
class Scrape:
    database: Database
    home: Path
    gpus: Callable[[], Sequence[GpuRead]]
    clock: Callable[[], float]
    meters: Meters = field(default_factory=Meters)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _fresh_until: float = float("-inf")
    _counted: int | None = None
    """The last change of a job that was counted: those since this process began are."""

    async def run(self) -> None:
        """Measure what nobody asks for, until cancelled; counting begins now."""
        async with self._turn:
            await self._look()
        await self.meters.run()

    async def text(self) -> bytes:
        """All that is measured."""
        async with self._turn:
            now = asyncio.get_running_loop().time()
            if now >= self._fresh_until:
                await self._look()
                self._fresh_until = now + SECONDS
        return await asyncio.to_thread(self.meters.text)

    async def _look(self) -> None:
        """Nothing of it is looked at in the event loop, where everybody else would wait."""
        meters = self.meters
        disk = await asyncio.to_thread(shutil.disk_usage, self.home)
        meters.disk_free.set(disk.free)
        meters.disk_total.set(disk.total)
        meters.read_gpus(await asyncio.to_thread(self.gpus))
        try:
            await self._ask()
        except Exception as error:  # noqa: BLE001 - whatever the database's driver raises: the rest is told all the same
            log.warning("the database can't be measured: %s", error)
            meters.database_up.set(0)
        else:
            meters.database_up.set(1)

    async def _ask(self) -> None:
        meters = self.meters
        async with self.database.read(long=True) as session:
            line, leader = await figures.line(session), await leaders.seen(session)
            meters.undelivered.set(await figures.undelivered(session))
            if self._counted is None:
                self._counted = await figures.last_change(session)
            while changes := await figures.changes(session, self._counted, PAGE):
                meters.count_changes(changes)
                self._counted = changes[-1].id
        meters.count_jobs(line.by_state, 0.0 if line.oldest is None else max(0.0, self.clock() - line.oldest))
        meters.engine_alive.set(leader is not None and leader.alive)
