"""A training loop of one's own, in plain Python: it fits a plane to points, saves now and then, and goes on from there.

It runs as a job (`runyard submit job.yaml`), with no server (`runyard train job.yaml`), or alone (`python train.py`).
"""

import argparse
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import runyard

EXIT_STOPPED = 75  # "I have saved; start me again, and I go on"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--save-every", type=int, default=50)
    parser.add_argument("--learning-rate", type=float, default=0.05)
    parser.add_argument(
        "--pause", type=float, default=0.02, help="seconds after each step, so that there is time to watch"
    )
    options = parser.parse_args()

    asked_to_stop = []
    signal.signal(signal.SIGTERM, lambda *_: asked_to_stop.append(True))

    weights, first = load(os.environ.get("RUNYARD_RESUME_FROM", ""))
    points = make_points()
    for step in range(first, options.steps + 1):
        loss = learn(weights, points, options.learning_rate)
        runyard.progress(step, options.steps)
        runyard.metric(step, loss=loss, learning_rate=options.learning_rate)
        if step % options.save_every == 0 or asked_to_stop:
            save(weights, step, loss)
        if asked_to_stop:
            print(f"asked to stop: saved at step {step}")
            sys.exit(EXIT_STOPPED)
        time.sleep(options.pause)

    output = Path(os.environ.get("RUNYARD_OUTPUT_DIR", "."))  # what lies here at the end is the job's model
    (output / "weights.json").write_text(json.dumps(weights))
    print(f"done: {[round(weight, 3) for weight in weights]}")


def make_points(count: int = 200) -> list[tuple[list[float], float]]:
    """Points near y = 3 a - 2 b + 1, the same in every run."""
    chance = random.Random(7)
    points = []
    for _ in range(count):
        a, b = chance.uniform(-1, 1), chance.uniform(-1, 1)
        points.append(([a, b, 1.0], 3 * a - 2 * b + 1 + chance.gauss(0, 0.1)))
    return points


def learn(weights: list[float], points: list[tuple[list[float], float]], rate: float) -> float:
    """One step of gradient descent; the mean squared error before it."""
    gradient, loss = [0.0] * len(weights), 0.0
    for inputs, wanted in points:
        error = sum(weight * value for weight, value in zip(weights, inputs, strict=True)) - wanted
        loss += error**2 / len(points)
        for i, value in enumerate(inputs):
            gradient[i] += 2 * error * value / len(points)
    for i, slope in enumerate(gradient):
        weights[i] -= rate * slope
    return loss


def load(folder: str) -> tuple[list[float], int]:
    """The weights, and the step to begin with."""
    if not folder:
        return [0.0, 0.0, 0.0], 1
    state = json.loads(Path(folder, "state.json").read_text())
    return state["weights"], state["step"] + 1


def save(weights: list[float], step: int, loss: float) -> None:
    path = Path(os.environ.get("RUNYARD_RUN_DIR", "."), "state.json")
    path.write_text(json.dumps({"weights": weights, "step": step}))
    runyard.checkpoint(step, path, loss=loss)


if __name__ == "__main__":
    main()
