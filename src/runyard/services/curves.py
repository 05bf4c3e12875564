"""Curves of a job, as charts ask for them."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runyard.db.database import Session
from runyard.db.queries import attempts, rollups, series
from runyard.db.queries.metrics import Point
from runyard.domain import curves
from runyard.domain.curves import Stay, Thinned
from runyard.domain.packing import Line
from runyard.domain.rollups import SAMPLES_PER_STEP, Rollup, Tally

LAST_STEP = 2**31 - 1
COUNTED = ("train", "num_tokens")
"""What tells how many tokens were seen by a step."""
MOST_NAMES = 40
"""In one answer, where none are named."""
Key = tuple[str, str]
"""Split and name."""


@dataclass(frozen=True)
class Wanted:
    """`names` as `name` gives them, all for none; steps are included on both ends; `smooth` is 0 for not at all."""

    names: Collection[str] = ()
    points: int = 1000
    first_step: int = 0
    last_step: int = LAST_STEP
    smooth: float = 0.0


def name(split: str, value: str) -> str:
    """What a curve is called: a value of training by its name, one of an evaluation with `eval_` or `eval/` before."""
    if split == "eval":
        return value if value.startswith("eval_") else f"eval/{value}"
    return f"train/{value}" if value.startswith("eval_") else value


async def read(session: Session, job_id: str, wanted: Wanted) -> dict[str, Any]:
    """Curves by name, the names that there are, and what the steps are in seconds and tokens; of a job that is known.

    The arithmetic is done in a thread.
    """
    rollup = await _rollup(session, job_id)
    known = {name(split, value): (split, value) for split, value in _in_order(rollup)}
    keys = {one: known[one] for one in (wanted.names or list(known)[:MOST_NAMES]) if one in known}
    counted = {COUNTED} & set(known.values())
    lines = await _lines(session, job_id, rollup, {*keys.values(), *counted}, wanted)
    stays = [
        Stay(attempt.started_at or attempt.created_at, attempt.ended_at)
        for attempt in await attempts.of_job(session, job_id)
    ]

    def compute() -> dict[str, Any]:
        found = {key: _curve(lines[key], rollup.tallies[key[0]][key[1]], wanted) for key in keys.values()}
        return {
            "x": _ruler(found, lines.get(COUNTED), stays),
            "series": {one: {"split": key[0], **_shown(found[key])} for one, key in keys.items()},
            "names": list(known),
        }

    return await asyncio.to_thread(compute)


async def points(session: Session, job_id: str, split: str | None, after_step: int, most: int) -> list[Point]:
    """The points that show every curve of a job, at most so many of each value."""
    rollup = await _rollup(session, job_id)
    keys = [key for key in _in_order(rollup) if split in (None, key[0])]
    lines = await _lines(session, job_id, rollup, keys, Wanted(first_step=after_step + 1))
    return await asyncio.to_thread(_joined, lines, most)


async def _rollup(session: Session, job_id: str) -> Rollup:
    """One that is still to be made is made here, and not kept: its points are all read as rows."""
    found = await rollups.of_job(session, job_id)
    if found is None:
        found = Rollup()
        await series.recount(session, job_id, found)
    return found


def _in_order(rollup: Rollup) -> list[Key]:
    """What was reported, in the order in which it was first."""

    def first(key: Key) -> tuple[int, bool, int, str]:
        tally = rollup.tallies[key[0]][key[1]]
        step = tally.first_step if tally.first_step is not None else tally.last_null
        return (step or 0, key[0] == "eval", _rank(key[1]), key[1])

    keys = [(split, value) for split, names in rollup.tallies.items() for value in names if value != SAMPLES_PER_STEP]
    return sorted(keys, key=first)


def _rank(value: str) -> int:
    return ("loss", "eval_loss").index(value) if value in ("loss", "eval_loss") else 2


async def _lines(
    session: Session, job_id: str, rollup: Rollup, keys: Collection[Key], wanted: Wanted
) -> dict[Key, Line]:
    """For smoothing with as much before as still weighs anything."""
    found: dict[Key, Line] = {}
    for split in {key[0] for key in keys}:
        names = [value for of, value in keys if of == split]
        before = max(curves.memory(wanted.smooth) * apart(rollup.tallies[split][value]) for value in names)
        span = max(0, wanted.first_step - round(before)), wanted.last_step
        lines = await series.lines(session, job_id, rollup, split, names, span)
        found |= {(split, value): line for value, line in lines.items()}
    return found


def apart(tally: Tally) -> float:
    """Steps from one point to the next, on the average of all."""
    ends = [step for step in (tally.first_step, tally.last_step, tally.last_null) if step is not None]
    number = tally.count + tally.nulls
    return max(1.0, (max(ends) - min(ends)) / (number - 1)) if number > 1 else 1.0


def _curve(line: Line, tally: Tally, wanted: Wanted) -> Thinned:
    smooth = curves.smoothed(line, wanted.smooth, apart(tally)) if wanted.smooth else None
    return curves.thinned(line, wanted.points, curves.cut(line, wanted.first_step, wanted.last_step), smooth)


def _shown(curve: Thinned) -> dict[str, Any]:
    return {part: value for part, value in vars(curve).items() if value or part != "smooth"}


def _ruler(found: Mapping[Key, Thinned], tokens: Line | None, stays: Sequence[Stay]) -> dict[str, list[Any]]:
    """What steps are in other units, from the longest curve: seconds at work, and tokens where they are counted."""
    longest = max(found.values(), key=lambda curve: len(curve.step), default=Thinned())
    ruler: dict[str, list[Any]] = {
        "step": longest.step,
        "seconds": [round(curves.running_seconds(stays, at), 3) for at in longest.at],
    }
    if tokens is not None and len(tokens):
        ends = (curves.cut(tokens, 0, step).stop for step in longest.step)
        ruler["tokens"] = [tokens.numbers[end - 1] if end else None for end in ends]
    return ruler


def _joined(lines: Mapping[Key, Line], most: int) -> list[Point]:
    """Points that hold only those values that show something there."""
    found: dict[tuple[int, str], Point] = {}
    for (split, value), line in lines.items():
        for where in curves.chosen(line, most):
            step, number = line.steps[where], line.numbers[where]
            point = found.setdefault((step, split), Point(step, split, line.at(where), {}))
            point.values[value] = number if number == number else None
    return [found[key] for key in sorted(found)]
