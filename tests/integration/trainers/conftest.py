"""A tiny random language model made on the spot, and small data for it."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runyard.protocol.events import AnyEvent, any_event
from runyard.protocol.rundir import RunDir
from runyard.testing.tiny import WORDS, save_tiny_model
from runyard.trainers import quiet, run

# Before any test imports a training library; more threads only slow a tiny model down.
quiet.environment(offline=True)
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

MakeRun = Callable[..., RunDir]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def sft_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 conversations of very different lengths."""
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"say {WORDS[n % len(WORDS)]} {n}"},
                {"role": "assistant", "content": " ".join(WORDS[(n * 7 + k) % len(WORDS)] for k in range(1 + n % 9))},
            ]
        }
        for n in range(24)
    ]
    return write_rows(tmp_path_factory.mktemp("data") / "train.jsonl", rows)


@pytest.fixture(scope="session")
def dpo_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [
        {
            "prompt": [{"role": "user", "content": f"count {n}"}],
            "chosen": [{"role": "assistant", "content": " ".join(WORDS[: 1 + n % 6])}],
            "rejected": [{"role": "assistant", "content": " ".join(reversed(WORDS[: 2 + n % 5]))}],
        }
        for n in range(16)
    ]
    return write_rows(tmp_path_factory.mktemp("data") / "pairs.jsonl", rows)


@pytest.fixture
def make_run(tmp_path: Path, model: Path, sft_data: Path, dpo_data: Path) -> MakeRun:
    """`make_run(name, kind="sft", **sections)` makes a run folder with a spec; sections extend the defaults."""

    def make(name: str = "run", kind: str = "sft", **sections: Any) -> RunDir:
        spec: dict[str, Any] = {
            "kind": kind,
            "model": {"name": str(model)},
            "adapter": {"rank": 4, "alpha": 8},
            "data": {"train": str(sft_data if kind == "sft" else dpo_data)},
            "training": {"batch_size": 4, "micro_batch_size": 4, "max_length": 64, "learning_rate": 1e-3},
        }
        for section, values in sections.items():
            spec[section] = {**spec.get(section, {}), **values} if isinstance(values, dict) else values
        root = tmp_path / name
        root.mkdir(parents=True)
        (root / "spec.json").write_text(json.dumps(spec))
        return RunDir(root)

    return make


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def train(cache: Path) -> Callable[..., int]:
    def start(rundir: RunDir, attempt: int = 1) -> int:
        return run.main(rundir.root, attempt, cache)

    return start


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def events() -> Callable[..., list[Any]]:
    return read_events


@pytest.fixture
def same_weights() -> Callable[[Path, Path], bool]:
    return weights_are_equal


def read_events(rundir: RunDir, type_: str | None = None) -> list[AnyEvent]:
    everything = [any_event.validate_json(line) for line in rundir.events.read_bytes().splitlines()]
    assert [event.n for event in everything] == list(range(1, len(everything) + 1))
    return [event for event in everything if type_ in (None, event.type)]


def read_weights(folder: Path) -> dict[str, Any]:
    """Every tensor of a saved model or adapter."""
    from safetensors.torch import load_file

    [file] = folder.glob("*.safetensors")
    return load_file(file)


def weights_are_equal(one: Path, other: Path) -> bool:
    import torch

    first, second = read_weights(one), read_weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


class SignalOnce:
    """A clock that also sends this process SIGTERM when the next event comes after one with a given text."""

    def __init__(self, rundir: RunDir, text: str) -> None:
        self._rundir, self._text = rundir, text
        self._sent = False

    def __call__(self) -> float:
        if not self._sent and self._text in self._rundir.events.read_text():
            self._sent = True
            signal.raise_signal(signal.SIGTERM)
        return time.time()


@pytest.fixture
def train_until(cache: Path) -> Callable[..., int]:
    """`train_until(rundir, step, attempt)` stops soon after a step; returns the step of its checkpoint."""

    def start(rundir: RunDir, step: int, attempt: int) -> int:
        clock = SignalOnce(rundir, f'"type":"metric","step":{step},')
        assert run.main(rundir.root, attempt, cache, clock) == run.STOPPED
        return rundir.checkpoint_steps()[-1]

    return start


@pytest.fixture
def train_and_signal(cache: Path) -> Callable[..., int]:
    """`train_and_signal(rundir, text)` gets SIGTERM after the event with the text; returns the exit code."""

    def start(rundir: RunDir, text: str) -> int:
        return run.main(rundir.root, 1, cache, SignalOnce(rundir, text))

    return start
