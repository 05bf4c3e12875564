"""From a trainer's line to 500 open pages, with server and engine in one process."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from bench.result import Result

VIEWERS, RATE, SECONDS, SETTLE_SECONDS = 500, 10, 20, 3
MOST_SECONDS = 0.045
JOBS = 5
SCRIPT = """
import sys, time
import runyard

rate, width, began = float(sys.argv[1]), int(sys.argv[2]), time.monotonic()
values = {f"value_{number:03d}": number / 7 for number in range(width)}
step = 0
while True:
    step += 1
    runyard.metric(step, loss=1 / step, learning_rate=1e-4, grad_norm=0.5, **values)
    time.sleep(max(0, began + step / rate - time.monotonic()))
"""


@dataclass
class Seen:
    """Of each viewer (cursor, job, step, trainer's time, time of arrival) of each metric; and how many were cut off."""

    viewers: list[list[Any]] = field(default_factory=list)
    cuts: int = 0

    def delays(self, since: float, until: float = float("inf")) -> list[float]:
        return [came - at for metrics in self.viewers for *_, at, came in metrics if since <= came < until]

    def is_whole(self) -> bool:
        """Has each viewer got all, from where it began, once and in order?"""
        return all(map(_is_whole, self.viewers))


def run() -> Result:
    one, spent = measure(1, RATE)
    several, _ = measure(JOBS, RATE / JOBS)
    p99, whole = percentile(one.delays, 99), one.whole and several.whole
    return Result(
        name=f"{VIEWERS} viewers",
        promise=f"{RATE} messages a second to each, p99 from the trainer's line at most {MOST_SECONDS * 1000:.0f} ms",
        found=f"{p99 * 1000:.0f} ms",
        detail=(
            f"A script reports {RATE} times a second; {VIEWERS} WebSockets in one other process, half of them of the"
            " job, half of the whole yard, note when each message comes. Server and engine are one process, on the"
            f" same {os.cpu_count()} cores: {_times(one.delays)}, {spent:.0%} of a core. With {JOBS} jobs that report"
            f" {RATE / JOBS:g} times a second, and all viewers of the yard: {_times(several.delays)}. Of"
            f" {len(one.delays) + len(several.delays)} messages {'none was' if whole else 'SOME WERE'} missed, doubled"
            " or out of order."
        ),
        holds=p99 <= MOST_SECONDS and whole,
    )


@dataclass
class Measured:
    delays: list[float]
    whole: bool


def measure(jobs: int, rate: float) -> tuple[Measured, float]:
    """And the part of a core that the server took."""
    from runyard.testing.live import LiveYard

    environment = {"RUNYARD_MIN_FREE": "0", "RUNYARD_SLOTS": str(jobs)}
    with tempfile.TemporaryDirectory() as folder, LiveYard(Path(folder) / "home", environment) as yard:
        ids, server = report(yard, jobs, rate), psutil.Process(yard.pid)
        paths = ["/api/v1/ws"] * VIEWERS
        if jobs == 1:
            paths[::2] = [f"/api/v1/jobs/{ids[0]}/ws?after=latest"] * (VIEWERS // 2)
        with watching(yard.port, paths) as seen:
            time.sleep(SETTLE_SECONDS)
            began, before = time.time(), sum(server.cpu_times()[:2])
            time.sleep(SECONDS)
            spent = sum(server.cpu_times()[:2]) - before
    return Measured(seen.delays(began), seen.is_whole()), spent / SECONDS


def report(yard: Any, jobs: int, rate: float, width: int = 0) -> list[str]:
    """Ids of jobs that report so often a second, with so many values more than usual, until the yard is gone."""
    file = yard.home / "runs" / "reports.py"  # what runs from here ends with the yard
    file.parent.mkdir(exist_ok=True)
    file.write_text(SCRIPT)
    spec = {"kind": "script", "file": str(file), "args": [str(rate), str(width)]}
    ids = [str(yard.client.submit(spec).id) for _ in range(jobs)]
    for job_id in ids:
        yard.wait_until(job_id, lambda job: job.state == "running", "the script to run")
    return ids


@contextmanager
def watching(port: int, paths: Sequence[str], stall: float = 0) -> Iterator[Seen]:
    """What viewers see, known when the block is left; the last one takes nothing for the first `stall` seconds."""
    seen = Seen()
    plan = {"host": "127.0.0.1", "port": port, "paths": paths, "stall": stall}
    with subprocess.Popen(
        [sys.executable, "-m", "bench.watchers"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(plan) + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == "watching\n"
        yield seen
        process.stdin.close()
        answer = json.loads(process.stdout.read())
    seen.viewers, seen.cuts = answer["viewers"], answer["cuts"]


def percentile(values: Sequence[float], which: int) -> float:
    return statistics.quantiles(values, n=100)[which - 1]


def _times(delays: Sequence[float]) -> str:
    p50, p99 = statistics.median(delays) * 1000, percentile(delays, 99) * 1000
    return f"p50 {p50:.0f} ms, p99 {p99:.0f}, most {max(delays) * 1000:.0f}"


def _is_whole(metrics: Sequence[Any]) -> bool:
    cursors = [cursor for cursor, *_ in metrics]
    steps: dict[str, list[int]] = {}
    for _, job_id, step, *_ in metrics:
        steps.setdefault(job_id, []).append(step)
    in_a_row = all(found == list(range(found[0], found[0] + len(found))) for found in steps.values())
    return bool(cursors) and cursors == sorted(set(cursors)) and in_a_row
