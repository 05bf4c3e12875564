"""Where things lie on the server is nobody's business: no answer that is an error tells of it."""

import asyncio
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from runyard.db.queries import artifacts, checkpoints
from runyard.domain.lifecycle import Cause
from runyard.server import app, instance
from runyard.server.deps import Yard
from runyard.services import asides
from runyard.services.context import Context

TELLTALE = "telltale-folder"
SCRIPT = {"kind": "script", "command": ["true"]}
PARQUET = b"PAR1" + b"\0" * 50 + b"PAR1"
MODELS = ("missing", "../runs", "pickled", "linked", "empty", "/etc/passwd", "a\0b", "x" * 5000)
DATA = ("missing.jsonl", "folder", "rows.txt", "bad.jsonl", "bad.csv", "bad.parquet", "empty.jsonl", "../x.jsonl",
        "dataset:missing", "/etc/passwd", "x" * 5000, "link.jsonl")  # fmt: skip


@pytest.fixture
def backend() -> str:
    return "sqlite"


@pytest.fixture
def context(tmp_path: Path) -> Context:
    home = tmp_path / TELLTALE / "home"
    instance.make_private(home)
    return Context(home=home, min_free=1, upload_limit=1_000_000)


class Errors:
    """Asks, and keeps what it was told."""

    def __init__(self, api: httpx.AsyncClient) -> None:
        self._api = api
        self.told: dict[str, tuple[int, str]] = {}

    async def ask(self, what: str, method: str, path: str, **request: Any) -> None:
        answer = await self._api.request(method, f"/api/v1{path}", **request)
        if answer.status_code >= 400:
            self.told[what] = answer.status_code, answer.text + str(answer.headers)

    def require_silence(self, *statuses: int) -> None:
        """About the place; these at least must have been among the answers, or nothing was tried."""
        assert set(statuses) <= {status for status, _ in self.told.values()}, self.told
        assert {what: text for what, (_, text) in self.told.items() if TELLTALE in text or "/src/runyard" in text} == {}


@pytest.fixture
def errors(api: Any) -> Errors:
    return Errors(api)


async def test_what_can_not_be_used_as_data_or_model(errors: Errors, context: Context) -> None:
    await asyncio.to_thread(lay_out, context)
    for model in MODELS:
        await errors.ask(f"model {model[:9]}", "POST", "/jobs", json={"kind": "sft", "model": model, "data": "a/b"})
    for data in DATA:
        body = {"kind": "sft", "model": "a/b", "data": data}
        await errors.ask(f"data {data[:12]}", "POST", "/jobs", json=body)
    for name in ("x.parquet", "x.csv", "x.jsonl", "../x"):
        for number, content in enumerate((b"", PARQUET, b"\xff\xfe\0", b'[{"a": 1}]', b"a,a\n1,2\n", b"x" * 1_100_000)):
            await errors.ask(f"upload {name} {number}", "POST", "/datasets", files={"file": (name, content)})
    assert len(errors.told) > 30
    errors.require_silence(413, 422)


async def test_a_check_that_breaks_off(errors: Errors, context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """What its program says of itself names files of ours."""
    for code in ("open(sys.argv[-1] + '/x')", "raise ValueError(f'no {sys.argv[-1]!r}')", "sys.exit(9)"):
        program = context.home / "python"
        program.write_text(f"#!{asides.sys.executable}\nimport sys\n{code}\n")
        program.chmod(0o700)
        with monkeypatch.context() as patch:
            patch.setattr(asides.sys, "executable", str(program))
            await errors.ask(code, "POST", "/datasets", files={"file": ("rows.jsonl", b"{}")})
    assert len(errors.told) == 3
    errors.require_silence(422)


async def test_what_a_job_left_and_is_not_there_as_it_was(errors: Errors, yard: Yard, api: Any, engine: Any) -> None:
    job_id = await api.job()
    for path in ("download/model", "download/logs", "download/checkpoints/5"):
        await errors.ask(f"waiting: {path}", "GET", f"/jobs/{job_id}/{path}")
    async with yard.database.write() as session:
        for name in ("gone", "changed", "../../server.log"):
            values = {"kind": "model", "size_bytes": 7, "hash_sha256": "0" * 64, "created_at": 0.0, "details": {}}
            await artifacts.record(session, job_id, name, name.strip("./"), values)
        kept = {"attempt": 1, "path": "checkpoints/step-000005", "size_bytes": 5, "metrics": {}, "best": False}
        await checkpoints.record(session, job_id, 5, kept | {"files": {}, "created_at": 0.0})
    root = yard.context.rundir(job_id).root
    await asyncio.to_thread(root.mkdir)
    (root / "changed").write_bytes(b"x")
    (root / "secrets.sealed").write_bytes(b"nonsense")
    await engine.move(job_id, Cause.PLACED, Cause.STARTED, Cause.FAILED)
    for name in ("gone", "changed", "server.log"):
        await errors.ask(name, "GET", f"/artifacts/{name}/content")
    for path in ("download/model", "download/logs", "logs", "download/checkpoints/5", "download/checkpoints/6"):
        await errors.ask(path, "GET", f"/jobs/{job_id}/{path}")
    continued = {"kind": "sft", "model": "a/b", "data": "a/b", "continue_from": f"{job_id}:5"}
    await errors.ask("continue", "POST", "/jobs", json=continued)
    await asyncio.to_thread(shutil.rmtree, yard.context.datasets)
    for verb in ("retry", "resume", "pause"):
        await errors.ask(verb, "POST", f"/jobs/{job_id}/{verb}")
    await errors.ask("data gone", "POST", "/jobs", json={"kind": "sft", "model": "a/b", "data": "dataset:orders.jsonl"})
    await errors.ask("upload, nowhere to put it", "POST", "/datasets", files={"file": ("new.jsonl", b"{}")})
    errors.require_silence(404, 409, 422)


async def test_whatever_else_is_wrong(errors: Errors, yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    document = app.ROUTES.openapi()
    for path, operations in document["paths"].items():
        route = path.removeprefix("/api/v1")
        shown = {"stream_events"}  # goes on for ever
        for method in [name for name, operation in operations.items() if operation["operationId"] not in shown] + [
            "trace"
        ]:
            for filling in ("none", "..%2F..%2Fetc") if "{" in route else ("",):
                place = re.sub(r"{\w+}", filling, route)
                for request in ({}, {"json": {"kind": ["x"]}, "params": {"limit": "x"}}):
                    await errors.ask(f"{method} {place} {request}", method.upper(), place, **request)
    await errors.ask("no JSON", "POST", "/jobs", content=b"{", headers={"content-type": "application/json"})
    await errors.ask("no JSON either", "POST", "/jobs", content=b"{", headers={"content-type": "text/plain"})
    full = replace(yard.context, min_free=10**18)
    monkeypatch.setattr(yard.intake, "_context", full)
    await errors.ask("no room", "POST", "/jobs", json=SCRIPT)
    assert len(errors.told) > 100
    errors.require_silence(400, 404, 405, 415, 422, 507)


async def test_a_secret_key_that_can_not_be_used(errors: Errors, yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(yard.context), "private_key", property(lambda _: b"short"), raising=False)
    await errors.ask("short key", "PUT", "/secrets/TOKEN", json={"value": "hunter2hunter2"})
    errors.require_silence(409)
    assert "hunter2" not in json.dumps(errors.told)


def lay_out(context: Context) -> None:
    """Models and data, each unusable in a way of its own."""
    for name, files in (("pickled", {"pytorch_model.bin": b"x"}), ("empty", {}), ("linked", {})):
        (context.models / name).mkdir(parents=True)
        for file, content in files.items():
            (context.models / name / file).write_bytes(content)
    (context.models / "linked" / "model.safetensors").symlink_to("/etc/passwd")
    (context.datasets / "folder").mkdir()
    (context.datasets / "link.jsonl").symlink_to(context.home / "server.json")
    contents = {"rows.txt": b"x", "bad.jsonl": b"{\n[1]\n\xff\n", "bad.csv": b"a,a\n1,2\n", "bad.parquet": PARQUET}
    for file, content in {**contents, "empty.jsonl": b""}.items():
        (context.datasets / file).write_bytes(content)
