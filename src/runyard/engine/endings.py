"""Sees attempts off whose processes are gone: reads their last words, judges, and moves their jobs."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from runyard.db.database import Session
from runyard.db.queries import attempts, estimates, events, jobs
from runyard.db.tables import Attempt, Job
from runyard.domain import retries
from runyard.domain.lifecycle import Cause, State
from runyard.domain.masks import Mask
from runyard.domain.outcomes import Ending, Verdict, judge
from runyard.engine.context import Context
from runyard.engine.ingest import Ingest, Source
from runyard.executors.base import Look
from runyard.protocol.rundir import RunDir
from runyard.services import fixes, logs

log = logging.getLogger(__name__)

TAIL_BYTES = 1 << 14
RENEW_SECONDS = 1.0
"""Estimates of one kind of work are not renewed more often: each time all that wait for their turn are written."""


class Endings:
    def __init__(self, context: Context, ingest: Ingest, ended: Callable[[], None]) -> None:
        """`ended` is called when there is room for the next."""
        self._context, self._ingest, self._ended = context, ingest, ended
        self._renewed: dict[str, float] = {}

    async def see_off(self, attempt: Attempt, job: Job, source: Source, look: Look) -> None:
        """Its process is gone: end what is left of it, read its last words, and judge."""
        if look.exit is None:
            self._context.require_lead()
            await self._context.executor.stop(source.handle, "kill")
        if not await self._ingest.drain(source):
            return  # the loop of the ingest goes on reading; we look again soon
        ending = Ending(
            said=await self._last_word(attempt, source),
            code=look.exit.code if look.exit else None,
            signal=look.exit.signal if look.exit else None,
            detail=look.detail,
            restarted=look.restarted,
            stop_asked=attempt.stop_sent is not None,
            told=look.exit is not None and look.exit.told,
            stop_reason=attempt.stop_reason,
            log=await self._log_tail(attempt, source) if look.exit and look.exit.code else "",
            oom_kills=look.exit.oom_kills if look.exit else None,
            memory_limit_mb=job.memory_mb if self._context.enforces_limits else None,
        )
        verdict = judge(ending)
        if attempt.stop_reason is not None and verdict.reason == attempt.stop_reason:
            verdict = replace(verdict, message=attempt.message)  # as it was found, with step and phase
        await self.finish(attempt, job, look, verdict)

    async def finish(self, attempt: Attempt, job: Job, look: Look, verdict: Verdict) -> None:
        now = self._context.clock()
        async with self._context.database.write() as session:
            found = await attempts.held_with_job(session, attempt.id, self._context.token)
            if found is None:
                return
            held, current = found
            held.ended_at = look.exit.ended_at if look.exit else now
            held.released_at = None if held.gpus else held.ended_at
            held.process = held.process or look.process
            held.exit_code = look.exit.code if look.exit else None
            held.exit_signal = look.exit.signal if look.exit else None
            held.reason, held.message = verdict.reason, verdict.message
            tries = await _tries(session, current, verdict)
            cause, pause = retries.consequence(verdict, State(current.state), tries, self._context.retry_seconds)
            await jobs.apply_move(
                session,
                current,
                cause,
                "supervisor",
                now,
                attempt=held.number,
                reason=verdict.reason,
                message=verdict.message,
                not_before=None if pause is None else now + pause,
            )
            await self._follow(session, current, now)
        self._ended()
        self._context.notify()

    async def _follow(self, session: Session, job: Job, now: float) -> None:
        """What the end of a job means for others: estimates of those like it, or a copy with a change.

        A fault in that is written to the log, and keeps no job from its end.
        """
        id_ = job.id  # what is rolled back can't be asked any more
        try:
            if job.state == State.COMPLETED and self._is_time_to_renew(job.workload):
                async with session.begin_nested():
                    await estimates.renew(session, job)
            elif job.state == State.FAILED:
                making = fixes.Making(self._context.new_id(), fixes.ACTOR, now)
                async with session.begin_nested():
                    await fixes.follow(session, job, making, self._context.limits)
        except Exception:
            log.exception("what follows from the end of job %s could not be done", id_)

    def _is_time_to_renew(self, workload: str | None) -> bool:
        now = self._context.monotonic()
        if workload is None or now < self._renewed.get(workload, -RENEW_SECONDS) + RENEW_SECONDS:
            return False
        self._renewed[workload] = now
        return True

    async def _last_word(self, attempt: Attempt, source: Source) -> dict[str, Any] | None:
        if source.offset == 0 and not source.signs.finished:
            return None  # it never said anything, as most scripts
        async with self._context.database.read() as session:
            return await events.last_word(session, attempt.job_id, attempt.number)

    async def _log_tail(self, attempt: Attempt, source: Source) -> str:
        """The end of what the trainer wrote on its error stream."""
        root = self._context.runs / attempt.job_id
        path = RunDir(root).attempt(attempt.number) / "stderr.log"
        try:
            found = await self._context.executor.fetch(source.handle, str(path.relative_to(root)))
            return await asyncio.to_thread(_tail, found, source.mask)
        except OSError:
            return ""


async def _tries(session: Session, job: Job, verdict: Verdict) -> retries.Tries:
    wanted: int | None = (job.resolved_spec.get("limits") or {}).get("retries")
    idle = retries.idle(await attempts.came_to(session, job.id)) if verdict.cause == Cause.STOPPED else 0
    return retries.Tries(job.failures, idle, wanted, returns=job.returns)


def _tail(path: Path, mask: Mask) -> str:
    with path.open("rb") as file:
        return logs.covered(file, max(0, path.stat().st_size - TAIL_BYTES), TAIL_BYTES, mask).decode(errors="replace")
