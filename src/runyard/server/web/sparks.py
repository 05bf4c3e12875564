"""Small curves beside jobs in lists: looked up once for as long as nothing has changed."""

from collections.abc import Iterable

from runyard.db.database import Session
from runyard.db.tables import Job
from runyard.domain.lifecycle import ACTIVE, State
from runyard.services import curves
from runyard.services.curves import Wanted

POINTS = 44
SMOOTH = 0.3
MOST = 4000
FRESH_SECONDS = 10
Curve = list[tuple[float, float]]

_known: dict[tuple[str, float], Curve] = {}


async def of_jobs(session: Session, jobs: Iterable[Job]) -> dict[str, Curve]:
    """What each is judged by, or its loss, over its steps; of those that have begun."""
    found = {}
    for job in jobs:
        if job.started_at is None or job.state == State.QUEUED:
            continue
        key = job.id, job.updated_at // FRESH_SECONDS if job.state in ACTIVE else job.updated_at
        if key not in _known:
            while len(_known) >= MOST:
                _known.pop(next(iter(_known)))
            _known[key] = await _curve(session, job)
        found[job.id] = _known[key]
    return found


async def _curve(session: Session, job: Job) -> Curve:
    read = await curves.read(session, job.id, Wanted(points=POINTS, smooth=SMOOTH, names=("loss",)))
    names = read["names"]
    if "loss" not in read["series"] and names:
        read = await curves.read(session, job.id, Wanted(points=POINTS, smooth=SMOOTH, names=(names[0],)))
    for series in read["series"].values():
        values = series.get("smooth") or series["last"]
        return [(step, value) for step, value in zip(series["step"], values, strict=True) if value is not None]
    return []
