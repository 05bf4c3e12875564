"""Short jobs of which it is known exactly how they end."""

import hashlib
import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from runyard.sdk.client import Client
from runyard.sdk.errors import ClientError
from runyard.testing.tiny import save_tiny_model

STEPS = 30
SCRIPT = """
import fcntl, json, os, signal, sys, time
from pathlib import Path
import runyard

def train(weights, step, seed):
    return [0.9 * w + ((step * (i + 3) + seed) % 17) / 17 for i, w in enumerate(weights)]

def write(path, content):
    while True:  # a disk that is full is nobody's mistake here
        try:
            return path.write_text(json.dumps(content))
        except OSError:
            time.sleep(0.05)

def main(seed, steps, code, seconds):
    alone = open(Path(os.environ["RUNYARD_RUN_DIR"]) / "alone", "a")
    try:
        fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        (Path(os.environ["RUNYARD_RUN_DIR"]) / "doubled").touch()
        sys.exit(99)
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    step, weights = 0, [0.0] * 4
    if path := os.environ.get("RUNYARD_RESUME_FROM"):
        state = json.loads((Path(path) / "state.json").read_text())
        step, weights = state["step"], state["weights"]
    while step < steps:
        step += 1
        weights = train(weights, step, seed)
        time.sleep(seconds)
        runyard.metric(step, loss=sum(weights))
        runyard.progress(step, steps)
        if step % 5 == 0 or stop:
            scratch = Path(os.environ["RUNYARD_RUN_DIR"]) / "state.json"
            write(scratch, {"step": step, "weights": weights})
            runyard.checkpoint(step, scratch)
        if stop:
            sys.exit(75)
    if code:
        sys.exit(code)
    write(Path(os.environ["RUNYARD_OUTPUT_DIR"]) / "weights.json", weights)

if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
"""


@dataclass
class Expected:
    """What an undisturbed run of a job gives."""

    code: int
    curve: dict[int, float]
    """Loss by step."""
    weights: str
    """SHA-256 of the final weights, or empty if there are none."""


class Workload:
    """Keeps the yard busy; a submission that gets no answer is sent again with its key."""

    def __init__(self, root: Path, client: Client, trainings: int) -> None:
        self.root, self.client, self.trainings = root, client, trainings
        self.count = 0
        self.jobs: dict[str, Expected] = {}
        (root / "train.py").write_text(SCRIPT)
        if trainings:
            self.model, self.data = save_tiny_model(root / "tiny"), write_rows(root / "rows.jsonl")
            self.undisturbed = train_undisturbed(self.language_spec(), root / "undisturbed")

    def top_up(self, waiting: int = 4) -> None:
        with suppress(ClientError, httpx.HTTPError):
            jobs = self.client.jobs(state=["queued"], limit=10)
            for _ in range(waiting - len(jobs.items)):
                self.submit()

    def submit(self) -> None:
        self.count += 1
        if self.count % 8 == 1 and self.trainings > 0:
            self.trainings -= 1
            spec, expected = self.language_spec(), self.undisturbed
        else:
            spec, expected = self.script()
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            with suppress(ClientError, httpx.HTTPError):
                job = self.client.submit(spec, idempotency_key=f"chaos-{self.count}")
                self.jobs[job.id] = expected
                return
            time.sleep(0.2)
        raise TimeoutError("a submission was not accepted within two minutes")

    def language_spec(self) -> dict[str, Any]:
        return {
            "kind": "sft", "name": "tiny", "model": str(self.model), "data": str(self.data),
            "training": {"epochs": 3, "batch_size": 2, "max_length": 32, "packing": False},
            "checkpoints": {"every_steps": 3}, "limits": {"retries": 100},
        }  # fmt: skip

    def script(self) -> tuple[dict[str, Any], Expected]:
        seed, code = self.count, 7 if self.count % 5 == 0 else 0
        words = [str(self.root / "train.py"), str(seed), str(STEPS), str(code), "0.03"]
        limits = {} if code else {"retries": 100}
        spec = {
            "kind": "script", "name": f"script {seed}", "command": [sys.executable, *words], "resumable": True,
            "limits": limits,
        }  # fmt: skip
        return spec, expected_of_script(seed, code)


def expected_of_script(seed: int, code: int) -> Expected:
    namespace: dict[str, Any] = {"__name__": "chaos_script"}
    exec(SCRIPT, namespace)
    weights, curve = [0.0] * 4, {}
    for step in range(1, STEPS + 1):
        weights = namespace["train"](weights, step, seed)
        curve[step] = sum(weights)
    digest = "" if code else hashlib.sha256(json.dumps(weights).encode()).hexdigest()
    return Expected(code, curve, digest)


def write_rows(path: Path) -> Path:
    words = ["one two", "three four", "five six seven", "eight"]
    rows = [{"prompt": f"{words[n % 4]} {n}", "completion": words[(n + 1) % 4]} for n in range(12)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def train_undisturbed(spec: dict[str, Any], rundir: Path) -> Expected:
    rundir.mkdir()
    (rundir / "spec.json").write_text(json.dumps(spec))
    command = [sys.executable, "-m", "runyard.trainers", str(rundir)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    events = [json.loads(line) for line in (rundir / "events.jsonl").read_text().splitlines()]
    curve = {e["step"]: e["values"]["loss"] for e in events if e["type"] == "metric" and e["split"] == "train"}
    [weights] = (rundir / "final").glob("adapter_model.safetensors")
    return Expected(0, curve, hashlib.sha256(weights.read_bytes()).hexdigest())
