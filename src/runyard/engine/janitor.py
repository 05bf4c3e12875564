"""Removes what has been kept long enough: every hour, or when a person asks.

First the rows say that a thing is gone, then its files go. A pass that was cut off is finished by the next one.
"""

import asyncio
import logging
import shutil
from pathlib import Path

from runyard.db.queries import retention as queries
from runyard.domain.retention import Item
from runyard.engine.context import Context
from runyard.services import paths, retention

log = logging.getLogger(__name__)

EVERY_SECONDS = 3600.0
LOOK_SECONDS = 30.0
FORGET_SECONDS = 3600.0
"""A removed job's rows stay so long, for those who follow the feed."""
LONGEST_TEXT = 1000
DOOMED = ".removed-"


class Janitor:
    def __init__(self, context: Context) -> None:
        self._context = context

    def pause(self) -> float:
        return LOOK_SECONDS

    async def tick(self) -> bool:
        now = self._context.clock()
        async with self._context.database.read() as session:
            last = await queries.last_cleanup(session)
        ended_at = (last and last.ended_at) or 0.0
        asked = last is not None and last.asked_at is not None
        if asked or not ended_at <= now < ended_at + EVERY_SECONDS:  # a clock that was set back counts as an hour
            await self.clean(ended_at, now)
        return False

    async def clean(self, since: float, now: float) -> None:
        """One pass; what was marked since a time is looked at again."""
        limits = self._context.limits
        async with self._context.database.write(long=True) as session:
            asked_at = (await queries.cleanup(session)).asked_at
            found = await retention.find(session, limits, now)
            await retention.mark(session, found.items, now)
        self._context.notify()
        due = await self._marked(min(since, now))
        due += await asyncio.to_thread(retention.in_cache, limits, found.in_use_since)
        freed, failed = await self._remove_all(due, now)
        await self._forget(now - FORGET_SECONDS)
        async with self._context.database.write() as session:
            left = [item for item, _ in failed if item.what in ("logs", "checkpoint")]
            await retention.mark(session, [item for item in left if await queries.is_still_to_go(session, item)], now)
            row = await queries.cleanup(session)
            row.asked_at = None if row.asked_at == asked_at else row.asked_at
            row.ended_at, row.removed, row.freed_bytes = now, len(freed), sum(freed)
            row.failed = "; ".join(why for _, why in failed)[:LONGEST_TEXT] or None

    async def _marked(self, since: float) -> list[Item]:
        """Everything whose files are to go, also what an earlier pass did not come to."""
        async with self._context.database.read(long=True) as session:
            items = [Item("job", job.name, "", job.id) for job in await queries.removed_jobs(session)]
            items += [Item("logs", job.name, "", job.id) for job in await queries.without_logs(session, since)]
            items += [Item("checkpoint", "", "", row.job_id, row.step) for row in await queries.thinned(session, since)]
        return items

    async def _remove_all(self, items: list[Item], now: float) -> tuple[list[int], list[tuple[Item, str]]]:
        """The bytes of each that was there, and what could not be removed, with the reason."""
        freed: list[int] = []
        failed: list[tuple[Item, str]] = []
        for item in items:
            self._context.require_lead()  # for each: one large folder may take longer than a lease lasts
            try:
                if await self._is_still_to_go(item) and (size := await asyncio.to_thread(self._remove, item, now)):
                    freed.append(size)
            except OSError as error:
                log.warning("%s %s can't be removed: %s", item.what, item.job_id or item.name, error)
                place = str(error.filename).removeprefix(f"{self._context.limits.home}/")
                failed.append((item, f"{place}: {error.strerror}"))
        return freed, failed

    async def _is_still_to_go(self, item: Item) -> bool:
        async with self._context.database.read() as session:
            return await queries.is_still_to_go(session, item)

    def _remove(self, item: Item, now: float) -> int:
        """The bytes that it had. Raises OSError."""
        places = retention.places(item, self._context.limits)
        if item.what == "cache" and any(_is_touched(place, now) for place in places):
            return 0  # by a trainer that has begun since
        return sum(map(remove, places))

    async def _forget(self, before: float) -> None:
        """Delete the rows of jobs whose files are gone."""
        async with self._context.database.read() as session:
            gone = [job.id for job in await queries.removed_jobs(session) if (job.removed_at or 0.0) <= before]
        for job_id in gone:
            root = self._context.limits.rundir(job_id).root
            more = not any(path.exists() for path in (root, _doomed(root)))
            while more:
                async with self._context.database.write(long=True) as session:
                    more = await queries.forget_piece(session, job_id)


def remove(path: Path) -> int:
    """Remove a file or folder, or what an earlier try left of it; its bytes. Raises OSError.

    What a link on the way leads to is left alone, however late the link was put there.
    """
    with paths.held(path.parent) as folder:
        return _remove(folder / path.name) if folder else 0


def _remove(path: Path) -> int:
    doomed = _doomed(path)
    freed = retention.size(path) + retention.size(doomed)
    if path.is_dir() and not path.is_symlink():
        _remove_tree(doomed)
        path.rename(doomed)  # under its name it is whole or not there
    else:
        path.unlink(missing_ok=True)
    _remove_tree(doomed)
    return freed


def _remove_tree(doomed: Path) -> None:
    if doomed.is_symlink():
        doomed.unlink()
    elif doomed.exists():
        shutil.rmtree(doomed)


def _is_touched(path: Path, since: float) -> bool:
    try:
        return path.lstat().st_mtime >= since
    except FileNotFoundError:
        return False


def _doomed(path: Path) -> Path:
    return path.with_name(f"{DOOMED}{path.name}")
