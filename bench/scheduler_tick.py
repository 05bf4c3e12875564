"""One tick of the scheduler while 10,000 jobs wait, on SQLite."""

import asyncio
import gc
import json
import statistics
import tempfile
import time
from pathlib import Path

from bench.result import Result

WAITING = 10_000
TICKS = 15
MOST_SECONDS = 0.05
SPEC = {"kind": "sft", "notes": "x" * 2000}
"""As long as those of real jobs are, so that their rows are."""


def run() -> Result:
    with tempfile.TemporaryDirectory() as folder:
        quiet, moving = asyncio.run(measure(Path(folder)))
    return Result(
        name="scheduler tick",
        promise=f"under {MOST_SECONDS * 1000:.0f} ms with {WAITING:,} jobs waiting",
        found=f"{quiet * 1000:.0f} ms; {moving * 1000:.0f} ms when one starts",
        detail=(
            f"SQLite, one slot, jobs of four classes with the long rows of real ones: the line is read, everybody's"
            f" turn considered, and what changed for those at its head written and told. Medians of {TICKS} ticks"
            f" each: with nothing to start, and with a start and the places that change by it."
        ),
        holds=max(quiet, moving) < MOST_SECONDS,
    )


async def measure(folder: Path) -> tuple[float, float]:
    """Seconds of a tick that starts nothing, and of one that does."""
    from runyard.db.database import Database
    from runyard.testing.yard import make_context

    database = Database(f"sqlite:///{folder / 'runyard.db'}")
    await database.migrate()
    await fill(database)
    from runyard.engine.engine import Engine

    _collect_seldom()
    scheduler = Engine(make_context(database, folder / "runs")).scheduler  # whose supervisor is never asked to launch
    moving = [await tick(scheduler)]
    quiet = [await tick(scheduler) for _ in range(TICKS)]
    for _ in range(TICKS):
        await release(database)
        moving.append(await tick(scheduler))
    await database.close()
    return statistics.median(quiet), statistics.median(moving)


def _collect_seldom() -> None:
    """As the server does."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


async def tick(scheduler: object) -> float:

    began = time.perf_counter()
    await scheduler._tick()  # type: ignore[attr-defined]
    return time.perf_counter() - began


async def fill(database: object) -> None:
    from sqlalchemy import insert

    from runyard.db.tables import Job
    from runyard.domain.access import FIRST_TENANT

    classes = ("normal", "low", "high", "normal", "urgent", "normal", "low", "normal", "normal", "low")
    now = time.time()
    rows = [
        {
            "id": f"job{number:05}", "kind": "sft", "name": f"job {number}", "spec": SPEC, "resolved_spec": SPEC,
            "priority": classes[number % 10], "state": "queued", "events_offset": 0, "attempts": 0,
            "created_at": now - number, "queued_at": now - number, "updated_at": now, "resumable": True,
            "tenant": FIRST_TENANT, "user": f"user{number % 50}",
        }
        for number in range(WAITING)
    ]  # fmt: skip
    async with database.write() as session:  # type: ignore[attr-defined]
        await session.execute(insert(Job), rows)


async def release(database: object) -> None:
    """The one that runs ends."""
    from sqlalchemy import text

    async with database.write() as session:  # type: ignore[attr-defined]
        await session.execute(text("UPDATE attempts SET ended_at = 1, released_at = 1 WHERE released_at IS NULL"))
        await session.execute(text("UPDATE jobs SET state = 'completed' WHERE state = 'starting'"))


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(Path(tempfile.mkdtemp())))))
