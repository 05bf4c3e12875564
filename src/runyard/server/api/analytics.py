"""Figures of one job, of all, of several side by side, and over time."""

import csv
import io
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response

from runyard.domain.trends import DAY
from runyard.schemas.analytics import Comparison, JobAnalytics, Summary, Trends
from runyard.server.api import failing
from runyard.server.deps import ToSee
from runyard.services import analytics

router = APIRouter(tags=["analytics"])

DAYS = 30
FORMULA = ("=", "+", "-", "@", "\t", "\r")
Time = Annotated[float | None, Query(description="Seconds since the epoch.", ge=0, le=1e11, allow_inf_nan=False)]
CSV: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}


@router.get("/jobs/{job_id}/analytics", operation_id="get_job_analytics", responses=failing(404))
async def show(desk: ToSee, job_id: str) -> JobAnalytics:
    """How one job went: time, speed, machine, checkpoints, losses, efficiency."""
    async with desk.read() as session:
        found = await analytics.of_job(session, job_id, desk.yard.clock())
    return JobAnalytics.model_validate(found)


@router.get("/analytics/summary", operation_id="get_analytics_summary")
async def summary(desk: ToSee) -> Summary:
    """All jobs of the tenant together."""
    async with desk.read() as session:
        return Summary.model_validate(await analytics.summary(session))


@router.get(
    "/analytics/compare",
    operation_id="compare_jobs",
    response_model=Comparison,
    responses={**CSV, **failing(404)},
)
async def compare(
    desk: ToSee,
    job_ids: Annotated[str, Query(description="2 to 50, divided by commas.", max_length=6000, pattern=r"^[ -~]*$")],
    format: Literal["json", "csv"] = "json",
) -> Comparison | Response:
    """Jobs side by side: their figures, who is best by each, and the settings in which they differ."""
    wanted = [part.strip() for part in job_ids.split(",") if part.strip()]
    async with desk.read(long=True) as session:
        found = await analytics.compare(session, wanted, desk.yard.clock())
    if format == "csv":
        headers = {"Content-Disposition": 'attachment; filename="compare.csv"'}
        return Response(_csv(found), media_type="text/csv", headers=headers)
    return Comparison.model_validate(found)


@router.get("/analytics/trends", operation_id="get_trends")
async def over_time(
    desk: ToSee,
    by: Literal["day", "week"] = "day",
    since: Time = None,
    until: Time = None,
) -> Trends:
    """What the tenant's jobs took and came to, by day or week: the last 30 days unless told otherwise."""
    now = desk.yard.clock()
    end = now if until is None else until
    begin = end - (DAYS - 1) * DAY if since is None else since
    async with desk.read(long=True) as session:
        found = await analytics.over_time(session, begin, end, by, now)
    warnings = [] if any(period["ended"] or period["gpu_hours"] for period in found) else ["no job ran or ended then"]
    return Trends.model_validate({"tenant": desk.caller.tenant, "by": by, "periods": found, "warnings": warnings})


def _csv(found: dict[str, Any]) -> str:
    """One row a job: its figures, then the settings that differ."""
    text = io.StringIO()
    figures = [name for name in found["jobs"][0] if name != "state"]
    writer = csv.writer(text)
    writer.writerow([*figures, *found["differences"]])
    for job in found["jobs"]:
        settings = (values[job["job_id"]] for values in found["differences"].values())
        writer.writerow([_cell(value) for value in (*(job[name] for name in figures), *settings)])
    return text.getvalue()


def _cell(value: Any) -> Any:
    """What a spreadsheet would take for a formula is text."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
