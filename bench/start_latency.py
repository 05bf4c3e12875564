"""From a submission to the first line of the user's program, in a process of its own; and a burst of them."""

import os
import random
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from bench.result import Result
from bench.submissions import fsync_seconds

SINGLE, BURST = 100, 100
COMMAND = "date +%s%N > $RUNYARD_RUN_DIR/started"


def run() -> Result:
    from runyard.testing.live import LiveYard

    environment = {"RUNYARD_MAX_WAITING": "1000", "RUNYARD_MIN_FREE": "0", "RUNYARD_SLOTS": "4"}
    with tempfile.TemporaryDirectory() as folder, LiveYard(Path(folder) / "home", environment) as yard:
        floor = [bare(Path(folder) / "started") for _ in range(SINGLE)]
        one(yard, Path(folder))
        waits = [one(yard, Path(folder)) for _ in range(SINGLE)]
        spent, began = processor_seconds(yard), time.time()
        jobs = [yard.client.submit(spec("burst")).id for _ in range(BURST)]
        # Not by asking the server, which would be measured, too.
        yard.wait_for(lambda: all(file(yard, job_id).exists() for job_id in jobs), "the last start")
        spent = (processor_seconds(yard) - spent) / BURST
        for job_id in jobs:
            yard.wait_for_end(job_id)
        rate = BURST / (max(started(yard, job_id) for job_id in jobs) - began)
        fsync = statistics.median(fsync_seconds(Path(folder)))
    p50, p95 = statistics.median(waits), statistics.quantiles(waits, n=20)[18]
    return Result(
        name="start of a job",
        promise="first line of the user's program p50 at most 50 ms, p95 at most 100 ms; a burst at least 30 a second",
        found=f"{p50 * 1000:.0f} ms, {p95 * 1000:.0f} ms; {rate:.0f} a second",
        detail=(
            "A shell line that writes down the time, as a script job with a process, a wrapper and logs of its own,"
            f" submitted over HTTP on {os.cpu_count()} cores (SQLite). {SINGLE} single ones at random gaps:"
            f" p50 {p50 * 1000:.0f} ms, p95 {p95 * 1000:.0f}, most {max(waits) * 1000:.0f}; a bare `sh` started by"
            f" Python takes {statistics.median(floor) * 1000:.0f} ms. Burst of {BURST}, 4 at once: {rate:.0f} a second"
            " from the first submission to the last start, while nobody looks, and"
            f" {spent * 1000:.0f} ms of the server's processor for each."
            f" Load of the machine at the end {os.getloadavg()[0]:.1f}; fsync on this disk takes {fsync * 1000:.1f} ms."
        ),
        holds=p50 <= 0.05 and p95 <= 0.1 and rate >= 30,
    )


def spec(name: str) -> dict[str, Any]:
    return {"kind": "script", "name": name, "command": COMMAND}


def one(yard: Any, folder: Path) -> float:
    time.sleep(random.uniform(0.2, 0.6))
    began = time.time()
    job = yard.client.submit(spec("single"))
    yard.wait_for_end(job.id)
    return started(yard, job.id) - began


def started(yard: Any, job_id: str) -> float:
    return int(file(yard, job_id).read_text()) / 1e9


def file(yard: Any, job_id: str) -> Path:
    return Path(yard.home, "runs", job_id, "started")


def processor_seconds(yard: Any) -> float:
    """Of the server's own process."""
    times = psutil.Process(yard.pid).cpu_times()
    return float(times.user + times.system)


def bare(path: Path) -> float:
    began = time.time()
    subprocess.run(["sh", "-c", f"date +%s%N > {path}"], check=True)
    return int(path.read_text()) / 1e9 - began
