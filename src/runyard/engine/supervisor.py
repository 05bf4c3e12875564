"""Sees attempts through: launches them, looks after them, stops them as wished, finishes them."""

import asyncio
import errno
import logging
from collections.abc import Callable, Collection

from runyard.db.queries import attempts, events, jobs
from runyard.db.tables import Attempt, Job
from runyard.domain.lifecycle import Cause, State
from runyard.domain.outcomes import Verdict
from runyard.domain.stalls import Signs, restored
from runyard.engine.context import Context
from runyard.engine.endings import Endings
from runyard.engine.gpus import Guard
from runyard.engine.ingest import Ingest, Source
from runyard.engine.loop import Backoff
from runyard.engine.orders import Order
from runyard.engine.watchdog import Watchdog
from runyard.executors.base import Handle, LaunchError, Liveness, Look, Stop
from runyard.services.secrets import UnusableError

log = logging.getLogger(__name__)

ACTIVE_SECONDS, IDLE_SECONDS = 0.25, 5.0
MARGIN_SECONDS = 5.0  # the wrapper keeps the time; we step in when it does not
WISHES: dict[str, Stop] = {State.PAUSING: "save", State.CANCELLING: "discard"}
PASSING = {errno.ENOSPC, errno.EDQUOT, errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE}
STRENGTH = {None: 0, "save": 1, "discard": 2, "kill": 3}


class Supervisor:
    def __init__(
        self, context: Context, ingest: Ingest, guard: Guard, ended: Callable[[], None], wake: Callable[[], None]
    ) -> None:
        """`ended` is called when there is room for the next, `wake` when there is something to do at once."""
        self._context, self._ingest, self._guard = context, ingest, guard
        self._endings = Endings(context, ingest, ended)
        self._watchdog = Watchdog(context, ingest)
        self._backoffs: dict[str, Backoff] = {}
        self._stops: dict[str, float] = {}
        self._unknown: set[str] = set()
        self._wake = wake
        self._alarms: dict[str, asyncio.Task[None]] = {}
        self._mine: dict[str, tuple[Attempt, Job]] = {}
        self._news: set[str] = set()
        """Of those: what was placed or has ended since. They are attended to without asking for all the others."""
        self._due = 0.0
        """When all are looked at again."""

    def place(self, placed: Collection[tuple[Attempt, Job]]) -> None:
        """What was just written down, with our lease on it, is to be launched."""
        self._mine |= {attempt.id: (attempt, job) for attempt, job in placed}
        self._news |= {attempt.id for attempt, _ in placed}
        self._due = min(self._due, asyncio.get_running_loop().time() + ACTIVE_SECONDS)
        self._wake()

    def look_at_all(self) -> None:
        """A wish may have been written down, of which only the database knows."""
        self._due = 0.0
        self._wake()

    async def close(self) -> None:
        for alarm in self._alarms.values():
            alarm.cancel()
        await self._watchdog.close()

    def pause(self) -> float:
        return max(0.0, self._due - asyncio.get_running_loop().time())

    async def tick(self) -> bool:
        news, self._news = self._news, set()
        if not news or not news <= self._mine.keys() or self.pause() <= 0:
            news = await self._take_all()
        await asyncio.gather(*(self._try_to_attend(*self._mine[id_]) for id_ in news))
        return False

    async def _take_all(self) -> set[str]:
        now = asyncio.get_running_loop().time()
        self._due = now + IDLE_SECONDS  # before we ask: whoever has a wish meanwhile makes it earlier
        try:
            self._mine = {attempt.id: (attempt, job) for attempt, job in await self._claim()}
        except Exception:
            self._due = 0.0
            raise
        if self._mine:
            self._due = min(self._due, now + ACTIVE_SECONDS)
        self._forget_all_but(ids := set(self._mine))
        return ids

    async def _claim(self) -> list[tuple[Attempt, Job]]:
        """Attempts that are ours, those of an earlier engine included."""
        context = self._context
        async with context.database.read() as session:
            found = await attempts.within_reach(session, context.owner)
        if all(attempt.lease_token == context.token for attempt, _ in found):
            return found
        async with context.database.write() as session:
            ids = await attempts.to_claim(session, context.lease())
            await attempts.claim(session, ids, context.lease())
            return await attempts.under_way(session, context.token)

    async def _try_to_attend(self, attempt: Attempt, job: Job) -> None:
        backoff = self._backoffs.setdefault(attempt.id, Backoff())
        if not backoff.is_due():
            return
        try:
            await self._attend(attempt, job)
            backoff.worked()
        except Exception:  # noqa: BLE001 - logged there; the other attempts must not suffer
            backoff.failed(f"looking after attempt {attempt.number} of job {job.id}")

    async def _attend(self, attempt: Attempt, job: Job) -> None:
        if attempt.handle is None:
            with self._context.traces.span("engine.launch", {"runyard.job": job.id, "runyard.kind": job.kind}):
                await self._launch(attempt, job)
            return
        source = self._watch(attempt, job)
        look = await self._context.executor.look(attempt.handle)
        match look.liveness:
            case Liveness.ALIVE:
                self._unknown.discard(attempt.id)
                await self._note_start(attempt, job, look)
                await self._obey(attempt, job, source)
            case Liveness.DEAD:
                await self._endings.see_off(attempt, job, source, look)
            case Liveness.UNKNOWN:
                await self._say_unknown(attempt, f"can't find out whether the trainer is alive: {look.detail}")

    async def _launch(self, attempt: Attempt, job: Job) -> None:
        """Start the trainer, unless it turns out that it was started before somebody could write it down."""
        async with self._context.database.read() as session:
            if await attempts.held(session, attempt.id, self._context.token) is None:
                return  # it ended before it was handed to us
        order = Order(self._context, attempt, job)
        try:
            handle = await self._context.executor.find(order.launch)
        except OSError as error:
            await self._say_unknown(attempt, f"can't find out whether the trainer was started: {error}")
            return
        if handle is None and job.state in WISHES:
            await self._endings.finish(attempt, job, Look(Liveness.DEAD), Verdict(Cause.STOPPED))
            return
        if handle is None:
            try:
                launch = await order.complete()
                await self._note_baseline(attempt)
                await asyncio.to_thread(order.write, launch)
                self._context.require_lead()
                handle = await self._context.executor.launch(launch)
            except (LaunchError, OSError, UnusableError) as error:
                await self._endings.finish(attempt, job, Look(Liveness.DEAD), _not_started(error))
                return
        began = self._watchdog.begin()
        if await self._save(attempt, handle=handle, started_at=self._context.clock(), watch=began):
            self._watch(attempt, job)

    def _watch(self, attempt: Attempt, job: Job) -> Source:
        """Read what it says from now on, and hear of its end."""
        assert attempt.handle is not None, "only what was launched can be watched"
        if attempt.id not in self._alarms:
            self._alarms[attempt.id] = asyncio.create_task(self._hear_of_end(attempt.id, attempt.handle))
        return self._ingest.watch(_source(attempt, job))

    async def _hear_of_end(self, attempt_id: str, handle: Handle) -> None:
        await self._context.executor.ended(handle)
        self._news.add(attempt_id)
        self._wake()

    async def _note_baseline(self, attempt: Attempt) -> None:
        """What to compare with when it has ended."""
        if attempt.gpus and (baseline := await self._guard.baseline(attempt)):
            await self._save(attempt, gpu_baseline=baseline)

    async def _note_start(self, attempt: Attempt, job: Job, look: Look) -> None:
        """Its process; a script need not say anything, so that this is all that is to be seen of its start."""
        is_script = job.kind == "script" and job.state == State.STARTING
        if not is_script and (attempt.process is not None or look.process is None):
            return
        async with self._context.database.write() as session:
            held = await attempts.held_with_job(session, attempt.id, self._context.token)
            if held is None:
                return
            if look.process is not None:
                held[0].process = attempt.process = look.process
            if is_script and held[1].state == State.STARTING:
                now = self._context.clock()
                await jobs.apply_move(session, held[1], Cause.STARTED, "supervisor", now, attempt=attempt.number)
        self._mine[attempt.id] = (attempt, held[1])
        self._context.notify()

    async def _say_unknown(self, attempt: Attempt, text: str) -> None:
        """Unknown frees nothing and ends nothing, but it is said, once."""
        if attempt.id in self._unknown:
            return
        async with self._context.database.write() as session:
            await events.say(session, attempt.job_id, self._context.clock(), events.Message(attempt.number, text))
        self._unknown.add(attempt.id)
        self._context.notify()

    async def _obey(self, attempt: Attempt, job: Job, source: Source) -> None:
        """Pass on the wish to stop, once for each strength; kill when the time for it has run out."""
        is_free = attempt.stop_sent is None and attempt.stop_reason is None and job.state not in WISHES
        if is_free and (overdue := await self._watchdog.look(attempt, job, source)):
            self._watchdog.record(attempt, source, overdue)
        wish = WISHES.get(job.state) or ("save" if attempt.stop_reason else None)
        if wish and STRENGTH[wish] > STRENGTH[attempt.stop_sent]:
            await self._stop(attempt, wish)
        elif attempt.stop_sent and self._is_late(attempt, source):
            log.warning("attempt %s of job %s does not stop and is killed", attempt.number, job.id)
            await self._stop(attempt, "kill")

    async def _stop(self, attempt: Attempt, how: Stop) -> None:
        assert attempt.handle is not None, "only what was launched is stopped"
        self._context.require_lead()
        await self._context.executor.stop(attempt.handle, how)
        await self._save(attempt, stop_sent=how)
        self._stops[attempt.id] = asyncio.get_running_loop().time()

    def _is_late(self, attempt: Attempt, source: Source) -> bool:
        now = asyncio.get_running_loop().time()
        return now > self._stops.setdefault(attempt.id, now) + self._allowance(attempt, source)

    def _allowance(self, attempt: Attempt, source: Source) -> float:
        """Seconds that it has to leave. One that is stuck has less, unless the stop has brought it to life again."""
        seconds = {"save": self._context.save_seconds, "discard": self._context.grace_seconds}
        allowed = seconds.get(attempt.stop_sent or "", 0.0)
        if attempt.stop_reason == "stalled" and not self._watchdog.has_moved(attempt, source):
            allowed = min(allowed, self._context.grace_seconds)
        return allowed + MARGIN_SECONDS

    async def _save(self, attempt: Attempt, **values: object) -> bool:
        """Write columns of an attempt, in the database and in hand; False if it is no longer ours."""
        async with self._context.database.write() as session:
            saved = await attempts.save(session, attempt.id, self._context.token, **values)
        for name, value in values.items():
            setattr(attempt, name, value)
        return saved

    def _forget_all_but(self, ids: set[str]) -> None:
        self._ingest.keep_only(ids)
        self._watchdog.keep_only(ids)
        self._unknown &= ids
        for attempt_id in self._alarms.keys() - ids:
            self._alarms.pop(attempt_id).cancel()
        for memory in (self._backoffs, self._stops):
            for attempt_id in memory.keys() - ids:
                del memory[attempt_id]


def _source(attempt: Attempt, job: Job) -> Source:
    assert attempt.handle is not None, "only what was launched can be read from"
    signs = restored(Signs, attempt.signs) or Signs()
    return Source(attempt.id, job.id, attempt.number, attempt.handle, job.events_offset, signs)


def _not_started(error: LaunchError | OSError | UnusableError) -> Verdict:
    """What the machine lacks at the moment is not the job's failure: it waits, and is started later."""
    cause = error.__cause__ if isinstance(error, LaunchError) else error
    is_passing = isinstance(cause, OSError) and cause.errno in PASSING
    # Of an OSError not the path: where things lie on the server is nobody's business.
    text = f"the trainer can't be started: {error.strerror or error}" if isinstance(error, OSError) else str(error)
    return Verdict(Cause.STOPPED if is_passing else Cause.FAILED, "not_started", text)
