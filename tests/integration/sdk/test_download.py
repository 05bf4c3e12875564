"""A server that sends something else than it recorded, or means harm: nothing of it is kept."""

import asyncio
import hashlib
import io
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

import runyard
from runyard.schemas.artifacts import ArtifactRead
from runyard.sdk.errors import ChecksumError, ClientError

WEIGHTS = b"weights" * 1000


def zipped(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def link(name: str, target: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        entry = zipfile.ZipInfo(name)
        entry.external_attr = 0o120777 << 16
        archive.writestr(entry, target)
    return buffer.getvalue()


def client_of(body: bytes, recorded: Mapping[str, bytes] | None = None) -> runyard.Client:
    """A client of a server that records one thing and sends another."""
    artifacts = [
        {
            "artifact_id": str(number), "job_id": "a", "path": path, "kind": "model", "size_bytes": len(content),
            "hash_sha256": hashlib.sha256(content).hexdigest(), "created_at": 0.0, "metadata": {},
        }
        for number, (path, content) in enumerate((recorded or {}).items())
    ]  # fmt: skip

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/artifacts"):
            return httpx.Response(200, json=artifacts)
        return httpx.Response(200, content=body)

    return runyard.Client(transport=httpx.MockTransport(answer))


def test_a_whole_model_is_kept(tmp_path: Path) -> None:
    files = {"final/model.safetensors": WEIGHTS, "final/config.json": b"{}"}
    with client_of(zipped({**files, "SHA256SUMS": b"..."}), files) as client:
        saved = client.download_model("a", tmp_path / "deep" / "model")
    assert (saved.files, saved.checked, saved.size_bytes) == (3, 2, len(WEIGHTS) + 5)
    assert (tmp_path / "deep" / "model" / "final" / "model.safetensors").read_bytes() == WEIGHTS
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["model"]


@pytest.mark.parametrize("name", ["model", "model.zip"])
@pytest.mark.parametrize(
    ("sent", "complaint"),
    [
        (zipped({"final/model.safetensors": WEIGHTS[:-1] + b"!"}), "final/model.safetensors has another SHA-256"),
        (zipped({"final/config.json": b"{}"}), "final/model.safetensors is missing"),
        (zipped({"final/model.safetensors": WEIGHTS})[:-200], "the ZIP is damaged"),
        (zipped({"final/model.safetensors": WEIGHTS}).replace(b"weights", b"wEights", 1), "the ZIP is damaged"),
        (b"not a ZIP", "the ZIP is damaged"),
        (zipped({"../../evil": b"x"}), "would be written outside"),
        (zipped({"/etc/evil": b"x"}), "would be written outside"),
        (zipped({"a\\..\\evil": b"x"}), "would be written outside"),
        (link("final/link", "/etc/passwd"), "would be written outside"),
    ],
)
def test_anything_else_is_not(tmp_path: Path, name: str, sent: bytes, complaint: str) -> None:
    with (
        client_of(sent, {"final/model.safetensors": WEIGHTS}) as client,
        pytest.raises(ChecksumError) as caught,
    ):
        client.download_model("a", tmp_path / name)
    assert complaint in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine").write_text("precious")
    with client_of(zipped({})) as client, pytest.raises(ClientError, match="exists already"):
        client.download_model("a", tmp_path / "model")
    (tmp_path / "empty").mkdir()
    with client_of(zipped({"log": b"x"})) as client:
        assert client.download_logs("a", tmp_path / "empty").files == 1


def test_an_empty_folder_is_filled_and_stays_itself(tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    before = here.stat().st_ino
    with client_of(zipped({"final/config.json": b"{}"})) as client:
        client.download_model("a", here)
    assert (here.stat().st_ino, (here / "final" / "config.json").read_bytes()) == (before, b"{}")
    assert os.listdir(tmp_path) == ["here"]


def test_logs_are_compared_with_the_sums_that_come_with_them(tmp_path: Path) -> None:
    sums = f"{hashlib.sha256(b'line').hexdigest()}  stdout.log\n".encode()
    with client_of(zipped({"stdout.log": b"line", "SHA256SUMS": sums})) as client:
        assert client.download_logs("a", tmp_path / "logs").checked == 1
    damaged = client_of(zipped({"stdout.log": b"lime", "SHA256SUMS": sums}))
    with damaged as client, pytest.raises(ChecksumError, match=r"stdout\.log has another SHA-256"):
        client.download_logs("a", tmp_path / "again")


def test_one_file_goes_into_a_folder_under_its_own_name(tmp_path: Path) -> None:
    with client_of(WEIGHTS) as client:
        saved = client.download_artifact(artifact_of(WEIGHTS), tmp_path)
    assert saved.path.parent == tmp_path
    assert saved.path.read_bytes() == WEIGHTS


async def test_one_file_async(tmp_path: Path) -> None:
    artifact = artifact_of(WEIGHTS)
    transport = httpx.MockTransport(lambda request: httpx.Response(200, content=WEIGHTS))
    async with runyard.AsyncClient(transport=transport) as client:
        saved = await client.download_artifact(artifact, tmp_path / "weights")
    assert saved.path.read_bytes() == WEIGHTS
    damaged = httpx.MockTransport(lambda request: httpx.Response(200, content=WEIGHTS[:-1]))
    async with runyard.AsyncClient(transport=damaged) as client:
        with pytest.raises(ChecksumError):
            await client.download_artifact(artifact, tmp_path / "again")
    assert os.listdir(tmp_path) == ["weights"]


async def test_two_files_of_one_name_at_once_are_one_and_a_refusal(tmp_path: Path) -> None:
    """Neither is written into the other, nor over it."""
    contents = {"1": WEIGHTS, "2": WEIGHTS[::-1]}
    sending = asyncio.Barrier(2)

    async def answer(request: httpx.Request) -> httpx.Response:
        await sending.wait()
        return httpx.Response(200, content=contents[request.url.path.split("/")[-2]])

    async with runyard.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        wanted = [artifact_of(content).model_copy(update={"artifact_id": id_}) for id_, content in contents.items()]
        found = await asyncio.gather(
            *(client.download_artifact(one, tmp_path) for one in wanted), return_exceptions=True
        )
    [refused] = [one for one in found if isinstance(one, Exception)]
    assert isinstance(refused, ClientError)
    assert "exists already" in str(refused)
    assert os.listdir(tmp_path) == ["weights"]
    assert (tmp_path / "weights").read_bytes() in contents.values()


def artifact_of(content: bytes) -> ArtifactRead:
    return ArtifactRead(
        artifact_id="1", job_id="a", path="final/weights", kind="model", size_bytes=len(content),
        hash_sha256=hashlib.sha256(content).hexdigest(), created_at=0.0, metadata={},
    )  # fmt: skip
