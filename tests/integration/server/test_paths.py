"""No name leads out of its folder: what people name, what URLs name, and what programs link in their run folders."""

import asyncio
import hashlib
import io
import json
import os
import socket
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.integration.server.people import settle

from runyard.db.queries import artifacts, checkpoints
from runyard.db.tables import Job
from runyard.protocol.specs.language import ModelSpec
from runyard.server.deps import Yard, new_id
from runyard.services import paths, sources
from runyard.services.context import Context

CANARY = b"kept-from-everybody"
ROW = b'{"prompt": "a", "completion": "b"}\n'
SECRET_ROWS = b'{"prompt": "' + CANARY + b'", "completion": "b"}\n'


@pytest.fixture
def backend() -> str:
    return "sqlite"


@pytest.fixture
def outside(tmp_path: Path, context: Context) -> Iterator[Path]:
    """What lies beside the data folder, with links to it in it; it is the same after the test."""
    folder = tmp_path / "outside"
    (folder / "model").mkdir(parents=True)
    (folder / "secret.jsonl").write_bytes(SECRET_ROWS)
    (folder / "model" / "config.json").write_bytes(b"{}")
    (folder / "model" / "model.safetensors").write_bytes(CANARY)
    for inside in (context.datasets, context.models):
        (inside / "link.jsonl").symlink_to(folder / "secret.jsonl")
        (inside / "folder").symlink_to(folder)
    before = tree(folder)
    yield folder
    assert tree(folder) == before


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path): (path.stat().st_mode, path.read_bytes()) for path in files}


def attacks(outside: Path, home: Path) -> list[str]:
    """Names that lead to what is outside, or would if somebody took them in another way."""
    target, up = f"{outside}/secret.jsonl", "../" * 12
    return [
        target, f"{up}{target[1:]}", "../outside/secret.jsonl", "../../outside/secret.jsonl", f"/{target}",
        f"//{target}",
        f"./{target}", f"{home}/datasets/../../outside/secret.jsonl", "link.jsonl", "folder/secret.jsonl", "folder",
        f"{home}/datasets/link.jsonl", f"{home}/datasets/folder/secret.jsonl", f"{home}/models/folder/model",
        "folder/./model", "folder/../folder/model", str(outside / "model"), str(home), f"{home}/runyard.db",
        f"{home}/secret.key", "../secret.key", "../runs", "..", ".", "/", "~", "~root/secret.jsonl", "~/secret.jsonl",
        f"file://{target}", f"FILE:{target}", "file:../outside/secret.jsonl", f"file://localhost{target}",
        f"dataset:{target}", "dataset:../../outside/secret.jsonl", "dataset:%2e%2e/secret.jsonl", "dataset:*",
        "..\\outside\\secret.jsonl", "..\\..\\outside\\secret.jsonl", "C:\\secret.jsonl", "C:secret.jsonl",
        "\\\\host\\share\\secret.jsonl", "//host/share/secret.jsonl", "\\\\?\\C:\\secret.jsonl",
        "%2e%2e/%2e%2e/outside/secret.jsonl", "%2e%2e%2f%2e%2e%2foutside%2fsecret.jsonl", "..%2foutside%2fsecret.jsonl",
        "%252e%252e%252foutside%252fsecret.jsonl", "..%c0%afoutside%c0%afsecret.jsonl", "..%5coutside%5csecret.jsonl",
        "..;/outside/secret.jsonl", "../outside/secret.jsonl;.jsonl", f"{target};a", f"{target}?a.jsonl", f"{target}#a",
        f"{target}\0.jsonl", f"{target}%00.jsonl", "\0", "a\0b/c", f"{target} ", f" {target}", f"{target}/",
        f"{target}/.",
        "\u2025/outside/secret.jsonl", "\uff0e\uff0e/outside/secret.jsonl", "\u2024\u2024/outside/secret.jsonl",
        "..\u2215outside\u2215secret.jsonl", "..\uff0foutside\uff0fsecret.jsonl", "....//outside//secret.jsonl",
        "..././..././outside/secret.jsonl", target.upper(), str(outside).upper() + "/secret.jsonl",
        "/proc/self/environ", "/proc/self/root" + target, "/proc/self/cwd/secret.jsonl", "/dev/zero", "/dev/stdin",
        "/dev/fd/0", "a/..", "a/...", "-/-", "a/.b", "owner/" + "x" * 300 + "/a", "x" * 5000, "/" + "x/" * 3000,
        "../" * 2000,
        "$(cat " + target + ")", "`id`", "a\nb/c", "\ud7ff/a", "*", "[a-z]*", "{a,b}", "http://127.0.0.1:1/a.jsonl",
    ]  # fmt: skip


def job(**fields: Any) -> dict[str, Any]:
    return {"kind": "sft", "model": "owner/model", "data": "owner/rows", **fields}


async def test_no_name_in_a_request_leads_out(api: Any, yard: Yard, outside: Path) -> None:
    """Wherever a request names something: it is refused, or harmless, and never the server's fault."""
    first = await api.job()
    for name in attacks(outside, yard.context.home):
        bodies = [
            job(data={"train": name, "eval": name}), job(model=name), job(continue_from=name),
            job(continue_from=f"{first}:{name}"),
        ]  # fmt: skip
        asks = [("jobs", body) for body in bodies]
        asks += [("schedules", {"spec": body, "name": "n", "cron": "0 2 * * *"}) for body in bodies[:2]]
        for path, ask in asks:
            answer = await api.post(f"/api/v1/{path}", json=ask)
            assert answer.status_code == 422, f"{ask}: {answer.text}"
            assert CANARY.decode() not in answer.text
    for name in attacks(outside, yard.context.home):
        answers = [
            await api.post("/api/v1/schedules", json={"spec": job(), "name": name, "cron": "0 2 * * *"}),
            await api.post("/api/v1/jobs", json={"kind": "script", "command": ["true"], "workdir": name}),
            await api.post("/api/v1/datasets/fetch", json={"url": name}),
            await api.post("/api/v1/datasets/fetch", json={"url": "http://127.0.0.1:1/a.jsonl", "name": name[:200]}),
            await upload(api, name),
            await upload(api, "a.jsonl", name),
            await api.get("/api/v1/jobs", params={"cursor": name[:2000], "name": name[:2000]}),
        ]
        assert all(answer.status_code < 500 for answer in answers), f"{name!r}: {[a.text for a in answers]}"
        assert CANARY.decode() not in "".join(answer.text for answer in answers)
    for file in yard.context.datasets.rglob("*"):
        assert file.is_symlink() or len(file.relative_to(yard.context.datasets).parts) <= 2


async def upload(api: Any, filename: str, name: str = "") -> httpx.Response:
    quoted = filename.replace("\\", "\\\\").replace('"', "%22").replace("\n", "%0A").encode(errors="replace")
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="' + quoted + b'"\r\n\r\n' + ROW + b"\r\n"
    body += (
        b'--b\r\nContent-Disposition: form-data; name="name"\r\n\r\n' + name.encode(errors="replace") + b"\r\n--b--\r\n"
    )
    answer: httpx.Response = await api.post(
        "/api/v1/datasets", content=body, headers={"content-type": "multipart/form-data; boundary=b"}
    )
    return answer


ROUTES = [
    ("GET", "jobs/{}"), ("GET", "jobs/{}/logs"), ("GET", "jobs/{}/events"), ("GET", "jobs/{}/metrics"),
    ("GET", "jobs/{}/checkpoints"), ("GET", "jobs/{}/artifacts"), ("GET", "jobs/{}/download/model"),
    ("GET", "jobs/{}/download/logs"), ("GET", "jobs/{}/download/checkpoints/{}"), ("GET", "artifacts/{}/content"),
    ("GET", "datasets/{}"), ("DELETE", "datasets/{}"), ("GET", "schedules/{}"), ("DELETE", "schedules/{}"),
    ("POST", "jobs/{}/cancel"), ("POST", "jobs/{}/retry"), ("POST", "schedules/{}/pause"), ("DELETE", "users/{}"),
]  # fmt: skip
RAW = [
    "..", "../..", "..%2f..%2foutside%2fsecret.jsonl", "%2e%2e%2fsecret.key", "%252e%252e%252fsecret.key", "..%5c..%5c",
    "..;/", "%00", "a%00b", "%2fetc%2fpasswd", "//etc/passwd", "file:%2f%2f%2fetc%2fpasswd", "C:%5c", "%c0%ae%c0%ae%2f",
    "%ff%fe", "%u002e%u002e", "..%ef%bc%8f", ".incoming-", "%20", "*", "link.jsonl", "folder", "folder%2fsecret.jsonl",
]  # fmt: skip


async def test_no_url_leads_out(api: Any, url: str, yard: Yard, outside: Path) -> None:
    kept = await api.dataset()
    before = tree(yard.context.datasets)
    for method, route in ROUTES:
        for part in RAW:
            path = f"/api/v1/{route.replace('{}', part)}"
            status, body = await asyncio.to_thread(raw, url, method, path)
            fine = status == 307 or (status == 200 and method == "GET")  # tidied, or a list
            assert 400 <= status < 500 or fine, f"{method} {path}: {status} {body!r}"
            assert CANARY not in body
    assert tree(yard.context.datasets) == before
    assert (await api.get(f"/api/v1/datasets/{kept}")).status_code == 200


def raw(url: str, method: str, path: str) -> tuple[int, bytes]:
    """As it stands: a client library would tidy the path."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=10) as connection:
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        connection.sendall(head.encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    return int(answer.split()[1]), answer


# What is another tenant's.


async def test_an_upload_of_another_tenant_is_not_there(api: Any, yard: Yard) -> None:
    mine = await api.upload("orders.jsonl", SECRET_ROWS)
    id_ = mine.json()["id"]
    people = await settle(yard)
    datasets = yard.context.datasets
    for name in (
        f"dataset:{id_}", f"{id_}/orders.jsonl", f"./{id_}/orders.jsonl",
        str(datasets / id_ / "orders.jsonl"), f"{datasets}/../datasets/{id_}/orders.jsonl",
        f"/proc/self/root{datasets}/{id_}/orders.jsonl",
    ):  # fmt: skip
        answers = [
            await api.post("/api/v1/jobs", json=job(data=asked), headers=people.headers("foreign admin"))
            for asked in (name, name.replace(id_, "0123456789ab"))
        ]
        assert [answer.status_code for answer in answers] == [422, 422], f"{name}: {answers[0].text}"
        found, unknown = (answer.json()["problems"][0]["message"] for answer in answers)
        # A long name is shown cut short, maybe in the middle of the id, so it is the words around it that are compared.
        assert found.split("'")[::2] == unknown.split("'")[::2]
    by_name = await api.post(
        "/api/v1/jobs", json=job(data="dataset:orders.jsonl"), headers=people.headers("foreign admin")
    )
    assert "there is no data set 'orders.jsonl'" in by_name.json()["problems"][0]["message"]
    model = await api.post("/api/v1/jobs", json=job(model=str(datasets / id_)), headers=people.headers("foreign admin"))
    assert model.status_code == 422


@pytest.mark.parametrize("opened", ["/", "parent", "home"])
async def test_no_allowed_path_above_the_data_folder_opens_it(api: Any, yard: Yard, outside: Path, opened: str) -> None:
    id_, job_id, home = await api.dataset(), await api.job(), yard.context.home
    run = yard.context.rundir(job_id)
    (run.final).mkdir(parents=True)
    (run.final / "model.safetensors").write_bytes(b"weights")
    folder = {"/": Path("/"), "parent": home.parent, "home": home}[opened]
    object.__setattr__(yard.context, "allowed_paths", (folder,))
    for asked in (
        job(data=str(home / "datasets" / id_ / "orders.jsonl")), job(model=str(run.final)), job(model=str(home)),
        job(data=f"{outside.parent}/outside/../home/datasets/{id_}/orders.jsonl"),
    ):  # fmt: skip
        assert (await api.post("/api/v1/jobs", json=asked)).status_code == 422, asked
    if opened != "home":  # what lies beside is open
        assert (await api.post("/api/v1/jobs", json=job(data=str(outside / "secret.jsonl")))).status_code == 201
        assert (await api.post("/api/v1/jobs", json=job(model=str(outside / "model")))).status_code == 201
    object.__setattr__(yard.context, "allowed_paths", (run.final,))
    assert (await api.post("/api/v1/jobs", json=job(model=str(run.final)))).status_code == 201


async def test_a_model_whose_files_lie_elsewhere_is_refused(api: Any, yard: Yard, outside: Path) -> None:
    model = yard.context.models / "mine"
    model.mkdir()
    (model / "config.json").write_bytes(b"{}")
    (model / "model.safetensors").symlink_to(outside / "model" / "model.safetensors")
    refused = await api.post("/api/v1/jobs", json=job(model="mine"))
    assert refused.status_code == 422
    assert "links that lead out" in refused.json()["problems"][0]["message"]
    object.__setattr__(yard.context, "allowed_paths", (outside,))
    assert (await api.post("/api/v1/jobs", json=job(model="mine"))).status_code == 201


# What a program has planted in its run folder.


class Culprit:
    """A job whose program has linked and told what it likes, and one of somebody else."""

    def __init__(self, yard: Yard, job_id: str, victim: str) -> None:
        self.yard, self.job_id, self.victim = yard, job_id, victim
        self.rundir = yard.context.rundir(job_id)

    async def tell(self, path: str, size: int, kind: str = "model") -> str:
        """An artifact, past the check of the events that come in."""
        id_ = new_id()
        values = {"kind": kind, "size_bytes": size, "hash_sha256": "0" * 64, "created_at": 1.0, "details": {}}
        async with self.yard.database.write() as session:
            await artifacts.record(session, self.job_id, path, id_, values)
        return id_

    async def save(self, step: int, path: str) -> None:
        values = {
            "attempt": 1, "path": path, "size_bytes": 1, "metrics": {}, "best": False, "files": {}, "created_at": 1.0,
        }  # fmt: skip
        async with self.yard.database.write() as session:
            await checkpoints.record(session, self.job_id, step, values)


@pytest.fixture
async def culprit(api: Any, yard: Yard, engine: Any, outside: Path) -> Culprit:
    ids = [await api.job(), await api.job()]
    for id_ in ids:
        await engine.complete(id_)
        rundir = yard.context.rundir(id_)
        for folder in (rundir.final, rundir.checkpoint(5), rundir.attempt(1)):
            folder.mkdir(parents=True)
    victim = yard.context.rundir(ids[1])
    for file in (victim.final / "w", victim.checkpoint(5) / "w", victim.attempt(1) / "stdout.log", victim.events):
        file.write_bytes(CANARY)
    return Culprit(yard, ids[0], ids[1])


async def all_downloads(api: Any, culprit: Culprit, *artifact_ids: str) -> bytes:
    """Whatever can be had of the job."""
    found = b""
    steps = [row["step"] for row in (await api.get(f"/api/v1/jobs/{culprit.job_id}/checkpoints")).json()]
    for path in (
        *(f"jobs/{culprit.job_id}/{name}" for name in ("logs", "download/model", "download/logs", "events")),
        *(f"jobs/{culprit.job_id}/logs?stream=stdout&offset={offset}" for offset in (0, 1)),
        *(f"jobs/{culprit.job_id}/download/checkpoints/{step}" for step in steps),
        *(f"artifacts/{id_}/content" for id_ in artifact_ids),
    ):
        answer = await api.get(f"/api/v1/{path}")
        assert answer.status_code in (200, 404, 409), f"{path}: {answer.text}"
        if answer.headers["content-type"] == "application/zip":
            with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
                assert len(set(archive.namelist())) == len(archive.namelist())
                found += b"".join(archive.read(name) for name in archive.namelist())
        else:
            found += answer.content
    return found


def targets(culprit: Culprit, outside: Path) -> list[Path]:
    victim = culprit.yard.context.rundir(culprit.victim)
    return [outside / "secret.jsonl", victim.final / "w", victim.attempt(1) / "stdout.log", Path("/etc/passwd")]


async def test_links_to_files_lead_nowhere(api: Any, culprit: Culprit, outside: Path) -> None:
    rundir = culprit.rundir
    for number, target in enumerate(targets(culprit, outside)):
        size = target.stat().st_size
        for place in (
            rundir.final / "w", rundir.checkpoint(5) / "w", rundir.manifest, rundir.events,
            *(rundir.attempt(1) / name for name in ("stdout.log", "stderr.log", "stacks.txt")),
        ):  # fmt: skip
            place.unlink(missing_ok=True)
            place.symlink_to(target)
        id_ = await culprit.tell(f"final/{'.' * number}w", size)
        (rundir.final / f"{'.' * number}w").unlink(missing_ok=True)
        (rundir.final / f"{'.' * number}w").symlink_to(target)
        await culprit.save(5, "checkpoints/step-000005")
        found = await all_downloads(api, culprit, id_)
        assert CANARY not in found
        assert b"root:" not in found


async def test_links_to_folders_lead_nowhere(api: Any, culprit: Culprit) -> None:
    victim, rundir = culprit.yard.context.rundir(culprit.victim), culprit.rundir
    id_ = await culprit.tell("final/w", len(CANARY))
    await culprit.save(5, "checkpoints/step-000005")
    (victim.root / "manifest.json").write_bytes(CANARY)
    for name in ("final", "checkpoints", "attempts"):
        (rundir.root / name).rename(rundir.root / f"old-{name}")
        (rundir.root / name).symlink_to(victim.root / name)
    assert CANARY not in await all_downloads(api, culprit, id_)
    rundir.root.rename(rundir.root.with_name("elsewhere"))
    rundir.root.symlink_to(victim.root)
    assert CANARY not in await all_downloads(api, culprit, id_)


async def test_paths_in_events_lead_nowhere(api: Any, culprit: Culprit, outside: Path) -> None:
    victim = culprit.yard.context.rundir(culprit.victim)
    ids = [
        await culprit.tell(path, size)
        for path, size in (
            (f"../{culprit.victim}/final/w", len(CANARY)), (str(victim.final / "w"), len(CANARY)),
            (f"final/../../{culprit.victim}/final/w", len(CANARY)), (str(outside / "secret.jsonl"), len(SECRET_ROWS)),
        )
    ]  # fmt: skip
    for step, path in enumerate(
        (
            f"../{culprit.victim}/checkpoints/step-000005", str(victim.checkpoint(5)), str(outside), ".", "..", "/",
            "checkpoints", f"checkpoints/../../{culprit.victim}/checkpoints/step-000005", "final", "",
        )
    ):  # fmt: skip
        await culprit.save(step, path)
        answer = await api.submit(continue_from=f"{culprit.job_id}:{step}")
        assert answer.status_code == 422, answer.text
    (culprit.rundir.root / "secrets.sealed").write_bytes(CANARY)
    assert CANARY not in await all_downloads(api, culprit, *ids)


async def test_a_linked_checkpoint_is_not_begun_with(api: Any, culprit: Culprit) -> None:
    victim = culprit.yard.context.rundir(culprit.victim)
    culprit.rundir.checkpoint(5).rmdir()
    culprit.rundir.checkpoint(5).symlink_to(victim.checkpoint(5))
    await culprit.save(5, "checkpoints/step-000005")
    assert (await api.submit(continue_from=f"{culprit.job_id}:5")).status_code == 422
    culprit.rundir.checkpoint(5).unlink()
    culprit.rundir.checkpoint(5).mkdir()
    answer = await api.submit(continue_from=f"{culprit.job_id}:5")
    assert answer.status_code == 201, "an honest one is"
    async with culprit.yard.database.read() as session:
        made = await session.get_one(Job, answer.json()["id"])
        assert made.resolved_spec["continue_from"] == str(culprit.rundir.checkpoint(5))


async def test_a_pipe_keeps_nobody_waiting(api: Any, culprit: Culprit) -> None:
    rundir = culprit.rundir
    (rundir.attempt(2)).mkdir()
    (rundir.root / "attempts" / "\u00b2").mkdir()
    for place in (
        rundir.final / "w", rundir.checkpoint(5) / "w", rundir.manifest, rundir.attempt(1) / "stdout.log",
        rundir.attempt(2) / "stderr.log", rundir.attempt(2) / "stacks.txt", rundir.events,
    ):  # fmt: skip
        os.mkfifo(place)
    id_ = await culprit.tell("final/w", 0)
    await culprit.save(5, "checkpoints/step-000005")
    async with asyncio.timeout(20):
        await all_downloads(api, culprit, id_)


async def test_names_in_an_archive_are_plain_and_each_is_there_once(api: Any, culprit: Culprit) -> None:
    """Whatever files of what names a program has left, the archive can be unpacked anywhere."""
    rundir = culprit.rundir
    odd = ["a\\..\\b", "C:evil", "..\\up", "a\nb", " .. ", "A", "a", "SHA256SUMS", "ok"]
    for name in odd:
        for folder in (rundir.final, rundir.checkpoint(5)):
            (folder / name).write_bytes(b"x")
    rundir.manifest.write_bytes(b"{}")
    await culprit.save(5, "checkpoints/step-000005")
    for path in ("final/A", "final/a", "final/ok", "manifest.json", "SHA256SUMS"):
        (rundir.root / path).write_bytes(b"{}")
        await culprit.tell(path, 2)
    for path in ("download/model", "download/checkpoints/5"):
        answer = await api.get(f"/api/v1/jobs/{culprit.job_id}/{path}")
        assert answer.status_code == 200, answer.text
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            found = archive.namelist()
        assert len(found) == len(set(found))
        assert {Path(name).name for name in found} >= {"A", "a", "ok", "SHA256SUMS"}
        assert not [name for name in found if set(name) & set("\\:\n") or ".." in name]
    await culprit.tell("final/a\\b", 1)
    assert (await api.get(f"/api/v1/jobs/{culprit.job_id}/download/model")).status_code == 404


# The functions themselves, with names made of dangerous pieces.

PIECES = st.sampled_from(
    [
        "..", ".", "", "in", "deep", "file", "model", "out", "loop", "up", "self", "%2e%2e", "%252e%252e", "..\\", "\\",
        "C:", "~", "file:", "\0", "\n", ";", "\u2025", "\uff0e\uff0e", "\u2215", "\ud800", "IN", "FILE", "x" * 300, " ",
        "secret.jsonl", "model.safetensors", "proc", "hard",
    ]
)  # fmt: skip
NAMES = st.one_of(
    st.lists(PIECES, min_size=1, max_size=8).map("/".join),
    st.lists(PIECES, min_size=1, max_size=5).map("\\".join),
    st.lists(PIECES, min_size=1, max_size=5).map(lambda parts: "/" + "/".join(parts)),
    st.text(max_size=30),
)


@pytest.fixture(scope="module")
def maze(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder `in` with links in, out, round and up, beside one that must not be reached."""
    base = tmp_path_factory.mktemp("maze")
    for folder in ("in/deep", "in/model", "out"):
        (base / folder).mkdir(parents=True)
    for file in ("in/file", "in/deep/file", "in/model/model.safetensors"):
        (base / file).write_bytes(b"fine")
    for file in ("out/file", "out/secret.jsonl", "out/model.safetensors", "file"):
        (base / file).write_bytes(CANARY)
    for link, target in (
        ("in/out", "../out"), ("in/deep/out", str(base / "out")), ("in/up", ".."), ("in/loop", "loop"),
        ("in/self", "."), ("in/secret.jsonl", "../out/secret.jsonl"), ("in/deep/secret.jsonl", "../out/secret.jsonl"),
        ("in/proc", "/proc/self/root"),
    ):  # fmt: skip
        (base / link).symlink_to(target)
    return base


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=NAMES)
def test_what_is_opened_is_inside(maze: Path, name: str) -> None:
    for given_name in (name, f"{maze}/{name}", f"{maze}/in/{name}"):
        path = paths.within(maze / "in", given_name)
        assert path is None or path == maze / "in" or maze / "in" in path.parents
        try:
            with paths.opened(maze / "in", given_name) as file:
                assert file.read() == b"fine"
        except FileNotFoundError:
            pass


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=NAMES)
def test_a_model_is_inside_or_of_the_hub(maze: Path, name: str) -> None:
    context = Context(home=maze / "home", allowed_paths=(maze / "in",))
    for given_name in (name, f"{maze}/{name}", f"{maze}/in/{name}"):
        if not given_name or "\ud800" in given_name:  # which is not to be had by JSON
            continue
        try:
            found = sources.find_model(ModelSpec(name=given_name), context)
        except sources._RefusedError:
            continue
        if found.startswith("/"):
            assert Path(found).resolve().is_relative_to(maze / "in")
        else:
            assert found.count("/") == 1
            assert not {"..", "."} & set(found.split("/"))


def test_a_file_that_is_swapped_for_a_link_is_not_sent(tmp_path: Path) -> None:
    root, other = tmp_path / "run", tmp_path / "other"
    for folder in (root / "final", other / "final"):
        folder.mkdir(parents=True)
    (root / "final" / "w").write_bytes(b"mine")
    (other / "final" / "w").write_bytes(CANARY)
    with paths.opened(root, "final/w") as file:
        (root / "final").rename(root / "old")
        (root / "final").symlink_to(other / "final")
        assert Path(f"/proc/self/fd/{file.fileno()}").read_bytes() == b"mine"
    with pytest.raises(FileNotFoundError):
        paths.opened(root, "final/w")


def test_a_hard_link_is_the_file_itself(tmp_path: Path) -> None:
    """Who can make one can write to the file, or the system refuses it (fs.protected_hardlinks); a job that goes on
    from a checkpoint has them. So they are sent, as long as they are what was recorded."""
    (tmp_path / "run").mkdir()
    (tmp_path / "elsewhere").write_bytes(b"shared")
    os.link(tmp_path / "elsewhere", tmp_path / "run" / "w")
    with paths.opened(tmp_path / "run", "w") as file:
        assert hashlib.sha256(file.read()).hexdigest() == hashlib.sha256(b"shared").hexdigest()


def test_events_that_name_something_elsewhere_are_skipped() -> None:
    from runyard.domain import history
    from runyard.protocol.events import Snapshot

    def event(number: int, path: str) -> bytes:
        fields = {"n": number, "at": time.time(), "attempt": 1, "type": "checkpoint", "step": 1, "path": path}
        return json.dumps({**fields, "size_bytes": 1}).encode()

    bad = ["../other/checkpoints/step-000001", "/etc", "a/../../b", "", ".", "a\\b", "C:x", "a\nb", "x" * 2000]
    read = history.read([event(number + 1, path) for number, path in enumerate(bad)], Snapshot())
    assert (len(read.skipped), read.kept) == (len(bad), [])
    read = history.read([event(1, "checkpoints/step-000001")], Snapshot())
    assert len(read.kept) == 1
