"""A secret whose value is told by its job in every way it can: it is nowhere but where that job itself put it."""

import asyncio
import io
import json
import os
import secrets
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from runyard.protocol.rundir import RunDir
from runyard.testing.live import LiveYard

BY_ITS_TRAINER = {"stdout.log", "stderr.log", "events.jsonl", "progress.json"}
SCRIPT = """
import json, os, sys, time
from pathlib import Path
import runyard
from runyard.protocol.emitter import Emitter
from runyard.protocol.rundir import RunDir

value, root = os.environ["TOKEN"], Path(os.environ["RUNYARD_RUN_DIR"])
attempt = int(os.environ["RUNYARD_ATTEMPT"])
(root / f"began{attempt}").touch()
while not (root / f"go{attempt}").exists():
    time.sleep(0.01)
print(value, f"x{value}y", repr(value), json.dumps({"v": value}), flush=True)
print(value, file=sys.stderr)
if attempt == 1:
    runyard.progress(1, 2)
    runyard.metric(1, **{"loss": 0.5, value: 1.0})
    raise RuntimeError(f"not let in with {value}")
with Emitter(RunDir(root), attempt, time.time) as emitter:
    emitter.message(f"trying {value}", "warning", tried=[value], **{value: 1})
    emitter.artifact("final/report.txt", "report", 6, "0" * 64, metadata={"note": value})
    emitter.finished("failed", "error", f"gave up with {value}")
sys.exit(1)
"""


@pytest.fixture
def canary() -> str:
    return f"canary-{secrets.token_hex(16)}"


@pytest.fixture
def yard(tmp_path: Path, database_url: str) -> Iterator[LiveYard]:
    """A real server, in whose environment there is many a secret that is no trainer's business."""
    environment = dict.fromkeys(
        ("AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY", "WANDB_API_KEY", "RUNPOD_API_KEY", "VAST_API_KEY", "LAMBDA_API_KEY",
         "NVIDIA_API_KEY", "HF_HUB_TOKEN", "HUGGING_FACE_HUB_TOKEN", "GITHUB_TOKEN", "SSH_AUTH_SOCK", "PGPASSWORD",
         "DATABASE_URL", "RUNYARD_KEY", "RUNYARD_SOMETHING_ELSE", "KUBECONFIG", "LESSOPEN", "ODD_ONE"),
        "odd-canary",
    )  # fmt: skip
    environment |= {"RUNYARD_JWT_ISSUER": "odd-canary", "RUNYARD_JWT_AUDIENCE": "odd-canary"}
    environment |= {"RUNYARD_JWT_JWKS_URL": "http://127.0.0.1/odd-canary", "HF_TOKEN": "hub-canary"}
    settings = {"RUNYARD_DATABASE_URL": database_url, "RUNYARD_RETRY_SECONDS": "0", "RUNYARD_MIN_FREE": "1"}
    with LiveYard(tmp_path / "home", environment | settings) as yard:
        yield yard


def submit(yard: LiveYard, tmp_path: Path, code: str, **fields: Any) -> str:
    file = tmp_path / f"{secrets.token_hex(4)}.py"
    file.write_text(code)
    answer = httpx.post(f"{yard.url}/api/v1/jobs", json={"kind": "script", "file": str(file), **fields}, timeout=60)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def test_the_value_is_nowhere(yard: LiveYard, tmp_path: Path, database_url: str, canary: str) -> None:
    put = httpx.put(f"{yard.url}/api/v1/secrets/MY_TOKEN", json={"value": canary}, timeout=60)
    assert put.status_code == 200
    job_id = submit(yard, tmp_path, SCRIPT, env={"TOKEN": "secret:MY_TOKEN"}, limits={"retries": 1})
    root = yard.home / "runs" / job_id
    for attempt in (1, 2):
        yard.wait_for((root / f"began{attempt}").exists, f"attempt {attempt}")
        assert processes_with(canary, "cmdline") == set()
        trainer = json.loads((RunDir(root).attempt(attempt) / "process.json").read_bytes())["trainer"]["pid"]
        assert processes_with(canary, "environ") == {trainer}
        assert json.loads((root / "spec.json").read_bytes())["env"] == {"TOKEN": "secret:MY_TOKEN"}
        if attempt == 1:
            yard.kill()
            yard.start()  # what it looks up next is looked up by another server
        (root / f"go{attempt}").touch()
    job = yard.wait_for_end(job_id)
    stars = "*" * len(canary)
    assert job.message == f"gave up with {stars}"
    first = next(move for move in job.moves if move.attempt == 1 and move.message)
    assert first.message == f"the trainer ended with code 1: RuntimeError: not let in with {stars}"
    answers = all_answers(yard.url, job_id)
    assert {name for name, answer in answers.items() if canary.encode() in answer} == set()
    for told in ("logs", "events", "stream", "metrics", "download/logs", "artifacts"):
        assert stars.encode() in answers[f"/api/v1/jobs/{job_id}/{told}"], f"{told} tells of it, covered"
    files = files_with(canary, yard.home, tmp_path)
    assert {path.name for path in files} == {"stdout.log", "stderr.log", "events.jsonl", "progress.json"}
    assert {path for path in files if job_id not in path.parts} == set()
    assert canary not in asyncio.run(dump(database_url))
    assert canary not in (yard.home / "server.log").read_text()


def test_a_trainer_has_nothing_of_the_servers_environment_that_it_does_not_need(
    yard: LiveYard, tmp_path: Path, canary: str
) -> None:
    assert httpx.put(f"{yard.url}/api/v1/secrets/HF_TOKEN", json={"value": canary}, timeout=60).status_code == 200
    job_id = submit(yard, tmp_path, "import os\nfor pair in os.environ.items(): print('%s=%s' % pair)")
    assert yard.wait_for_end(job_id).state == "completed"
    text = (RunDir(yard.home / "runs" / job_id).attempt(1) / "stdout.log").read_text()
    names = {line.partition("=")[0] for line in text.splitlines()}
    assert "odd-canary" not in text
    assert "postgresql" not in text
    assert canary not in text, "a script gets what it names"
    ours = {name for name in names if name.startswith("RUNYARD_")}
    assert ours == {
        "RUNYARD_RUN_DIR", "RUNYARD_JOB_ID", "RUNYARD_ATTEMPT", "RUNYARD_CHECKPOINT_DIR", "RUNYARD_OUTPUT_DIR",
        "RUNYARD_RESUME_FROM", "RUNYARD_NONCE", "RUNYARD_CACHE",
    }  # fmt: skip
    assert {"PATH", "HF_TOKEN"} <= names, "the first tenant's jobs have the server's own token of the hub"
    shown = httpx.get(f"{yard.url}/api/v1/jobs/{job_id}/logs", params={"stream": "stdout"}, timeout=60).text
    assert "hub-canary" in text
    assert "hub-canary" not in shown


def test_a_start_that_fails_tells_no_password(tmp_path: Path) -> None:
    """Neither where it usually stands in an address, nor among its options."""
    for url in (
        "postgresql://me:pass-canary@127.0.0.1:9/none", "postgresql://me@127.0.0.1:9/none?password=pass-canary",
        "postgresql://me:pass-canary@[127.0.0.1/none", "nothing://me:pass-canary@127.0.0.1/none",
        "postgresql://me:pass-canary/@127.0.0.1/none",
    ):  # fmt: skip
        environment = {**os.environ, "RUNYARD_DATABASE_URL": url, "RUNYARD_HOME": str(tmp_path / "home")}
        words = [sys.executable, "-m", "runyard.cli.main", "serve", "--port", "0"]
        run = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert run.returncode != 0
        assert "pass-canary" not in run.stdout + run.stderr
        assert "Traceback" not in run.stderr


def processes_with(text: str, what: str) -> set[int]:
    found = set()
    for path in Path("/proc").glob(f"[0-9]*/{what}"):
        try:
            if text.encode() in path.read_bytes():
                found.add(int(path.parent.name))
        except OSError:
            continue
    return found


def files_with(text: str, *folders: Path) -> set[Path]:
    paths = {path for folder in folders for path in folder.rglob("*") if path.is_file()}
    return {path for path in paths if text.encode() in path.read_bytes()}


def all_answers(url: str, job_id: str) -> dict[str, bytes]:
    """What every route that only shows something has to say about a job; of ZIPs what is in them."""
    with httpx.Client(base_url=url, timeout=60) as client:
        document = client.get("/api/v1/openapi.json").json()
        routes = [path for path, operations in document["paths"].items() if "get" in operations]
        [artifact] = client.get(f"/api/v1/jobs/{job_id}/artifacts").json()
        names = {"job_id": job_id, "artifact_id": artifact["artifact_id"], "step": 1}
        found = {}
        for route in routes:
            filled = route.format_map({**dict.fromkeys(_names(route), "MY_TOKEN"), **names})
            if filled == "/api/v1/stream":  # goes on for ever
                found[filled] = _beginning(client, filled)
                continue
            answer = client.get(filled, params={"after": 0} if filled.endswith(("events", "stream")) else {})
            found[filled] = str(answer.headers).encode() + _content(answer)
    return found


def _names(route: str) -> list[str]:
    return [part.strip("{}") for part in route.split("/") if part.startswith("{")]


def _beginning(client: httpx.Client, path: str) -> bytes:
    """Up to the last move of the job."""
    found = b""
    with client.stream("GET", path, params={"after": 0}) as answer:
        for piece in answer.iter_bytes():
            found += piece
            if b'"after":"failed"' in found.replace(b" ", b""):
                return found
    return found


def _content(answer: httpx.Response) -> bytes:
    if answer.headers.get("content-type") != "application/zip":
        return answer.content
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        return answer.content + b"".join(archive.read(name) for name in archive.namelist())


async def dump(url: str) -> str:
    """All rows of all tables. The files of SQLite lie in the folder that is searched anyway."""
    if not url.startswith("postgresql"):
        return ""
    connection = await asyncpg.connect(url)
    try:
        tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        rows = [await connection.fetch(f'SELECT t::text FROM "{table[0]}" t') for table in tables]
        return "\n".join(row[0] for table in rows for row in table)
    finally:
        await connection.close()
