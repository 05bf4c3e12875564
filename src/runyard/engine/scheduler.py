"""From queue to attempts: decides what starts now, and writes down the intent before anything is started."""

import asyncio
from contextlib import suppress

from runyard.db.database import Session
from runyard.db.queries import attempts, jobs, queue
from runyard.db.tables import Attempt, Job
from runyard.domain import placement
from runyard.domain.lifecycle import Cause, State
from runyard.domain.placement import Expected, Plan, Preemption, Start, Wait
from runyard.engine.context import Context
from runyard.engine.quotas import Allowances
from runyard.engine.supervisor import Supervisor

QUEUE_SECONDS = 5.0
TOLD = 20
"""So many at the head of the line are told why they wait; those behind them only know their place."""
HEAD = 1000
"""So many are looked at first; all the others only if these leave room."""
SHORT = 100
"""A line of so many is read at once; to read a longer one takes so long that nothing else should wait for it."""
DRIFT_SECONDS, DRIFT = 30.0, 0.2
"""An expected start that moves by less, absolutely or of the time that is left, is not told again."""
REST, REST_FULL = 1.0, 15.0
"""The line is not read again for so many times as long as it took: submissions by the hundred need the time, too. While
nobody can start anyhow, who has come is looked at still later; room that is left ends such a rest."""
MOST_REST = 1.0
"""Seconds, when it took so long for other reasons, such as a database that did not answer."""
TELL_SECONDS = 1.0
"""Once as many were told as stand at the head, so much time goes by before more are: of a line that moves fast, most is
old when it is read."""


class Scheduler:
    def __init__(self, context: Context, supervisor: Supervisor) -> None:
        """The supervisor launches and stops what is decided here."""
        self._context, self._supervisor = context, supervisor
        self._allowances = Allowances(context)
        self._next_start: float | None = None
        self._told: dict[str, Wait] | None = None
        """What was written to the rows of waiting jobs; None until that is known."""
        self._telling_since, self._told_since = float("-inf"), 0
        self._is_behind = False
        """There is more to tell than was told."""
        self._line_is_long = True
        self._resting = self._rested = 0.0
        self._hurried = asyncio.Event()

    def hurry(self) -> None:
        """Something else than the line has changed, most likely the room."""
        self._hurried.set()

    def pause(self) -> float:
        """Until there may be something to start, or to tell, that nobody wakes us for."""
        pauses = [QUEUE_SECONDS]
        if self._next_start is not None:
            pauses.append(self._next_start - self._context.clock())
        if self._is_behind:
            pauses.append(self._telling_since + TELL_SECONDS - self._context.monotonic())
        return max(0.0, min(pauses))

    async def tick(self) -> bool:
        clock = asyncio.get_running_loop().time
        await asyncio.sleep(self._resting - clock())
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._rested):
                await self._hurried.wait()
        self._hurried.clear()
        began = clock()
        is_full = await self._tick()
        took = clock() - began
        self._resting = clock() + min(REST * took, MOST_REST)
        self._rested = clock() + min((REST_FULL if is_full else REST) * took, MOST_REST)
        return False

    async def _tick(self) -> bool:
        """Is there no room for any more?"""
        async with self._context.database.read(long=self._line_is_long) as session:
            plan = await self._plan(session)
            before = await self._told_before(session)
        waits = {wait.job_id: wait for wait in plan.waits}
        news = [wait for wait in plan.waits if self._is_news(before.get(wait.job_id), wait)]
        self._is_behind = bool(news) and not self._may_tell(len(news))
        if self._is_behind:
            news = []
        gone = before.keys() - waits.keys() - {start.job_id for start in plan.starts}
        if not plan.starts and not plan.preemptions and not news and not gone:
            self._told = {id_: wait for id_, wait in before.items() if wait is not None}
            return plan.is_full
        async with self._context.database.write() as session:
            placed = [pair for start in plan.starts if (pair := await self._start(session, start))]
            for preemption in plan.preemptions:
                await self._preempt(session, preemption)
            await queue.tell(session, news, gone, self._context.clock())
        kept = {id_: wait for id_, wait in before.items() if wait is not None and id_ in waits}
        self._told = kept | {wait.job_id: wait for wait in news}
        if plan.preemptions:
            self._supervisor.look_at_all()
        if placed:
            self._supervisor.place(placed)
        self._context.notify()
        return plan.is_full

    async def _told_before(self, session: Session) -> dict[str, Wait | None]:
        """What the rows of waiting jobs say. Who has left the line since and come back has to be told again."""
        known = self._told or {}
        return {id_: known.get(id_) for id_ in await queue.told(session, self._told)}

    async def _plan(self, session: Session) -> Plan:
        """What is read here can only have changed in ways that `_start` sees when it is applied: nobody else places."""
        context, now = self._context, self._context.clock()
        self._next_start = await queue.next_start(session, now)
        line = await queue.waiting(session, now, HEAD)
        self._line_is_long = len(line) > SHORT
        if not line:
            return Plan([], [], [])
        if shortage := context.limits.shortage():
            waits = [Wait(job.job_id, place, shortage) for place, job in enumerate(line[:TOLD], 1)]
            return Plan([], [], waits)
        held = await attempts.taken(session, context.machine.name, context.owner)
        quotas = await self._allowances.now(session)
        machine = context.machine.without(context.unusable())  # after `taken`: what was let go of may be put aside
        plan = placement.plan(line, held, [machine], now, quotas, TOLD)
        if plan.is_full or len(line) < HEAD:
            return plan
        line = await queue.waiting(session, now)
        return placement.plan(line, held, [machine], now, quotas, TOLD)

    async def _start(self, session: Session, start: Start) -> tuple[Attempt, Job] | None:
        """Unless it was paused or cancelled a moment ago."""
        job = await jobs.get(session, start.job_id)
        if job is None or job.state != State.QUEUED:
            return None
        context, now = self._context, self._context.clock()
        beginning = attempts.Beginning(context.new_id(), context.executor.name, context.lease())
        attempt = attempts.begin(session, job, beginning, start, now)
        await jobs.apply_move(session, job, Cause.PLACED, "scheduler", now, attempt=attempt.number)
        return attempt, job

    async def _preempt(self, session: Session, preemption: Preemption) -> None:
        """Unless one of the two has ended or stopped a moment ago."""
        job = await jobs.get(session, preemption.job_id)
        urgent = await jobs.get(session, preemption.yields_to)
        if job is None or urgent is None or urgent.state != State.QUEUED:
            return
        if job.state not in (State.STARTING, State.RUNNING):
            return
        job.yields_to = urgent.id
        who = f"{urgent.name} ({urgent.id})" if urgent.tenant == job.tenant else "an urgent job"
        message = f"makes room for {who}"
        now = self._context.clock()
        await jobs.apply_move(session, job, Cause.PREEMPTED, "scheduler", now, attempt=job.attempts, message=message)

    def _is_news(self, told: Wait | None, wait: Wait) -> bool:
        if told is None or told[:3] != wait[:3]:
            return True
        return _differ(told.expected, wait.expected, self._context.clock())

    def _may_tell(self, count: int) -> bool:
        now = self._context.monotonic()
        if now >= self._telling_since + TELL_SECONDS:
            self._telling_since, self._told_since = now, 0
        if self._told_since >= TOLD:
            return False
        self._told_since += count
        return True


def _differ(told: Expected | None, found: Expected | None, now: float) -> bool:
    if told is None or found is None:
        return told is not found
    return told[1:] != found[1:] or abs(told.at - found.at) > max(DRIFT_SECONDS, DRIFT * (found.at - now))
