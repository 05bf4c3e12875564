"""The real server as a process, a tiny model for it, and the command line as a user types it."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from runyard.cli.main import app
from runyard.testing import tiny

SECONDS = 120.0


@dataclass
class Server:
    """`runyard serve` on a data folder of its own."""

    home: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "RUNYARD_HOME": str(self.home),
            "RUNYARD_CACHE": str(self.home / "cache"),
            "RUNYARD_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
        }

    def start(self) -> None:
        with (self.home / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "runyard.cli.main", "serve", "--port", str(self.port)],
                env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        deadline = time.monotonic() + SECONDS
        while not self._answers():
            assert self.process.poll() is None, (self.home / "server.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def make_server(home: Path) -> Server:
    tiny.save_tiny_model(home / "models" / "tiny")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    return Server(home, port)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = make_server(tmp_path_factory.mktemp("home"))
    server.start()
    yield server
    for line in invoke(server.url, "jobs", "list", "--json").stdout.splitlines():
        job = json.loads(line)
        if job["state"] not in {"completed", "failed", "cancelled"}:
            invoke(server.url, "jobs", "cancel", job["id"])
            invoke(server.url, "jobs", "watch", job["id"])
    server.kill()


Cli = Callable[..., Result]


@pytest.fixture
def cli(server: Server) -> Cli:
    """`cli("jobs", "list", code=0)` runs a command against the server and expects an exit code."""

    def run(*arguments: object, code: int = 0) -> Result:
        result = invoke(server.url, *arguments)
        assert result.exit_code == code, f"{result.exit_code}\n{result.output}"
        assert "Traceback" not in result.output
        assert "\x1b" not in result.output
        return result

    return run


def invoke(url: str | None, *arguments: object) -> Result:
    environment = {"RUNYARD_URL": url, "RUNYARD_HOME": "/nowhere", "COLUMNS": "200"}
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env=environment)


@pytest.fixture
def offline() -> Cli:
    """The same with no server anywhere."""

    def run(*arguments: object, code: int = 0) -> Result:
        result = invoke("http://127.0.0.1:9", *arguments)
        assert result.exit_code == code, f"{result.exit_code}\n{result.output}"
        assert "Traceback" not in result.output
        return result

    return run


def write_rows(path: Path, count: int = 24) -> Path:
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"say {tiny.WORDS[n % len(tiny.WORDS)]}"},
                {"role": "assistant", "content": " ".join(tiny.WORDS[: 1 + n % 5])},
            ]
        }
        for n in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def job_file(tmp_path: Path) -> Callable[..., Path]:
    """`job_file(name="a", max_steps=4)` writes a job file beside its data."""
    write_rows(tmp_path / "rows.jsonl")

    def write(name: str = "words", model: str = "tiny", data: str = "rows.jsonl", **training: Any) -> Path:
        path = tmp_path / f"{name}.yaml"
        lines = {"batch_size": 4, "micro_batch_size": 4, "max_length": 64, "learning_rate": "1e-3", **training}
        text = f"kind: sft\nname: {name}\nmodel: {model}\ndata: {data}\nadapter: {{rank: 4}}\n"
        path.write_text(text + "training:\n" + "".join(f"  {field}: {value}\n" for field, value in lines.items()))
        return path

    return write


def records(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]
