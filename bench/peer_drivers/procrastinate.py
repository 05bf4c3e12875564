"""procrastinate: a worker that listens to PostgreSQL. RESCUE: with the recovery that its manual shows, each 10 s."""

import os

import procrastinate  # type: ignore[import-not-found,unused-ignore]

from bench.peer_drivers import lines

STATES = {"todo": "waiting", "doing": "running", "succeeded": "done", "failed": "failed"}

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=os.environ["PEER_STORE"]))
run = app.task(name="run")(lines.run_script)


async def retry_stalled_jobs(timestamp: int) -> None:
    for job in await app.job_manager.get_stalled_jobs():
        await app.job_manager.retry_job(job)


if os.environ.get("PEER_RESCUE"):
    task = app.task(name="rescue", queueing_lock="rescue")(retry_stalled_jobs)
    app.periodic(cron="* * * * * */10")(task)


def submit(command: list[str], folder: str) -> object:
    return run.defer(command=command, folder=folder)


def told(job_id: str) -> lines.Answer:
    return lines.answer(STATES, app.job_manager.get_job_status(int(job_id)).value)


if __name__ == "__main__":
    with app.open():
        lines.serve(submit, told)
