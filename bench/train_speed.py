"""`runyard train` against a bare TRL script of the same configuration, taking turns."""

import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.models import unpack_smollm2
from bench.result import Result
from bench.training import train

ROUNDS = 6
STEPS = 8
WARM_UP = 2
BATCH = 4
LENGTH = 128


def run() -> Result:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        data = write_rows(root / "rows.jsonl")
        model = unpack_smollm2(root / "model")
        ours: list[float] = []
        bare: list[float] = []
        for number in range(
            ROUNDS
        ):  # who begins changes, so that a machine that slows down or speeds up favours nobody
            if number % 2:
                bare += bare_steps(model, root / f"bare-{number}", data)
            ours += runyard_steps(model, root / f"run-{number}", data)
            if not number % 2:
                bare += bare_steps(model, root / f"bare-{number}", data)
    ratio = statistics.median(bare) / statistics.median(ours)
    return Result(
        name="training speed",
        promise="samples/s at least 0.97 of a bare TRL script",
        found=f"{ratio:.3f}",
        detail=(
            f"SmolLM2-135M, LoRA rank 16 on all linear layers, {BATCH} rows of {LENGTH} tokens a step, reports at every"
            f" step on both sides; medians over {ROUNDS} turns of {STEPS - WARM_UP} steps:"
            f" {BATCH / statistics.median(ours):.2f} samples/s with `runyard train`,"
            f" {BATCH / statistics.median(bare):.2f} with the bare script."
        ),
        holds=ratio >= 0.97,
    )


def write_rows(path: Path) -> Path:
    """Rows that all fill the length, so that both sides compute the same."""
    sentence = "the quick brown fox jumps over the lazy dog near the old stone bridge "
    with path.open("w") as file:
        for number in range(BATCH * STEPS):
            file.write(json.dumps({"text": f"{number} " + sentence * 20}) + "\n")
    return path


def runyard_steps(model: Path, rundir: Path, data: Path) -> list[float]:
    """Seconds of each step after the warm-up."""
    spec = {
        "kind": "sft",
        "model": {"name": str(model)},
        "data": {"train": str(data)},
        "training": {
            "max_steps": STEPS, "batch_size": BATCH, "micro_batch_size": BATCH, "max_length": LENGTH, "packing": False,
            "group_by_length": False, "activation_checkpointing": False, "learning_rate": 1e-4, "warmup": 0,
        },
        "checkpoints": {"every_steps": STEPS},
    }  # fmt: skip
    return gaps([event["at"] for event in train(spec, rundir)])


def bare_steps(model: Path, output: Path, data: Path) -> list[float]:
    command = [sys.executable, "-m", "bench.train_speed", str(model), str(output), str(data)]
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return gaps(json.loads(result.stdout.splitlines()[-1]))


def gaps(times: list[float]) -> list[float]:
    return [after - before for before, after in itertools.pairwise(times)][WARM_UP - 1 :]


def bare_trl(model_folder: str, output: str, data: str) -> None:
    """What somebody writes who follows the TRL documentation."""
    import torch
    from datasets import load_dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    times: list[float] = []

    class Stopwatch(TrainerCallback):  # type: ignore[misc]
        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
            if "loss" in logs:
                times.append(time.time())

    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    trainer = SFTTrainer(
        model=model,
        processing_class=tokenizer,
        args=SFTConfig(
            output_dir=output, max_steps=STEPS, per_device_train_batch_size=BATCH, max_length=LENGTH, logging_steps=1,
            learning_rate=1e-4, lr_scheduler_type="cosine", gradient_checkpointing=False, bf16=False, use_cpu=True,
            save_steps=STEPS, disable_tqdm=True,
        ),
        train_dataset=load_dataset("json", data_files=data, split="train"),
        peft_config=LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear"),
        callbacks=[Stopwatch()],
    )  # fmt: skip
    trainer.train()
    print(json.dumps(times))


if __name__ == "__main__":
    bare_trl(*sys.argv[1:])
