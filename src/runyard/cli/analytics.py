"""Figures of one job, of all, of several side by side, and over time."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from runyard.cli import options, output

if TYPE_CHECKING:
    from pydantic import BaseModel

    from runyard.schemas.analytics import ComparedJob, Comparison, PeriodRead, Summary


class OfAJob(TyperGroup):
    """What is no other word is a job."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        words = args if args[0] in self.commands or args[0].startswith("-") else ["job", *args]
        return super().resolve_command(ctx, words)


app = typer.Typer(cls=OfAJob, no_args_is_help=True, help="How jobs went: JOB, or summary, compare, trends.")
Step = Literal["day", "week"]


@app.command("job")
def of_job(ctx: typer.Context, job: options.Job, json: options.Json = False) -> None:
    """Show how one job went; `runyard analytics JOB` is the same."""
    with options.client(ctx) as client:
        found = client.job_analytics(client.find_job(job).id)
    if json:
        output.as_json(found)
        return
    output.fields([("job", found.job_id), ("status", found.status)])
    parts = (found.duration, found.performance, found.resource_utilization, found.checkpoints, found.losses)
    for heading, part in zip(("duration", "performance", "machine", "checkpoints", "losses"), parts, strict=True):
        _part(heading, part)
    _part("efficiency, 0 to 100", found.efficiency)
    _warn(found.warnings)


@app.command()
def summary(ctx: typer.Context, json: options.Json = False) -> None:
    """Show what all jobs of the tenant come to."""
    with options.client(ctx) as client:
        found = client.analytics_summary()
    if json:
        output.as_json(found)
        return
    output.fields(_summed(found))
    if found.top_performing_jobs:
        print()
        rows = [(one.job_id, output.number(one.throughput), _time(one.duration)) for one in found.top_performing_jobs]
        output.table(("QUICKEST", "SAMPLES/S", "TOOK"), rows)
    _warn(found.warnings)


@app.command()
def compare(
    ctx: typer.Context,
    jobs: Annotated[list[str], typer.Argument(metavar="JOB JOB...", help="2 to 50, each as everywhere.")],
    csv: Annotated[bool, typer.Option("--csv", help="As a table for a spreadsheet.")] = False,
    json: options.Json = False,
) -> None:
    """Show jobs side by side: who is best by what, and the settings in which they differ."""
    with options.client(ctx) as client:
        ids = [client.find_job(job).id for job in jobs]
        if csv:
            print(client.compared_as_csv(ids), end="")
            return
        found = client.compare_jobs(ids)
    if json:
        output.as_json(found)
    else:
        _side_by_side(found)


@app.command()
def trends(
    ctx: typer.Context,
    by: Annotated[Step, typer.Option(help="day or week.")] = "day",
    since: Annotated[datetime | None, typer.Option(help="From this day on; 30 days back unless set.")] = None,
    until: Annotated[datetime | None, typer.Option(help="Up to this day; now unless set.")] = None,
    json: options.Json = False,
) -> None:
    """Show GPU-hours, waits, failures and throughput by day or week (in UTC)."""
    with options.client(ctx) as client:
        found = client.trends(by=by, since=_utc(since), until=_utc(until))
    if json:
        for period in found.periods:
            output.as_json(period)
        return
    headings = ("FROM", "GPU-HOURS", "ENDED", "COMPLETED", "SAMPLES/S", "WAIT P50", "WAIT P95", "FAILURES")
    output.table(headings, map(_period, found.periods))
    _warn(found.warnings)


def _part(heading: str, part: "BaseModel") -> None:
    print(f"\n{heading}")
    output.fields((f"  {name.replace('_', ' ')}", _value(name, value)) for name, value in part)


def _value(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name.endswith("_seconds"):
        return output.duration(value)
    return output.number(value) if isinstance(value, float) else str(value)


def _summed(found: "Summary") -> Iterator[tuple[str, object]]:
    yield "jobs", found.total_jobs
    yield from ((f"  {state}", count) for state, count in found.jobs_by_status.items() if count)
    yield "training, on average", _time(found.average_training_duration_seconds)
    yield "training, hours", output.number(found.total_training_time_hours)
    yield "samples a second", output.number(found.average_throughput_samples_per_sec)
    yield "GPU utilisation", output.number(found.resource_trends.average_gpu_utilization)
    yield "GPU memory, peak MB", output.number(found.resource_trends.average_peak_memory_mb)


def _side_by_side(found: "Comparison") -> None:
    if found.differences:
        print("what differs")
        ids = [job.job_id for job in found.jobs]
        rows = [(path, *(values[id_] for id_ in ids)) for path, values in found.differences.items()]
        output.table(("SETTING", *ids), rows)
        print()
    headings = ("ID", "NAME", "STATE", "TOOK", "SAMPLES/S", "FINAL LOSS", "BEST LOSS", "BEST EVAL", "GPU %", "SCORE")
    output.table(headings, map(_compared, found.jobs))
    print()
    output.fields((name.replace("_", " "), id_ or "-") for name, id_ in found.winner)
    _warn(found.warnings)


def _compared(job: "ComparedJob") -> Sequence[object]:
    figures = (
        job.throughput,
        job.final_loss,
        job.best_loss,
        job.best_eval_loss,
        job.gpu_utilization,
        job.overall_score,
    )
    return (job.job_id, job.name, job.status, _time(job.duration_seconds), *map(output.number, figures))


def _period(period: "PeriodRead") -> Sequence[object]:
    failures = ", ".join(f"{count} {reason}" for reason, count in period.failures.items())
    counts = (output.number(period.gpu_hours), period.ended, period.completed, output.number(period.throughput))
    return (f"{datetime.fromtimestamp(period.start, UTC):%Y-%m-%d}", *counts, *_waits(period), failures)


def _waits(period: "PeriodRead") -> tuple[str, str]:
    return _time(period.waits.p50), _time(period.waits.p95)


def _time(seconds: float | None) -> str:
    return "" if seconds is None else output.duration(seconds)


def _utc(day: datetime | None) -> float | None:
    return None if day is None else day.replace(tzinfo=UTC).timestamp()


def _warn(warnings: Sequence[str]) -> None:
    if warnings:
        print()
    for text in warnings:
        print(f"note: {text}")
