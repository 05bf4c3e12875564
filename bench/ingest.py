"""A script that reports ten thousand points a second: is each kept, how soon, and who has to wait for it?"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import psutil

from bench.loop_lag import MOST_SECONDS, read_lags
from bench.result import Result
from bench.viewers import SETTLE_SECONDS, percentile, report, watching

RATE, SECONDS, NEIGHBOUR_RATE = 10_000, 10, 10
FLOOD = """
import json, os, sys, time
import runyard

rate, seconds, began = int(sys.argv[1]), int(sys.argv[2]), time.time()
for step in range(1, rate * seconds + 1):
    runyard.metric(step, loss=1 / step)
    if step % 100 == 0:
        time.sleep(max(0, began + step / rate - time.time()))
with open(os.path.join(os.environ["RUNYARD_RUN_DIR"], "times"), "w") as file:
    json.dump([began, time.time()], file)
"""


def run() -> Result:
    from runyard.testing.live import LiveYard

    points = RATE * SECONDS
    with tempfile.TemporaryDirectory() as folder:
        yard = LiveYard(Path(folder) / "home", {"RUNYARD_MIN_FREE": "0", "RUNYARD_SLOTS": "2"})
        lags_file = yard.home / "lags"
        yard.program = [sys.executable, "-m", "bench.probe", str(lags_file)]
        script = Path(folder) / "flood.py"
        script.write_text(FLOOD)
        with yard:
            (neighbour,) = report(yard, 1, NEIGHBOUR_RATE)
            with watching(yard.port, [f"/api/v1/jobs/{neighbour}/ws?after=latest"]) as seen:
                time.sleep(SETTLE_SECONDS)
                server = psutil.Process(yard.pid)
                before = sum(server.cpu_times()[:2])
                command = [sys.executable, str(script), str(RATE), str(SECONDS)]
                flood = yard.client.submit({"kind": "script", "name": "flood", "command": command})
                times = yard.home / "runs" / flood.id / "times"
                yard.wait_for(times.exists, "the last report", 10 * SECONDS)
                done = yard.wait_for_end(flood.id)
                spent = sum(server.cpu_times()[:2]) - before
                began, ended = json.loads(times.read_text())
                until = done.finished_at or time.time()
                kept = [point.step for point in yard.client.metrics(flood.id)]
        lags = read_lags(lags_file, began, until)
    late, neighbours = percentile(lags, 99), seen.delays(began, until)
    is_whole = kept == list(range(1, points + 1)) and done.state == "completed" and seen.is_whole()
    rate = points / (until - began)
    return Result(
        name="a script that floods",
        promise=f"{RATE:,} points a second for {SECONDS} s, each kept once; the event loop at most"
        f" {MOST_SECONDS * 1000:.0f} ms late at p99",
        found=f"{'each kept' if is_whole else 'SOME LOST'}, {rate:,.0f} a second; {late * 1000:.0f} ms",
        detail=(
            f"`runyard.metric` called {points:,} times, due at {RATE:,} a second; the script itself came to"
            f" {points / (ended - began):,.0f} on the same {os.cpu_count()} cores. Its job was completed, with every"
            f" point in the database, {until - ended:.1f} s after its last report, {spent / points * 1e6:.0f} µs of the"
            f" server's processor for each. Lateness of a nap of 10 ms in the server meanwhile: p99 {late * 1000:.0f}"
            f" ms, most {max(lags) * 1000:.0f}; a neighbour that reports {NEIGHBOUR_RATE} times a second is seen after"
            f" {percentile(neighbours, 99) * 1000:.0f} ms at p99."
        ),
        holds=is_whole and late <= MOST_SECONDS,
    )
