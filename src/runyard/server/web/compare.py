"""Runs side by side: which is best and what it cost, their curves on the same axes, and what differs."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from fastapi import APIRouter, Request, Response

from runyard.db.queries import listing as rows
from runyard.db.tables import Job
from runyard.domain import analytics as rules
from runyard.domain import dotted
from runyard.domain.listing import Filter, Sorting
from runyard.server.deps import ToSee
from runyard.server.web import samples, shown, words
from runyard.server.web.frame import Sight, render
from runyard.services import analytics, jobs

router = APIRouter()

MOST, FEWEST = 8, 2
RECENT = 30
PIECES = re.compile(r"[^-_ /.]*[-_ /.]?")


@dataclass(frozen=True)
class Cell:
    text: str
    change: str = ""
    is_best: bool = False


@dataclass(frozen=True)
class Line:
    label: str
    cells: Sequence[Cell]


@router.get("/compare")
async def show(desk: ToSee, request: Request) -> Response:
    sight = Sight(request, desk.yard.clock(), desk.caller)
    asked = list(dict.fromkeys(id_ for id_ in request.query_params.get("jobs", "").split(",") if id_))
    baseline = request.query_params.get("baseline") or (asked[-1] if asked else None)
    async with desk.read(long=True) as session:
        found = [await jobs.get(session, id_) for id_ in asked[:MOST]]
        asked_alike = await samples.asked_alike(session, found)
        recent = await rows.page(session, Filter(), Sorting(), None, RECENT)
    settings = {job.id: analytics.settings(job) for job in found}
    differing = rules.differences(settings)
    alike = dict(item for one in settings.values() for item in dotted.flat(one) if item[0] not in differing)
    names = _told_apart([job.name for job in found], found)
    base = next((position for position, job in enumerate(found) if job.id == baseline), len(found) - 1)
    return render(
        sight,
        "compare.html",
        here="/jobs",
        runs=[shown.shown(job, sight.now) for job in found],
        too_many=len(asked) > MOST,
        base=base,
        briefs=briefs(found),
        names=names,
        verdict=_verdict(found, names),
        lines=_lines(found, base, sight) if found else [],
        differing=[(name, [_shown(value) for value in values.values()]) for name, values in sorted(differing.items())],
        alike=[(name, _shown(value)) for name, value in sorted(alike.items()) if name not in rules.UNCOMPARED],
        asked_alike=asked_alike,
        others=[job for job in recent if job.id not in asked],
        asked=asked,
    )


def briefs(found: Sequence[Job]) -> list[str]:
    """Their names without what all begin with; those of one name with a piece of their ids."""
    pieces = [PIECES.findall(job.name) for job in found]
    shared = sum(1 for _ in takewhile(lambda alike: len(set(alike)) == 1, zip(*pieces, strict=False)))
    rests = ["".join(piece[shared:]) for piece in pieces]
    if not all(any(letter.isalpha() for letter in rest) for rest in rests):
        rests = [job.name for job in found]
    return _told_apart(rests, found)


def _told_apart(names: Sequence[str], found: Sequence[Job]) -> list[str]:
    times = Counter(names)
    return [name if times[name] == 1 else f"{name} {job.id[:4]}" for name, job in zip(names, found, strict=True)]


def _verdict(found: Sequence[Job], names: Sequence[str]) -> tuple[str, str]:
    """Which is best, empty where none is, and what is to be said of it."""
    judged = [job for job in found if job.best_value is not None]
    if len(found) < FEWEST:
        return "", "Choose two or more runs."
    if not judged:
        return "", "None of them has told a loss yet, so none is best."
    best = min(judged, key=lambda job: job.best_value or 0.0)
    rest = sorted(job.best_value or 0.0 for job in judged if job is not best)
    name = (best.best_name or "loss").replace("_", " ")
    text = f"is best: {name} {words.value(best.best_value)}"
    if rest:
        text += f", {words.change(best.best_value, rest[0])} against the next".replace("± 0 against", "the same as")
    if best.duration is not None:
        text += f", in {words.duration(best.duration)}"
    newest = (best.snapshot or {}).get("step")
    if best.best_step is not None and newest and best.best_step < newest:
        text += f". That was at step {words.count(best.best_step)} of {words.count(newest)}"
    return names[found.index(best)], f"{text}."


def _lines(found: Sequence[Job], base: int, sight: Sight) -> list[Line]:
    def line(label: str, values: Sequence[float | None], how: Any, better: Any = min) -> Line:
        known = [value for value in values if value is not None]
        best = better(known) if better and len(set(known)) > 1 else None
        return Line(
            label,
            [
                Cell(
                    how(value),
                    words.change(value, values[base]) if position != base else "",
                    value is not None and value == best,
                )
                for position, value in enumerate(values)
            ],
        )

    duration = [shown.ran(job, sight.now) for job in found]
    names = {(job.best_name or "loss").replace("_", " ") for job in found if job.best_value is not None}
    lines = [
        line(
            f"{' / '.join(sorted(names)) or 'loss'}, best".capitalize(), [job.best_value for job in found], words.value
        ),
        line("at step", [job.best_step for job in found], words.count, None),
        line("Train loss, end", [job.last_loss for job in found], words.value),
        line("Duration", duration, words.duration),
        line("Training time", [job.training_seconds for job in found], words.duration),
        line("Throughput, rows/s", [job.throughput for job in found], words.rate, max),
        line("Peak GPU memory, GB", [job.peak_gpu_memory_mb for job in found], words.gigabytes),
        line(
            "GPU use, mean",
            [None if job.gpu_utilization is None else job.gpu_utilization / 100 for job in found],
            words.percent,
            max,
        ),
    ]
    return [one for one in lines if any(cell.text != words.MISSING for cell in one.cells)]


def _shown(value: Any) -> str | None:
    return None if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
