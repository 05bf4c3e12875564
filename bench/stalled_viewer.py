"""One viewer of 50 stops reading: what becomes of the others, of the server's memory, and of itself."""

import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from bench.result import Result
from bench.viewers import RATE, SETTLE_SECONDS, percentile, report, watching

VIEWERS, WIDTH = 50, 700
SECONDS, STALL_SECONDS, BACK_SECONDS = 30, 75, 10
MOST_RATIO, MOST_GROWTH = 1.2, 50 << 20


def run() -> Result:
    from runyard.testing.live import LiveYard

    paths = ["/api/v1/ws"] * VIEWERS
    with (
        tempfile.TemporaryDirectory() as folder,
        LiveYard(Path(folder) / "home", {"RUNYARD_MIN_FREE": "0"}) as yard,
    ):
        (job_id,) = report(yard, 1, RATE, WIDTH)
        without, settled = [], 0
        for stall in (0, STALL_SECONDS, 0):
            with watching(yard.port, [*paths, *paths[:1]] if stall else paths, stall) as seen:
                time.sleep(SETTLE_SECONDS)
                began = time.time()
                with most_memory(yard.pid) as memory:
                    time.sleep(stall - SETTLE_SECONDS if stall else SECONDS)
                until = time.time()
                time.sleep(BACK_SECONDS if stall else 0)
            if stall:
                stalled, growth = seen, max(memory) - settled
                *others, itself = seen.viewers
                with_it = [came - at for metrics in others for *_, at, came in metrics if began <= came < until]
            else:
                settled = settled or max(memory)
                without += seen.delays(began)
        size = message_size(yard, job_id)
    ratio = percentile(with_it, 99) / percentile(without, 99)
    caught_up = stalled.is_whole() and itself[-1][0] >= others[0][-1][0] - RATE
    return Result(
        name="a stalled viewer",
        promise=f"p99 of the {VIEWERS} others at most {MOST_RATIO:g} times that without it; memory grows by less than"
        f" {MOST_GROWTH >> 20} MB; it misses nothing",
        found=f"{ratio:.2f}; {growth / 1e6:.0f} MB; {'nothing missed' if caught_up else 'MISSED SOMETHING'}",
        detail=(
            f"A job reports {RATE} times a second {size / 1000:.0f} kB, {VIEWERS * RATE * size / 1e6:.0f} MB a second"
            f" to {VIEWERS} WebSockets in one other process on the same {os.cpu_count()} cores. Without a stalled one,"
            f" before and after: p99 {percentile(without, 99) * 1000:.0f} ms; with one more that takes nothing for"
            f" {STALL_SECONDS} s: {percentile(with_it, 99) * 1000:.0f} ms for the others. It was cut off"
            f" {stalled.cuts} times, came back with its cursor, and {'had' if caught_up else 'HAD NOT'} everything"
            f" within {BACK_SECONDS} s. Memory is the most that the server's resident size rose above the most without"
            " a stalled one, sampled every 50 ms."
        ),
        holds=ratio <= MOST_RATIO and growth < MOST_GROWTH and caught_up and stalled.cuts <= 1,
    )


@contextmanager
def most_memory(pid: int) -> Iterator[list[int]]:
    """Bytes resident, sampled until the block is left."""
    process, found, over = psutil.Process(pid), [0], threading.Event()

    def sample() -> None:
        while not over.wait(0.05):
            found.append(process.memory_info().rss)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def message_size(yard: Any, job_id: str) -> int:
    items = httpx.get(f"{yard.url}/api/v1/jobs/{job_id}/events", params={"limit": 10}).json()["items"]
    return max(len(json.dumps(item, separators=(",", ":"))) for item in items)
