"""Schedules of a server."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from runyard.cli import jobfiles, options, output

if TYPE_CHECKING:
    from runyard.schemas.schedules import ScheduleRead

app = typer.Typer(no_args_is_help=True, help="Have jobs submitted at a time, or again and again.")
Schedule = Annotated[str, typer.Argument(metavar="SCHEDULE", help="Id or name of the schedule.", show_default=False)]


@app.command()
def add(
    ctx: typer.Context,
    job_file: options.JobFile,
    cron: Annotated[
        str | None,
        typer.Option(help="Minute, hour, day of month, month, day of week: '0 2 * * *'.", show_default=False),
    ] = None,
    at: Annotated[str | None, typer.Option(help="One time, such as 2026-12-01T02:00.", show_default=False)] = None,
    timezone: Annotated[str, typer.Option(help="Of these times, such as Europe/Berlin.")] = "UTC",
    name: Annotated[
        str | None, typer.Option(help="Name of the schedule; the job's unless set.", show_default=False)
    ] = None,
    overrides: options.Overrides = None,
    json: options.Json = False,
) -> None:
    """Add a schedule; the job's data files are uploaded now."""
    spec = jobfiles.load(Path(job_file), overrides)
    with options.client(ctx) as client:
        found = client.schedule_job(spec, cron=cron, at=at, timezone=timezone, name=name)
    _tell(found, json=json)


@app.command("list")
def list_(
    ctx: typer.Context,
    limit: options.Limit = 50,
    json: options.Json = False,
) -> None:
    """List schedules, newest first."""
    with options.client(ctx) as client:
        page = client.schedules(limit=limit)
    headings = ("ID", "NAME", "WHEN", "NEXT", "LAST JOB", "LAST ERROR")
    output.listing(page, headings, _row, json=json, nothing="no schedules yet: runyard schedules add job.yaml --cron …")


@app.command()
def show(ctx: typer.Context, schedule: Schedule, json: options.Json = False) -> None:
    """Show a schedule, what became of its last job, and what it submits."""
    with options.client(ctx) as client:
        found = client.schedule(schedule)
    if json:
        output.as_json(found)
        return
    output.fields(
        [
            ("id", found.id),
            ("name", found.name),
            ("when", _when(found)),
            ("next", _state(found)),
            ("last", output.moment(found.last_at)),
            ("last job", found.last_job_id),
            ("last error", found.last_error),
        ]
    )
    if found.history:
        print("\nhistory")
        print("\n".join(f"  {output.moment(last.at)}  {last.job_id or last.error}" for last in found.history))
    print("\nspec")
    print(output.as_yaml(found.spec, indent="  "))


@app.command()
def pause(ctx: typer.Context, schedule: Schedule, json: options.Json = False) -> None:
    """Submit nothing until it is resumed; what is missed meanwhile is not made up for."""
    with options.client(ctx) as client:
        _tell(client.pause_schedule(schedule), json=json)


@app.command()
def resume(ctx: typer.Context, schedule: Schedule, json: options.Json = False) -> None:
    """Go on from its next time."""
    with options.client(ctx) as client:
        _tell(client.resume_schedule(schedule), json=json)


@app.command()
def remove(ctx: typer.Context, schedule: Schedule, json: options.Json = False) -> None:
    """Remove a schedule; the jobs that it has made stay."""
    with options.client(ctx) as client:
        client.delete_schedule(schedule)
    if json:
        output.as_json({"removed": schedule})
    else:
        print(f"removed {schedule}")


def _tell(found: "ScheduleRead", *, json: bool) -> None:
    if json:
        output.as_json(found)
    else:
        print(f"{found.id} ({found.name}): {_when(found)}, next: {_state(found)}")


def _row(found: "ScheduleRead") -> tuple[object, ...]:
    return found.id, found.name, _when(found), _state(found), found.last_job_id, found.last_error


def _when(found: "ScheduleRead") -> str:
    return f"{found.cron or 'once'} {found.timezone}"


def _state(found: "ScheduleRead") -> str:
    """The next time, in the schedule's own time zone."""
    if found.next_at is None:
        return "paused" if found.paused else "over"
    return datetime.fromtimestamp(found.next_at, ZoneInfo(found.timezone)).strftime("%Y-%m-%d %H:%M:%S %Z")
