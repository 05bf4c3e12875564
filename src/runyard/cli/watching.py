"""Watching a job of a server until it rests."""

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from runyard.cli import details, exits, output, progress

if TYPE_CHECKING:
    from runyard.schemas.jobs import EventRead, JobDetail
    from runyard.sdk.client import Client

RESTING = {
    "completed": exits.Code.OK,
    "failed": exits.Code.JOB_FAILED,
    "cancelled": exits.Code.CANCELLED,
    "paused": exits.Code.PAUSED,
}


def watch(client: "Client", job: "JobDetail", every: int | None, *, json: bool) -> exits.Code:
    """Show a job's history and then its life until it has ended or is paused; the exit code says how."""
    state: str = job.state
    try:
        with contextlib.nullcontext() if json else progress.view(every) as view:
            for event in _until_rest(client, job.id):
                state = event.data.get("after", state) if event.type == "state" else state
                if view:
                    view.show(event)
                else:
                    output.as_json(event)
    except KeyboardInterrupt:
        print(f"the job goes on; watch it again: runyard jobs watch {job.id}", file=sys.stderr)
        return exits.Code.INTERRUPTED
    job = client.job(job.id)
    if not json:
        print("\n".join(closing(job, _has_checkpoint(client, job.id))))
    return RESTING.get(state, exits.Code.OK)


def closing(job: "JobDetail", has_checkpoint: bool) -> Iterator[str]:
    """How it ended, and what to do next."""
    name = f"runyard jobs {{}} {job.id}".format
    match job.state:
        case "completed":
            results = ", ".join(_results(job))
            yield f"completed: {results}" if results else "completed"
            yield f"Bring it home: {name('download')}"
        case "failed":
            yield f"failed ({job.reason}): {job.message}"
            yield from details.advice(job)
            yield f"Its output: {name('logs')}"
            yield f"Try again{' from the last checkpoint' if has_checkpoint else ''}: {name('retry')}"
        case "cancelled":
            yield "cancelled"
            yield f"Run it after all: {name('retry')}"
        case "paused":
            step = job.snapshot.step if job.snapshot else 0
            yield f"paused at step {step}" if step else "paused"
            yield f"Go on: {name('resume')}"


def _until_rest(client: "Client", job_id: str) -> Iterator["EventRead"]:
    """A pause in the past is history; one that still holds ends the watch."""
    for event in client.watch(job_id):
        yield event
        if event.type == "state" and event.data["after"] == "paused":
            job = client.job(job_id)
            if job.state == "paused" and event.at >= job.moves[-1].at:
                return


def _has_checkpoint(client: "Client", job_id: str) -> bool:
    return any(checkpoint.removed_at is None for checkpoint in client.checkpoints(job_id))


def _results(job: "JobDetail") -> Iterator[str]:
    snapshot = job.snapshot
    if snapshot:
        yield f"{snapshot.step} steps"
        if snapshot.loss is not None:
            yield f"loss {snapshot.loss:.4f}"
        if snapshot.eval_loss is not None:
            yield f"eval loss {snapshot.eval_loss:.4f}"
    if job.started_at is not None and job.finished_at is not None:
        yield f"{output.duration(job.finished_at - job.started_at)} after its start"
