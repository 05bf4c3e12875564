"""Figures of one job, of all, of several side by side, and over time."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pydantic import ValidationError

from runyard.db.database import Session
from runyard.db.queries import analytics as queries
from runyard.db.queries import checkpoints, listing, moves, rollups
from runyard.db.tables import Job, JobTotal
from runyard.domain import analytics, trends
from runyard.domain.analytics import Compared, History, Report, Saved
from runyard.domain.errors import InvalidError
from runyard.domain.lifecycle import State
from runyard.domain.listing import Filter, Order, Sorting
from runyard.domain.rollups import SAMPLES_PER_STEP, Rollup
from runyard.protocol.problems import Problem
from runyard.protocol.specs import job_spec
from runyard.services import curves, jobs

TOP = 5
FEWEST, MOST = 2, 50
LONGEST_DAYS = 400


async def of_job(session: Session, job_id: str, now: float) -> Report:
    """Raises NotFoundError."""
    return await _report(session, await jobs.get(session, job_id), now)


async def _report(session: Session, job: Job, now: float) -> Report:
    history = [(move.at, move.after) for move in await moves.of_job(session, job.id)]
    saved = [Saved(row.step, row.path, row.best) for row in await checkpoints.of_job(session, job.id)]
    return analytics.report(
        History(
            job_id=job.id,
            state=State(job.state),
            total_seconds=analytics.held_seconds(history, now),
            rollup=await rollups.of_job(session, job.id),
            checkpoints=saved,
            best_alike=await queries.best_alike(session, job),
        )
    )


async def summary(session: Session) -> dict[str, Any]:
    """From what the database adds up, and the few best."""
    totals = await queries.totals(session)
    completed = [one for one in totals if one.state == State.COMPLETED]
    best = Filter(states=[State.COMPLETED.value]), Sorting(Order.THROUGHPUT)
    top = [job for job in await listing.page(session, *best, None, TOP) if job.throughput is not None]
    counts = {state.value: sum(one.jobs for one in totals if one.state == state) for state in State}
    found = {
        "total_jobs": sum(counts.values()),
        "jobs_by_status": counts,
        "average_training_duration_seconds": _mean(completed, "training_seconds", "trained"),
        "total_training_time_hours": sum(one.training_seconds for one in totals) / 3600,
        "average_throughput_samples_per_sec": _mean(totals, "throughput", "measured"),
        "top_performing_jobs": [
            {"job_id": job.id, "throughput": job.throughput, "duration": job.duration} for job in top
        ],
        "resource_trends": {
            "average_gpu_utilization": _mean(totals, "gpu_utilization", "watched"),
            "average_peak_memory_mb": _mean(totals, "peak_gpu_memory_mb", "weighed"),
        },
    }
    return found | {"warnings": list(_missing(found))}


def _mean(totals: Sequence[JobTotal], figure: str, number: str) -> float | None:
    known = sum(getattr(one, number) for one in totals)
    return sum(getattr(one, figure) for one in totals) / known if known else None


def _missing(summary: dict[str, Any]) -> list[str]:
    absent = {
        "no job that reports its phases has been completed": summary["average_training_duration_seconds"],
        "no job has reported samples_per_second": summary["average_throughput_samples_per_sec"],
        "no job has reported GPU figures": summary["resource_trends"]["average_gpu_utilization"],
    }
    return [text for text, value in absent.items() if value is None]


async def compare(session: Session, job_ids: Sequence[str], now: float) -> dict[str, Any]:
    """Raises InvalidError for too few or too many, and NotFoundError for one that is not there."""
    wanted = list(dict.fromkeys(job_ids))
    if not FEWEST <= len(wanted) <= MOST:
        text = f"names {len(wanted)} jobs: give {FEWEST} to {MOST} different ids, divided by commas"
        raise InvalidError("these jobs can't be compared", problems=[Problem(field="job_ids", message=text)])
    found = [await jobs.get(session, job_id) for job_id in wanted]
    reports = [await _report(session, job, now) for job in found]
    rolled = {job.id: await rollups.of_job(session, job.id) or Rollup() for job in found}
    rows = [_compared(job, report, rolled[job.id]) for job, report in zip(found, reports, strict=True)]
    return {
        "jobs": [asdict(row) | {"name": job.name, "status": job.state} for row, job in zip(rows, found, strict=True)],
        "winner": analytics.winner(rows),
        "differences": analytics.differences({job.id: settings(job) for job in found}),
        "best_metrics": {job.id: _ends(rolled[job.id]) for job in found},
        "warnings": [
            f"{job.name} ({job.id}): {text}"
            for job, report in zip(found, reports, strict=True)
            for text in report.warnings
        ],
    }


def _compared(job: Job, report: Report, rollup: Rollup) -> Compared:
    return Compared(
        job_id=job.id,
        state=State(job.state),
        duration_seconds=report.duration["total_seconds"],
        throughput=report.performance["average_samples_per_second"],
        final_loss=report.losses["final_loss"],
        best_loss=report.losses["best_loss"],
        best_eval_loss=rollup.known("eval", "eval_loss").lowest,
        gpu_utilization=report.resource_utilization["average_gpu_utilization"],
        overall_score=report.efficiency["overall_score"],
    )


def settings(job: Job) -> dict[str, Any]:
    """As asked, with every default: where its files lie on this server is nobody's business."""
    try:
        return job_spec.validate_python(job.spec).model_dump(mode="json")
    except ValidationError:  # of an earlier version
        return job.spec


def _ends(rollup: Rollup) -> dict[str, dict[str, float | None]]:
    return {
        curves.name(split, value): {"lowest": tally.lowest, "highest": tally.highest, "last": tally.newest}
        for split, names in rollup.tallies.items()
        for value, tally in names.items()
        if value != SAMPLES_PER_STEP
    }


async def over_time(
    session: Session, since: float, until: float, step: trends.Step, now: float
) -> list[dict[str, Any]]:
    """By day or week. Raises InvalidError for a span that is too long or ends before it begins."""
    if not since < until <= since + LONGEST_DAYS * trends.DAY:
        text = f"must be after `since`, by {LONGEST_DAYS} days at most"
        raise InvalidError("there is no such span of time", problems=[Problem(field="until", message=text)])
    found = trends.periods(since, until, step)
    span = found[0].start, found[-1].end
    stays, ends = await queries.stays(session, *span), await queries.ends(session, *span)
    trends.fill(found, stays, await queries.waits(session, *span), ends, now)
    return [_shown(period) for period in found]


def _shown(period: trends.Period) -> dict[str, Any]:
    users = sorted(period.users.items(), key=lambda user: (-user[1].gpu_hours, user[0]))
    return {
        **{name: getattr(period, name) for name in ("start", "end", "gpu_hours", "ended", "completed", "throughput")},
        "waits": {
            "count": len(period.waits),
            "p50": trends.percentile(period.waits, 50),
            "p95": trends.percentile(period.waits, 95),
        },
        "failures": dict(period.failures),
        "users": [{"user": name, **vars(share)} for name, share in users],
    }
