"""Answers to the same prompts: of one job by step, and of several side by side."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from runyard.db.database import Session
from runyard.db.tables import Job, Sample
from runyard.server.web import words
from runyard.services import samples

MOST_STEPS = 9
"""On the page: the base model and the newest."""


@dataclass(frozen=True)
class Row:
    """One cell for each prompt, or for each job; None where nothing was answered."""

    head: str
    cells: Sequence[str | None]
    notes: Sequence[str] = field(default_factory=list)
    """What is said of each cell."""


@dataclass(frozen=True)
class Asked:
    """What is wanted, where that is known, then the newest step and so on down to the base model."""

    prompts: Sequence[str]
    rows: Sequence[Row]


async def asked(session: Session, job_id: str) -> Asked:
    found = await samples.of_job(session, job_id, MOST_STEPS)
    told: dict[int, dict[int, str]] = {step: {} for step in reversed(found.steps)}
    for one in found.answers:
        told[one.step][one.index] = _shown(one)
    rows = [Row(_step(step), [cells.get(one.index) for one in found.prompts]) for step, cells in told.items()]
    wanted = [one.wanted for one in found.prompts]
    return Asked([one.prompt for one in found.prompts], [Row("wanted", wanted), *rows] if any(wanted) else rows)


async def asked_alike(session: Session, jobs: Sequence[Job]) -> list[Row]:
    """A row for each prompt that two or more of the jobs were asked, with their newest answers."""
    rows = []
    for answers in await samples.shared(session, [job.id for job in jobs]):
        of_jobs = [answers.get(job.id) for job in jobs]
        prompt = next(iter(answers.values())).prompt
        notes = ["" if one is None else _step(one.step, "step ") for one in of_jobs]
        rows.append(Row(prompt, [None if one is None else _shown(one) for one in of_jobs], notes))
    return rows


def _step(step: int, before: str = "") -> str:
    return f"{before}{words.count(step)}" if step else "base"


def _shown(one: Sample) -> str:
    return (one.answer or "(nothing)") + ("…" if one.truncated else "")
