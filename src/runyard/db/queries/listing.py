"""Lists of jobs, filtered and sorted: read from an index that holds all of it, so that the long rows stay unread."""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, defer

from runyard.db.database import Session
from runyard.db.tables import Job, JobTotal
from runyard.domain.listing import MODEL_BEGINS, MODEL_ENDS, TAG, Filter, Mark, Order, Sorting, folded

KEYS: dict[Order, InstrumentedAttribute[float | None]] = {
    Order.LOSS: Job.best_value,
    Order.THROUGHPUT: Job.throughput,
    Order.DURATION: Job.duration,
}
PLACE = (Job.created_at, Job.id)
EVERYTHING = Filter()


async def page(session: Session, wanted: Filter, sorting: Sorting, after: Mark | None, limit: int) -> Sequence[Job]:
    """Without the specs, which may be long. What has no value to be sorted by comes last, whichever way it goes."""
    ids = await _ids(session, wanted, sorting, after, limit)
    query = select(Job).options(defer(Job.spec, raiseload=True), defer(Job.resolved_spec, raiseload=True))
    found = {job.id: job for job in await session.scalars(query.where(Job.id.in_(ids)))}
    return [found[id_] for id_ in ids if id_ in found]


async def mark(session: Session, wanted: Filter, number: int) -> Mark | None:
    """The job with this number, counted from 1, newest first."""
    query = select(*PLACE).where(*_narrowed(session, wanted)).order_by(*(key.desc() for key in PLACE))
    row = (await session.execute(query.offset(number - 1).limit(1))).first()
    return Mark(None, *row) if row else None


async def counts(session: Session, wanted: Filter) -> dict[str, int]:
    """How many jobs a filter lets pass, by state."""
    if wanted == EVERYTHING:
        totals = select(JobTotal.state, JobTotal.jobs).where(JobTotal.jobs > 0)
        return {state: count for state, count in await session.execute(totals)}
    query = select(Job.state, func.count()).where(*_narrowed(session, wanted)).group_by(Job.state)
    return {state: count for state, count in await session.execute(query)}


async def _ids(session: Session, wanted: Filter, sorting: Sorting, after: Mark | None, limit: int) -> Sequence[str]:
    key = KEYS.get(sorting.order)
    query = select(Job.id).where(*_narrowed(session, wanted))
    place = (after.created_at, after.id) if after else None
    if key is None:
        return (await session.scalars(_cut(query, PLACE, sorting, place, limit))).all()
    found: list[str] = []
    if after is None or after.value is not None:
        begin = (after.value, after.created_at, after.id) if after else None
        valued = _cut(query.where(key.is_not(None)), (key, *PLACE), sorting, begin, limit)
        found += (await session.scalars(valued)).all()
        place = None
    if len(found) < limit:
        rest = _cut(query.where(key.is_(None)), PLACE, sorting, place, limit - len(found))
        found += (await session.scalars(rest)).all()
    return found


def _cut(
    query: Select[str], keys: Sequence[Any], sorting: Sorting, after: tuple[object, ...] | None, limit: int
) -> Select[str]:
    """In the order of the keys, what comes after a row with these values of them."""
    if after is not None:
        place = tuple_(*keys)
        query = query.where(place < after if sorting.descending else place > after)
    return query.order_by(*(key.desc() if sorting.descending else key.asc() for key in keys)).limit(limit)


def _narrowed(session: Session, wanted: Filter) -> Iterator[ColumnElement[bool]]:
    yield from _conditions(wanted)
    for word in (wanted.words or "").split():
        if session.get_bind().dialect.name == "postgresql":  # in three quarters of the time that LIKE takes there
            yield func.strpos(Job.search, folded(word)) > 0
        else:
            yield Job.search.like(f"%{_plain(word)}%", escape="/")


def _conditions(wanted: Filter) -> Iterator[ColumnElement[bool]]:
    yield Job.removed_at.is_(None)
    if wanted.states:
        # Not as a plain comparison: SQLite would go through the queue's index, with a look at each row and a sort.
        yield Job.state.concat("").in_(wanted.states)
    for column, value in (
        (Job.user, wanted.user),
        (Job.kind, wanted.kind),
        (Job.experiment, wanted.experiment),
        (Job.priority, wanted.priority),
    ):
        if value is not None:
            yield column == value
    if wanted.created_from is not None:
        yield Job.created_at >= wanted.created_from
    if wanted.created_to is not None:
        yield Job.created_at < wanted.created_to
    for pattern in _patterns(wanted):
        yield Job.search.like(pattern, escape="/")


def _patterns(wanted: Filter) -> Iterator[str]:
    """Of the line that a job is found by."""
    if wanted.name is not None:
        yield f"%{_plain(wanted.name)}%{MODEL_BEGINS}%"
    if wanted.model is not None:
        yield f"%{MODEL_BEGINS}%{_plain(wanted.model)}%{MODEL_ENDS}%"
    if wanted.tag is not None:
        yield f"%{MODEL_ENDS}%{TAG}{_plain(wanted.tag)}{TAG}%"


def _plain(text: str) -> str:
    return folded(text).replace("/", "//").replace("%", "/%").replace("_", "/_")
