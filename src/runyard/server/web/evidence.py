"""What shows why a job failed: the curve that went wrong, and like jobs that went well."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from runyard.db.database import Session
from runyard.db.queries import estimates
from runyard.db.tables import Attempt, Job
from runyard.domain import analytics as rules
from runyard.domain.reasons import Reason
from runyard.schemas.system import GpuRead
from runyard.server.web import words
from runyard.services import analytics, curves
from runyard.services.curves import Wanted

CURVES = {
    Reason.GPU_OUT_OF_MEMORY: ("gpu_memory_mb", "GPU memory by step", "GB"),
    Reason.OUT_OF_MEMORY: ("memory_mb", "Memory by step", "GB"),
    Reason.LOSS_NOT_FINITE: ("loss", "Loss by step", ""),
    Reason.LOSS_EXPLODED: ("loss", "Loss by step", ""),
}
"""By reason: which value shows it, what the chart is called, and its unit."""
POINTS = 200
WIDTH, HEIGHT = 480.0, 110.0
MEGABYTES = 1024.0
MOST_LIKE, MOST_DIFFERENCES, LONGEST = 2, 2, 60


@dataclass(frozen=True)
class Chart:
    """An SVG path in a box of `width` by `height`; `limit` is how far from its top a line stands, with its words."""

    title: str
    unit: str
    path: str
    low: str
    high: str
    first: str
    last: str
    says: str
    limit: tuple[float, str] | None = None
    lost: float | None = None
    """How far from the left the value was none any more."""
    width: float = WIDTH
    height: float = HEIGHT


@dataclass(frozen=True)
class Like:
    """A job of the same kind of work that was completed, and what it did otherwise."""

    job: Job
    differences: Sequence[str]
    told: str


async def chart(session: Session, job: Job, attempt: Attempt | None, gpus: Sequence[GpuRead]) -> Chart | None:
    """None where no curve shows the reason. `gpus` are those of the machine on which the attempt was, if known."""
    if job.reason not in CURVES:
        return None
    name, title, unit = CURVES[Reason(job.reason)]
    series = (await curves.read(session, job.id, Wanted(names=(name,), points=POINTS)))["series"].get(name)
    if series is None:
        return None
    scale = MEGABYTES if unit else 1.0
    held = [gpu.memory_total_mb / scale for gpu in gpus if attempt and gpu.index in attempt.gpus]
    limit = min(held, default=None) if job.reason == Reason.GPU_OUT_OF_MEMORY else None
    points = [
        (step, None if value is None else value / scale)
        for step, value in zip(series["step"], series["last"], strict=True)
    ]
    return drawn(title, unit, points, limit)


def drawn(title: str, unit: str, points: Sequence[tuple[int, float | None]], limit: float | None) -> Chart | None:
    """None for less than two values that can be drawn."""
    known = [(step, value) for step, value in points if value is not None and math.isfinite(value)]
    if len(known) < 2:
        return None
    values = [value for _, value in known]
    low = 0.0 if unit else min(values)
    high = max([*values, *([limit] if limit is not None else [])])
    begin, end = points[0][0], points[-1][0]

    def x(step: int) -> float:
        return WIDTH * (step - begin) / ((end - begin) or 1)

    def y(value: float) -> float:
        return HEIGHT * (1 - (value - low) / ((high - low) or 1.0))

    lost = next((step for step, value in points if value is None and step > known[-1][0]), None)
    ends = f"{words.value(known[-1][1])}{f' {unit}' if unit else ''} at step {words.count(known[-1][0])}"
    return Chart(
        title=title,
        unit=unit,
        path="M" + "L".join(f"{x(step):.1f} {y(value):.1f}" for step, value in known),
        low=words.value(low),
        high=words.value(high),
        first=words.count(begin),
        last=words.count(end),
        says=f"{title}: highest {words.value(max(values))}{f' {unit}' if unit else ''}, {ends}",
        limit=None if limit is None else (y(limit), f"{limit:.1f} {unit} on the card"),
        lost=None if lost is None else x(lost),
    )


async def went_well(session: Session, job: Job, now: float) -> list[Like]:
    """The newest jobs like it that were completed."""
    found = await estimates.like(session, job, MOST_LIKE)
    own = analytics.settings(job)
    return [Like(one, _differences(own, analytics.settings(one)), _told(one, now)) for one in found]


def _differences(failed: dict[str, object], other: dict[str, object]) -> list[str]:
    """The first few settings of the other that the failed one did not have."""
    found = {name: pair["other"] for name, pair in rules.differences({"failed": failed, "other": other}).items()}
    short = [(name, value) for name, value in sorted(found.items()) if not isinstance(value, list | dict)]
    return [f"{name} {(words.setting(value) or 'unset')[:LONGEST]}" for name, value in short[:MOST_DIFFERENCES]]


def _told(job: Job, now: float) -> str:
    peak = job.peak_gpu_memory_mb
    parts = [] if peak is None else [f"{words.gigabytes(peak)} GB of GPU memory"]
    parts.append(words.duration(job.duration))
    return ", ".join([*parts, words.ago(now - (job.finished_at or now))])
