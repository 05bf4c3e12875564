"""Submits what is due: each time once, also when the server dies at any point, and once for all that was missed."""

import logging
from collections.abc import Callable

from runyard.db.queries import schedules as queries
from runyard.db.tables import Schedule
from runyard.domain.errors import DatabaseDownError, RunyardError
from runyard.engine.context import Context
from runyard.services import accounts, datasets, schedules, sources
from runyard.services.submissions import Submission

log = logging.getLogger(__name__)

LOOK_SECONDS = 30.0
"""A clock that is set, or another process, may have made something due that nobody tells of."""


class Calendar:
    def __init__(self, context: Context, submitted: Callable[[], None]) -> None:
        """`submitted` is called when there is a new job in the queue."""
        self._context, self._submitted = context, submitted
        self._next_at: float | None = None

    def pause(self) -> float:
        if self._next_at is None:
            return LOOK_SECONDS
        return min(LOOK_SECONDS, max(0.0, self._next_at - self._context.clock()))

    async def tick(self) -> bool:
        async with self._context.database.read() as session:
            due = await queries.due(session, self._context.clock())
        for schedule in due:
            await self._run(schedule)
        async with self._context.database.read() as session:
            self._next_at = await queries.next_at(session)
        return False

    async def _run(self, schedule: Schedule) -> None:
        try:
            await self._submit(schedule)
        except DatabaseDownError:
            raise  # says nothing of the job: the loop tries again, and the time is still due
        except RunyardError as error:
            await self._refuse(schedule, error)
        except Exception:
            log.exception("schedule %s can't be run", schedule.name)
            await self._refuse(schedule, RunyardError("the server has a fault; its log says more"))

    async def _submit(self, schedule: Schedule) -> None:
        context, limits = self._context, self._context.limits
        spec = schedules.spec_of(schedule)
        async with context.database.read() as session:
            owner = await accounts.owner(session, schedule.user)
        resolved = await sources.resolve(context.database, spec, owner, limits)
        sums = await datasets.require_usable(spec, resolved, limits)
        new_id, now = context.new_id(), context.clock()
        submission = Submission(spec, resolved, new_id, owner, schedules.ACTOR, now, data_sha256=sums)
        async with context.database.write() as session:
            await schedules.submit(session, schedule, submission, limits)
        self._context.notify()
        self._submitted()

    async def _refuse(self, schedule: Schedule, error: RunyardError) -> None:
        log.warning("schedule %s: its job was not queued: %s", schedule.name, schedules.in_words(error))
        async with self._context.database.write() as session:
            await schedules.refuse(session, schedule, error, self._context.clock())
