"""Jobs from the command line, against the real server and real trainings."""

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

Cli = Callable[..., Result]
JobFile = Callable[..., Path]
pytestmark = [pytest.mark.llm, pytest.mark.xdist_group("cli")]


def records(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture(scope="module")
def done(server: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Id of a job that has completed."""
    folder = tmp_path_factory.mktemp("done")
    rows = [{"prompt": f"say {n} ", "completion": "one two three"} for n in range(16)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "job.yaml").write_text(
        "kind: sft\nname: short one\nmodel: tiny\ndata: {train: rows.jsonl, eval_split: 0.25}\n"
        "training: {max_steps: 4, batch_size: 4, max_length: 64}\ncheckpoints: {every_steps: 2}\n"
    )
    result = run_process(server, "submit", folder / "job.yaml", "--watch", "--json")
    assert result.returncode == 0, result.stderr
    return str(json.loads(result.stdout.splitlines()[0])["id"])


def run_process(server: Any, *arguments: object) -> "subprocess.CompletedProcess[str]":
    """As in a shell, with standard output in a pipe."""
    command = [sys.executable, "-m", "runyard.cli.main", *map(str, arguments)]
    environment = server.environment | {"RUNYARD_URL": server.url}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_a_watched_job_in_a_pipe_is_plain_lines(server: Any, job_file: JobFile) -> None:
    result = run_process(server, "submit", job_file(max_steps=3), "--watch", "--name", "piped")
    assert (result.returncode, result.stderr) == (0, "")
    assert "\x1b" not in result.stdout
    assert "\r" not in result.stdout
    lines = result.stdout.splitlines()
    assert lines[0].startswith("submitted ")
    assert "(piped): queued" in lines[0]
    for expected in ("queued", "starting (attempt 1)", "running", "training"):
        assert expected in lines
    assert [line.split()[1] for line in lines if line.startswith("step ")] == ["1/3", "2/3", "3/3"]
    assert lines[-2].startswith("completed: 3 steps, loss ")
    assert lines[-1].startswith("Bring it home: runyard jobs download ")


def test_a_finished_job_can_be_looked_at(cli: Cli, done: str) -> None:
    assert any(line.split("\t")[:4] == [done, "short one", "sft", "completed"] for line in listed(cli))
    [found] = [job for job in records(cli("jobs", "list", "--name", "hort o", "--json")) if job["id"] == done]
    assert found["snapshot"]["step"] == 4
    shown = cli("jobs", "show", done).stdout
    assert "running -> completed" in shown
    assert "max_steps: 4" in shown
    curve = records(cli("jobs", "metrics", done, "--split", "train", "--json"))
    assert [point["step"] for point in curve] == [1, 2, 3, 4]
    assert records(cli("jobs", "metrics", done, "--split", "train", "--after-step", "3", "--json")) == curve[3:]
    assert len(cli("jobs", "metrics", done).stdout.splitlines()) == 6
    events = records(cli("jobs", "events", done, "--json"))
    assert [event["id"] for event in events] == sorted(event["id"] for event in events)
    assert records(cli("jobs", "events", done, "--after", events[-2]["id"], "--json")) == events[-1:]
    kinds = {line.split("\t")[0]: line.split("\t")[1] for line in cli("jobs", "files", done).stdout.splitlines()}
    assert kinds["final/adapter_model.safetensors"] == "model"
    assert "checkpoint" in kinds["checkpoints/step-000004"]
    cli("jobs", "logs", done, "--tail", "5")
    cli("jobs", "logs", done, "--follow", "--stream", "stderr", "--json")


def listed(cli: Cli) -> list[str]:
    return cli("jobs", "list", "--limit", "200").stdout.splitlines()


def test_a_job_answers_to_the_start_of_its_id_and_to_its_name(cli: Cli, done: str) -> None:
    assert records(cli("jobs", "show", done[:8], "--json"))[0]["id"] == done
    assert records(cli("jobs", "show", "short one", "--json"))[0]["id"] == done
    newest = records(cli("jobs", "list", "--limit", "1", "--json"))[0]["id"]
    assert records(cli("jobs", "show", "last", "--json"))[0]["id"] == newest


def test_watching_a_finished_job_tells_its_story_again(cli: Cli, done: str) -> None:
    result = cli("jobs", "watch", done)
    assert "step 4/4" in result.stdout
    assert "completed: 4 steps" in result.stdout
    events = records(cli("jobs", "watch", done, "--json"))
    assert events[-1]["data"]["after"] == "completed"


def test_downloads_are_checked_and_never_overwrite(cli: Cli, done: str, tmp_path: Path) -> None:
    result = cli("jobs", "download", done, "--output", tmp_path / "model", "--json")
    assert records(result)[0]["checked"] >= 2
    assert (tmp_path / "model" / "final" / "adapter_model.safetensors").stat().st_size > 0
    assert "exists already" in cli("jobs", "download", done, "--output", tmp_path / "model", code=2).stderr
    cli("jobs", "download", done, "--checkpoint", 4, "--output", tmp_path / "step.zip")
    assert any("step-000004" in name for name in zipfile.ZipFile(tmp_path / "step.zip").namelist())
    cli("jobs", "download", done, "--logs", "--output", tmp_path / "logs")
    assert (tmp_path / "logs" / "events.jsonl").is_file()
    assert (
        "no checkpoint of step 99"
        in cli("jobs", "download", done, "--checkpoint", 99, "--output", tmp_path / "x", code=3).stderr
    )
    assert not (tmp_path / "x").exists()
    cli("jobs", "download", done, "--checkpoint", 4, "--logs", code=2)


def test_a_damaged_model_is_not_kept(server: Any, cli: Cli, job_file: JobFile, tmp_path: Path) -> None:
    job = records(cli("submit", job_file("damaged", max_steps=1), "--watch", "--json"))[0]["id"]
    file = server.home / "runs" / job / "final" / "adapter_model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    for target in (tmp_path / "model", tmp_path / "model.zip"):
        result = cli("jobs", "download", job, "--output", target, code=8)
        assert "final/adapter_model.safetensors has another SHA-256" in result.stderr
        assert not [path for path in tmp_path.iterdir() if "model" in path.name]


def test_pause_resume_cancel_retry(cli: Cli, job_file: JobFile) -> None:
    submitted = cli("submit", job_file("long", max_steps=100_000, log_every=20), "--json", "--priority", "high")
    job = records(submitted)[0]["id"]
    waiting = records(cli("submit", job_file("waiting", max_steps=1), "--json"))[0]["id"]
    assert "1st in line" in next(line for line in listed(cli) if line.startswith(waiting))
    assert cli("jobs", "pause", job).stdout.split()[-1] in {"pausing", "paused"}
    assert cli("jobs", "watch", job, code=7).stdout.splitlines()[-1] == f"Go on: runyard jobs resume {job}"
    assert "a paused job can't be retried (resume it)" in cli("jobs", "retry", job, code=4).stderr
    assert cli("jobs", "watch", waiting).stdout.splitlines()[-2].startswith("completed: 1 steps")
    cli("jobs", "resume", job)
    assert cli("jobs", "cancel", job).stdout.split()[-1] in {"cancelling", "cancelled"}
    assert "cancelled" in cli("jobs", "watch", job, code=6).stdout
    assert cli("jobs", "cancel", job).stdout.split()[-1] == "cancelled"
    assert records(cli("jobs", "retry", job, "--json"))[0]["state"] == "queued"
    cli("jobs", "cancel", job)
    cli("jobs", "watch", job, code=6)


def test_a_failed_job_says_why_and_what_to_do(cli: Cli, job_file: JobFile) -> None:
    result = cli("submit", job_file("missing", model="no-such-owner/no-such-model", max_steps=1), "--watch", code=1)
    lines = result.stdout.splitlines()
    assert lines[-4].startswith("failed (model_not_found): ")
    assert lines[-3].startswith("The model is neither on this machine nor could it be fetched.")
    assert lines[-1].startswith("Try again: runyard jobs retry "), "there is no checkpoint"
    shown = cli("jobs", "show", "missing").stdout
    assert "  The model is neither on this machine nor could it be fetched." in shown
    [attempt] = [line for line in shown.splitlines() if line.startswith("  1  ")]
    assert "exit 1  model_not_found: model not found" in attempt
    assert "running -> failed  failed by supervisor, attempt 1  model_not_found: " in shown
    refused = cli("jobs", "retry", "missing", "--fix", code=4).stderr
    assert "there is no change to make to this failed job by itself (The model is neither" in refused


def test_the_same_key_gives_the_same_job(cli: Cli, job_file: JobFile, tmp_path: Path) -> None:
    file = job_file("keyed", max_steps=1)
    first = records(cli("submit", file, "--key", tmp_path.name, "--json"))[0]["id"]
    assert records(cli("submit", file, "--key", tmp_path.name, "--json"))[0]["id"] == first
    other = cli("submit", file, "--key", tmp_path.name, "--set", "training.max_steps=2", code=4)
    assert "belongs to job" in other.stderr
    cli("jobs", "cancel", first)
