"""What a run looks like in a pipe, line by line."""

from typing import Any

import pytest

from runyard.cli.progress import PlainView
from runyard.schemas.jobs import EventRead


def lines(*events: tuple[str, dict[str, Any]], every: int | None = None) -> list[str]:
    written: list[str] = []
    view = PlainView(every, written.append)
    for number, (type_, data) in enumerate(events, start=1):
        view.show(EventRead(id=number, job_id="a", at=float(number), type=type_, data=data))
    return written


def state(after: str, **data: Any) -> tuple[str, dict[str, Any]]:
    return "state", {"before": "queued", "after": after, "cause": "x", "actor": "y", **data}


def progress(phase: str, step: int, total: int | None = None, eta: float | None = None) -> tuple[str, dict[str, Any]]:
    return "progress", {"phase": phase, "step": step, "total_steps": total, "eta_seconds": eta}


def metric(step: int, split: str = "train", **values: float | None) -> tuple[str, dict[str, Any]]:
    return "metric", {"step": step, "split": split, "values": values}


TRAINING = ("phase", {"phase": "training"})


def test_a_whole_run() -> None:
    assert lines(
        state("queued"),
        ("queue", {"position": 2, "wait_cause": "needs 1 GPU, 0 free; 2nd in line; about 14 min"}),
        state("starting", attempt=1),
        state("running", attempt=1),
        ("phase", {"phase": "preparing"}),
        progress("preparing", 500, 500),
        ("message", {"level": "info", "text": "training.batch_size = 4: about 32 steps"}),
        ("message", {"level": "warning", "text": "3 rows were cut"}),
        TRAINING,
        progress("training", 0, 2),
        metric(1, loss=2.5, learning_rate=0.0001, tokens_per_second=812.4),
        progress("training", 1, 2, eta=65.0),
        ("checkpoint", {"step": 1, "path": "checkpoints/step-000001", "size_bytes": 2_500_000, "best": True}),
        metric(1, split="eval", eval_loss=2.25),
        metric(2, loss=None, learning_rate=5e-05, tokens_per_second=800.0),
        state("completed"),
    ) == [
        "queued",
        "queued: needs 1 GPU, 0 free; 2nd in line; about 14 min",
        "starting (attempt 1)",
        "running",
        "preparing",
        "preparing 500/500",
        "training.batch_size = 4: about 32 steps",
        "warning: 3 rows were cut",
        "training",
        "step 1/2  loss 2.5000  lr 0.0001  812 tokens/s",
        "checkpoint at step 1 (2.5 MB, the best so far)",
        "step 1: eval loss 2.2500",
        "step 2/2  loss nan  eval loss 2.2500  lr 5e-05  800 tokens/s  1:05 left",
    ]


@pytest.mark.parametrize(
    ("every", "total", "expected"),
    [
        (None, 10, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        (None, 100, list(range(5, 101, 5))),
        (30, 100, [30, 60, 90, 100]),
        (1, 3, [1, 2, 3]),
    ],
)
def test_a_line_every_so_many_steps_and_one_for_the_last(every: int | None, total: int, expected: list[int]) -> None:
    steps = [metric(step, loss=1.0) for step in range(1, total + 1)]
    written = lines(TRAINING, progress("training", 0, total), *steps, every=every)
    assert [int(line.split()[1].partition("/")[0]) for line in written[1:]] == expected


def test_a_resumed_run_goes_on_from_its_checkpoint() -> None:
    written = lines(
        TRAINING,
        progress("training", 0, 100),
        *[metric(step, loss=1.0) for step in range(1, 43)],
        state("paused"),
        state("starting", attempt=2),
        ("resumed", {"step": 40, "checkpoint": "checkpoints/step-000040"}),
        TRAINING,
        progress("training", 40, 100),
        *[metric(step, loss=1.0) for step in range(41, 51)],
    )
    assert written[-4:] == [
        "goes on from the checkpoint of step 40",
        "training",
        "step 45/100  loss 1.0000",
        "step 50/100  loss 1.0000",
    ]


def test_training_goes_on_where_it_was_after_an_evaluation() -> None:
    """A phase is named once."""
    written = lines(
        TRAINING,
        progress("training", 0, 40),
        *[metric(step, loss=1.0) for step in (1, 2)],
        ("phase", {"phase": "evaluating"}),
        metric(2, split="eval", eval_loss=1.5),
        TRAINING,
        metric(3, loss=1.0),
        metric(4, loss=1.0),
        ("phase", {"phase": "evaluating"}),
    )
    assert written == [
        "training",
        "step 2/40  loss 1.0000",
        "evaluating",
        "step 2: eval loss 1.5000",
        "step 4/40  loss 1.0000  eval loss 1.5000",
    ]


def test_an_answer_is_one_line_however_long_it_is() -> None:
    asked = {"index": 0, "prompt": "say\ntwo", "truncated": False, "wanted": None}
    written = lines(
        ("sample", asked | {"step": 0, "answer": "\x1b[31m red"}), ("sample", asked | {"step": 5, "answer": "ab " * 99})
    )
    assert written[0] == r"base model, asked say two: \x1b[31m red"
    assert written[1].startswith("step 5, asked say two: ab ab")
    assert len(written[1]) < 130


def test_nothing_colours_a_pipe() -> None:
    assert not any("\x1b" in line for line in lines(("message", {"level": "error", "text": "no"}), metric(1, loss=1.0)))
