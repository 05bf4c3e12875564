"""submitit: the local executor. There is no server: the program that submits is what watches."""

import os
from pathlib import Path

from submitit import LocalExecutor, LocalJob  # type: ignore[import-not-found,unused-ignore]

from bench.peer_drivers import lines

FOLDER = Path(os.environ["PEER_FOLDER"], "submitit")
STATES = {"RUNNING": "running", "FINISHED": "done", "INTERRUPTED": "failed"}

executor = LocalExecutor(FOLDER)
executor.update_parameters(timeout_min=60)
jobs: dict[str, LocalJob] = {}


def submit(command: list[str], folder: str) -> object:
    job = executor.submit(lines.run_script, command, folder)
    jobs[job.job_id] = job
    return job.job_id


def told(job_id: str) -> lines.Answer:
    job = jobs.setdefault(job_id, LocalJob(FOLDER, job_id))
    if job.state == "FINISHED" and (error := job.exception()) is not None:
        return lines.answer({"FINISHED with an error": "failed"}, "FINISHED with an error", error)
    return lines.answer(STATES, job.state)


if __name__ == "__main__":
    lines.serve(submit, told)
