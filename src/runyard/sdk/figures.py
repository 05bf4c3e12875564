"""Curves, samples and figures of jobs."""

from collections.abc import Sequence
from typing import Literal

from runyard.schemas.analytics import Comparison, JobAnalytics, Summary, Trends
from runyard.schemas.curves import Curves
from runyard.schemas.jobs import MetricRead
from runyard.schemas.samples import Samples
from runyard.sdk.calls import API, Call, get, given, job_path


def metrics(
    job_id: str, *, split: str | None = None, after_step: int | None = None, points: int | None = None
) -> Call[list[MetricRead]]:
    """Every point, or with `points` as many of each value at most: those that show its extremes and gaps."""
    return get(
        f"{job_path(job_id)}/metrics", list[MetricRead], given(split=split, after_step=after_step, points=points)
    )


def curves(  # noqa: PLR0913 - what part of them, how fine, how smooth
    job_id: str,
    names: Sequence[str] = (),
    *,
    points: int = 1000,
    from_step: int | None = None,
    to_step: int | None = None,
    after_step: int | None = None,
    smooth: float = 0.0,
) -> Call[Curves]:
    """Curves in columns, thinned to so many points; `smooth` (0 to 0.99) adds an average made of all points."""
    part = given(from_step=from_step, to_step=to_step, after_step=after_step)
    params = given(names=",".join(names) or None, points=points, smooth=smooth or None)
    return get(f"{job_path(job_id)}/curves", Curves, part | params)


def samples(job_id: str, *, steps: int | None = None) -> Call[Samples]:
    """What a language model answers to the same prompts: the base model and the newest steps, `steps` in all."""
    return get(f"{job_path(job_id)}/samples", Samples, given(steps=steps))


def job_analytics(job_id: str) -> Call[JobAnalytics]:
    """How a job went: time, speed, machine, checkpoints, losses, efficiency."""
    return get(f"{job_path(job_id)}/analytics", JobAnalytics)


def analytics_summary() -> Call[Summary]:
    """All jobs of the tenant together."""
    return get(f"{API}/analytics/summary", Summary)


def compare_jobs(job_ids: Sequence[str]) -> Call[Comparison]:
    """2 to 50 jobs side by side: figures, winners, and the settings in which they differ."""
    return get(f"{API}/analytics/compare", Comparison, {"job_ids": ",".join(job_ids)})


def compared_as_csv(job_ids: Sequence[str]) -> Call[str]:
    """The same as a table, a row for each job."""
    return Call("GET", f"{API}/analytics/compare", bytes.decode, params={"job_ids": ",".join(job_ids), "format": "csv"})


def trends(
    *, by: Literal["day", "week"] = "day", since: float | None = None, until: float | None = None
) -> Call[Trends]:
    """GPU-hours, waits, failures and throughput by day or week; the last 30 days unless told otherwise."""
    return get(f"{API}/analytics/trends", Trends, given(by=by, since=since, until=until))
