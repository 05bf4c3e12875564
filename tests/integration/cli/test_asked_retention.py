"""`runyard retention --apply` ends by itself where nobody does what it asked for."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from typer.testing import CliRunner

from runyard.cli import retention
from runyard.cli.main import app
from runyard.schemas.system import EngineRead, SystemRead

ASKED = {"asked_at": 5.0}
SYSTEM = SystemRead(
    version="1", host="hall", database="sqlite", cpu_count=1, memory_total_mb=1.0, memory_available_mb=1.0,
    disk_total_bytes=1, disk_free_bytes=1, gpus=[], jobs={}, slots=1,
)  # fmt: skip


@contextmanager
def answering(engine: EngineRead | None) -> Iterator[str]:
    """The address of a server whose engine never does what it is asked for."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_system = self.path.endswith("/system")
            found: Any = SYSTEM.model_copy(update={"engine": engine}).model_dump() if is_system else ASKED
            body = json.dumps(found).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - the name is given

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = Thread(target=server.serve_forever, args=(0.05,))
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            serving.join()


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        (None, "no engine runs; the next one does it"),
        (
            EngineRead(name="process 7 on hall", since=0.0, alive=False),
            "the engine, process 7 on hall, is not heard of",
        ),
        (EngineRead(name="process 7 on hall", since=0.0, alive=True), "is alive but has not done it for 0 minutes"),
    ],
)
def test_the_state_of_the_engine_is_told(
    engine: EngineRead | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(retention, "LONGEST_SECONDS", 0.2)
    with answering(engine) as url:
        result = CliRunner().invoke(app, ["--url", url, "retention", "--apply"])
    assert result.exit_code == 8
    assert words in result.stderr
