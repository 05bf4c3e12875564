"""A model of 2 GB as a ZIP that is made while it is sent, against the same file sent as it is."""

import asyncio
import hashlib
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from bench.result import Result

SIZE = 2 << 30
PIECE = 8 << 20
ROUNDS = 3
MEGABYTE = 1 << 20


def run() -> Result:
    from runyard.testing.live import LiveYard
    from runyard.testing.tiny import save_tiny_model

    with tempfile.TemporaryDirectory() as folder, LiveYard(Path(folder) / "home") as yard:
        save_tiny_model(yard.home / "models" / "tiny")
        data = Path(folder) / "rows.jsonl"
        data.write_text('{"text": "one two three"}\n{"text": "four five six"}\n')
        job = yard.client.submit({"kind": "sft", "model": "tiny", "data": str(data), "training": {"max_steps": 1}})
        yard.wait_for_end(job.id)
        artifact = asyncio.run(add_large_file(yard.home, job.id))
        plain_url, zip_url = f"/api/v1/artifacts/{artifact}/content", f"/api/v1/jobs/{job.id}/download/model"
        plain, zipped, grown = [], [], 0.0
        with httpx.Client(base_url=yard.url, timeout=None) as client:
            fetch(client, plain_url)  # so that the file is in the page cache for both
            for _ in range(ROUNDS):
                plain.append(fetch(client, plain_url))
                with growth(yard.pid) as peak:
                    zipped.append(fetch(client, zip_url))
                grown = max(grown, *peak)
    ratio = statistics.median(zipped) / statistics.median(plain)
    return Result(
        name="ZIP of a 2 GB model",
        promise="server memory grows by less than 50 MB; at least 0.5 of the speed of a plain file",
        found=f"{grown:.0f} MB; {ratio:.2f}",
        detail=(
            f"Both from the same server, taking turns, {ROUNDS} times:"
            f" {statistics.median(zipped) / MEGABYTE:.0f} MB/s as a ZIP with checksums,"
            f" {statistics.median(plain) / MEGABYTE:.0f} MB/s as the plain file. Memory is the most that the server's"
            f" resident size rose above what it was when the download began, sampled every 10 ms."
        ),
        holds=grown < 50 and ratio >= 0.5,
    )


async def add_large_file(home: Path, job_id: str) -> str:
    """A large weights file in a finished run, on disk and on record."""
    from runyard.db.database import Database
    from runyard.db.queries import artifacts

    path = home / "runs" / job_id / "final" / "model-00001-of-00001.safetensors"
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(SIZE // PIECE):
            piece = os.urandom(PIECE)
            file.write(piece)
            digest.update(piece)
    values = {"kind": "model", "size_bytes": SIZE, "hash_sha256": digest.hexdigest(), "details": {}, "created_at": 0.0}
    database = Database(f"sqlite:///{home / 'runyard.db'}")
    async with database.write() as session:
        await artifacts.record(session, job_id, f"final/{path.name}", "large", values)
    await database.close()
    return "large"


def fetch(client: httpx.Client, url: str) -> float:
    """Bytes a second."""
    began, size = time.monotonic(), 0
    with client.stream("GET", url) as response:
        response.raise_for_status()
        for piece in response.iter_raw(MEGABYTE):
            size += len(piece)
    assert size >= SIZE, f"got {size} bytes"
    return size / (time.monotonic() - began)


@contextmanager
def growth(pid: int) -> Iterator[list[float]]:
    """Megabytes that a process grew by, one figure a sample."""
    process = psutil.Process(pid)
    before = process.memory_info().rss
    samples, done = [0.0], threading.Event()

    def sample() -> None:
        while not done.wait(0.01):
            samples.append((process.memory_info().rss - before) / MEGABYTE)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        done.set()
        thread.join()


if __name__ == "__main__":
    print(run())
