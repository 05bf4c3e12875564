"""What a job reported and left: metrics, events, checkpoints and files, as tables and as lines for programs."""

from typing import Annotated

import typer

from runyard.cli import options, output


def metrics(
    ctx: typer.Context,
    job: options.Job,
    split: Annotated[str | None, typer.Option(help="train or eval.")] = None,
    after_step: Annotated[int | None, typer.Option(help="Only later steps.")] = None,
    json: options.Json = False,
) -> None:
    """Print a job's curve."""
    with options.client(ctx) as client:
        points = client.metrics(client.find_job(job).id, split=split, after_step=after_step)
    if json:
        for point in points:
            output.as_json(point)
        return
    names = list(dict.fromkeys(name for point in points for name in point.values))
    rows = ([p.step, p.split, *(output.number(p.values.get(name)) for name in names)] for p in points)
    output.table(["STEP", "SPLIT", *(name.upper() for name in names)], rows)


def events(
    ctx: typer.Context,
    job: options.Job,
    after: Annotated[int, typer.Option(help="Only entries after this cursor.")] = 0,
    json: options.Json = False,
) -> None:
    """Print all that happened to a job so far."""
    from json import dumps

    with options.client(ctx) as client:
        job_id = client.find_job(job).id
        while page := client.events(job_id, after=after).items:
            for event in page:
                if json:
                    output.as_json(event)
                else:
                    print(f"{event.id}\t{output.moment(event.at)}\t{event.type}\t{dumps(event.data)}")
            after = page[-1].id


def files(ctx: typer.Context, job: options.Job, json: options.Json = False) -> None:
    """List a job's checkpoints, and the files it left with their SHA-256."""
    with options.client(ctx) as client:
        job_id = client.find_job(job).id
        checkpoints, artifacts = client.checkpoints(job_id), client.artifacts(job_id)
    kept = [checkpoint for checkpoint in checkpoints if checkpoint.removed_at is None]
    if json:
        for record in (*kept, *artifacts):
            output.as_json(record)
        return
    output.table(
        ("PATH", "KIND", "SIZE", "SHA-256"),
        [
            *((c.path, "best checkpoint" if c.best else "checkpoint", output.size(c.size_bytes), "") for c in kept),
            *((a.path, a.kind, output.size(a.size_bytes), a.hash_sha256) for a in artifacts),
        ],
    )
