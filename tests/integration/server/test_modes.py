"""Whatever the server or its trainers write is for their user alone, whatever umask the server was started under."""

import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

SECONDS = 120
ROWS = b"".join(b'{"prompt": "say %d", "completion": "one two three"}\n' % number for number in range(8))
SCRIPT = """
import os, pathlib, runyard
out = pathlib.Path(os.environ["RUNYARD_OUTPUT_DIR"])
(out / "deep").mkdir()
(out / "deep" / "weights.safetensors").write_bytes(b"w")
for step in (1, 2, 3):
    pathlib.Path("state.pt").write_bytes(b"s")
    runyard.metric(step, loss=1 / step)
    runyard.checkpoint(step, "state.pt", loss=1 / step)
print("hello")
"""


@contextmanager
def serving(home: Path, umask: int, **variables: str) -> Iterator[httpx.Client]:
    environment = {**os.environ, "RUNYARD_HOME": str(home), "PYTHONUNBUFFERED": "1", **variables}
    command = [sys.executable, "-m", "runyard.cli.main", "serve", "--port", "0"]
    with subprocess.Popen(command, env=environment, umask=umask, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = next(word for word in server.stdout.readline().split() if word.startswith("http"))
            with httpx.Client(base_url=url, timeout=60) as client:
                yield client
        finally:
            server.terminate()


def open_to_others(home: Path) -> list[str]:
    """What has another mode than 0700, or 0600, with it."""
    found = []
    for path in [home, *home.rglob("*")]:
        mode = stat.S_IMODE(path.lstat().st_mode)
        if not path.is_symlink() and mode != (0o700 if path.is_dir() else 0o600):
            found.append(f"{path.relative_to(home)} {mode:o}")
    return found


def ended(client: httpx.Client, job_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + SECONDS
    while (job := client.get(f"/api/v1/jobs/{job_id}").json())["state"] not in ("completed", "failed", "paused"):
        assert time.monotonic() < deadline, job
        time.sleep(0.1)
    assert job["state"] == "completed", job
    return dict(job)


@pytest.mark.parametrize("umask", [0o022, 0o000])
def test_after_every_step(tmp_path: Path, umask: int) -> None:
    home, script = tmp_path / "home", tmp_path / "train.py"
    script.write_text(SCRIPT)
    days = {f"RUNYARD_KEEP_{what}_DAYS": "1e-9" for what in ("LOGS", "CHECKPOINTS")}
    with serving(home, umask, **days) as client:
        assert open_to_others(home) == [], "at the start"
        client.post("/api/v1/datasets", files={"file": ("a.jsonl", ROWS)}).raise_for_status()
        assert open_to_others(home) == [], "after an upload"
        job = client.post("/api/v1/jobs", json={"kind": "script", "file": str(script)}).raise_for_status().json()["id"]
        ended(client, job)
        assert (home / "runs" / job / "final" / "deep" / "weights.safetensors").exists()
        assert len(list((home / "runs" / job / "checkpoints").iterdir())) == 3
        assert open_to_others(home) == [], "after a run with checkpoints"
        for path in ("model", "logs", "checkpoints/2"):
            assert client.get(f"/api/v1/jobs/{job}/download/{path}").status_code == 200
        assert open_to_others(home) == [], "after downloads"
        client.post("/api/v1/retention").raise_for_status()
        deadline = time.monotonic() + SECONDS
        while client.get("/api/v1/retention/last").json()["asked_at"] is not None:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert not (home / "runs" / job / "attempts" / "1" / "stdout.log").exists()
        assert open_to_others(home) == [], "after retention"
    assert open_to_others(home) == [], "after the end"


@pytest.mark.llm
@pytest.mark.parametrize("umask", [0o000])
def test_after_a_training(tmp_path: Path, umask: int) -> None:
    from runyard.testing.tiny import save_tiny_model

    home, model = tmp_path / "home", tmp_path / "model"
    model.mkdir()
    save_tiny_model(model)
    with serving(home, umask, RUNYARD_ALLOWED_PATHS=str(tmp_path)) as client:
        data = client.post("/api/v1/datasets", files={"file": ("a.jsonl", ROWS)}).raise_for_status().json()["id"]
        spec = {
            "kind": "sft", "model": str(model), "data": f"dataset:{data}", "output": {"merge": True},
            "training": {"max_steps": 2, "max_length": 64, "batch_size": 2}, "checkpoints": {"every_steps": 1},
        }  # fmt: skip
        job = client.post("/api/v1/jobs", json=spec).raise_for_status().json()["id"]
        ended(client, job)
        assert list((home / "cache" / "prepared").iterdir())
        assert (home / "runs" / job / "merged" / "model.safetensors").exists()
        assert open_to_others(home) == []


@pytest.mark.parametrize("umask", [0o022, 0o000])
def test_after_the_first_account_is_made(tmp_path: Path, umask: int) -> None:
    home = tmp_path / "home"
    done = subprocess.run(
        [sys.executable, "-m", "runyard.cli.main", "users", "create", "ada"], input="correct horse battery\n" * 2,
        env={**os.environ, "RUNYARD_HOME": str(home)}, umask=umask, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert open_to_others(home) == []
