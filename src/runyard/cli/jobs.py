"""Jobs of a server."""

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from runyard.cli import details, jobfiles, options, output, watching

if TYPE_CHECKING:
    from runyard.schemas.jobs import JobRead

app = typer.Typer(no_args_is_help=True, help="See and steer jobs.")
Order = Literal["date", "duration", "loss", "throughput"]


@app.command("list")
def list_(
    ctx: typer.Context,
    state: Annotated[list[str] | None, typer.Option(help="Only jobs in this state. Repeatable.")] = None,
    user: Annotated[str | None, typer.Option(help="Only this user's.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only sft, dpo or script.")] = None,
    name: Annotated[str | None, typer.Option(help="Only names with this part.")] = None,
    model: Annotated[str | None, typer.Option(help="Only models with this part.")] = None,
    tag: Annotated[str | None, typer.Option(help="Only with this tag.")] = None,
    experiment: Annotated[str | None, typer.Option(help="Only runs of this experiment.")] = None,
    since: Annotated[datetime | None, typer.Option(help="Only from this day or time on.")] = None,
    until: Annotated[datetime | None, typer.Option(help="Only before it.")] = None,
    find: Annotated[str | None, typer.Option(help="Words in name, model, tags or id.")] = None,
    priority: Annotated[str | None, typer.Option(help="Only urgent, high, normal or low.")] = None,
    sort: Annotated[Order, typer.Option(help="By what.")] = "date",
    ascending: Annotated[bool, typer.Option("--ascending", help="The lowest, or oldest, first.")] = False,
    limit: options.Limit = 50,
    json: options.Json = False,
) -> None:
    """List jobs, newest first unless sorted otherwise."""
    narrowed: dict[str, Any] = {
        "user": user, "kind": kind, "name": name, "model": model, "tag": tag, "experiment": experiment, "q": find,
        "created_from": since.timestamp() if since else None, "created_to": until.timestamp() if until else None,
        "priority": priority,
    }  # fmt: skip
    with options.client(ctx) as client:
        page = client.jobs(state=state or (), **narrowed, sort=sort, order="asc" if ascending else "desc", limit=limit)
    anything = state or any(value is not None for value in narrowed.values())
    nothing = "no such jobs" if anything else "no jobs yet: runyard submit job.yaml"
    headings = ("ID", "NAME", "KIND", "STATE", "PROGRESS", "LOSS", "USER", "CREATED", "BEST", "SAMPLES/S", "TOOK")
    output.listing(page, headings, _row, json=json, nothing=nothing)


@app.command()
def tag(
    ctx: typer.Context,
    job: options.Job,
    tags: Annotated[list[str] | None, typer.Argument(metavar="[TAG...]", help="To add.")] = None,
    remove: Annotated[list[str] | None, typer.Option(help="To take off. Repeatable.")] = None,
    json: options.Json = False,
) -> None:
    """Add tags to a job, or take them off."""
    with options.client(ctx) as client:
        found = client.find_job(job)
        kept = [one for one in found.tags if one not in (remove or ())]
        changed = client.change_job(found.id, tags=list(dict.fromkeys([*kept, *(tags or ())])))
    if json:
        output.as_json(changed)
    else:
        print(f"{changed.id} ({changed.name}): {' '.join(changed.tags) or 'no tags'}")


@app.command()
def show(ctx: typer.Context, job: options.Job, json: options.Json = False) -> None:
    """Show all about one job: its state, tries, moves, and what it was asked to do."""
    with options.client(ctx) as client:
        found = client.find_job(job)
    if json:
        output.as_json(found)
    else:
        details.show(found)


@app.command()
def logs(
    ctx: typer.Context,
    job: options.Job,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    tail: Annotated[int, typer.Option(min=0, help="How many of the last lines.")] = 200,
    stream: Annotated[str, typer.Option(help="stdout, stderr or all.")] = "all",
    json: options.Json = False,
) -> None:
    """Print what a job wrote."""
    with options.client(ctx) as client:
        found = client.find_job(job)
        if found.logs_removed_at:
            print(f"what it wrote before {output.moment(found.logs_removed_at)} was removed", file=sys.stderr)
        if follow:
            lines = client.follow_logs(found.id, stream=stream, tail=tail)
        else:
            lines = iter(client.logs(found.id, stream=stream, tail=tail).lines)
        for line in lines:
            if json:
                output.as_json({"line": line})
            else:
                print(line, flush=follow)


@app.command()
def watch(ctx: typer.Context, job: options.Job, every: options.Every = None, json: options.Json = False) -> None:
    """Watch a job until it has ended or is paused; the exit code says how."""
    with options.client(ctx) as client:
        raise typer.Exit(watching.watch(client, client.find_job(job), every, json=json))


@app.command()
def pause(ctx: typer.Context, job: options.Job, json: options.Json = False) -> None:
    """Have a job write a checkpoint at its next step, and leave."""
    _act(ctx, job, "pause", json=json)


@app.command()
def resume(ctx: typer.Context, job: options.Job, json: options.Json = False) -> None:
    """Let a paused job go on from its checkpoint."""
    _act(ctx, job, "resume", json=json)


@app.command()
def cancel(ctx: typer.Context, job: options.Job, json: options.Json = False) -> None:
    """Stop a job for good."""
    _act(ctx, job, "cancel", json=json)


@app.command()
def retry(
    ctx: typer.Context,
    job: options.Job,
    fix: Annotated[
        bool, typer.Option("--fix", help="As a new job with the changes of a choice of its advice.")
    ] = False,
    choice: Annotated[int | None, typer.Option(help="With --fix: another choice than the first.", min=1)] = None,
    json: options.Json = False,
) -> None:
    """Run a failed or cancelled job again as it was, from its last checkpoint where there is one."""
    if choice is not None and not fix:
        raise typer.BadParameter("--choice needs --fix")
    if not fix:
        _act(ctx, job, "retry", json=json)
        return
    choice = choice or 1
    with options.client(ctx) as client:
        failed = client.find_job(job)
        fixed = client.retry(failed.id, fix=True, choice=choice)
    if json:
        output.as_json(fixed)
        return
    origin = fixed.spec.get("continue_from")
    where = f"goes on from checkpoint {origin}" if origin else "starts anew"
    print(f"{fixed.id} ({fixed.name}): {fixed.state}, {where}")
    chosen = failed.advice.choices[choice - 1] if failed.advice else None
    for line in details.changes(chosen) if chosen else ():
        print(f"  {line}")
    print(f"Watch it: runyard jobs watch {fixed.id}")


@app.command()
def keep(
    ctx: typer.Context,
    job: options.Job,
    release: Annotated[bool, typer.Option("--release", help="Let it go its way again.")] = False,
    json: options.Json = False,
) -> None:
    """Never remove anything of a job, nor of those that it needs."""
    with options.client(ctx) as client:
        found = client.keep(client.find_job(job).id, keep=not release)
    if json:
        output.as_json(found)
    else:
        print(f"{found.id} ({found.name}): {'is kept' if found.kept else 'goes its way'}")


@app.command()
def download(
    ctx: typer.Context,
    job: options.Job,
    checkpoint: Annotated[
        int | None, typer.Option(metavar="STEP", help="A checkpoint instead of the final model.")
    ] = None,
    logs: Annotated[bool, typer.Option("--logs", help="The output of every attempt instead.")] = False,
    to: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A new folder, or a name ending in .zip.", show_default=False),
    ] = None,
    json: options.Json = False,
) -> None:
    """Bring a job's model home; every file is checked against its SHA-256 before anything is kept."""
    if logs and checkpoint is not None:
        raise typer.BadParameter("--logs and --checkpoint exclude each other")
    with options.client(ctx) as client:
        found = client.find_job(job)
        if logs:
            saved = client.download_logs(found.id, to or jobfiles.folder_name(found.name, "logs"))
        elif checkpoint is not None:
            saved = client.download_checkpoint(
                found.id, checkpoint, to or jobfiles.folder_name(found.name, f"step-{checkpoint}")
            )
        else:
            saved = client.download_model(found.id, to or jobfiles.folder_name(found.name, "model"))
    if json:
        output.as_json(vars(saved) | {"path": str(saved.path)})
        return
    checked = f", SHA-256 of {saved.checked} checked" if saved.checked else ""
    print(f"{saved.path}: {saved.files} files, {output.size(saved.size_bytes)}{checked}")


def _act(ctx: typer.Context, job: str, verb: str, *, json: bool) -> None:
    with options.client(ctx) as client:
        moved = getattr(client, verb)(client.find_job(job).id)
    if json:
        output.as_json(moved)
    else:
        then = ", and goes on by itself" if moved.returns else ""
        print(f"{moved.id} ({moved.name}): {moved.state}{then}")


def _row(job: "JobRead") -> tuple[object, ...]:
    snapshot = job.snapshot
    state = f"{job.state}"
    place = ""
    if job.wait_cause:
        place = job.wait_cause
    elif snapshot and snapshot.step:
        place = f"{snapshot.step}/{snapshot.total_steps}" if snapshot.total_steps else f"{snapshot.step}"
    loss = output.number(snapshot.loss) if snapshot else ""
    first = (job.id, job.name, job.kind, state, place, loss, job.user, output.moment(job.created_at))
    best = output.number(job.best.value) if job.best else ""
    took = "" if job.duration is None else output.duration(job.duration)
    return *first, best, output.number(job.throughput), took
