"""The yard as it is now: its machine, what runs, what waits in which order, and what failed lately."""

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

from runyard.domain.lifecycle import ACTIVE, State
from runyard.protocol.events import Snapshot
from runyard.schemas.jobs import EventRead, JobRead
from runyard.schemas.system import SystemRead
from runyard.sdk import calls, listing

PAGE = 200
MOST_PAGES = 5
LATELY = 24 * 3600.0
MOST_FAILED = 20
FIGURES = frozenset({"phase", "progress", "metric", "resumed"})
PLACES = frozenset({"state", "queue"})


@dataclass
class Overview:
    system: SystemRead
    at: float
    """When it was asked for."""
    running: list[JobRead] = field(default_factory=list)
    """Those that started last before the others."""
    waiting: list[JobRead] = field(default_factory=list)
    """In the order in which they are to start."""
    failed: list[JobRead] = field(default_factory=list)
    """Within the last day; those that failed last before the others."""

    def take(self, event: EventRead) -> bool:
        """Move the figures on by an entry of the feed; True where it changes more, and the yard is to be asked anew."""
        if event.type in PLACES:
            return True
        job = next((job for job in self.running if job.id == event.job_id), None)
        if job is not None and event.type in FIGURES:
            job.snapshot = snapshot = job.snapshot or Snapshot()
            now = {"n": snapshot.n, "attempt": snapshot.attempt, "type": event.type, **event.data, "at": event.at}
            snapshot.take(now)
        return False


def overview(now: float) -> Generator[calls.Call[Any], Any, Overview]:
    """All of it in a few requests."""
    found = Overview((yield from calls.system()), now)
    running = yield from _all(*ACTIVE)
    found.running = sorted(running, key=lambda job: (-(job.started_at or now), job.id))
    waiting = yield from _all(State.QUEUED)
    found.waiting = sorted(
        waiting, key=lambda job: (job.queue_position is None, job.queue_position or 0, job.created_at)
    )
    failed = (yield from listing.jobs(state=[State.FAILED], limit=MOST_FAILED)).items
    lately = [job for job in failed if (job.finished_at or 0) >= now - LATELY]
    found.failed = sorted(lately, key=lambda job: -(job.finished_at or 0))
    return found


def _all(*states: State) -> Generator[calls.Call[Any], Any, list[JobRead]]:
    found: list[JobRead] = []
    cursor: str | None = None
    for _ in range(MOST_PAGES):
        page = yield from listing.jobs(state=states, cursor=cursor, limit=PAGE)
        found += page.items
        if (cursor := page.next_cursor) is None:
            break
    return found
