"""Traces, as a receiver of OTLP over http gets them."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from runyard.server import app
from runyard.server.deps import Yard
from runyard.services import otlp
from runyard.settings import Settings, SettingsError
from runyard.testing.yard import Yard as EngineYard

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Receiver:
    def __init__(self) -> None:
        self.headers: list[dict[str, str]] = []
        self.raw = b""
        self.spans: list[dict[str, Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.take(self.path, dict(self.headers), body)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def take(self, path: str, headers: dict[str, str], body: bytes) -> None:
        assert path == "/v1/traces"
        self.headers.append(headers)
        self.raw += body
        message = ExportTraceServiceRequest.FromString(body)
        for resource in MessageToDict(message)["resourceSpans"]:
            for scope in resource["scopeSpans"]:
                self.spans += scope["spans"]

    def span(self, name: str) -> dict[str, Any]:
        [found] = [span for span in self.spans if span["name"] == name]
        return found


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    thread = threading.Thread(target=receiver.server.serve_forever)
    thread.start()
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()
    thread.join()


def attributes(span: dict[str, Any]) -> dict[str, Any]:
    return {pair["key"]: next(iter(pair["value"].values())) for pair in span["attributes"]}


@pytest.fixture
def backend() -> str:
    return "sqlite"


async def test_a_request_becomes_a_span_without_what_is_secret(yard: Yard, receiver: Receiver) -> None:
    traces = otlp.to(receiver.url, "authorization=Bearer%20collector, x-team=ml", "1.0")
    object.__setattr__(yard, "traces", traces)
    transport = httpx.ASGITransport(app.build(yard))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        carried = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "Authorization": "Bearer ry_verysecret"}
        await client.get("/api/v1/jobs/nothing?name=verysecret", headers=carried)
        await client.get("/health")
    await asyncio.to_thread(traces.close)
    span = receiver.span("GET /api/v1/jobs/{job_id}")
    assert attributes(span) == {
        "http.request.method": "GET",
        "http.route": "/api/v1/jobs/{job_id}",
        "http.response.status_code": "404",
    }
    assert span["kind"] == "SPAN_KIND_SERVER"
    assert "parentSpanId" in span, "it belongs to the trace that the client began"
    assert len(receiver.spans) == 1, "nobody traces what machines ask for every few seconds"
    assert b"verysecret" not in receiver.raw
    assert (receiver.headers[0]["x-team"], receiver.headers[0]["authorization"]) == ("ml", "Bearer collector")


async def test_what_the_engine_does_is_traced(database: Any, tmp_path: Path, receiver: Receiver) -> None:
    traces = otlp.to(receiver.url, "", "1.0")
    yard = EngineYard(database, tmp_path / "runs", traces=traces)
    yard.start()
    await yard.submit("j", "metric(1, loss=2.0)\nsay('finished', outcome='completed')")
    await yard.reaches("j", "completed")
    await yard.clean()
    await asyncio.to_thread(traces.close)
    names = {span["name"] for span in receiver.spans}
    assert {"engine.launch", "engine.ingest"} <= names
    assert attributes(receiver.span("engine.launch"))["runyard.job"] == "j"


async def test_an_error_is_marked_and_its_text_is_not_sent(receiver: Receiver) -> None:
    traces = otlp.to(receiver.url, "", "1.0")
    with pytest.raises(ValueError, match="verysecret"), traces.span("work"):
        raise ValueError("verysecret")
    await asyncio.to_thread(traces.close)
    assert receiver.span("work")["status"] == {"code": "STATUS_CODE_ERROR"}
    assert attributes(receiver.span("work")) == {"error.type": "ValueError"}
    assert b"verysecret" not in receiver.raw


def test_the_usual_variable_sets_it_and_our_own_goes_first() -> None:
    usual = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318/", "OTEL_EXPORTER_OTLP_HEADERS": "a=b"}
    settings = Settings.from_environment(usual)
    assert (settings.otlp_endpoint, settings.otlp_headers) == ("http://127.0.0.1:4318", "a=b")
    assert "a=b" not in repr(settings)
    own = Settings.from_environment(usual | {"RUNYARD_OTLP_ENDPOINT": "https://collector"})
    assert own.otlp_endpoint == "https://collector"
    with pytest.raises(SettingsError, match="not gRPC"):
        Settings.from_environment({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"})


def test_without_the_extra_a_server_says_how_to_get_it(tmp_path: Path) -> None:
    hide = "import sys; sys.modules['opentelemetry.sdk'] = None; from runyard.cli.main import app; app()"
    environment = {"RUNYARD_HOME": str(tmp_path / "home"), "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    found = subprocess.run(
        [sys.executable, "-c", hide, "serve", "--port", "0"],
        capture_output=True, text=True, timeout=60, env=environment | {"PATH": "/usr/bin"},
    )  # fmt: skip
    assert found.returncode != 0
    assert "pip install 'runyard[otel]'" in found.stderr
    assert "Traceback" not in found.stderr
