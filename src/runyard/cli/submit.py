"""Hand a job to the server."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runyard.cli import jobfiles, options, output, watching

if TYPE_CHECKING:
    from runyard.protocol.specs import Spec
    from runyard.sdk.client import Client


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
    origin: Annotated[
        str | None,
        typer.Option(
            "--continue", metavar="JOB[:STEP]", help="Start from a checkpoint of another job.", show_default=False
        ),
    ] = None,
    every: options.Every = None,
    json: options.Json = False,
) -> None:
    """Submit a job; its data files are uploaded first."""
    spec = jobfiles.load(Path(job_file), overrides, name=name, priority=priority)
    with options.client(ctx) as client:
        if origin is not None:
            spec = _continued(client, spec, origin)
        job = client.submit(spec, idempotency_key=key)
        if json:
            output.as_json(job)
        else:
            place = f", place {job.queue_position} in the queue" if job.queue_position else ""
            time = f", takes about {output.duration(job.estimated_seconds)}" if job.estimated_seconds else ""
            print(f"submitted {job.id} ({job.name}): {job.state}{place}{time}", flush=True)
        if watch:
            raise typer.Exit(watching.watch(client, job, every, json=json))
        if not json:
            print(f"Watch it: runyard jobs watch {job.id}")


def _continued(client: "Client", spec: "Spec", origin: str) -> "Spec":
    if spec.kind == "script":
        raise typer.BadParameter("--continue is for training jobs: a script keeps its own checkpoints")
    job, step = re.fullmatch(r"(.*?)(:\d+)?", origin, re.DOTALL).groups(default="")  # type: ignore[union-attr]
    return spec.model_copy(update={"continue_from": client.find_job(job).id + step})
