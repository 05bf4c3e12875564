"""What a job measured: point by point, or as a chart shows it."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic_core import to_json

from runyard.db.queries import metrics as queries
from runyard.schemas.curves import Curves
from runyard.schemas.jobs import MetricRead
from runyard.server.api import failing
from runyard.server.deps import ToSee
from runyard.services import curves, jobs
from runyard.services.curves import LAST_STEP, Wanted

router = APIRouter(tags=["live"])

LARGEST = 2**63 - 1
Step = Annotated[int, Query(ge=0, le=LARGEST)]
AfterStep = Annotated[int, Query(ge=-1, le=LARGEST)]
Points = Annotated[int, Query(ge=2, le=4000, description="At most so many of each value.")]


@router.get(
    "/jobs/{job_id}/metrics", operation_id="list_metrics", response_model=list[MetricRead], responses=failing(404)
)
async def metrics(
    desk: ToSee,
    job_id: str,
    split: Literal["train", "eval"] | None = None,
    after_step: AfterStep = -1,
    points: Annotated[
        int | None,
        Query(ge=2, le=4000, description="Of each value at most so many that show its lowest, highest and gaps."),
    ] = None,
) -> Response:
    """The curve: one point for each step and split, from the attempt that counts."""
    async with desk.read(long=True) as session:
        await jobs.get(session, job_id)
        if points is None:
            rows = await queries.of_job(session, job_id, split=split, after_step=min(after_step, LAST_STEP))
        else:
            rows = await curves.points(session, job_id, split, min(after_step, LAST_STEP - 1), points)
    # Of a long curve, a model for each point would keep all open pages waiting.
    return _answer([row._asdict() for row in rows])


@router.get("/jobs/{job_id}/curves", operation_id="get_curves", response_model=Curves, responses=failing(404))
async def show(
    desk: ToSee,
    job_id: str,
    names: Annotated[
        str | None, Query(description="Divided by commas, such as loss,eval_loss; the first 40 unless set.")
    ] = None,
    points: Points = 1000,
    from_step: Step = 0,
    to_step: Step = LAST_STEP,
    after_step: Annotated[
        int | None, Query(ge=-1, le=LARGEST, description="Only what came after it: what an open page asks for again.")
    ] = None,
    smooth: Annotated[
        float, Query(ge=0, le=0.99, description="Weight of what was before in the average; 0 for none.")
    ] = 0.0,
) -> Response:
    """Curves in columns, thinned to what a screen can show: extremes and gaps are kept.

    The average has no bias at its beginning, weighs by distance in steps, and is made of all points before any are
    left out.
    """
    first = from_step if after_step is None else max(from_step, after_step + 1)
    named = tuple(filter(None, (names or "").split(",")))
    wanted = Wanted(named, points, min(first, LAST_STEP), min(to_step, LAST_STEP), smooth)
    async with desk.read(long=True) as session:
        await jobs.get(session, job_id)
        found = await curves.read(session, job_id, wanted)
    return _answer(found)


def _answer(content: object) -> Response:
    return Response(to_json(content, inf_nan_mode="null"), media_type="application/json")
