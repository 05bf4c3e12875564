"""Submitting scripts over HTTP."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from runyard.db.queries import jobs
from runyard.domain.lifecycle import Cause
from runyard.server.deps import Yard


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "train.py"
    path.write_text("print('hello')")
    return path


async def submit(api: Any, **fields: Any) -> Any:
    return await api.post("/api/v1/jobs", json={"kind": "script", **fields})


async def test_a_script_waits_with_its_words_and_variables(api: Any, yard: Yard, file: Path) -> None:
    answer = await submit(api, file=str(file), args=["--lr", "1e-4"], env={"A": "1"}, resumable=True)
    body = answer.json()
    assert answer.status_code == 201
    assert (body["kind"], body["name"], body["state"]) == ("script", "train.py", "queued")
    assert body["spec"] == {
        "kind": "script", "file": str(file), "args": ["--lr", "1e-4"], "env": {"A": "1"}, "resumable": True,
    }  # fmt: skip
    async with yard.database.read() as session:
        row = await jobs.get(session, body["id"])
    assert row is not None
    assert row.resumable


async def test_a_command_is_not_held_for_resumable(api: Any, yard: Yard) -> None:
    body = (await submit(api, command="make train")).json()
    assert body["name"] == "make train"
    async with yard.database.read() as session:
        row = await jobs.get(session, body["id"])
    assert row is not None
    assert not row.resumable


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"file": "train.py"}, "file", "'train.py' must be an absolute path"),
        ({"file": "/no/such.py"}, "file", "no such file: /no/such.py"),
        ({"file": "/tmp"}, "file", "no such file: /tmp"),
        ({"command": "true", "workdir": "/no/such"}, "workdir", "no such folder: /no/such"),
        ({"file": "/etc/hostname", "python": "/no/python"}, "python", "no such program: /no/python"),
        ({"file": "/etc/hostname", "python": "no-such-python"}, "python", "no such program: no-such-python"),
        ({"command": ["a\0b"]}, "command", "holds the character NUL"),
        ({"command": "true", "env": {"RUNYARD_HOME": "/"}}, "env", "RUNYARD_HOME is set by Runyard itself"),
    ],
)
async def test_a_problem_names_its_field(api: Any, fields: dict[str, Any], field: str, words: str) -> None:
    answer = await submit(api, **fields)
    assert answer.status_code == 422
    [problem] = answer.json()["problems"]
    assert problem["field"] == field
    assert words in problem["message"]


async def test_a_script_that_is_gone_is_not_tried_again(api: Any, engine: Any, file: Path) -> None:
    job = (await submit(api, file=str(file))).json()["id"]
    await engine.move(job, Cause.PLACED, Cause.STARTED, Cause.FAILED)
    await asyncio.to_thread(file.unlink)
    answer = await api.post(f"/api/v1/jobs/{job}/retry")
    assert answer.status_code == 422
    assert answer.json()["problems"][0]["field"] == "file"
    await asyncio.to_thread(file.touch)
    assert (await api.post(f"/api/v1/jobs/{job}/retry")).status_code == 200
