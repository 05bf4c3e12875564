"""RQ: a worker that forks for every job, Redis."""

import os

from redis import Redis  # type: ignore[import-not-found,unused-ignore]
from rq import Queue  # type: ignore[import-not-found,unused-ignore]
from rq.job import Job  # type: ignore[import-not-found,unused-ignore]

from bench.peer_drivers import lines

STATES = {"queued": "waiting", "started": "running", "finished": "done", "failed": "failed"}

connection = Redis.from_url(os.environ["PEER_STORE"])
queue = Queue(connection=connection)


def submit(command: list[str], folder: str) -> object:
    return queue.enqueue(lines.run_script, command, folder, job_timeout=3600).id


def told(job_id: str) -> lines.Answer:
    job = Job.fetch(job_id, connection=connection)
    result = job.latest_result()
    return lines.answer(STATES, job.get_status().value, result and result.exc_string)


if __name__ == "__main__":
    lines.serve(submit, told)
