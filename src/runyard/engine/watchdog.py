"""Finds attempts that are stuck, or have had their time, and writes down what they were doing."""

import asyncio
import hashlib
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

from runyard.db.queries import artifacts, attempts, events
from runyard.db.tables import Attempt, Job
from runyard.domain.stalls import UNWATCHED_SECONDS, Count, Limits, Overdue, Watch, restored
from runyard.engine.context import Context
from runyard.engine.ingest import Ingest, Source
from runyard.protocol.notices import Occasion
from runyard.protocol.rundir import RunDir

log = logging.getLogger(__name__)

DUMP_SECONDS = 30.0  # a process that the kernel holds fast may even hold up those who read about it


class Watchdog:
    def __init__(self, context: Context, ingest: Ingest) -> None:
        self._context, self._ingest = context, ingest
        self._watches: dict[str, Watch] = {}
        self._moves: dict[str, int] = {}
        self._records: dict[str, asyncio.Task[None]] = {}

    async def close(self) -> None:
        for record in self._records.values():
            record.cancel()
        await asyncio.gather(*self._records.values(), return_exceptions=True)

    async def look(self, attempt: Attempt, job: Job, source: Source) -> Overdue | None:
        """Why an attempt is to be ended, if it is: with all that it has said so far taken into account.

        Nothing while that is being recorded; raises what made that fail.
        """
        if record := self._records.get(attempt.id):
            if record.done():
                self._records.pop(attempt.id).result()
            return None  # if it is recorded, who asks read the attempt before
        watch = self._watches.setdefault(attempt.id, Watch(_limits(job), restored(Count, attempt.watch)))
        if source.backoff.is_failing:
            watch.rest()
            return None
        overdue = await self._judge(watch, attempt, source)
        await self._keep(attempt, watch)
        return await self._judge_by_all(watch, attempt, source) if overdue else None

    def begin(self) -> dict[str, Any]:
        """For an attempt that is launched now: from here on its time counts, whichever server looks."""
        return asdict(Count(self._context.monotonic()))

    def has_moved(self, attempt: Attempt, source: Source) -> bool:
        """Has it shown progress since it was found to be stuck?"""
        return source.signs.moves > self._moves.get(attempt.id, 0)

    def record(self, attempt: Attempt, source: Source, overdue: Overdue) -> None:
        """Begin to write down the cause and the stacks, which may take a while: others must not wait for it."""
        self._records[attempt.id] = asyncio.create_task(self._record(attempt, source, overdue))

    async def _record(self, attempt: Attempt, source: Source, overdue: Overdue) -> None:
        """Keep the cause, for a server that comes after us, too; the stacks; and say so."""
        self._moves[attempt.id] = source.signs.moves
        path = await self._dump(attempt) if overdue.reason == "stalled" else None
        still = await self._judge_by_all(self._watches[attempt.id], attempt, source)
        if still is None:
            return  # it lives again
        overdue = still
        found = await self._describe(attempt, source, path) if path else None
        where = f"; what it was doing is in {path}" if found else ""
        notice = Occasion.STALLED if overdue.reason == "stalled" else None
        message = events.Message(attempt.number, f"{overdue.message}{where}", notice=notice)
        now = self._context.clock()
        async with self._context.database.write() as session:
            held = await attempts.held_with_job(session, attempt.id, self._context.token)
            if held is None or held[1].state in attempts.STOPPING:
                return  # somebody else has ended it, or asked it to leave
            for row in (held[0], attempt):
                row.stop_reason, row.message = overdue.reason, overdue.message
            if path and found:
                await artifacts.record(session, attempt.job_id, path, self._context.new_id(), found)
            await events.say(session, attempt.job_id, now, message)
        log.warning("attempt %s of job %s: %s", attempt.number, attempt.job_id, overdue.message)
        self._context.notify()

    def keep_only(self, ids: set[str]) -> None:
        for attempt_id in self._records.keys() - ids:
            self._records.pop(attempt_id).cancel()
        for memory in (self._watches, self._moves):
            for attempt_id in memory.keys() - ids:
                del memory[attempt_id]

    async def _judge_by_all(self, watch: Watch, attempt: Attempt, source: Source) -> Overdue | None:
        """By all that it has said up to now; None if that is too much to read: we are late, rather than the trainer."""
        return await self._judge(watch, attempt, source) if await self._ingest.read_to_now(source) else None

    async def _judge(self, watch: Watch, attempt: Attempt, source: Source) -> Overdue | None:
        written = await asyncio.to_thread(self._written, attempt) if watch.limits.heeds_output else 0
        return watch.look(self._context.monotonic(), source.signs, written)

    async def _keep(self, attempt: Attempt, watch: Watch) -> None:
        """For a server that comes after us, now and then: it counts the time from the last time on."""
        assert watch.count is not None, "it was looked at"
        kept, count = attempt.watch, asdict(watch.count)
        if kept is None or abs(count["looked"] - kept["looked"]) >= UNWATCHED_SECONDS:
            async with self._context.database.write() as session:
                await attempts.save(session, attempt.id, self._context.token, watch=count)
            attempt.watch = count

    def _written(self, attempt: Attempt) -> int:
        folder = RunDir(self._context.runs / attempt.job_id).attempt(attempt.number)
        return sum(_size(folder / name) for name in ("stdout.log", "stderr.log"))

    async def _dump(self, attempt: Attempt) -> str | None:
        assert attempt.handle is not None, "only what was launched is watched"
        try:
            async with asyncio.timeout(DUMP_SECONDS):
                return await self._context.executor.dump(attempt.handle)
        except OSError as error:  # a timeout is one
            log.warning("can't tell what attempt %s of job %s does: %r", attempt.number, attempt.job_id, error)
            return None

    async def _describe(self, attempt: Attempt, source: Source, path: str) -> dict[str, Any] | None:
        """The file of stacks as an artifact; a command in it may have had an argument that must not be shown."""
        assert attempt.handle is not None, "only what was launched is watched"
        try:
            file = await self._context.executor.fetch(attempt.handle, path)
            content = source.mask.hide(file.read_bytes())
            if source.mask:
                with file.open("r+b") as opened:  # of the same length: what is told meanwhile comes behind it
                    opened.write(content)
        except OSError:
            return None
        return {
            "kind": "report",
            "size_bytes": len(content),
            "hash_sha256": hashlib.sha256(content).hexdigest(),
            "details": {"attempt": attempt.number, "about": "stacks"},
            "created_at": self._context.clock(),
        }


def _limits(job: Job) -> Limits:
    asked = job.resolved_spec.get("limits") or {}
    return Limits(asked.get("stall_timeout"), asked.get("max_runtime"), reports=job.kind != "script")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
