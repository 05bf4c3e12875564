"""One engine at a time: leads while its lease lasts, stands by while another does."""

import asyncio
import logging
from contextlib import suppress
from dataclasses import replace

from runyard.db.database import Session
from runyard.db.queries import attempts, events, leaders
from runyard.db.tables import Leader
from runyard.engine.context import Context
from runyard.engine.engine import Engine
from runyard.engine.loop import Backoff
from runyard.engine.seat import Seat

log = logging.getLogger(__name__)

LEASE_SECONDS = 10.0
RENEW_SECONDS = 3.0
STANDBY_SECONDS = 1.0
"""Between two looks at whether there is still a leader."""
WATCH_SECONDS = 2 * RENEW_SECONDS
"""Only a lease that was not renewed for so long by our own clock is believed to have run out."""
RESIGN_SECONDS = 2.0


class Leadership:
    """Runs an engine, with a token of its own, for every time that this process leads.

    What an engine writes is refused once another leads, in the very transaction; what it would do to a process, as soon
    as its own clock says that its lease may have run out. Trainers notice nothing of a change.
    """

    def __init__(self, context: Context, seat: Seat, name: str) -> None:
        """`name` tells people which process it is."""
        self._context, self._seat, self.name = context, seat, name
        self._engine: Engine | None = None
        self._backoff = Backoff()
        self._seen: tuple[str, float] | None = None
        self._seen_since = 0.0
        self._trusted_until = 0.0

    @property
    def leads(self) -> bool:
        return self._engine is not None

    def wake(self) -> None:
        """Something has changed: an engine that runs here looks at once."""
        if self._engine is not None:
            self._engine.wake()

    def wake_scheduler(self) -> None:
        """Somebody more stands in line, and nothing else has changed."""
        if self._engine is not None:
            self._engine.wake_scheduler()

    async def run(self) -> None:
        """Until cancelled; an outage of the database only delays it."""
        try:
            while True:
                await self._stand_by()
        finally:
            self._seat.leave()

    async def _stand_by(self) -> None:
        pause = STANDBY_SECONDS
        try:
            if token := await self._take():
                return await self._lead(token)
            self._backoff.worked()
        except Exception:  # noqa: BLE001 - logged there; who gives up here would never lead again
            pause = self._backoff.failed("looking for the leader")
        self._seat.leave()
        await asyncio.sleep(pause)
        return None

    async def _take(self) -> str | None:
        """A new token that leads, if nobody else does."""
        token, database = self._context.new_id(), self._context.database
        dead = self._seat.take()
        async with database.read() as session:
            if not await self._is_free(session, dead):
                return None
        began = _clock()
        async with database.write() as session:
            if not await self._is_free(session, dead):
                return None
            self._seat.sign(token)  # before the commit: from then on it is what tells that we are dead
            await leaders.take(session, self.name, token, LEASE_SECONDS)
            await self._say_what_is_elsewhere(session)
        self._trusted_until = began + LEASE_SECONDS
        return token

    async def _is_free(self, session: Session, dead: str | None) -> bool:
        leader = await leaders.get(session)
        if leader is None or leader.token == dead:
            return True
        now = await leaders.now(session)
        # One that would last for longer than any does is from before the clock was set back.
        ran_out = not now <= leader.expires_at <= now + LEASE_SECONDS
        return self._watched(leader) > WATCH_SECONDS and ran_out

    def _watched(self, leader: Leader) -> float:
        """For how many seconds we have seen the same lease: clocks may jump, ours of the loop does not."""
        seen = (leader.token, leader.expires_at)
        if seen != self._seen:
            self._seen, self._seen_since = seen, _clock()
        return _clock() - self._seen_since

    async def _lead(self, token: str) -> None:
        engine = self._engine = Engine(self._term(token))
        running = asyncio.create_task(engine.run())
        log.info("%s leads", self.name)
        try:
            while not running.done() and await self._renew(token):
                await asyncio.wait({running}, timeout=RENEW_SECONDS)
            log.warning("%s does not lead any more", self.name)
        finally:
            self._engine = None
            self._trusted_until = 0.0
            running.cancel()
            [fault] = await asyncio.gather(running, return_exceptions=True)
            await self._resign(token)
            self._seat.leave()
            if isinstance(fault, Exception):
                log.error("the engine of %s has crashed, and may be started again", self.name, exc_info=fault)
                await asyncio.sleep(STANDBY_SECONDS)  # whoever stands by may have more luck

    def _term(self, token: str) -> Context:
        database = self._context.database.fenced(lambda session: leaders.require(session, token))
        return replace(self._context, token=token, database=database, require_lead=self._require_lead)

    def _require_lead(self) -> None:
        if _clock() > self._trusted_until:
            raise leaders.NotLeadingError("the lease has run out, and another may lead")

    async def _renew(self, token: str) -> bool:
        """False if another leads. Who can't find out may still lead, and does nothing to processes meanwhile."""
        began, database = _clock(), self._context.database
        patience = LEASE_SECONDS if database.dialect == "postgresql" else None  # a file's lock is no lost connection
        try:
            async with asyncio.timeout(patience), database.write() as session:
                if not await leaders.renew(session, token, LEASE_SECONDS):
                    return False
        except Exception:  # noqa: BLE001 - logged there
            await asyncio.sleep(self._backoff.failed("renewing the lease"))
            return True
        self._backoff.worked()
        self._trusted_until = began + LEASE_SECONDS
        if self._seat.take() is not None:
            self._seat.sign(token)
        return True

    async def _resign(self, token: str) -> None:
        """Leave the place to another at once; if that can't be written, they find out by themselves."""
        with suppress(Exception):
            async with asyncio.timeout(RESIGN_SECONDS), self._context.database.write() as session:
                await leaders.resign(session, token)

    async def _say_what_is_elsewhere(self, session: Session) -> None:
        """Unknown frees nothing and ends nothing, but it is said."""
        for attempt in await attempts.elsewhere(session, self._context.owner):
            text = (
                f"attempt {attempt.number} runs in the data folder {attempt.lease_owner}, out of reach of {self.name}:"
                " what becomes of it is unknown until an engine on that folder leads"
            )
            await events.say(session, attempt.job_id, self._context.clock(), events.Message(attempt.number, text))


def _clock() -> float:
    return asyncio.get_running_loop().time()
