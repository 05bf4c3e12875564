"""Was everything kept that was promised? Looked at from outside, through the API and the disk."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from bench.workload import Expected
from runyard.schemas.jobs import JobDetail
from runyard.testing.live import LiveYard

FINAL = ("completed", "failed", "cancelled")


def audit(yard: LiveYard, jobs: Mapping[str, Expected], hits: Mapping[str, int], seconds: float = 600) -> list[str]:
    """Everything that is not as it was promised. `hits` counts the faults that struck a job's own processes."""
    wrong = []
    deadline = time.monotonic() + seconds
    for job_id, expected in jobs.items():
        job = yard.client.job(job_id)
        while job.finished_at is None and time.monotonic() < deadline:
            time.sleep(0.2)
            job = yard.client.job(job_id)
        if (yard.home / "runs" / job.id / "doubled").exists():
            wrong.append(f"{job.name} {job.id}: ran twice at once")
        is_hit_too_often = job.reason in ("killed", "lost") and hits[job_id] >= len(job.attempt_history)
        if not (expected.code and is_hit_too_often):
            wrong += [f"{job.name} {job.id}: {what}" for what in _differences(yard, job, expected)]
    listed = [job.id for state in FINAL for job in _all(yard, state)]
    wrong += [f"{job_id} is listed {listed.count(job_id)} times" for job_id in jobs if listed.count(job_id) != 1]
    return wrong + [f"{job_id} was never asked for" for job_id in listed if job_id not in jobs]


def _differences(yard: LiveYard, job: JobDetail, expected: Expected) -> Iterator[str]:
    if job.state != ("failed" if expected.code else "completed"):
        yield f"is {job.state} ({job.reason}: {job.message})"
        return
    if [move.after in FINAL for move in job.moves].count(True) != 1:
        yield "came to an end more than once"
    if any(attempt.ended_at is None for attempt in job.attempt_history):
        yield "has attempts without an end"
    last = job.attempt_history[-1].exit_code
    # Of a trainer whose wrapper was killed nobody has the code; that it was done is what it said itself.
    if last != expected.code and (last is not None or expected.code):
        yield f"has exit code {last} instead of {expected.code}"
    curve = [(p.step, p.values["loss"]) for p in yard.client.metrics(job.id) if p.split == "train"]
    if [step for step, _ in curve] != list(expected.curve):
        yield f"has metrics of the steps {[step for step, _ in curve]}"
    elif curve != list(expected.curve.items()):
        yield "has another curve than an undisturbed run"
    if expected.weights and expected.weights not in [item.hash_sha256 for item in yard.client.artifacts(job.id)]:
        yield "has other weights than an undisturbed run"


def _all(yard: LiveYard, state: str) -> Iterator[Any]:
    cursor = None
    while True:
        page = yard.client.jobs(state=[state], limit=100, cursor=cursor)
        yield from page.items
        if (cursor := page.next_cursor) is None:
            return
