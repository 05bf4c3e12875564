"""Hand a job to the server."""

from pathlib import Path
from typing import Annotated

import typer

from runyard.cli import jobfiles, options, output, watching


def submit(
    ctx: typer.Context,
    job_file: options.JobFile,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Stay and watch it run.")] = False,
    name: Annotated[str | None, typer.Option(help="Name of the job.", show_default=False)] = None,
    priority: Annotated[str | None, typer.Option(help="urgent, high, normal or low.", show_default=False)] = None,
    overrides: options.Overrides = None,
    key: Annotated[
        str | None,
        typer.Option(help="Submitting again with the same key gives the same job.", show_default=False),
    ] = None,
    every: options.Every = None,
    json: options.Json = False,
) -> None:
    """Submit a job; its data files are uploaded first."""
    spec = jobfiles.load(Path(job_file), overrides, name=name, priority=priority)
    with options.client(ctx) as client:
        job = client.submit(spec, idempotency_key=key)
        if json:
            output.as_json(job)
        else:
            place = f", place {job.queue_position} in the queue" if job.queue_position else ""
            print(f"submitted {job.id} ({job.name}): {job.state}{place}", flush=True)
        if watch:
            raise typer.Exit(watching.watch(client, job, every, json=json))
        if not json:
            print(f"Watch it: runyard jobs watch {job.id}")
