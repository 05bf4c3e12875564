"""The whole yard in five seconds: what runs, what waits and why, what needs somebody, where and until when."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil, floor

import psutil
from fastapi import APIRouter, Request, Response

from runyard.db.database import Session
from runyard.db.queries import events
from runyard.db.queries import jobs as job_rows
from runyard.db.queries import overview as rows
from runyard.db.tables import Job
from runyard.domain.lifecycle import ACTIVE, FINAL, State
from runyard.domain.quotas import Quota
from runyard.schemas.system import GpuRead
from runyard.server.deps import Desk, ToSee
from runyard.server.web import shown, sparks, states, words
from runyard.server.web.frame import Sight, render
from runyard.services import fixes, queue, quotas, yard
from runyard.services.queue import Standing
from runyard.services.yard import Lane

router = APIRouter()

BEFORE, AHEAD = 1.5 * 3600, 3.5 * 3600
QUARTER = 900.0
MOST_NEEDS, MOST_RUNNING, MOST_WAITING, MOST_FINISHED = 3, 50, 20, 8
NEEDS_SECONDS, WEEK = 86400.0, 7 * 86400.0
MOST_BEST = 8
JUST_ENDED_SECONDS = 10.0
"""So long whoever watches a job sees what became of it where it ran."""
SHORT_PART = 0.052
"""A block of less than this part of the track, about 50 pixels, shows its icon alone."""


@dataclass(frozen=True)
class Need:
    """Something for a person to do: what happened, what would mend it."""

    job: Job
    what: str
    fix: str
    can_fix: bool


@dataclass(frozen=True)
class Span:
    """A block on the track, in parts of its width."""

    block: yard.Block
    start: float
    width: float
    gone: float
    """Of its own width."""
    is_short: bool
    began_before: bool
    sentence: str


@dataclass(frozen=True)
class Track:
    lane: Lane
    label: str
    gpu: GpuRead | None
    spans: Sequence[Span]
    load: str = ""
    load_part: float = 0.0


@dataclass(frozen=True)
class Window:
    """What the picture shows of time; it jumps each quarter of an hour."""

    since: float
    until: float

    def part(self, at: float) -> float:
        return (at - self.since) / (self.until - self.since)

    def hours(self) -> list[float]:
        return [at * 3600.0 for at in range(ceil(self.since / 3600), floor(self.until / 3600) + 1)]


@router.get("/")
async def show(desk: ToSee, request: Request) -> Response:
    sight = Sight(request, desk.yard.clock(), desk.caller)
    window = _window(sight.now)
    gpus = {gpu.index: gpu for gpu in desk.yard.gpus()}
    async with desk.read(long=True) as session:
        cursor = await events.last_id(session)
        counts = await job_rows.count_by_state(session)
        running = [*await rows.in_states(session, ACTIVE, MOST_RUNNING)]
        running += await rows.left_since(session, sight.now - JUST_ENDED_SECONDS, MOST_RUNNING)
        running.sort(key=lambda job: -(job.started_at or sight.now))
        waiting = await rows.in_line(session, MOST_WAITING * 5)
        failed = await rows.ended_since(session, (State.FAILED,), sight.now - NEEDS_SECONDS, 50)
        ended = await rows.ended_since(session, FINAL, _midnight(sight), MOST_FINISHED)
        lanes = await yard.lanes(session, desk.yard.machine, list(gpus), window.since, sight.now)
        best = await rows.best(session, sight.now - WEEK)
        curves = await sparks.of_jobs(session, running)
        used = await quotas.used(session, desk.caller.tenant, None, desk.yard.context, sight.now)
    unseen = [job.id for job in failed if job.id not in sight.looked]
    async with desk.read() as session:
        needs = [need for id_ in unseen[:MOST_NEEDS] if (need := await _need(session, id_))]
    standings = await _standings(desk, waiting)
    line = sorted(waiting, key=lambda job: standings[job.id].position or len(waiting) + 1)
    tracks = [_track(lane, gpus, desk, window, sight) for lane in lanes]
    return render(
        sight,
        "overview.html",
        here="/",
        cursor=cursor,
        counts=counts,
        running_count=sum(counts.get(state, 0) for state in ACTIVE),
        needs=needs,
        needs_count=len(unseen),
        sentence=_sentence(desk, sight, lanes, counts),
        window=window,
        tracks=tracks,
        machines=_machines(len(gpus)),
        running=[shown.shown(job, sight.now, curves.get(job.id, ())) for job in running],
        waiting=[(job, standings[job.id]) for job in line[:MOST_WAITING]],
        ended=[shown.shown(job, sight.now) for job in ended],
        best=best[:MOST_BEST],
        disk=psutil.disk_usage(str(desk.yard.context.home)),
        warnings=_warnings(desk),
        stored=next((item for item in used if item.quota == Quota.STORED_BYTES), None),
    )


async def _standings(desk: Desk, waiting: Sequence[Job]) -> dict[str, Standing]:
    if not waiting:
        return {}
    async with desk.yard.database.read(long=True) as session:
        return await queue.standings(session, waiting, desk.yard.clock())


async def _need(session: Session, job_id: str) -> Need | None:
    job = await job_rows.get(session, job_id)
    if job is None:  # removed a moment ago
        return None
    step = (job.snapshot or {}).get("step")
    what = states.cause(job.reason) + (f" at step {words.count(step)}" if step else "")
    found = await fixes.advise(session, job)
    if found is None:
        return Need(job, what, job.message or "", can_fix=False)
    return Need(job, what, found.explanation, can_fix=bool(found.choices))


def _window(now: float) -> Window:
    start = floor((now - BEFORE) / QUARTER) * QUARTER
    return Window(start, start + BEFORE + AHEAD)


def _midnight(sight: Sight) -> float:
    return datetime.fromtimestamp(sight.now, sight.zone).replace(hour=0, minute=0, second=0).timestamp()


def _track(lane: Lane, gpus: Mapping[int, GpuRead], desk: Desk, window: Window, sight: Sight) -> Track:
    is_here = lane.machine == desk.yard.machine
    gpu = gpus.get(lane.gpu) if is_here and lane.gpu is not None else None
    label = lane.machine if lane.gpu is None else f"{lane.machine} · {lane.gpu}"
    spans = [span for block in lane.blocks if (span := _span(block, window, sight))]
    if lane.gpu is not None or not is_here:
        return Track(lane, label, gpu, spans)
    busy = psutil.cpu_percent(interval=None) / 100
    return Track(lane, label, gpu, spans, f"{psutil.cpu_count()} cores · {words.percent(busy)}", busy)


def _span(block: yard.Block, window: Window, sight: Sight) -> Span | None:
    end = block.end
    if block.state in ACTIVE:
        end = max(end or 0.0, sight.now + 60)
    end = block.start + 600 if end is None else end
    start, stop = max(0.0, window.part(block.start)), min(1.0, window.part(end))
    if stop <= 0 or start >= 1:
        return None
    width = max(stop - start, 0.004)
    gone = min(1.0, max(0.0, (window.part(sight.now) - start) / width))
    return Span(block, start, width, gone, width < SHORT_PART, block.start < window.since, _told(block, sight))


def _told(block: yard.Block, sight: Sight) -> str:
    """For those who can't see where the block is."""
    word = states.word(block.state).lower()
    if block.state == State.QUEUED:
        return f"{block.name}, {word}, starts about {sight.clock(block.start)}"
    until = (
        f", until {'about ' if block.end and block.end > sight.now else ''}{sight.clock(block.end)}"
        if block.end
        else ""
    )
    return f"{block.name}, {word} since {sight.clock(block.start)}{until}"


def _sentence(desk: Desk, sight: Sight, lanes: Sequence[Lane], counts: dict[str, int]) -> str:
    gpus = [lane for lane in lanes if lane.gpu is not None]
    busy = [lane for lane in gpus if any(block.state in ACTIVE for block in lane.blocks)]
    if not gpus:
        running = sum(counts.get(state, 0) for state in ACTIVE)
        free = max(0, desk.yard.slots - running)
        return (
            f"No GPU on this machine; {free} of {desk.yard.slots} places for jobs {'is' if free == 1 else 'are'} free."
        )
    if len(busy) < len(gpus):
        free = len(gpus) - len(busy)
        return f"{free} of {len(gpus)} GPUs {'is' if free == 1 else 'are'} free."
    ends = [
        (block.end, lane) for lane in busy for block in lane.blocks if block.state in ACTIVE and block.end is not None
    ]
    if not ends:
        return "Every GPU is in use; when the next one frees is not known yet."
    end, lane = min(ends, key=lambda pair: pair[0])
    end = max(end, sight.now)
    return (
        f"Every GPU is in use. The next one frees at about {sight.clock(end)} "
        f"({lane.machine} · {lane.gpu}, in {words.duration(end - sight.now)})."
    )


def _machines(gpus: int) -> str:
    return f"{gpus} {'GPU' if gpus == 1 else 'GPUs'}" if gpus else f"{platform.node()}, {psutil.cpu_count()} cores"


def _warnings(desk: Desk) -> list[str]:
    shortage = desk.yard.context.shortage()
    return [shortage] if shortage else []
