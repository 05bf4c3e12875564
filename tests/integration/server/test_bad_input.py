"""What can be wrong with a request: each has its status, and says in one shape what is wrong, where, what to do."""

import asyncio
import json
import os
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from runyard.server.deps import Yard

GOOD = {"kind": "sft", "model": "owner/model", "data": "owner/data"}
LONG = "x" * 1_000_000
STEPS = b'{"kind":"sft","model":"a/b","data":"a/b","training":{"max_steps":%s}}'
EPOCHS = b'{"kind":"sft","model":"a/b","data":"a/b","training":{"epochs":%s}}'
DEEP = b'{"kind":"sft","model":' + b"[" * 100_000 + b"]" * 100_000 + b"}"

BODIES: list[tuple[str, bytes, int, str | None, str]] = [
    # what is wrong, body, status, field, part of the message
    ("nothing", b"", 422, None, "is required"),
    ("no JSON", b"kind: sft", 400, None, "not JSON"),
    ("cut off", b'{"kind": "sft"', 400, None, "not JSON"),
    ("a list", b"[]", 422, None, "section"),
    ("deep nesting", DEEP, 400, None, ""),
    ("deep nesting that parses", b'{"kind":"sft","model":' + b"[" * 500 + b"]" * 500 + b"}", 422, "model", ""),
    ("unknown kind", b'{"kind": "sftt"}', 422, "kind", "must be one of: sft, dpo, script"),
    ("kind of another type", b'{"kind": {"a": 1}}', 422, "kind", "must be one of"),
    ("missing fields", b'{"kind": "sft"}', 422, "model", "is required"),
    ("unknown field", json.dumps(GOOD | {"trainign": {}}).encode(), 422, "trainign", "did you mean training?"),
    ("unknown nested field", json.dumps(GOOD | {"training": {"epoch": 1}}).encode(), 422, "training.epoch", "epochs?"),
    ("not a number", EPOCHS % b"NaN", 422, "training.epochs", ""),
    ("endless", EPOCHS % b"1e999", 422, "training.epochs", "finite"),
    ("5000 digits", STEPS % (b"9" * 5000), 400, None, ""),
    ("100 digits", STEPS % (b"9" * 100), 422, "training.max_steps", "too large"),
    ("NUL", json.dumps(GOOD | {"name": "a\0b"}).encode(), 422, "name", "NUL"),
    ("half a character", b'{"kind":"sft","model":"a/b","data":"a/b","name":"\\ud800"}', 422, "name", ""),
    ("not UTF-8", b'{"kind":"sft","name":"\xff\xfe"}', 400, None, ""),
    ("a very long text", json.dumps(GOOD | {"priority": LONG}).encode(), 422, "priority", "x…"),
    ("2 MB", json.dumps(GOOD | {"name": LONG + LONG}).encode(), 413, None, ""),
    ("many unknown fields", json.dumps(GOOD | {f"f{n}": 1 for n in range(10_000)}).encode(), 422, "f0", "unknown"),
]  # fmt: skip


def details_of(answer: Any) -> Any:
    """The problem details, which every error has."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    details = answer.json()
    assert details["status"] == answer.status_code
    assert details["type"] == f"urn:runyard:problem:{details['code']}"
    assert details["detail"]
    assert "Traceback" not in answer.text
    assert len(answer.content) < 20_000
    return details


async def test_bodies_that_are_no_job(api: Any) -> None:
    for what, body, status, field, message in BODIES:
        answer = await api.post("/api/v1/jobs", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == status, f"{what}: {answer.text}"
        details = details_of(answer)
        if status == 422:
            assert any(p["field"] == field and message in p["message"] for p in details["problems"]), (
                f"{what}: {details}"
            )
        else:
            assert message in details["detail"], f"{what}: {details}"
    assert (await api.get("/api/v1/jobs")).json()["items"] == []


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_requests_that_lead_nowhere(api: Any) -> None:
    cases: list[tuple[str, str, int, dict[str, Any]]] = [
        ("GET", "/api/v1/nothing", 404, {}),
        ("GET", "/api/v1/jobs/unknown", 404, {}),
        ("POST", "/api/v1/jobs/unknown/pause", 404, {}),
        ("GET", "/api/v1/jobs/unknown/logs", 404, {}),
        ("GET", "/api/v1/jobs/unknown/logs?follow=true", 404, {}),
        ("GET", "/api/v1/jobs/unknown/metrics", 404, {}),
        ("GET", "/api/v1/jobs/unknown/stream", 404, {}),
        ("GET", "/api/v1/jobs/unknown/events", 404, {}),
        ("GET", "/api/v1/jobs/unknown/artifacts", 404, {}),
        ("GET", "/api/v1/jobs/unknown/checkpoints", 404, {}),
        ("GET", "/api/v1/jobs/unknown/download/model", 404, {}),
        ("GET", "/api/v1/jobs/unknown/download/logs", 404, {}),
        ("GET", "/api/v1/jobs/unknown/download/checkpoints/1", 404, {}),
        ("GET", "/api/v1/jobs/unknown/download/checkpoints/last", 422, {}),
        ("GET", "/api/v1/artifacts/unknown/content", 404, {}),
        ("GET", "/api/v1/datasets/unknown", 404, {}),
        ("DELETE", "/api/v1/datasets/unknown", 404, {}),
        ("DELETE", "/api/v1/jobs", 405, {}),
        ("GET", "/api/v1/jobs?limit=0", 422, {}),
        ("GET", "/api/v1/jobs?limit=many", 422, {}),
        ("GET", "/api/v1/jobs?state=sleeping", 422, {}),
        ("GET", "/api/v1/jobs?cursor=nonsense", 422, {}),
        ("GET", "/api/v1/jobs?cursor=inf_1", 422, {}),
        ("GET", "/api/v1/jobs?cursor=0x1p99999_1", 422, {}),
        ("GET", "/api/v1/events?after=-1", 422, {}),
        ("GET", f"/api/v1/events?after={1 << 70}", 422, {}),
        ("GET", "/api/v1/stream?after=yesterday", 422, {}),
        ("GET", "/api/v1/stream", 422, {"headers": {"Last-Event-ID": "x"}}),
        ("POST", "/api/v1/jobs", 415, {"content": json.dumps(GOOD)}),
        ("POST", "/api/v1/jobs", 422, {"json": GOOD, "headers": {"Idempotency-Key": "k" * 201}}),
        ("POST", "/api/v1/datasets", 422, {"json": {}}),
    ]
    for method, path, status, request in cases:
        answer = await api.request(method, path, **request)
        assert answer.status_code == status, f"{method} {path}: {answer.text}"
        if status != 200:
            details_of(answer)


async def test_a_fault_of_the_server_tells_the_client_nothing_of_its_inside(
    api: Any, yard: Yard, caplog: pytest.LogCaptureFixture
) -> None:
    object.__setattr__(yard, "gpus", lambda: 1 / 0)
    answer = await api.get("/api/v1/system")
    assert answer.status_code == 500
    details = details_of(answer)
    assert details["code"] == "internal_error"
    assert "division" not in answer.text
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("backend", ["sqlite"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:8000"}, 200),
        ({"Host": "LOCALHOST"}, 200),
        ({"Host": "[::1]:8000"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example:8000"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "127.0.0.1:80@evil.example"}, 403),
        ({"Host": "localhost", "Origin": "http://localhost"}, 200),
        ({"Host": "localhost", "Origin": "http://evil.example"}, 403),
        ({"Host": "localhost", "Origin": "http://localhost:3000"}, 403),
        ({"Host": "localhost", "Origin": "null"}, 403),
    ],
)
async def test_pages_of_other_sites_are_refused(api: Any, headers: dict[str, str], status: int) -> None:
    answer = await api.get("/health", headers=headers)
    assert answer.status_code == status
    if status == 403:
        assert details_of(answer)["code"] == "foreign_request"


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_an_upload_that_breaks_off_leaves_nothing(api: Any, url: str, yard: Yard) -> None:
    address = urlsplit(url)
    _, writer = await asyncio.open_connection(address.hostname, address.port)
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n{"prompt": "a"'
    writer.write(
        b"POST /api/v1/datasets HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000000\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\n\r\n" + head
    )
    await writer.drain()
    await _until(lambda: os.listdir(yard.context.datasets))
    writer.transport.abort()
    await _until(lambda: not os.listdir(yard.context.datasets))
    assert (await api.get("/api/v1/datasets")).json()["items"] == []


PATHS = [
    "../../etc/passwd", "/etc/passwd", "/etc/passwd.jsonl", "../secret.jsonl", "./../../secret.jsonl", "secret.jsonl",
    "..%2fsecret.jsonl", "%2e%2e/secret.jsonl", "..\\secret.jsonl", "file:///etc/passwd", "//host/share/a.jsonl",
    "~/secret.jsonl", "~root/x.csv", ".", "..", "/", "a/../../../secret.jsonl", "link.jsonl", "folder/secret.jsonl",
    "/proc/self/environ", "/dev/zero", "x" * 5000, "/" + "x/" * 3000, "dataset:../secret", "dataset:",
    "dataset:/etc/passwd", "../runyard.db", "‥/secret.jsonl", "http://127.0.0.1/a.jsonl", "a;b.jsonl",
    "$(id).jsonl", "con.jsonl ",
]  # fmt: skip


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_a_job_names_no_file_outside_the_data_folder(api: Any, yard: Yard, tmp_path: Path) -> None:
    (tmp_path / "secret.jsonl").write_text('{"text": "a"}\n')
    (yard.context.datasets / "link.jsonl").symlink_to(tmp_path / "secret.jsonl")
    (yard.context.datasets / "folder").symlink_to(tmp_path)
    (yard.context.models / "folder").symlink_to(tmp_path)
    for path in PATHS:
        for field in ("train", "eval"):
            answer = await api.post("/api/v1/jobs", json=GOOD | {"data": {"train": "owner/data", field: path}})
            assert answer.status_code == 422, f"{path}: {answer.text}"
            problem = details_of(answer)["problems"][0]
            assert problem["field"] == f"data.{field}"
            assert "dataset" in problem["message"]
        answer = await api.post("/api/v1/jobs", json=GOOD | {"model": path})
        assert answer.status_code == 422, f"{path}: {answer.text}"
        assert details_of(answer)["problems"][0]["field"] == "model.name"


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_no_route_leads_out_of_its_folder(api: Any, url: str, tmp_path: Path) -> None:
    (tmp_path / "secret.jsonl").write_text("a secret")
    parts = [
        "..%2f..%2fsecret.jsonl",
        "%2e%2e%2fsecret.jsonl",
        "..%5csecret.jsonl",
        "%252e%252e%252f",
        "a%00b",
        "%2fetc%2fpasswd",
    ]
    routes = [
        "/api/v1/jobs/{}", "/api/v1/jobs/{}/logs", "/api/v1/jobs/{}/download/model", "/api/v1/jobs/{}/download/logs",
        "/api/v1/jobs/{}/download/checkpoints/{}", "/api/v1/artifacts/{}/content", "/api/v1/datasets/{}",
    ]  # fmt: skip
    for route in routes:
        for part in parts:
            status, body = await asyncio.to_thread(_get, url, route.replace("{}", part))
            assert status in (400, 404, 422), f"{route} {part}: {status}"
            assert b"secret" not in body.replace(b"secret.jsonl", b"")


def _get(url: str, path: str) -> tuple[int, bytes]:
    """As it stands: a client library would tidy the path."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=10) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    return int(answer.split()[1]), answer


async def _until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - a folder tells nobody that it has changed
            await asyncio.sleep(0.01)
