"""What may be removed, and why; the engine does it."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runyard.db.database import Session
from runyard.db.queries import checkpoints, events
from runyard.db.queries import retention as queries
from runyard.db.queries import schedules as schedule_queries
from runyard.db.tables import Cleanup, Job
from runyard.domain import retention
from runyard.domain.access import Caller
from runyard.domain.retention import Cached, Ended, Item
from runyard.protocol.rundir import RunDir
from runyard.services import jobs, paths
from runyard.services.context import Context

CACHES, USERS = ("prepared", "gguf"), "users"
"""Trainers that run as other system users have caches of their own, in folders among the first."""
LOGS = ("stdout.log", "stderr.log")


@dataclass(frozen=True)
class Found:
    """What is due in the database; `in_use_since` is for what is found in the cache."""

    items: list[Item]
    spared: list[Item]
    in_use_since: float | None


async def find(session: Session, context: Context, now: float) -> Found:
    """What goes by now, without its sizes."""
    ended = await queries.ended(session, now)
    items, spared = retention.plan(ended, {}, context.retention, now)
    if items:  # what others need is looked up only then: it means reading through every spec
        items, spared = retention.plan(ended, await _needed(session, ended), context.retention, now)
    return Found(items, spared, await queries.oldest_attempt(session))


async def mark(session: Session, items: list[Item], now: float) -> None:
    """Write down that things are gone, for everybody at once; their files follow. The feed tells it."""
    for item in items:
        assert item.job_id is not None, "what is in the cache is in no row"
        if item.step is not None:
            await checkpoints.mark_removed(session, item.job_id, item.step, now)
        else:
            job = await jobs.get(session, item.job_id)
            setattr(job, "removed_at" if item.what == "job" else "logs_removed_at", now)
        data = {"step": item.step, "why": item.why}
        await events.append(session, item.job_id, now, f"{item.what}_removed", data)


def measured(items: list[Item], context: Context) -> list[Item]:
    """With the bytes that each of them has on the disk. Reads folders, which may take a while."""
    sized = [item._replace(size_bytes=sum(map(size, places(item, context)))) for item in items]
    return [item for item in sized if item.what != "logs" or item.size_bytes]


def in_cache(context: Context, in_use_since: float | None) -> list[Item]:
    """What goes from the cache, with its sizes."""
    cache = context.cache.resolve()
    caches = [cache, *_entries(cache / USERS)]
    folders = [folder for each in caches for name in CACHES for folder in _entries(each / name)]
    cached = [Cached(str(folder.relative_to(cache)), size(folder), folder.lstat().st_mtime) for folder in folders]
    return retention.prune(cached, in_use_since, context.retention.cache_bytes)


def places(item: Item, context: Context) -> list[Path]:
    """The files and folders that an item stands for. What a link on the way leads to is none of them."""
    if item.job_id is None:
        return [context.cache.resolve() / item.name]
    rundir = RunDir(context.runs.resolve() / item.job_id)
    match item.what:
        case "logs":
            found = [rundir.attempt(number) / name for number in rundir.attempts() for name in LOGS]
        case "checkpoint":
            assert item.step is not None, "a checkpoint has a step"
            found = [rundir.checkpoint(item.step)]
        case _:
            found = [rundir.root]
    return [path for path in found if paths.is_real(path.parent)]


def size(path: Path) -> int:
    """Bytes of a file, or of everything in a folder; 0 if it is not there."""
    try:
        if not path.is_dir() or path.is_symlink():
            return path.lstat().st_size
        return sum(size(Path(entry.path)) for entry in os.scandir(path))
    except OSError:
        return 0


async def ask(session: Session, now: float) -> Cleanup:
    """Have the engine do it now."""
    row = await queries.cleanup(session)
    row.asked_at = now
    return row


async def keep(session: Session, job_id: str, keep: bool, caller: Caller) -> Job:
    """Never remove anything of a job, nor of those that it needs. Raises NotFoundError and ForbiddenError."""
    job = await jobs.to_change(session, job_id, caller)
    job.kept = keep
    return job


async def _needed(session: Session, ended: list[Ended]) -> dict[str, str]:
    """Why ended jobs must stay: named by a job that has not ended or is kept, or by a schedule, or by one of these."""
    candidates = {job.job_id for job in ended}
    needed: dict[str, str] = {}
    frontier = [
        (f"the schedule {schedule.name} names it", queries.named(json.dumps(schedule.spec), candidates))
        for schedule in await schedule_queries.pending(session)
    ]
    frontier += await queries.holders(session, candidates)
    while frontier:
        found = {job_id: why for why, named in frontier for job_id in named - needed.keys()}
        needed |= found
        frontier = await queries.named_by(session, found, candidates) if found else []
    return needed


def _entries(folder: Path) -> Iterator[Path]:
    """Also what a killed trainer had only begun to write."""
    if folder.is_dir() and paths.is_real(folder):
        yield from folder.iterdir()
