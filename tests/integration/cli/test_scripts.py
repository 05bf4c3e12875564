"""Scripts on the command line, with a server and without one."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from runyard.cli import train
from runyard.testing import live

Cli = Callable[..., Result]
EXAMPLE = Path(__file__).parents[3] / "examples" / "script"
SECONDS = 60


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the example."""
    return Path(shutil.copytree(EXAMPLE, tmp_path / "script"))


@pytest.fixture
def runyard(tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    return lambda *arguments: subprocess.run(
        command(*arguments), env=environment(tmp_path), capture_output=True, text=True, timeout=SECONDS, check=False
    )


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "runyard.cli.main", *map(str, arguments)]


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "RUNYARD_HOME": str(home), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def events(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "events.jsonl").read_bytes().splitlines()]


def steps(run: Path) -> list[int]:
    return [event["step"] for event in events(run) if event["type"] == "metric"]


def test_the_printed_file_is_a_job(offline: Cli, tmp_path: Path) -> None:
    (tmp_path / "train.py").touch()
    (tmp_path / "job.yaml").write_text(offline("init", "script").stdout)
    assert offline("validate", tmp_path / "job.yaml").stdout == f"{tmp_path / 'job.yaml'}: can be run\n"
    assert offline("validate", tmp_path / "job.yaml", "--json").stdout == '{"problems":[],"warnings":[]}\n'


def test_preview_is_not_for_scripts(offline: Cli, folder: Path) -> None:
    result = offline("preview", folder / "job.yaml", code=2)
    assert result.stderr == "error: preview shows training data, and a script reads its own\n"


@pytest.mark.parametrize("fields", ["file=/no/such.py", "workdir=/no/such", "python=/no/such"])
def test_what_is_not_there_is_named(offline: Cli, folder: Path, fields: str) -> None:
    field = fields.partition("=")[0]
    result = offline("validate", folder / "job.yaml", "--set", fields, code=2)
    assert f"{field}: no such" in result.stderr


def test_the_python_of_a_venv_stays_a_link(folder: Path) -> None:
    from runyard.sdk import jobfile

    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "python").symlink_to(sys.executable)
    spec: Any = jobfile.load(folder / "job.yaml", ["python=.venv/bin/python"])
    assert spec.python == str(folder / ".venv" / "bin" / "python")
    assert jobfile.load(folder / "job.yaml", ["python=python3"]).model_dump()["python"] == "python3"


def test_without_a_server_it_is_stopped_by_ctrl_c_and_goes_on(tmp_path: Path, folder: Path, runyard: Any) -> None:
    run = tmp_path / "run"
    process = subprocess.Popen(
        command("train", folder / "job.yaml", "-o", run, "--every", 1), env=environment(tmp_path),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("step 60/"):
            os.killpg(process.pid, signal.SIGINT)
            break
    output, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 75, output + errors
    assert errors == "\nit was asked to stop; once more stops at once\n"
    assert output.splitlines()[-1] == f"stopped. Go on: runyard train --resume {run}"
    resumed = runyard("train", "--resume", run)
    assert (resumed.returncode, resumed.stderr) == (0, "")
    assert resumed.stdout.splitlines()[-1] == f"completed: its files are in {run / 'final'}"
    assert steps(run) == list(range(1, 301))
    assert json.loads((run / "manifest.json").read_text())["files"][0]["path"] == "final/weights.json"
    assert events(run)[-1]["outcome"] == "completed"


def test_code_0_after_ctrl_c_is_a_stop(tmp_path: Path) -> None:
    run = tmp_path / "run"
    line = "trap 'exit 0' TERM; echo half > $RUNYARD_OUTPUT_DIR/weights; touch $RUNYARD_RUN_DIR/ready; " \
           "while :; do sleep 0.02; done"  # fmt: skip
    (tmp_path / "job.yaml").write_text(f"kind: script\ncommand: {json.dumps(line)}\n")
    process = subprocess.Popen(
        command("train", tmp_path / "job.yaml", "-o", run), env=environment(tmp_path),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    give_up = time.monotonic() + SECONDS
    while not (run / "ready").exists():
        assert time.monotonic() < give_up
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 75, output + errors
    assert output.splitlines()[-1] == f"stopped. Go on: runyard train --resume {run}"
    assert not (run / "manifest.json").exists()


def test_ctrl_c_while_the_script_is_being_started_reaches_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in a process group of its own: it would run on with nobody to stop it."""
    (tmp_path / "job.yaml").write_text("kind: script\ncommand: sleep 600\n")
    start = train.Run._start

    def interrupted(self: train.Run, *what: Any) -> subprocess.Popen[bytes]:
        child = start(self, *what)
        signal.raise_signal(signal.SIGINT)
        return child

    monkeypatch.setattr(train.Run, "_start", interrupted)
    run = train.Run(train._new_run(tmp_path / "job.yaml", tmp_path / "run", None))
    assert run.watch(None, json=True) == 75
    assert run.child is not None
    assert run.child.returncode == -signal.SIGTERM


@pytest.mark.parametrize(
    ("line", "code", "last"),
    [
        ("true", 0, "completed. Its output: {run}/attempts/1"),
        ("echo why >&2; exit 3", 3, "Try again: runyard train --resume {run}"),
        ("exit 75", 75, "stopped. Go on: runyard train --resume {run}"),
        ("kill -KILL $$", 137, "Try again: runyard train --resume {run}"),
    ],
)
def test_its_exit_code_is_ours(tmp_path: Path, runyard: Any, line: str, code: int, last: str) -> None:
    (tmp_path / "job.yaml").write_text(f"kind: script\ncommand: {json.dumps(line)}\n")
    done = runyard("train", tmp_path / "job.yaml", "-o", tmp_path / "run")
    assert done.returncode == code
    assert done.stdout.splitlines()[-1] == last.format(run=tmp_path / "run")


SAVES_AND_FAILS = """
import pathlib, runyard, sys
pathlib.Path("weights").write_text("1")
runyard.checkpoint(1, "weights")
sys.exit(3)
"""


def test_one_that_saved_and_failed_is_told_to_go_on(tmp_path: Path, runyard: Any) -> None:
    (tmp_path / "saves.py").write_text(SAVES_AND_FAILS)
    (tmp_path / "job.yaml").write_text("kind: script\nfile: saves.py\n")
    done = runyard("train", tmp_path / "job.yaml", "-o", tmp_path / "run")
    assert done.returncode == 3
    assert done.stdout.splitlines()[-1] == f"Go on from the last checkpoint: runyard train --resume {tmp_path / 'run'}"


def test_a_program_that_is_not_there_is_named(tmp_path: Path, runyard: Any) -> None:
    (tmp_path / "job.yaml").write_text("kind: script\ncommand: [no-such-program]\n")
    done = runyard("train", tmp_path / "job.yaml", "-o", tmp_path / "run")
    assert (done.returncode, done.stderr) == (2, "error: could not start no-such-program: No such file or directory\n")


def test_nothing_is_left_running(tmp_path: Path, runyard: Any) -> None:
    pid = tmp_path / "pid"
    (tmp_path / "job.yaml").write_text(f"kind: script\ncommand: sleep 300 & echo $! > {pid}\n")
    assert runyard("train", tmp_path / "job.yaml", "-o", tmp_path / "run").returncode == 0
    deadline = time.monotonic() + SECONDS
    while Path("/proc", pid.read_text().strip()).exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment in which the command line finds a server."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    env = environment(home)
    with (tmp_path / "server.log").open("ab") as log:
        process = subprocess.Popen(command("serve", "--port", live.free_port()), env=env, stdout=log, stderr=log)
    deadline = time.monotonic() + SECONDS
    while not (home / "server.json").exists():
        assert process.poll() is None, (tmp_path / "server.log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield env
    process.terminate()
    process.wait()


@pytest.fixture
def ask(server: dict[str, str]) -> Callable[..., str]:
    """The output of a command that is to end with a code."""

    def ask(*arguments: object, code: int = 0) -> str:
        done = subprocess.run(
            command(*arguments), env=server, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    return ask


@pytest.mark.parametrize(
    ("code", "closing"),
    [("raise SystemExit(3)", "Try again: "), (SAVES_AND_FAILS, "Try again from the last checkpoint: ")],
)
def test_the_last_line_speaks_of_a_checkpoint_where_there_is_one(
    ask: Any, tmp_path: Path, code: str, closing: str
) -> None:
    (tmp_path / "fails.py").write_text(code)
    (tmp_path / "job.yaml").write_text("kind: script\nfile: fails.py\n")
    assert ask("submit", tmp_path / "job.yaml", "--watch", code=1).splitlines()[-1].startswith(f"{closing}runyard jobs")


def test_one_that_tells_nothing_is_said_to_be_completed_and_no_more(ask: Any, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("kind: script\ncommand: 'true'\n")
    assert ask("submit", tmp_path / "job.yaml", "--watch").splitlines()[-2] == "completed"


def test_the_example_is_paused_resumed_and_downloaded(
    server: dict[str, str], ask: Any, folder: Path, tmp_path: Path
) -> None:
    slowly = (folder / "job.yaml").read_text().replace('"300"]', '"300", "--pause", "0.04"]')
    (folder / "job.yaml").write_text(slowly)  # so that the command to pause comes before its end, however busy we are
    job = json.loads(ask("submit", folder / "job.yaml", "--json"))["id"]
    run = Path(server["RUNYARD_HOME"], "runs", job)
    deadline = time.monotonic() + SECONDS
    while not (run / "events.jsonl").exists() or len(steps(run)) < 20:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    ask("jobs", "pause", job)
    assert "paused at step" in ask("jobs", "watch", job, code=7)
    ask("jobs", "resume", job)
    assert "completed: 300 steps" in ask("jobs", "watch", job)
    points = [json.loads(line)["step"] for line in ask("jobs", "metrics", job, "--json").splitlines()]
    assert points == list(range(1, 301))
    ask("jobs", "download", job, "--output", tmp_path / "mine")
    weights = json.loads((tmp_path / "mine" / "final" / "weights.json").read_text())
    assert [round(weight, 1) for weight in weights] == [3.0, -2.0, 1.0]
