"""From lines to rows: what trainers report, in their order, rows and offset in one commit."""

import asyncio
import json
import logging
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field
from typing import Any, get_args

from runyard.db.database import Session
from runyard.db.queries import artifacts, attempts, checkpoints, events, jobs, metrics, rollups, samples
from runyard.domain import history
from runyard.domain.lifecycle import Cause, State
from runyard.domain.masks import Mask
from runyard.domain.stalls import Signs, restored
from runyard.engine.context import Context
from runyard.engine.loop import Backoff
from runyard.executors.base import Handle
from runyard.protocol.events import (
    ArtifactEvent,
    ArtifactKind,
    CheckpointEvent,
    CheckpointRemovedEvent,
    Event,
    FailureReason,
    Level,
    Outcome,
    Phase,
    Snapshot,
    Split,
)
from runyard.protocol.rundir import RunDir
from runyard.services import secrets

log = logging.getLogger(__name__)

POLL_SECONDS = 0.01
PATIENCE_SECONDS = 0.5
WORDS = frozenset(
    {
        *(kind.model_fields["type"].default for kind in Event.__subclasses__()),
        *(word for words in (Phase, Outcome, FailureReason, ArtifactKind, Split, Level) for word in get_args(words)),
    }
)
"""Our own words in events: they stay even where one is a secret, too."""
MANY_BYTES = 1 << 14  # who gets less than so much at once has come to the end


@dataclass
class Source:
    """An attempt that is read from, and how far."""

    attempt_id: str
    job_id: str
    number: int
    handle: Handle
    offset: int
    signs: Signs = field(default_factory=Signs)
    mask: Mask = field(default_factory=Mask)
    """What must not be shown of all that it says."""
    backoff: Backoff = field(default_factory=Backoff)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Who reads beside another would read the same lines."""
    count: rollups.Count | None = None
    """What the job's events had come to when `offset` was committed: nobody else adds to it."""


class Ingest:
    def __init__(self, context: Context, watching: Callable[[], None]) -> None:
        """`watching` is called when there is one more to read from."""
        self._context, self._watching = context, watching
        self._sources: dict[str, Source] = {}

    def watch(self, source: Source) -> Source:
        """Read from an attempt from now on; what is watched already is returned as it is."""
        if source.attempt_id not in self._sources:
            source.mask = secrets.mask(RunDir(self._context.runs / source.job_id), self._context.limits)
            if source.mask.everything:
                log.error(
                    "what job %s was given is sealed with another key: all that it says is covered", source.job_id
                )
            self._sources[source.attempt_id] = source
            self._watching()
        return self._sources[source.attempt_id]

    def keep_only(self, attempt_ids: Collection[str]) -> None:
        for attempt_id in self._sources.keys() - attempt_ids:
            del self._sources[attempt_id]

    def pause(self) -> float | None:
        return POLL_SECONDS if self._sources else None

    async def tick(self) -> bool:
        """One batch from each, so that a talkative trainer does not keep others waiting."""
        busy = False
        for source in list(self._sources.values()):
            if not source.backoff.is_due():
                continue
            try:
                busy |= await self._take(source)
                source.backoff.worked()
            except Exception:  # noqa: BLE001 - logged there; the lines stay in the file and are read again
                source.backoff.failed(f"reading the events of job {source.job_id}")
        return busy

    async def read_to_now(self, source: Source) -> bool:
        """Read what is there at this moment, however fast it grows; False if others would have to wait for it."""
        now = asyncio.get_running_loop().time
        give_up = now() + PATIENCE_SECONDS
        while now() < give_up:
            before = source.offset
            await self._take(source)
            if source.offset - before < MANY_BYTES:
                return True
        return False

    async def drain(self, source: Source) -> bool:
        """Read all that is there, when nobody writes any more; False if there is so much that others would wait."""
        now = asyncio.get_running_loop().time
        give_up = now() + PATIENCE_SECONDS
        while await self._take(source):
            if now() >= give_up:
                return False
        return True

    async def _take(self, source: Source) -> bool:
        """False if there was nothing new."""
        async with source.turn:
            lines, end = await self._context.executor.read_events(source.handle, source.offset)
            if end == source.offset:
                return False
            about: dict[str, str | int] = {"runyard.job": source.job_id, "runyard.lines": len(lines)}
            with self._context.traces.span("engine.ingest", about):
                return await self._put(source, lines, end)

    async def _put(self, source: Source, lines: list[bytes], end: int) -> bool:
        """The lines from where it was read to, up to this offset; False if another engine reads now."""
        start = source.offset
        async with self._context.database.write() as session:
            attempt = await attempts.held(session, source.attempt_id, self._context.token)
            job = await jobs.get(session, source.job_id)
            if attempt is None or job is None:
                self._sources.pop(source.attempt_id, None)  # somebody else reads it now
                return False
            signs = restored(Signs, attempt.signs) or Signs()
            known, source.count, count = source.count, None, None
            if job.events_offset == start:
                lines = [covered(line, source.mask) for line in lines] if source.mask else lines
                count = known.of(job) if known else await rollups.begin(session, job)
                await self._write(session, count, source.number, signs, lines)
                job.events_offset = end
                attempt.signs = asdict(signs)
            read_to = job.events_offset
        source.offset, source.signs = read_to, signs
        source.count = count
        self._context.notify()
        return True

    async def _write(
        self, session: Session, count: rollups.Count, attempt: int, signs: Signs, lines: list[bytes]
    ) -> None:
        job, now = count.job, self._context.clock()
        news = history.read(lines, Snapshot.model_validate(job.snapshot or {}))
        if news.feed and job.state == State.STARTING:
            await jobs.apply_move(session, job, Cause.STARTED, "trainer", now, attempt=attempt)
        for entry in news.feed:
            signs.take(entry["type"], entry["data"])
        await events.append_all(session, [{"job_id": job.id, **entry} for entry in news.feed])
        if news.skipped:
            await events.say(session, job.id, now, _warning(attempt, news.skipped))
        if news.forget_after is not None:
            await metrics.forget_after(session, job.id, news.forget_after)
            await rollups.forget_after(session, count, news.forget_after)
            await samples.forget_after(session, job.id, news.forget_after)
        written = await metrics.record(session, job.id, news.points)
        await rollups.take(session, count, news.feed, written)
        await samples.record(session, job.id, news.samples)
        for event, fields in news.kept:
            await self._keep(session, job.id, event, fields)
        job.snapshot = json.loads(news.snapshot.model_dump_json())
        job.updated_at = now

    async def _keep(self, session: Session, job_id: str, event: history.Kept, fields: dict[str, Any]) -> None:
        match event:
            case CheckpointEvent():
                values = {name: fields[name] for name in ("attempt", "path", "size_bytes", "metrics", "best", "files")}
                await checkpoints.record(session, job_id, event.step, values | {"created_at": event.at})
            case CheckpointRemovedEvent():
                await checkpoints.mark_removed(session, job_id, event.step, event.at)
            case ArtifactEvent():
                values = {
                    "kind": event.kind,
                    "size_bytes": event.size_bytes,
                    "hash_sha256": event.sha256,
                    "details": fields["metadata"],
                    "created_at": event.at,
                }
                await artifacts.record(session, job_id, fields["path"], self._context.new_id(), values)


def covered(line: bytes, mask: Mask) -> bytes:
    """A line without what must not be shown, for its feed and all that is made of it; numbers and kinds stay."""
    try:
        event = json.loads(line)
        parts = {
            name: part if isinstance(part, str) and part in WORDS else mask.hide_all(part)
            for name, part in event.items()
        }
        return json.dumps(parts).encode()
    except (ValueError, AttributeError, RecursionError):  # no event: what is told of it must not show it, either
        return mask.hide(line)


def _warning(attempt: int, skipped: list[str]) -> events.Message:
    count = "1 line" if len(skipped) == 1 else f"{len(skipped)} lines"
    text = f"skipped {count} of events.jsonl that can't be read; the first: {skipped[0]}"
    return events.Message(attempt, text, data={"skipped": len(skipped)})
