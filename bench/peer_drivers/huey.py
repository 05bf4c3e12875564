"""huey: a consumer with threads, SQLite."""

import os
from pathlib import Path

from huey import SqliteHuey  # type: ignore[import-not-found,unused-ignore]
from huey.exceptions import TaskException  # type: ignore[import-not-found,unused-ignore]

from bench.peer_drivers import lines

queue = SqliteHuey(filename=str(Path(os.environ["PEER_FOLDER"], "huey.db")))
run = queue.task()(lines.run_script)


def submit(command: list[str], folder: str) -> object:
    return run(command, folder).id


def told(task_id: str) -> lines.Answer:
    try:
        if queue.result(task_id, preserve=True) is not None:
            return lines.answer({"result": "done"}, "result")
    except TaskException as error:
        return lines.answer({"error": "failed"}, "error", error)
    waits = any(task.id == task_id for task in queue.pending())
    return lines.answer({"pending": "waiting"}, "pending" if waits else "no result")


if __name__ == "__main__":
    lines.serve(submit, told)
