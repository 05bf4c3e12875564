"""From queue to attempts: decides what starts now, and writes down the intent before anything is started."""

from collections.abc import Callable

from runyard.db.database import Session
from runyard.db.queries import attempts, jobs
from runyard.domain import placement
from runyard.domain.lifecycle import Cause
from runyard.engine.context import Context

QUEUE_SECONDS = 5.0


class Scheduler:
    def __init__(self, context: Context, placed: Callable[[], None]) -> None:
        """`placed` is called when there is an attempt to launch."""
        self._context, self._placed = context, placed
        self._next_start: float | None = None

    def pause(self) -> float:
        """Until there may be something to start that nobody tells of."""
        if self._next_start is None:
            return QUEUE_SECONDS
        return min(QUEUE_SECONDS, max(0.0, self._next_start - self._context.clock()))

    async def tick(self) -> bool:
        async with self._context.database.read() as session:
            starts, waits = await self._plan(session)
        if not starts and not waits:
            return False
        async with self._context.database.write() as session:
            starts, waits = await self._plan(session)  # again: nobody else writes now
            for start in starts:
                await self._start(session, start)
            await jobs.show_waits(session, waits, self._context.clock())
        self._placed()
        self._context.notify()
        return False

    async def _plan(self, session: Session) -> tuple[list[placement.Start], list[placement.Wait]]:
        """What starts, and whose place or cause of waiting has changed."""
        now = self._context.clock()
        self._next_start = await jobs.next_start(session, now)
        queue = await jobs.waiting(session, now)
        if not queue:
            return [], []
        starts, waits = placement.plan([job for job, _ in queue], await attempts.taken(session), self._context.machine)
        shown = {wait.job_id: wait for _, wait in queue}
        return starts, [wait for wait in waits if wait != shown[wait.job_id]]

    async def _start(self, session: Session, start: placement.Start) -> None:
        job = await jobs.get(session, start.job_id)
        assert job is not None, "the queue was read in this transaction"
        context, now = self._context, self._context.clock()
        attempt = await attempts.begin(session, job, context.new_id(), context.executor.name, start.gpus, now)
        await attempts.claim(session, [attempt.id], context.lease())
        await jobs.apply_move(session, job, Cause.PLACED, "scheduler", now, attempt=attempt.number)
