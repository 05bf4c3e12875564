"""Data sets by their address: fetched, checked like an upload, or refused and gone."""

import asyncio
import io
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import runyard
from runyard.server.deps import Yard
from runyard.services.outbound import Outbound

GOOD = b'{"prompt": "a", "completion": "b"}\n'


@pytest.fixture
def backend() -> str:
    return "sqlite"


def parquet() -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"prompt": ["a", "b"], "completion": ["c", "d"]}), buffer)
    return buffer.getvalue()


PAGES = {
    "/rows.jsonl": GOOD * 3,
    "/download": GOOD * 3,
    "/pairs.csv": b"prompt,completion\na,b\n",
    "/rows.parquet": parquet(),
    "/page.jsonl": b"<!doctype html><html><body>Sign in</body></html>\n",
    "/disguised.jsonl": parquet(),
    "/disguised.csv": parquet(),
    "/rows-in.parquet": GOOD,
    "/late.jsonl": GOOD * 5000 + b'{"prompt": "a", "completion": "\0"}\n',
    "/packed.jsonl": b"\x1f\x8b\x08\x00" + b"\0" * 100,
    "/empty.jsonl": b"",
    "/large.jsonl": GOOD * 700_000,
    "/a%2F..%2Fup.jsonl": GOOD,
}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.send_response(200 if path in PAGES else 404)
        self.end_headers()
        self.wfile.write(PAGES.get(path, b""))

    def log_message(self, *_: object) -> None:
        pass


class Site(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """The server hangs up on what is too large."""


@pytest.fixture
def site(yard: Yard) -> Iterator[str]:
    """Its address, which an operator has opened."""
    object.__setattr__(yard.context, "outbound", Outbound(("127.0.0.1",)))
    server = Site(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


async def fetch(api: Any, url: str, **fields: Any) -> Any:
    return await api.post("/api/v1/datasets/fetch", json={"url": url, **fields})


async def test_it_is_a_data_set_like_any_other(api: Any, site: str) -> None:
    answer = await fetch(api, f"{site}/rows.jsonl?token=canary")
    assert answer.status_code == 201, answer.text
    body = answer.json()
    assert (body["name"], body["rows"], body["size_bytes"]) == ("rows.jsonl", 3, 3 * len(GOOD))
    assert (await api.get(answer.headers["location"])).json() == body
    assert (await api.submit(data=f"dataset:{body['id']}")).status_code == 201
    again = await fetch(api, f"{site}/download", name="rows.jsonl")
    assert (again.status_code, again.json()["id"]) == (200, body["id"])
    log = await api.get("/api/v1/audit")
    [entry] = [item for item in log.json()["items"] if item["action"] == "fetch_dataset"]
    assert entry["details"] == {"name": "rows.jsonl", "sha256": body["hash_sha256"], "host": "127.0.0.1"}
    assert "canary" not in answer.text + log.text


@pytest.mark.parametrize(
    ("path", "name", "stored"),
    [
        ("/pairs.csv", None, "pairs.csv"), ("/rows.parquet", None, "rows.parquet"),
        ("/download?id=3", "../../up.jsonl", "up.jsonl"), ("/a%2F..%2Fup.jsonl", None, "up.jsonl"),
    ],
)  # fmt: skip
async def test_names(api: Any, site: str, path: str, name: str | None, stored: str) -> None:
    answer = await fetch(api, site + path, **({"name": name} if name else {}))
    assert (answer.status_code, answer.json().get("name")) == (201, stored), answer.text


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/page.jsonl", "JSON"), ("/disguised.jsonl", "is a Parquet file"), ("/disguised.csv", "is a Parquet file"),
        ("/rows-in.parquet", "is not a Parquet file"), ("/late.jsonl", "NUL byte"), ("/packed.jsonl", "compressed"),
        ("/empty.jsonl", "empty"), ("/download", "must be the name of"), ("/nothing.jsonl", "the answer is 404"),
        ("/rows.exe", "must be the name of"), ("", "must be the name of"),
    ],
)  # fmt: skip
async def test_what_is_refused_is_gone(api: Any, yard: Yard, site: str, path: str, message: str) -> None:
    answer = await fetch(api, site + path)
    assert answer.status_code == 422, answer.text
    assert message in answer.json()["problems"][0]["message"], answer.text
    assert os.listdir(yard.context.datasets) == []


async def test_too_large(api: Any, yard: Yard, site: str) -> None:
    answer = await fetch(api, f"{site}/large.jsonl")
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert os.listdir(yard.context.datasets) == []


async def test_what_is_not_opened_is_not_asked(api: Any, yard: Yard, site: str) -> None:
    object.__setattr__(yard.context, "outbound", Outbound())
    for url in (f"{site}/rows.jsonl", "http://169.254.169.254/a.jsonl", "file:///etc/a.jsonl", "http://[::1/a.jsonl"):
        answer = await fetch(api, url)
        assert answer.status_code == 422, answer.text
        assert answer.json()["problems"][0]["field"] == "url"
    assert os.listdir(yard.context.datasets) == []


@pytest.mark.parametrize("body", [{}, {"url": ""}, {"url": 1}, {"url": "x" * 3000}, {"url": "a", "to": "b"}, [], None])
async def test_requests_that_are_none(api: Any, body: Any) -> None:
    assert (await api.post("/api/v1/datasets/fetch", json=body)).status_code == 422


async def test_by_the_client(url: str, site: str) -> None:
    def upload() -> Any:
        with runyard.Client(url) as client:
            return client.upload_dataset(f"{site}/download", name="orders.jsonl")

    found = await asyncio.to_thread(upload)
    assert (found.name, found.rows) == ("orders.jsonl", 3)


async def test_uploads_too_are_what_their_names_say(api: Any, yard: Yard) -> None:
    for name, content, message in (
        ("a.jsonl", parquet(), "is a Parquet file"),
        ("a.csv", parquet(), "is a Parquet file"),
        ("a.parquet", GOOD, "is not a Parquet file"),
        ("a.jsonl", PAGES["/late.jsonl"], "NUL byte"),
        ("a.csv", b"prompt,completion\n" + b"a,b\n" * 20_000 + b"\0,b\n", "NUL byte"),
        ("a.jsonl", b"MZ\x90\0" + os.urandom(1000), "binary"),
        ("a.csv", b"\x7fELF" + bytes(100), "binary"),
    ):
        answer = await api.upload(name, content)
        assert answer.status_code == 422, f"{name} {message}: {answer.text}"
        assert message in answer.json()["problems"][0]["message"], answer.text
    assert os.listdir(yard.context.datasets) == []
