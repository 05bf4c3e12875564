"""What a job leaves, brought home: whole, checked, and at constant memory."""

import asyncio
import hashlib
import io
import os
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import psutil
import pytest

from runyard.db.queries import artifacts, checkpoints
from runyard.domain.lifecycle import Cause
from runyard.server.deps import Yard, new_id

MEGABYTE = 1 << 20


@pytest.fixture
def backend() -> str:
    """Where a test does not say otherwise: most of this is about files."""
    return "sqlite"


class Trainer:
    """Leaves files in the run folder and rows in the database, as a trainer and the engine do."""

    def __init__(self, yard: Yard, job_id: str) -> None:
        self.yard = yard
        self.job_id = job_id
        self.rundir = yard.context.rundir(job_id)

    def write(self, path: str, content: bytes) -> Path:
        file = self.rundir.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return file

    async def artifact(self, path: str, content: bytes, kind: str = "model") -> str:
        self.write(path, content)
        id_, sha256 = new_id(), hashlib.sha256(content).hexdigest()
        values = {"kind": kind, "size_bytes": len(content), "hash_sha256": sha256, "created_at": 1.0, "details": {}}
        async with self.yard.database.write() as session:
            await artifacts.record(session, self.job_id, path, id_, values)
        return id_

    async def checkpoint(self, step: int, size: int = 1000) -> Path:
        folder = self.rundir.checkpoint(step)
        files = {name: os.urandom(size) for name in ("model.safetensors", "trainer_state.json", "rng/state.pth")}
        for name, content in files.items():
            self.write(f"checkpoints/{folder.name}/{name}", content)
        values = {
            "attempt": 1, "path": str(folder.relative_to(self.rundir.root)), "size_bytes": 3 * size, "metrics": {},
            "best": False, "created_at": 1.0,
            "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        }  # fmt: skip
        async with self.yard.database.write() as session:
            await checkpoints.record(session, self.job_id, step, values)
        return folder


@pytest.fixture
async def trainer(api: Any, yard: Yard) -> Trainer:
    return Trainer(yard, await api.job(name="Möbel & co"))


def unzipped(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
async def test_the_model_comes_whole_with_its_checksums(
    api: Any, engine: Any, trainer: Trainer, tmp_path: Path
) -> None:
    files = {
        "final/adapter.safetensors": os.urandom(3 * MEGABYTE + 17),
        "final/sub/config.json": b"{}",
        "final/empty.txt": b"",
        "merged/model.safetensors": os.urandom(100),
    }
    for path, content in files.items():
        await trainer.artifact(path, content, "merged_model" if path.startswith("merged") else "model")
    await trainer.artifact("report.html", b"no part of the model", "report")
    trainer.write("final/forgotten.tmp", b"never reported")
    trainer.write("manifest.json", b'{"files": []}')
    await engine.complete(trainer.job_id)

    answer = await api.get(f"/api/v1/jobs/{trainer.job_id}/download/model")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/zip"
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert answer.headers["content-disposition"] == f'attachment; filename="M-bel-co-{trainer.job_id}-model.zip"'
    found = unzipped(answer.content)
    assert found.pop("manifest.json") == b'{"files": []}'
    sums = found.pop("SHA256SUMS")
    assert found == files
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        archive.extractall(tmp_path / "home again")
    command = ["sha256sum", "-c"]
    checked = await asyncio.to_thread(subprocess.run, command, input=sums, cwd=tmp_path / "home again")
    assert checked.returncode == 0


async def test_a_model_that_is_not_there_yet(api: Any, engine: Any, trainer: Trainer) -> None:
    async def refused() -> Any:
        answer = await api.get(f"/api/v1/jobs/{trainer.job_id}/download/model")
        assert (answer.status_code, answer.json()["code"]) == (409, "not_ready")
        return answer.json()

    assert "is queued" in (await refused())["detail"]
    await engine.move(trainer.job_id, Cause.PLACED, Cause.STARTED)
    await trainer.artifact("final/half.safetensors", b"the others follow")
    assert "runyard jobs watch" in (await refused())["hint"]
    await engine.move(trainer.job_id, Cause.COMPLETED)
    assert (await api.get(f"/api/v1/jobs/{trainer.job_id}/download/model")).status_code == 200


async def test_no_model_is_offered_where_there_is_none(api: Any, engine: Any, trainer: Trainer) -> None:
    """As of a script that wrote its results elsewhere."""
    download = f"/api/v1/jobs/{trainer.job_id}/download/model"
    await engine.complete(trainer.job_id)
    assert "it left no file" in (await api.get(download)).json()["hint"]
    assert download not in (await api.get(f"/jobs/{trainer.job_id}")).text
    await trainer.artifact("final/weights.safetensors", b"all that was learned")
    assert download in (await api.get(f"/jobs/{trainer.job_id}")).text
    assert (await api.get(download)).status_code == 200


async def test_a_model_that_was_changed_is_not_passed_off_as_the_one_trained(
    api: Any, engine: Any, trainer: Trainer, tmp_path: Path
) -> None:
    ids = [await trainer.artifact(f"final/{name}", b"weights") for name in ("gone", "grown", "replaced")]
    await engine.complete(trainer.job_id)
    (trainer.rundir.final / "gone").unlink()
    (trainer.rundir.final / "grown").write_bytes(b"weights and more")
    (tmp_path / "secret").write_bytes(b"secrets")
    (trainer.rundir.final / "replaced").unlink()
    (trainer.rundir.final / "replaced").symlink_to(tmp_path / "secret")
    assert (await api.get(f"/api/v1/jobs/{trainer.job_id}/download/model")).status_code == 404
    for artifact_id in ids:
        answer = await api.get(f"/api/v1/artifacts/{artifact_id}/content")
        assert answer.status_code == 404, answer.text


async def test_one_file_with_its_checksum_and_in_parts(api: Any, trainer: Trainer) -> None:
    content = os.urandom(200_000)
    artifact_id = await trainer.artifact("final/weights", content)
    path = f"/api/v1/artifacts/{artifact_id}/content"
    whole = await api.get(path)
    sha256 = hashlib.sha256(content).hexdigest()
    assert whole.content == content
    assert (whole.headers["etag"], whole.headers["x-content-sha256"]) == (f'"{sha256}"', sha256)
    part = await api.get(path, headers={"Range": "bytes=100-299"})
    assert (part.status_code, part.content) == (206, content[100:300])
    assert (await api.get(path, headers={"If-None-Match": f'"{sha256}"'})).status_code == 304
    listed = (await api.get(f"/api/v1/jobs/{trainer.job_id}/artifacts")).json()
    assert [(item["artifact_id"], item["hash_sha256"]) for item in listed] == [(artifact_id, sha256)]


async def test_a_checkpoint_comes_whole_even_when_it_is_rotated_away_meanwhile(api: Any, trainer: Trainer) -> None:
    folder = await trainer.checkpoint(120, size=8 * MEGABYTE)
    expected = {f"{folder.name}/{path.relative_to(folder)}": path.read_bytes() for path in folder.rglob("*.*")}
    received = io.BytesIO()
    async with api.stream("GET", f"/api/v1/jobs/{trainer.job_id}/download/checkpoints/120") as answer:
        assert answer.status_code == 200
        async for piece in answer.aiter_bytes():
            shutil.rmtree(folder, ignore_errors=True)
            received.write(piece)
    found = unzipped(received.getvalue())
    sums = dict(line.split("  ")[::-1] for line in found.pop("SHA256SUMS").decode().splitlines())
    assert found == expected
    assert sums == {name: hashlib.sha256(content).hexdigest() for name, content in expected.items()}


async def test_checkpoints_that_are_gone(api: Any, trainer: Trainer, yard: Yard) -> None:
    path = f"/api/v1/jobs/{trainer.job_id}/download/checkpoints"
    assert (await api.get(f"{path}/10")).json()["hint"] == "it has none yet"
    for step in (10, 20, 30):
        await trainer.checkpoint(step)
    async with yard.database.write() as session:
        await checkpoints.mark_removed(session, trainer.job_id, 10, 5.0)
    shutil.rmtree(trainer.rundir.checkpoint(20))
    for step in (10, 20, 99):
        answer = await api.get(f"{path}/{step}")
        assert answer.status_code == 404, step
        assert answer.json()["hint"] == "it has: 20, 30"
    assert (await api.get(f"{path}/30")).status_code == 200
    listed = (await api.get(f"/api/v1/jobs/{trainer.job_id}/checkpoints")).json()
    assert [(item["step"], item["removed_at"]) for item in listed] == [(10, 5.0), (20, None), (30, None)]


async def test_logs_are_sent_as_long_as_they_were_when_asked_for(api: Any, trainer: Trainer) -> None:
    path = f"/api/v1/jobs/{trainer.job_id}/download/logs"
    assert (await api.get(path)).json()["code"] == "not_ready"
    trainer.write("attempts/1/stdout.log", b"one\n")
    trainer.write("attempts/1/process.json", b"inside of the machine")
    trainer.write("attempts/2/stderr.log", b"x" * 10 * MEGABYTE)
    trainer.write("events.jsonl", b"{}\n")
    received = io.BytesIO()
    async with api.stream("GET", path) as answer:
        async for piece in answer.aiter_bytes():
            received.write(piece)
            with (trainer.rundir.attempt(2) / "stderr.log").open("ab") as log:
                log.write(b"more")
    found = unzipped(received.getvalue())
    sums = dict(reversed(line.split("  ")) for line in found.pop("SHA256SUMS").decode().splitlines())
    assert sums == {name: hashlib.sha256(content).hexdigest() for name, content in found.items()}
    assert {name: len(content) for name, content in found.items()} == {
        "events.jsonl": 3, "attempts/1/stdout.log": 4, "attempts/2/stderr.log": 10 * MEGABYTE,
    }  # fmt: skip


async def test_a_large_model_goes_out_at_constant_memory_while_others_are_served(
    api: Any, engine: Any, trainer: Trainer
) -> None:
    size = 400 * MEGABYTE
    await trainer.artifact("final/large.safetensors", b"")
    with (trainer.rundir.final / "large.safetensors").open("wb") as file:
        file.truncate(size)
    async with trainer.yard.database.write() as session:
        [row] = await artifacts.of_job(session, trainer.job_id)
        row.size_bytes = size
    await engine.complete(trainer.job_id)
    process, before = psutil.Process(), psutil.Process().memory_info().rss
    most = received = longest = 0

    async def receive() -> None:
        nonlocal most, received
        async with api.stream("GET", f"/api/v1/jobs/{trainer.job_id}/download/model") as answer:
            async for piece in answer.aiter_raw():
                received += len(piece)
                most = max(most, process.memory_info().rss)

    receiving = asyncio.create_task(receive())
    while not receiving.done():
        passed = received
        assert (await api.get("/health")).status_code == 200
        longest = max(longest, received - passed)
        await asyncio.sleep(0.01)
    await receiving
    assert received > size
    assert most - before < 50_000_000, "this process is server and client"
    assert longest < size / 4, "bytes that went out while a small request waited beside it"


async def test_a_download_that_is_given_up_leaves_no_file_open(api: Any, trainer: Trainer) -> None:
    folder = await trainer.checkpoint(10, size=8 * MEGABYTE)
    async with api.stream("GET", f"/api/v1/jobs/{trainer.job_id}/download/checkpoints/10") as answer:
        async for _ in answer.aiter_raw():
            break
    async with asyncio.timeout(20):
        while any(file.path.startswith(str(folder)) for file in psutil.Process().open_files()):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
