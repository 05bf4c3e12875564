"""The live feed: one reader of the database, any number of subscribers, each with a cursor and nothing else.

The hub keeps the newest rows in a ring, rendered once. A subscriber behind the ring reads pages from the database
until it has caught up, so one that is slow, or was away, costs the others nothing and misses nothing.
"""

import asyncio
import bisect
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal
from weakref import WeakValueDictionary

from runyard.db.database import Database
from runyard.db.queries import events, jobs
from runyard.domain.lifecycle import FINAL
from runyard.schemas.jobs import EventRead

RING = 8192
RING_BYTES = 16 << 20
"""Entries are a few hundred bytes; should they be much more, fewer are kept."""
PAGE = 1000
BATCH = 64
"""What one subscriber is given at once, and may keep from being forgotten while it takes it."""
PULSE_SECONDS = 2.0
"""Between two signs of life, to everybody at once: a timer for each would cost more than all else."""
FALLBACK_SECONDS = 0.5
"""How long an event written by another process may stay unseen."""

Topic = tuple[Literal["tenant", "job_id"], str]
"""What somebody follows: all that is a tenant's, or one job."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A row of the feed as JSON; of a state, `final` tells whether the job has ended with it."""

    id: int
    tenant: str
    job_id: str
    type: str
    text: bytes
    final: bool | None = None


def render(row: events.Event) -> Entry:
    final = row.data["after"] in FINAL if row.type == "state" else None
    return Entry(
        row.id, row.tenant, row.job_id, row.type, EventRead.model_validate(row).model_dump_json().encode(), final
    )


class Hub:
    """Every entry with an id above `_floor`, up to the newest one read, is in the ring."""

    def __init__(self, database: Database, *, size: int = RING) -> None:
        self._database = database
        self._size = size
        self._ids: list[int] = []
        self._entries: list[Entry] = []
        self._bytes = 0
        self._floor = 0
        self._news = asyncio.Event()
        self._waiting: WeakValueDictionary[Topic, asyncio.Event] = WeakValueDictionary()
        self.closed = False

    def notify(self) -> None:
        """Rows were committed: read them now."""
        self._news.set()

    def close(self) -> None:
        """End every subscription: the server is about to stop."""
        self.closed = True
        self._wake(list(self._waiting))

    async def start(self) -> None:
        """Begin at the newest row; what is older comes from the database."""
        async with self._database.read() as session:
            self._floor = await events.last_id(session)

    async def run(self) -> None:
        """Read new rows until cancelled; an outage of the database only delays them."""
        now = asyncio.get_running_loop().time
        pulse = now() + PULSE_SECONDS
        while True:
            if now() > pulse:
                pulse = now() + PULSE_SECONDS
                self._wake(list(self._waiting))
            try:
                async with asyncio.timeout(FALLBACK_SECONDS):
                    await self._news.wait()
            except TimeoutError:
                pass
            self._news.clear()
            try:
                await self._read()
            except Exception as error:  # noqa: BLE001 - whatever the database's driver raises
                log.warning("the feed can't read the database and tries again: %s", error)
                await asyncio.sleep(FALLBACK_SECONDS)

    def follow(self, cursor: int, tenant: str) -> AsyncIterator[Sequence[Entry]]:
        """A tenant's entries after a cursor in batches, now and then an empty one as a sign of life.

        Every stream ends when the hub closes.
        """
        return self._follow(cursor, ("tenant", tenant))

    async def follow_job(self, cursor: int, job_id: str) -> AsyncIterator[Sequence[Entry]]:
        """Those of one job. Ends with an entry of type "end", when the job has ended and everything was given."""
        ended, end = await self._end(cursor, job_id)
        batches = self._follow(cursor, ("job_id", job_id))
        while end is None and (batch := await anext(batches, None)) is not None:
            yield batch
            for entry in batch:
                cursor = entry.id
                ended = ended if entry.final is None else entry.final
            if ended:
                ended, end = await self._end(cursor, job_id)
        if end is not None:
            yield [end]

    async def _follow(self, cursor: int, topic: Topic) -> AsyncIterator[Sequence[Entry]]:
        woken = False
        while not self.closed:
            event = self._waiting.setdefault(topic, asyncio.Event())  # before looking, so that no entry slips through
            batch, cursor = await self._after(cursor, topic)
            if batch or woken:
                woken = False
                yield batch
                if len(batch) == BATCH:
                    await asyncio.sleep(0)  # one that has much to catch up with must not keep others waiting
            else:
                await event.wait()
                woken = True

    async def _stored(self, cursor: int, topic: Topic | None, limit: int) -> list[Entry]:
        """Those after a cursor, from the database; without a topic, all of them."""
        what, name = topic or (None, None)
        async with self._database.read(tenant=name if what == "tenant" else None) as session:
            rows = await events.after(session, cursor, name if what == "job_id" else None, limit)
        return [render(row) for row in rows]

    async def _end(self, cursor: int, job_id: str) -> tuple[bool, Entry | None]:
        """Has the job ended? And the last entry of its stream, if moreover nothing follows the cursor."""
        async with self._database.read() as session:
            job = await jobs.get(session, job_id)
            if job is None or job.state not in FINAL:
                return False, None
            if await events.after(session, cursor, job_id, 1):
                return True, None
        read = EventRead(id=cursor, job_id=job_id, at=job.updated_at, type="end", data={"state": job.state})
        return True, Entry(cursor, job.tenant, job_id, read.type, read.model_dump_json().encode(), True)

    async def _after(self, cursor: int, topic: Topic) -> tuple[Sequence[Entry], int]:
        """The next entries, and the cursor behind everything that was looked at for them."""
        if cursor < self._floor:
            floor = self._floor
            batch = await self._stored(cursor, topic, BATCH)
            return batch, batch[-1].id if batch else floor
        start = bisect.bisect_right(self._ids, cursor)
        found = self._about(start, topic)
        if found:
            return found, found[-1].id
        return found, max(cursor, self._ids[-1]) if self._ids else cursor

    def _about(self, start: int, topic: Topic) -> list[Entry]:
        what, name = topic
        found: list[Entry] = []
        for position in range(start, len(self._entries)):
            entry = self._entries[position]
            if (entry.tenant if what == "tenant" else entry.job_id) == name:
                found.append(entry)
                if len(found) == BATCH:
                    break
        return found

    async def _read(self) -> None:
        full = True
        while full:
            rows = await self._stored(self._ids[-1] if self._ids else self._floor, None, PAGE)
            full = len(rows) == PAGE
            self._add(rows)

    def _add(self, entries: Sequence[Entry]) -> None:
        self._entries += entries
        self._ids += [entry.id for entry in entries]
        self._bytes += sum(len(entry.text) for entry in entries)
        if len(self._ids) > 2 * self._size or self._bytes > 2 * RING_BYTES:
            self._forget()
        if entries:
            self._wake(
                {("tenant", entry.tenant) for entry in entries} | {("job_id", entry.job_id) for entry in entries}
            )

    def _forget(self) -> None:
        """All but the newest: half of what fits, so that it is seldom done."""
        cut, self._bytes = len(self._entries), 0
        while self._bytes < RING_BYTES and cut > len(self._entries) - self._size:
            cut -= 1
            self._bytes += len(self._entries[cut].text)
        self._floor = self._ids[cut - 1]
        del self._ids[:cut], self._entries[:cut]

    def _wake(self, topics: Iterable[Topic]) -> None:
        for topic in topics:
            if event := self._waiting.pop(topic, None):
                event.set()
