"""From a line in events.jsonl to WebSocket clients, while a real training runs on the same machine."""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.result import Result

CLIENTS = 100
STEPS = 3000
LOG_EVERY = 5
SETTLE_STEPS = 200


def run() -> Result:
    from runyard.testing.live import LiveYard
    from runyard.testing.tiny import save_tiny_model

    with tempfile.TemporaryDirectory() as folder, LiveYard(Path(folder) / "home", {"OMP_NUM_THREADS": "1"}) as yard:
        save_tiny_model(yard.home / "models" / "tiny")
        data = Path(folder) / "rows.jsonl"
        data.write_text("".join(json.dumps({"text": f"one two three {n}"}) + "\n" for n in range(64)))
        training = {"max_steps": STEPS, "log_every": LOG_EVERY, "batch_size": 4, "packing": False, "max_length": 32}
        job = yard.client.submit(
            {"kind": "sft", "model": "tiny", "data": str(data), "training": training,
             "checkpoints": {"every_steps": STEPS}}
        )  # fmt: skip
        url = f"{yard.url.replace('http', 'ws')}/api/v1/jobs/{job.id}/ws?after=0"
        result = subprocess.run(
            [sys.executable, "-m", "bench.feed_latency", url], check=True, stdout=subprocess.PIPE, text=True
        )
    delays: list[float] = json.loads(result.stdout)
    p99 = statistics.quantiles(delays, n=100)[98]
    return Result(
        name="live feed",
        promise=f"p99 under 100 ms from the trainer's line to {CLIENTS} WebSocket clients",
        found=f"{p99 * 1000:.0f} ms",
        detail=(
            f"A tiny model is trained through the server on the same {os.cpu_count()} cores and reports every"
            f" {LOG_EVERY} steps; {CLIENTS} clients in one other process follow the job:"
            f" {len(delays)} deliveries of metrics,"
            f" p50 {statistics.median(delays) * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms,"
            f" most {max(delays) * 1000:.0f} ms."
        ),
        holds=p99 < 0.1,
    )


async def listen(url: str) -> list[float]:
    per_client = await asyncio.gather(*(one_client(url) for _ in range(CLIENTS)))
    return [delay for delays in per_client for delay in delays]


async def one_client(url: str) -> list[float]:
    """Seconds from the trainer's clock to ours, the same machine's, for each metric of the settled run."""
    import time

    from websockets.asyncio.client import connect

    delays = []
    async with connect(url, compression=None, open_timeout=60, max_size=None) as socket:
        async for message in socket:
            event = json.loads(message)
            if event["type"] == "metric" and event["data"]["step"] > SETTLE_STEPS:
                delays.append(time.time() - event["at"])
    return delays


if __name__ == "__main__":
    print(json.dumps(asyncio.run(listen(sys.argv[1]))))
