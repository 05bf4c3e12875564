"""Figures, lists and curves of a hundred thousand jobs, through the API; beside MLflow's search over as many runs."""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bench import analytics_data as made
from bench.peer_venv import MADE_HERE
from bench.result import Result

JOBS = 100_000
TIMES = 40
ONE_MS, SUMMARY_MS, PAGE_MS = 20.0, 50.0, 30.0
MLFLOW = "mlflow>=3.10,<4"
SHARE = "percent of it this process at work"
"""On SQLite near to 100 on a quiet machine: on a busy one, the rest is waiting for a processor."""
LISTS = {
    "newest": "",
    "one user's": "user=user3",
    "nobody's": "user=nobody",
    "failed, by duration": "state=failed&sort=duration",
    "by loss": "sort=loss&order=asc",
    "by loss, one user's of one experiment": "sort=loss&order=asc&user=user3&experiment=experiment-3",
    "by throughput, of a rare tag": "sort=throughput&tag=baseline",
    "of a model": "model=CHAT-8b",
    "of a model that is not there": "model=nothing-9b",
    "a rare word": "q=77777",
    "a word that is not there": "q=zebra",
    "of a priority": "priority=normal&sort=duration",
    "of a priority that nobody gave": "priority=urgent",
    "of a week, by loss": "sort=loss&created_from={week}",
}
"""By what one may ask for."""


def options(arguments: list[str]) -> dict[str, Any]:
    parser = argparse.ArgumentParser(prog="bench analytics")
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--only", choices=["sqlite", "postgresql"], action="append")
    parser.add_argument("--no-mlflow", dest="mlflow", action="store_false")
    return vars(parser.parse_args(arguments))


def run(jobs: int = JOBS, only: Sequence[str] | None = None, mlflow: bool = True) -> Result:
    from bench.postgres import postgres

    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        if "sqlite" in (only or ["sqlite"]):
            found["SQLite"] = asyncio.run(measure(f"sqlite:///{folder}/runyard.db", Path(folder), jobs))
        if "postgresql" in (only or ["postgresql"]):
            with postgres() as server:
                found["PostgreSQL"] = asyncio.run(measure(server.get_uri(), Path(folder), jobs))
        beside = beside_mlflow(Path(folder), jobs) if mlflow else {}
    slowest = {name: max(times[what] for what in LISTS) for name, times in found.items()}
    holds = all(times["one job"] < ONE_MS and times["summary"] < SUMMARY_MS for times in found.values()) and all(
        time < PAGE_MS for time in slowest.values()
    )
    return Result(
        name="figures of many jobs",
        promise=f"over {jobs:,} jobs: one job's figures under {ONE_MS:.0f} ms, the summary under {SUMMARY_MS:.0f} ms,"
        f" any filtered and sorted page under {PAGE_MS:.0f} ms",
        found="; ".join(
            f"{name} {times['one job']:.0f}, {times['summary']:.0f}, {slowest[name]:.0f} ms"
            for name, times in found.items()
        ),
        detail=_detail(jobs, found, beside),
        holds=holds,
    )


def _detail(jobs: int, found: dict[str, dict[str, float]], beside: dict[str, float]) -> str:
    def told(times: dict[str, float]) -> str:
        return ", ".join(f"{what} {time:.1f}" for what, time in times.items())

    parts = [
        f"{jobs:,} jobs of half a year with {jobs * made.POINTS:,} points behind them as rollups and curves in columns,"
        f" asked for through the API within one process, without a network; the middle of {TIMES} times in ms, pages of"
        " 50."
    ]
    parts += [f"{name}: {told(times)}." for name, times in found.items()]
    if beside:
        parts.append(f"MLflow's search over as many runs in SQLite, by its Python client, pages of 50: {told(beside)}.")
    return " ".join(parts)


async def measure(url: str, folder: Path, jobs: int) -> dict[str, float]:
    """Milliseconds, the middle of many, by what was asked for."""
    from runyard.db.database import Database

    database = Database(url)
    await database.migrate()
    now = time.time()
    await made.fill(database, jobs, now)
    if database.dialect == "postgresql":
        await _vacuum(database)
    async with client(database, folder) as ask:
        before = time.process_time(), time.perf_counter()
        times = {
            "one job": await timed(ask, lambda n: f"jobs/{made.job_id(n * 997 % jobs)}/analytics"),
            "summary": await timed(ask, lambda n: "analytics/summary"),
            "curve": await timed(ask, lambda n: f"jobs/{made.job_id(n * 997 % jobs)}/curves?points=1000&smooth=0.6"),
        }
        for what, query in LISTS.items():
            path = f"jobs?{query.format(week=now - 7 * made.DAY)}"
            times[what] = await timed(ask, lambda n, path=path: path)  # type: ignore[misc]
        times["counts by state of one user"] = await timed(ask, lambda n: "jobs/counts?user=user3")
        times["side by side, 8"] = await timed(ask, lambda n: f"analytics/compare?job_ids={_ids(n, 8)}")
        spent, took = time.process_time() - before[0], time.perf_counter() - before[1]
        times[SHARE] = 100 * spent / took
    await database.close()
    return times


def _ids(number: int, count: int) -> str:
    return ",".join(made.job_id(number + one) for one in range(count))


async def _vacuum(database: Any) -> None:
    """As PostgreSQL does by itself a while after so much was written."""
    async with database.driver_connection() as connection:
        await connection.execute("VACUUM ANALYZE")


@asynccontextmanager
async def client(database: Any, folder: Path) -> AsyncIterator[Any]:
    """The application as it is, on this database."""
    import httpx

    from runyard.server import app
    from runyard.server.deps import Yard
    from runyard.server.feed import Hub
    from runyard.server.gate import Gate
    from runyard.services.context import Context

    gate = Gate(database, time.time, device_key=b"device")
    context = Context(home=folder / "home", min_free=1)
    yard = Yard(
        database, Hub(database), context, gate, wake=lambda topic: None, clock=time.time, gpus=list, slots=1
    )  # fmt: skip
    transport = httpx.ASGITransport(app.build(yard), client=("127.0.0.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1/api/v1/", timeout=60) as ask:
        yield ask


async def timed(ask: Any, path: Callable[[int], str]) -> float:
    """The middle of many in ms, the first three left out: what is asked for often is at hand."""
    times = []
    for number in range(TIMES + 3):
        began = time.perf_counter()
        answer = await ask.get(path(number))
        times.append(time.perf_counter() - began)
        assert answer.status_code == 200, answer.text
    return statistics.median(times[3:]) * 1000


def beside_mlflow(folder: Path, runs: int) -> dict[str, float]:
    """Its own search, on its own schema, in its own virtual environment."""
    venv = MADE_HERE.parent / "mlflow"
    python = venv / "bin" / "python"
    if not (done := venv / "installed").exists():
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", MLFLOW], check=True)
        done.touch()
    program = [str(python), "-m", "bench.peer_drivers.mlflow_search", str(folder / "mlflow.db"), str(runs), str(TIMES)]
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "HOME": str(folder),
    }
    output = subprocess.run(program, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, float] = json.loads(output.splitlines()[-1])
    return found
