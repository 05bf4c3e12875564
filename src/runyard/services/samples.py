"""What a language model answers to the same prompts as it is trained."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from runyard.db.database import Session
from runyard.db.queries import samples as queries
from runyard.db.tables import Sample
from runyard.services import jobs

MOST_STEPS = 50


@dataclass(frozen=True)
class Samples:
    """`prompts` have one row each, of the newest step that knows it; `steps` ascend, 0 is the base model."""

    prompts: Sequence[Sample]
    steps: Sequence[int]
    answers: Sequence[Sample]


async def of_job(session: Session, job_id: str, steps: int = MOST_STEPS) -> Samples:
    """The base model's answers and those of the newest steps, `steps` in all. Raises NotFoundError."""
    rows = await queries.of_job(session, (await jobs.get(session, job_id)).id, steps)
    newest = {row.index: row for row in rows}
    return Samples([newest[index] for index in sorted(newest)], sorted({row.step for row in rows}), rows)


async def shared(session: Session, job_ids: Collection[str]) -> list[dict[str, Sample]]:
    """Of each prompt that two of these jobs or more were asked, their newest answers by job."""
    found: dict[str, dict[str, Sample]] = {}
    for row in await queries.of_prompts(session, job_ids):
        found.setdefault(row.prompt, {})[row.job_id] = row
    return [answers for answers in found.values() if len(answers) > 1]
