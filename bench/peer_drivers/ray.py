"""Ray Jobs: the job submission API of a head on this machine."""

import os
import shlex
import time
from functools import cache
from typing import Any

from ray.job_submission import JobSubmissionClient  # type: ignore[import-not-found,unused-ignore]

from bench.peer_drivers import lines

STATES = {"PENDING": "waiting", "RUNNING": "running", "SUCCEEDED": "done", "FAILED": "failed", "STOPPED": "failed"}
WAIT_SECONDS = 60


@cache
def client() -> Any:
    """Once the head answers: `ray start` returns before it does."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            return JobSubmissionClient(os.environ["PEER_STORE"])
        except ConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def submit(command: list[str], folder: str) -> object:
    return client().submit_job(entrypoint=shlex.join(command), entrypoint_num_cpus=1)


def told(job_id: str) -> lines.Answer:
    try:
        job = client().get_job_info(job_id)
    except (RuntimeError, OSError) as error:
        missing = "does not exist" in str(error)
        return lines.answer({}, "no such job" if missing else "no answer")
    found = lines.answer(STATES, job.status.value)
    return found | {"exit_code": job.driver_exit_code}


if __name__ == "__main__":
    lines.serve(submit, told)
