"""Submissions accepted while they keep coming at a fixed rate."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from bench.openloop import request
from bench.result import Result

RATE, SECONDS = 500, 20
CONNECTIONS = 32
SPEC = {"kind": "script", "name": "job @", "command": ["true"]}


def run() -> Result:
    from runyard.testing.live import LiveYard

    environment = {"RUNYARD_MAX_WAITING": "1000000", "RUNYARD_MIN_FREE": "0"}
    with tempfile.TemporaryDirectory() as folder, LiveYard(Path(folder) / "home", environment) as yard:
        yard.client.submit({"kind": "script", "name": "holds the only slot", "command": ["sleep", "600"]})
        plan = {
            "host": "127.0.0.1", "port": yard.port, "rate": RATE, "seconds": SECONDS, "connections": CONNECTIONS,
            "requests": [request("POST", "/api/v1/jobs", SPEC, ["Idempotency-Key: bench-@"])],
        }  # fmt: skip
        server = psutil.Process(yard.pid)
        before = sum(server.cpu_times()[:2])
        output = subprocess.run(
            [sys.executable, "-m", "bench.openloop"],
            input=json.dumps(plan),
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout
        spent = sum(server.cpu_times()[:2]) - before
        fsync = statistics.median(fsync_seconds(Path(folder)))
        found = json.loads(output)
    accepted = [delay for status, delay in found["answers"] if status == 201]
    rate = len(accepted) / found["seconds"]
    p99 = statistics.quantiles(accepted, n=100)[98]
    return Result(
        name="submissions",
        promise=f"{RATE} accepted a second for {SECONDS} s (SQLite)",
        found=f"{rate:.0f} a second",
        detail=(
            f"{RATE} submissions a second are due for {SECONDS} s over {CONNECTIONS} connections from one other process"
            f" on the same {os.cpu_count()} cores; {len(accepted)} of {len(found['answers'])} were accepted, the last"
            f" {found['seconds']:.1f} s after the first was due; answers p50 {statistics.median(accepted) * 1000:.0f},"
            f" p99 {p99 * 1000:.0f} ms; {spent / len(accepted) * 1000:.2f} ms of processor time each; the client was"
            f" late by {found['late'] * 1000:.0f} ms at most; fsync on this disk takes {fsync * 1000:.1f} ms."
        ),
        holds=rate >= 0.98 * RATE and len(accepted) == RATE * SECONDS,
    )


def fsync_seconds(folder: Path) -> list[float]:
    times = []
    with (folder / "fsync").open("wb") as file:
        for _ in range(20):
            file.write(bytes(4096))
            file.flush()
            began = time.perf_counter()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - began)
    return times
