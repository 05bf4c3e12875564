"""What a language model answered to the prompts of its job: one row a step and prompt."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import delete, func, select

from runyard.db.database import Session
from runyard.db.tables import Sample

Key = tuple[int, int]
"""Step, and index of the prompt."""


async def record(session: Session, job_id: str, samples: Mapping[Key, dict[str, Any]]) -> None:
    """Add answers, or replace those of the same step and prompt."""
    for (step, index), values in samples.items():
        await session.merge(Sample(job_id=job_id, step=step, index=index, **values))


async def forget_after(session: Session, job_id: str, step: int) -> None:
    """Drop answers that a resumed attempt will give again."""
    await session.execute(delete(Sample).where(Sample.job_id == job_id, Sample.step > step))


async def of_job(session: Session, job_id: str, steps: int) -> Sequence[Sample]:
    """By step and prompt: of the first step, which is the base model's, and of the newest ones, `steps` in all."""
    newest = select(Sample.step).where(Sample.job_id == job_id).distinct().order_by(Sample.step.desc()).limit(steps - 1)
    first = select(func.min(Sample.step)).where(Sample.job_id == job_id).scalar_subquery()
    shown = (Sample.step == first) | Sample.step.in_(newest)
    query = select(Sample).where(Sample.job_id == job_id, shown).order_by(Sample.step, Sample.index)
    return (await session.scalars(query)).all()


async def of_prompts(session: Session, job_ids: Collection[str]) -> Sequence[Sample]:
    """The newest answer of each job to each prompt."""
    newest = (
        select(Sample.job_id, Sample.index, func.max(Sample.step).label("step"))
        .where(Sample.job_id.in_(job_ids))
        .group_by(Sample.job_id, Sample.index)
        .subquery()
    )
    same = (Sample.job_id == newest.c.job_id) & (Sample.index == newest.c["index"]) & (Sample.step == newest.c.step)
    return (await session.scalars(select(Sample).join(newest, same).order_by(Sample.index))).all()
