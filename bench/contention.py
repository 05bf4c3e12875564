"""Many processes on one SQLite file: read, and write after reading, as fast as they can.

    python bench/contention.py --processes 8 --seconds 60

Prints one JSON line; exit status 0 only if no process saw an error, no write was lost, and the file is whole.
"""

import argparse
import asyncio
import json
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from runyard.db.database import Database
from runyard.db.queries import events, jobs
from runyard.db.tables import Job


async def add_counter(url: str) -> None:
    database = Database(url)
    await database.migrate()
    row = {
        "tenant": "main",
        "user": "local",
        "kind": "script",
        "name": "counter",
        "spec": {},
        "resolved_spec": {},
        "priority": "normal",
    }
    row |= {"state": "running", "created_at": 0.0, "queued_at": 0.0, "updated_at": 0.0, "events_offset": 0}
    async with database.write() as session:
        session.add(Job(id="counter", attempts=0, **row))
    await database.close()


async def load(url: str, seconds: float) -> dict[str, object]:
    """Count up, with an event for each, and read in between."""
    database, writes, errors = Database(url), 0, []
    slowest = 0.0
    until = time.monotonic() + seconds
    while (began := time.monotonic()) < until:
        try:
            async with database.write() as session:
                job = await session.get_one(Job, "counter")
                await events.append(session, "counter", time.time(), "message", {"number": job.attempts})
                job.attempts += 1
            writes += 1
            async with database.read() as session:
                await events.after(session, max(0, await events.last_id(session) - 100))
                await jobs.count_by_state(session)
        except Exception as error:  # noqa: BLE001 - counted
            errors.append(str(error).partition("\n")[0])
        slowest = max(slowest, time.monotonic() - began)
    await database.close()
    return {"writes": writes, "errors": errors, "slowest": slowest}


def run(processes: int, seconds: float) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "runyard.db")
        url = f"sqlite:///{path}"
        asyncio.run(add_counter(url))
        command = [sys.executable, __file__, "--worker", url, "--seconds", str(seconds)]
        workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
        found = [json.loads(worker.communicate()[0]) for worker in workers]
        with sqlite3.connect(path) as connection:
            (kept,) = connection.execute("SELECT attempts FROM jobs").fetchone()
            (told,) = connection.execute("SELECT count(*) FROM events").fetchone()
            (state,) = connection.execute("PRAGMA integrity_check").fetchone()
        connection.close()
    writes = sum(one["writes"] for one in found)
    errors = [error for one in found for error in one["errors"]]
    return {
        "processes": processes,
        "seconds": seconds,
        "writes": writes,
        "lost": 2 * writes - kept - told,
        "errors": len(errors),
        "first_error": errors[0] if errors else None,
        "slowest_seconds": round(max(one["slowest"] for one in found), 3),
        "integrity": state,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--worker", metavar="URL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(asyncio.run(load(options.worker, options.seconds))))
        return
    found = run(options.processes, options.seconds)
    print(json.dumps(found))
    sys.exit(bool(found["lost"] or found["errors"] or found["integrity"] != "ok"))


if __name__ == "__main__":
    main()
