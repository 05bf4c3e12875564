"""A yard with a long history, made up: jobs as rows, their points as rollups and curves in columns."""

import random
from array import array
from collections.abc import Iterator
from typing import Any

from sqlalchemy import insert, text

from runyard.db.database import Database
from runyard.db.tables import Table
from runyard.domain import listing, rollups
from runyard.domain.packing import DOUBLE, SINGLE, Line, tally
from runyard.domain.rollups import Rollup

POINTS = 1000
"""Of each job."""
AT_ONCE = 1000
STATES = ("completed", "failed", "cancelled", "paused", "queued")
SHARES = (80, 12, 6.9, 1, 0.1)
MODELS = [f"{owner}/{name}-{size}" for owner in ("meta", "team") for name in ("base", "chat") for size in ("1b", "8b")]
USERS, EXPERIMENTS = 20, 50
DAY = 86_400.0
CURVES = 64
"""Different ones, which the jobs have in turn."""


def job_id(number: int) -> str:
    return f"{random.Random(number).getrandbits(48):012x}"


async def fill(database: Database, jobs: int, now: float) -> None:
    """So many jobs over half a year."""
    chance = random.Random(1)
    curves = [_curve(chance) for _ in range(CURVES)]
    tables = Table.metadata.tables
    for first in range(0, jobs, AT_ONCE):
        rows: dict[str, list[dict[str, Any]]] = {
            name: [] for name in ("jobs", "moves", "attempts", "rollups", "series")
        }
        for number in range(first, min(jobs, first + AT_ONCE)):
            at = now - 180 * DAY * (1 - number / jobs)
            for name, row in _rows(number, at, chance, curves):
                rows[name].append(row)
        async with database.write() as session:
            for name, some in rows.items():
                await session.execute(insert(tables[name]), some)
    async with database.write() as session:
        await session.execute(text("ANALYZE"))


def _rows(
    number: int, at: float, chance: random.Random, curves: list[tuple[dict[str, Any], Rollup]]
) -> Iterator[tuple[str, dict[str, Any]]]:
    id_, state = job_id(number), chance.choices(STATES, SHARES)[0]
    name, model = f"support-{chance.choice(('sft', 'dpo'))}-{number}", chance.choice(MODELS)
    tags = [f"team-{number % 7}", *(["baseline"] if number % 100 == 0 else [])]
    seconds = chance.uniform(60, 20_000)
    series, rollup = chance.choice(curves)
    spec = {"kind": "sft", "model": {"name": model}, "data": {"train": "dataset:0123456789ab"}, "notes": "x" * 600}
    ran = state != "queued"
    facts = rollups.facts(rollup if ran else Rollup())
    yield "jobs", {
        "id": id_, "tenant": "main", "user": f"user{number % USERS}", "kind": "sft", "name": name, "model": model,
        "experiment": f"experiment-{number % EXPERIMENTS}", "tags": tags,
        "search": listing.line(name, model, tags, id_), "spec": spec, "resolved_spec": {**spec, "more": "x" * 600},
        "priority": "normal", "state": state, "reason": "gpu_out_of_memory" if state == "failed" else None,
        "workload": f"workload-{number % 500}", "work": 1.0, "events_offset": 1, "attempts": int(ran), "failures": 0,
        "resumable": True, "kept": False, "created_at": at, "queued_at": at, "started_at": at + 30 if ran else None,
        "finished_at": at + 30 + seconds if state in STATES[:3] else None, "updated_at": at + 30,
        "duration": seconds if ran else None, "snapshot": {"step": POINTS, "values": {"loss": 1.0}},
        **facts, "throughput": chance.uniform(1, 90) if ran else None,
        "best_value": chance.uniform(0.3, 4) if ran else None,
    }  # fmt: skip
    moves = [(0.0, None, "queued"), (30.0, "queued", "starting"), (40.0, "starting", "running")]
    for after_seconds, before, after in [*moves, (30 + seconds, "running", state)] if ran else moves[:1]:
        yield "moves", {
            "job_id": id_, "at": at + after_seconds, "before": before, "after": after, "cause": "c", "actor": "engine",
        }  # fmt: skip
    if ran:
        yield "attempts", {
            "id": id_, "job_id": id_, "number": 1, "executor": "local", "gpus": [0], "created_at": at + 30,
            "started_at": at + 30, "ended_at": at + 30 + seconds, "released_at": at + 30 + seconds,
        }  # fmt: skip
        yield "rollups", {"job_id": id_, "content": rollup.content()}
        yield "series", {"job_id": id_, **series}


def _curve(chance: random.Random) -> tuple[dict[str, Any], Rollup]:
    """Of the loss; what the other values come to stands in the rollup."""
    line, rollup = Line(), Rollup(attempt=1, seconds={"loading": 40.0, "training": 900.0, "saving": 9.0})
    for step in range(1, POINTS + 1):
        loss = 0.4 + 4 / step**0.5 + chance.gauss(0, 0.05)
        line.add(step, float(step), loss)
        values = {"samples_per_second": 8.0, "iteration_seconds": 0.5, "gpu_utilization_percent": 90.0}
        more = {"gpu_memory_mb": 9000.0, "gpu_temperature_celsius": 70.0, "learning_rate": 1e-4, "grad_norm": 1.0}
        rollup.take("train", step, {}, {"loss": loss, **values, **more})
    rollup.sealed = {"train": POINTS}
    row = {
        "split": "train", "name": "loss", "first_step": 1, "last_step": POINTS, "tally": tally(line).parts(),
        "stride": 1, "steps": None, "times": array(SINGLE, range(POINTS)).tobytes(),
        "numbers": array(DOUBLE, line.numbers).tobytes(), "began_at": 1e9,
    }  # fmt: skip
    return row, rollup
