"""Guards the GPUs: one is free when it is seen to be free, one that does not come back is put aside, and one that
somebody else is using is left alone."""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from runyard.db.database import Session
from runyard.db.queries import attempts, events, jobs, quarantines
from runyard.db.tables import Attempt, Quarantine
from runyard.domain import gpus
from runyard.domain.gpus import Claim, Usage
from runyard.engine.context import Context

log = logging.getLogger(__name__)

RELEASE_SECONDS = 10.0
"""Until a GPU that is not free by then is put aside."""
POLL_SECONDS, LOOK_SECONDS = 0.25, 5.0


@dataclass(frozen=True)
class Seen:
    """What one look at the machine has shown: `ours` and `alive` are attempts, known here and with processes left."""

    usage: Mapping[int, Usage]
    ours: frozenset[str]
    alive: frozenset[str]


class Guard:
    def __init__(self, context: Context, freed: Callable[[], None]) -> None:
        """`freed` is called when there is room for the next."""
        self._context, self._freed = context, freed
        self._unusable: dict[int, str] = {}
        self._waiting_since: dict[str, float] = {}
        self._has_any = True
        """Here, or held by attempts: what had GPUs may outlive their being seen."""

    def unusable(self) -> Mapping[int, str]:
        """GPUs that nothing may be started on, each with the reason."""
        return self._unusable

    def pause(self) -> float | None:
        if self._waiting_since:
            return POLL_SECONDS
        return LOOK_SECONDS if self._context.machine.gpus else None

    async def baseline(self, attempt: Attempt) -> dict[str, float] | None:
        """MB in use on each of its GPUs by others than us, before it is launched; None where nothing tells."""
        usage = await asyncio.to_thread(self._context.gpu_usage)
        async with self._context.database.read() as session:
            beside = await attempts.unreleased(session, self._context.owner)
            ours = await _known(session, usage)
        found = {}
        for gpu in attempt.gpus:
            sharing = [other for other in beside if gpu in other.gpus and other.id != attempt.id]
            known = [mb for other in sharing if (mb := _baseline(other, gpu)) is not None]
            if known or gpu in usage:
                found[str(gpu)] = known[0] if known else usage[gpu].own_mb(ours)
        return found or None

    async def begin(self) -> None:
        """Look before anything is started; what can't be looked at can't be used."""
        try:
            await self.tick()
        except Exception:
            log.exception("looking at the GPUs failed and is tried again")

    async def tick(self) -> bool:
        """Release what is free, put aside what does not come back, and look again at what was."""
        context = self._context
        if not (self._has_any or context.machine.gpus):
            return False
        async with context.database.read() as session:
            holding = await attempts.unreleased(session, context.owner)
            aside = await quarantines.of_machine(session, context.machine.name)
        try:
            usage = await asyncio.to_thread(context.gpu_usage)
        except OSError as error:
            self._unusable = {gpu.index: f"its driver does not answer: {error}" for gpu in context.machine.gpus}
            raise
        seen = await self._look(usage, holding, aside)
        before = dict(self._unusable)
        released = [await self._release(attempt, holding, seen) for attempt in holding if attempt.ended_at is not None]
        for quarantine in aside:
            if _why_not(quarantine, seen) is None:
                await self._lift(quarantine)
        await self._note(seen, {gpu for attempt in holding for gpu in attempt.gpus})
        self._has_any = bool(context.machine.gpus or holding)
        self._waiting_since = {id_: at for id_, at in self._waiting_since.items() if id_ in {a.id for a in holding}}
        if any(released) or before != self._unusable:
            self._freed()
            context.notify()
        return False

    async def _look(self, usage: Mapping[int, Usage], holding: Sequence[Attempt], aside: Sequence[Quarantine]) -> Seen:
        is_due = aside or any(attempt.ended_at is not None for attempt in holding)
        alive: set[str] = await self._context.executor.running() if is_due else set()
        async with self._context.database.read() as session:
            ours = await _known(session, usage)
        return Seen(usage, frozenset(ours), frozenset(alive))

    async def _release(self, attempt: Attempt, holding: Sequence[Attempt], seen: Seen) -> bool:
        """True once it holds nothing any more, be it that some of it is put aside."""
        held = {}
        for gpu in attempt.gpus:
            shared = any(gpu in other.gpus for other in holding if other.ended_at is None)
            claim = Claim(attempt.id, _baseline(attempt, gpu), shared)
            if why := gpus.still_held(seen.usage.get(gpu), claim, seen.ours, seen.alive):
                held[gpu] = why
        now = self._context.monotonic()
        if held and now - self._waiting_since.setdefault(attempt.id, now) < RELEASE_SECONDS:
            return False
        # Before it is released: whoever sees it released must see what is put aside.
        self._unusable = self._unusable | {gpu: _aside(why) for gpu, why in held.items()}
        async with self._context.database.write() as session:
            if not await attempts.release(session, attempt.id, self._context.clock()):
                return False
            for gpu, why in held.items():
                await self._put_aside(session, attempt, gpu, why)
        self._waiting_since.pop(attempt.id, None)
        return True

    async def _put_aside(self, session: Session, attempt: Attempt, gpu: int, why: str) -> None:
        row = Quarantine(
            machine=self._context.machine.name,
            gpu=gpu,
            cause=why,
            since=self._context.clock(),
            attempt_id=attempt.id,
            baseline_mb=_baseline(attempt, gpu),
        )
        await quarantines.put(session, row)
        text = f"GPU {gpu} is put aside until it is free: {why}"
        log.warning("%s (attempt %s of job %s)", text, attempt.number, attempt.job_id)
        await self._say(session, attempt, events.Message(attempt.number, text))

    async def _lift(self, quarantine: Quarantine) -> None:
        async with self._context.database.write() as session:
            if await session.get(Quarantine, (quarantine.machine, quarantine.gpu)) is None:
                return  # somebody who looked at the same time has lifted it, and said so
            await quarantines.lift(session, quarantine.machine, quarantine.gpu)
            attempt = await session.get(Attempt, quarantine.attempt_id)
            if attempt is not None:
                message = events.Message(attempt.number, f"GPU {quarantine.gpu} is free again", "info")
                await self._say(session, attempt, message)
        log.warning("GPU %s is free again", quarantine.gpu)

    async def _say(self, session: Session, attempt: Attempt, message: events.Message) -> None:
        if await jobs.get(session, attempt.job_id) is not None:
            await events.say(session, attempt.job_id, self._context.clock(), message)

    async def _note(self, seen: Seen, held: Collection[int]) -> None:
        async with self._context.database.read() as session:
            aside = await quarantines.of_machine(session, self._context.machine.name)
        others = {gpu: gpus.used_by_others(usage, seen.ours, gpu in held) for gpu, usage in seen.usage.items()}
        unusable = {gpu: why for gpu, why in others.items() if why is not None}
        self._unusable = unusable | {row.gpu: _aside(row.cause) for row in aside}


def _aside(why: str) -> str:
    return f"put aside: {why}"


def _why_not(quarantine: Quarantine, seen: Seen) -> str | None:
    claim = Claim(quarantine.attempt_id, quarantine.baseline_mb)
    return gpus.still_held(seen.usage.get(quarantine.gpu), claim, seen.ours, seen.alive)


async def _known(session: Session, usage: Mapping[int, Usage]) -> set[str]:
    """The attempts of ours that are on a GPU."""
    nonces = {holder.nonce for one in usage.values() for holder in one.holders if holder.nonce is not None}
    return await attempts.known(session, nonces)


def _baseline(attempt: Attempt, gpu: int) -> float | None:
    found: float | None = (attempt.gpu_baseline or {}).get(str(gpu))
    return found
