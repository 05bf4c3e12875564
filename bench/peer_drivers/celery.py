"""Celery: prefork, Redis; acknowledged when done and given back when a worker is lost, as its manual has it."""

import os

from celery import Celery  # type: ignore[import-not-found,unused-ignore]
from celery.result import AsyncResult  # type: ignore[import-not-found,unused-ignore]

from bench.peer_drivers import lines

STATES = {"PENDING": "waiting", "STARTED": "running", "SUCCESS": "done", "FAILURE": "failed"}

app = Celery("peers", broker=os.environ["PEER_STORE"], backend=os.environ["PEER_STORE"])
app.conf.update(
    task_acks_late=True, task_reject_on_worker_lost=True, task_track_started=True, worker_prefetch_multiplier=1
)
run = app.task(name="run")(lines.run_script)


def submit(command: list[str], folder: str) -> object:
    return run.delay(command, folder).id


def told(task_id: str) -> lines.Answer:
    result = AsyncResult(task_id, app=app)
    return lines.answer(STATES, result.state, result.result)


if __name__ == "__main__":
    lines.serve(submit, told)
