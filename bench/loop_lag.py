"""How late the server's event loop is with hundreds of open streams and requests that keep coming."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.openloop import request
from bench.result import Result
from bench.viewers import RATE as REPORTS
from bench.viewers import SETTLE_SECONDS, percentile, report, watching

STREAMS, RATE, SECONDS, CONNECTIONS = 500, 100, 20, 16
MOST_SECONDS = 0.1
SPEC = {"kind": "script", "name": "job @", "command": ["true"]}


def run() -> Result:
    from runyard.testing.live import LiveYard

    environment = {"RUNYARD_MIN_FREE": "0", "RUNYARD_MAX_WAITING": "1000000"}
    with tempfile.TemporaryDirectory() as folder:
        yard = LiveYard(Path(folder) / "home", environment)
        lags_file = yard.home / "lags"
        yard.program = [sys.executable, "-m", "bench.probe", str(lags_file)]
        with yard:
            (job_id,) = report(yard, 1, REPORTS)
            paths = ["/api/v1/ws", f"/api/v1/jobs/{job_id}/ws?after=latest", "/api/v1/stream"]
            paths.append(f"/api/v1/jobs/{job_id}/stream?after=latest")
            with watching(yard.port, [paths[number % len(paths)] for number in range(STREAMS)]) as seen:
                time.sleep(SETTLE_SECONDS)
                began = time.time()
                answers, late = ask(yard.port, job_id)
                until = time.time()
        lags = read_lags(lags_file, began, until)
    waits = [seconds for _, seconds in answers]
    refused = sum(status >= 300 for status, _ in answers)
    lag = percentile(lags, 99)
    return Result(
        name=f"event loop with {STREAMS} streams",
        promise=f"at most {MOST_SECONDS * 1000:.0f} ms late at p99 under {RATE} requests a second",
        found=f"{lag * 1000:.0f} ms",
        detail=(
            f"{STREAMS} streams, WebSockets and server-sent events, of a job that reports {REPORTS} times a second and"
            f" of the yard, while {RATE} requests a second are due for {SECONDS} s: the list, one job, its curve, a"
            f" submission, by turns, from two other processes on the same {os.cpu_count()} cores. Lateness of a nap of"
            f" 10 ms in the server, which is the engine too: p50 {statistics.median(lags) * 1000:.0f} ms, p99"
            f" {lag * 1000:.0f}, most {max(lags) * 1000:.0f}. Requests, from when each was due: p50"
            f" {statistics.median(waits) * 1000:.0f} ms, p99 {percentile(waits, 99) * 1000:.0f}, {refused} of"
            f" {len(answers)} refused; the client was late by {late * 1000:.0f} ms at most. Streams: p99"
            f" {percentile(seen.delays(began, until), 99) * 1000:.0f} ms from the trainer's line."
        ),
        holds=lag <= MOST_SECONDS and refused == 0 and seen.is_whole(),
    )


def ask(port: int, job_id: str) -> tuple[list[tuple[int, float]], float]:
    requests = [
        request("GET", "/api/v1/jobs?limit=50"),
        request("GET", f"/api/v1/jobs/{job_id}"),
        request("GET", f"/api/v1/jobs/{job_id}/metrics"),
        request("POST", "/api/v1/jobs", SPEC, ["Idempotency-Key: bench-@"]),
    ]
    plan = {"host": "127.0.0.1", "port": port, "rate": RATE, "seconds": SECONDS, "connections": CONNECTIONS}
    output = subprocess.run(
        [sys.executable, "-m", "bench.openloop"],
        input=json.dumps({**plan, "requests": requests}),
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    found: dict[str, Any] = json.loads(output)
    return [(status, seconds) for status, seconds in found["answers"]], found["late"]


def read_lags(file: Path, since: float, until: float) -> list[float]:
    rows = [line.split() for line in file.read_text().splitlines()]
    return [float(lag) for at, lag in (row for row in rows if len(row) == 2) if since <= float(at) < until]
