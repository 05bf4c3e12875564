"""From lines to rows: what trainers report, in their order, rows and offset in one commit."""

import asyncio
import json
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field
from typing import Any

from runyard.db.database import Session
from runyard.db.queries import artifacts, attempts, checkpoints, events, jobs, metrics
from runyard.db.tables import Job
from runyard.domain import history
from runyard.domain.lifecycle import Cause, State
from runyard.domain.stalls import Signs, restored
from runyard.engine.context import Context
from runyard.engine.loop import Backoff
from runyard.executors.base import Handle
from runyard.protocol.events import ArtifactEvent, CheckpointEvent, CheckpointRemovedEvent, Snapshot

POLL_SECONDS = 0.01
PATIENCE_SECONDS = 0.5
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
    backoff: Backoff = field(default_factory=Backoff)


class Ingest:
    def __init__(self, context: Context, watching: Callable[[], None]) -> None:
        """`watching` is called when there is one more to read from."""
        self._context, self._watching = context, watching
        self._sources: dict[str, Source] = {}

    def watch(self, source: Source) -> Source:
        """Read from an attempt from now on; what is watched already is returned as it is."""
        if source.attempt_id not in self._sources:
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
        start = source.offset
        lines, end = await self._context.executor.read_events(source.handle, start)
        if end == start:
            return False
        async with self._context.database.write() as session:
            attempt = await attempts.held(session, source.attempt_id, self._context.token)
            job = await jobs.get(session, source.job_id)
            if attempt is None or job is None:
                self._sources.pop(source.attempt_id, None)  # somebody else reads it now
                return False
            signs = restored(Signs, attempt.signs) or Signs()
            if job.events_offset == start:
                await self._write(session, job, source.number, signs, lines)
                job.events_offset = end
                attempt.signs = asdict(signs)
            read_to = job.events_offset
        source.offset, source.signs = read_to, signs
        self._context.notify()
        return True

    async def _write(self, session: Session, job: Job, attempt: int, signs: Signs, lines: list[bytes]) -> None:
        now = self._context.clock()
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
        await metrics.record(session, job.id, news.points)
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


def _warning(attempt: int, skipped: list[str]) -> events.Message:
    count = "1 line" if len(skipped) == 1 else f"{len(skipped)} lines"
    text = f"skipped {count} of events.jsonl that can't be read; the first: {skipped[0]}"
    return events.Message(attempt, text, data={"skipped": len(skipped)})
