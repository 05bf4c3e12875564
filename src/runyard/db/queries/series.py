"""Curves in columns. Blocks hold exactly the points up to the last one's last step; the others are read as rows."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from sqlalchemy import delete, func, insert, select

from runyard.db.database import Session
from runyard.db.tables import Metric, Series, Table
from runyard.domain import packing
from runyard.domain.packing import Block, Line, Stored
from runyard.domain.rollups import Rollup, Tallies, Tally, completed, count, join

SERIES = Table.metadata.tables[Series.__tablename__]
OF_POINT = (Metric.step, Metric.at, Metric.values)
STORED = tuple(getattr(Series, name) for name in Stored._fields)


async def lines(
    session: Session, job_id: str, rollup: Rollup, split: str, names: Collection[str], span: tuple[int, int]
) -> dict[str, Line]:
    """The points of some values from one step to another, both included."""
    first, last = span
    sealed = rollup.sealed.get(split, -1)
    found = {name: Line() for name in names}
    blocks = (
        select(Series.name, *STORED)
        .where(Series.job_id == job_id, Series.split == split, Series.name.in_(names))
        .where(Series.last_step >= first, Series.first_step <= last, Series.last_step <= sealed)
        .order_by(Series.name, Series.first_step)
    )
    for name, *stored in await session.execute(blocks):
        packing.extend(found[name], Stored(*stored))
    loose = select(*OF_POINT).where(Metric.job_id == job_id, Metric.split == split)
    loose = loose.where(Metric.step > sealed, Metric.step.between(first, last)).order_by(Metric.step)
    for step, at, values in await session.execute(loose):
        for name in names:
            if name in values:
                found[name].add(step, at, values[name])
    return found


async def seal(session: Session, job_id: str, rollup: Rollup) -> None:
    """Put points into columns as soon as there are enough."""
    for split, waiting in list(rollup.loose.items()):
        while waiting >= 2 * packing.POINTS:
            after = rollup.sealed.get(split, -1)
            rows = select(*OF_POINT).where(Metric.job_id == job_id, Metric.split == split, Metric.step > after)
            rows = rows.order_by(Metric.step).limit(packing.POINTS)
            points = [(step, at, values) for step, at, values in await session.execute(rows)]
            if len(points) < packing.POINTS:
                break
            block = packing.pack(points)
            await _write(session, job_id, split, block)
            rollup.sealed[split] = block.last_step
            waiting -= len(points)
        rollup.loose[split] = waiting


async def mend(session: Session, job_id: str, split: str, steps: Iterable[int]) -> None:
    """Make those blocks anew that late points belong to."""
    of_split = (Series.job_id == job_id, Series.split == split)
    ranges: dict[int, tuple[int, int]] = {}
    for step in sorted(steps):
        block = select(Series.first_step, Series.last_step).where(*of_split)
        before = block.where(Series.first_step <= step).order_by(Series.first_step.desc()).limit(1)
        row = (await session.execute(before)).first()
        row = row or (await session.execute(block.order_by(Series.first_step).limit(1))).one()
        first, last = ranges.get(row[0], (row[0], row[1]))
        ranges[row[0]] = (min(first, step), max(last, step))
    for begin, (first, last) in ranges.items():
        await session.execute(delete(Series).where(*of_split, Series.first_step == begin))
        rows = select(*OF_POINT).where(Metric.job_id == job_id, Metric.split == split, Metric.step.between(first, last))
        points = [(step, at, values) for step, at, values in await session.execute(rows.order_by(Metric.step))]
        await _write(session, job_id, split, packing.pack(points))


async def forget_after(session: Session, job_id: str, rollup: Rollup, step: int) -> None:
    """Points behind a step are void, and so are blocks that hold some."""
    await session.execute(delete(Series).where(Series.job_id == job_id, Series.last_step > step))
    left = select(Series.split, func.max(Series.last_step)).where(Series.job_id == job_id).group_by(Series.split)
    rollup.sealed = {split: last for split, last in await session.execute(left)}
    await recount(session, job_id, rollup)


async def recount(session: Session, job_id: str, rollup: Rollup) -> None:
    """What all points come to, from what each block does and those that are in none."""
    tallies: Tallies = {}
    blocks = select(Series.split, Series.name, Series.tally).where(Series.job_id == job_id)
    for split, name, parts in await session.execute(blocks.order_by(Series.split, Series.first_step)):
        join(tallies, split, name, Tally(*parts))
    rollup.loose = {}
    for split in await _splits(session, job_id):
        after = rollup.sealed.get(split, -1)
        rows = select(*OF_POINT).where(Metric.job_id == job_id, Metric.split == split, Metric.step > after)
        for step, _, values in await session.execute(rows.order_by(Metric.step)):
            count(tallies, split, step, completed(values))
            rollup.loose[split] = rollup.loose.get(split, 0) + 1
    rollup.tallies = tallies


async def _splits(session: Session, job_id: str) -> Collection[str]:
    return (await session.scalars(select(Metric.split).where(Metric.job_id == job_id).distinct())).all()


async def _write(session: Session, job_id: str, split: str, block: Block) -> None:
    of_block: Mapping[str, Any] = {
        "job_id": job_id, "split": split, "first_step": block.first_step, "last_step": block.last_step
    }  # fmt: skip
    rows = [
        {**of_block, "name": name, **vars(packed), "tally": packed.tally.parts()}
        for name, packed in block.columns.items()
    ]
    await session.execute(insert(SERIES), rows)
