"""Training, checking and previewing with no server."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from runyard.protocol.events import any_event
from runyard.protocol.rundir import RunDir
from runyard.testing import tiny

Cli = Callable[..., Result]
JobFile = Callable[..., Path]
pytestmark = [pytest.mark.llm, pytest.mark.xdist_group("cli")]
SECONDS = 120


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_tiny_model(tmp_path_factory.mktemp("model"))


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "runyard.cli.main", *map(str, arguments)]


def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "RUNYARD_CACHE": str(tmp_path / "cache"), "RUNYARD_THREADS": "1", "TERM": "xterm"}


def train(tmp_path: Path, *arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command("train", *arguments), env=environment(tmp_path), cwd=tmp_path,
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def losses(folder: Path) -> dict[int, Any]:
    events = [any_event.validate_json(line) for line in (folder / "events.jsonl").read_bytes().splitlines()]
    return {event.step: event.values["loss"] for event in events if event.type == "metric" and event.split == "train"}


def test_a_run_is_stopped_by_ctrl_c_and_goes_on(tmp_path: Path, model: Path, job_file: JobFile) -> None:
    file = job_file("words", model=str(model), max_steps=300)
    process = subprocess.Popen(
        command("train", file, "--every", 1), env=environment(tmp_path), cwd=tmp_path,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("step 3/"):
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all in the foreground
            break
    output, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 75, output + errors
    assert errors == "\nsaving a checkpoint, then leaving; once more stops at once\n"
    [folder] = (tmp_path / "runs").iterdir()
    assert re.fullmatch(r"words-\d{8}-\d{6}", folder.name)
    assert output.splitlines()[-1] == f"stopped. Go on: runyard train --resume {folder}"
    stopped_at = max(losses(folder))
    assert stopped_at < 300
    RunDir(folder).stop_request.write_text("discard")  # of a stop before this one
    resumed = train(tmp_path, "--resume", folder)
    assert (resumed.returncode, resumed.stderr) == (0, "")
    assert not RunDir(folder).stop_request.exists()
    lines = resumed.stdout.splitlines()
    assert f"goes on from the checkpoint of step {stopped_at}" in lines
    assert lines[-1] == f"completed: the model is in {folder / 'final'}"
    assert sorted(losses(folder)) == list(range(1, 301))
    assert sorted(path.name for path in (folder / "attempts").iterdir()) == ["1", "2"]


def test_json_is_the_history(tmp_path: Path, model: Path, job_file: JobFile) -> None:
    file = job_file("words", model=str(model), max_steps=2)
    done = train(tmp_path, file, "--output", "here", "--json", "--set", "training.log_every=1")
    assert done.returncode == 0
    assert done.stderr == f"completed: the model is in {tmp_path / 'here' / 'final'}\n"
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    assert (events[-1]["type"], events[-1]["data"]["outcome"]) == ("finished", "completed")
    again = train(tmp_path, file, "--output", "here")
    assert (again.returncode, again.stdout) == (2, "")
    assert again.stderr.startswith(f"error: {tmp_path / 'here'} is not empty")


def test_bad_data_is_told_with_its_line(tmp_path: Path, model: Path, job_file: JobFile) -> None:
    file = job_file("words", model=str(model), max_steps=2)
    with (tmp_path / "rows.jsonl").open("a") as rows:
        rows.write('{"messages": 3}\n')
    done = train(tmp_path, file, "--output", "here")
    assert done.returncode == 1
    assert "rows.jsonl:25: " in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_a_trainer_that_vanishes_is_not_taken_for_a_success(tmp_path: Path, model: Path, job_file: JobFile) -> None:
    file = job_file("words", model=str(model), max_steps=100_000)
    process = subprocess.Popen(
        command("train", file, "--output", "here", "--every", 1), env=environment(tmp_path), cwd=tmp_path,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("step "):
            os.kill(trainer_of(tmp_path / "here"), signal.SIGKILL)
            break
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 128 + signal.SIGKILL
    assert "the trainer ended with code 137 and no last word" in output


def trainer_of(folder: Path) -> int:
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_bytes().split(b"\0")
        except OSError:  # it has ended
            continue
        if b"runyard.trainers" in words and str(folder).encode() in words:
            return int(process.parent.name)
    raise AssertionError("no trainer")


def test_a_terminal_shows_a_bar_and_keeps_the_messages(tmp_path: Path, model: Path, job_file: JobFile) -> None:
    file = job_file("words", model=str(model), max_steps=4)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command("train", file, "--output", "here"), env=environment(tmp_path) | {"COLUMNS": "120"}, cwd=tmp_path,
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    screen = b"".join(read_terminal(ours)).decode()
    assert process.wait(timeout=SECONDS) == 0
    os.close(ours)
    assert "\x1b[" in screen
    assert "━" in screen
    assert "4/4" in screen
    assert "loss " in screen
    assert screen.count("training.learning_rate = ") == 0, "it was given"
    assert screen.count("model.dtype = ") == 1
    assert "completed: the model is in" in screen
    assert "\x1b[?25h" in screen, "the cursor is back"


def read_terminal(descriptor: int) -> Iterator[bytes]:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        try:
            yield os.read(descriptor, 65536)
        except OSError:  # the other end was closed
            return


def test_validate_checks_the_data_and_tells_its_choices(offline: Cli, model: Path, job_file: JobFile) -> None:
    file = job_file("words", model=str(model), max_steps=2)
    lines = offline("validate", file).stdout.splitlines()
    assert lines[-1] == f"{file}: can be run"
    assert any(line.startswith("24 rows to train on, 0 to evaluate; ") for line in lines)
    assert any(line.startswith("model.dtype = ") for line in lines)
    found = json.loads(offline("validate", file, "--json", "--set", "data.max_rows=5").stdout)
    assert found["report"]["rows"] == 5
    with (file.parent / "rows.jsonl").open("a") as rows:
        rows.write("{\n")
    result = offline("validate", file, code=2)
    assert result.stdout == ""
    assert re.match(r"error: \S*rows.jsonl:25: ", result.stderr)


def test_preview_marks_what_is_trained(offline: Cli, model: Path, job_file: JobFile) -> None:
    file = job_file("words", model=str(model))
    text = offline("preview", file, "-n", "2").stdout
    assert "<|user|>say one<|end|><|assistant|>⟦one<|end|>⟧" in text
    assert "⟦one two<|end|>⟧" in text
    assert "⟦one two three<|end|>⟧" not in text
    assert "of the tokens in the first 24 rows" in text
    found = json.loads(offline("preview", file, "-n", "1", "--json").stdout)
    assert len(found["examples"]) == 1
    assert 0 < found["trained_share"] < 1
