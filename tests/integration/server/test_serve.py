"""`runyard serve` as a process of its own: start, one server for a data folder, stop."""

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

FILES = {"file": ("a.jsonl", b'{"text": "a"}\n')}
COMMAND = [sys.executable, "-m", "runyard.cli.main", "serve"]
HEAVY_MODULES = """
# Prints the training libraries that are loaded when the server listens.
import sys
from runyard import bootstrap
from runyard.settings import Settings
def announce(started):
    heavy = {"torch", "transformers", "trl", "peft", "datasets", "numpy", "pandas", "pyarrow"} & set(sys.modules)
    print(*sorted(heavy), file=sys.stderr, flush=True, end="")
    print(started.url, flush=True)
bootstrap.serve(Settings(home=sys.argv[1], port=0), {}, announce)
"""


@contextmanager
def serving(home: Path, *options: str, command: list[str] | None = None) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server and its address."""
    environment = {**os.environ, "RUNYARD_HOME": str(home), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command or [*COMMAND, "--port", "0", *options], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, umask=0,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            assert "://127.0.0.1:" in first, process.stderr and process.stderr.read()
            yield process, next(word for word in first.split() if word.startswith("http"))
        finally:
            process.kill()


def refused(home: Path, *options: str, **variables: str) -> tuple[int, str]:
    """Exit status and error of a server that can't start."""
    environment = {**os.environ, "RUNYARD_HOME": str(home), **variables}
    done = subprocess.run([*COMMAND, *options], env=environment, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def test_one_server_for_a_data_folder(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with serving(home) as (process, url):
        assert json.loads((home / "server.json").read_bytes()) == {"url": url, "pid": process.pid}
        code, error = refused(home, "--port", "0")
        assert code == 4
        assert f"process {process.pid} at {url}" in error
        assert httpx.get(f"{url}/health", timeout=60).json()["status"] == "ok"
        process.kill()
        process.wait()
    with serving(home) as (_, url):
        assert httpx.get(f"{url}/health", timeout=60).status_code == 200, "a killed server is in nobody's way"


def test_everything_is_for_the_owner_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o777)
    with serving(home) as (_, url):
        httpx.post(f"{url}/api/v1/datasets", files=FILES, timeout=60).raise_for_status()
        for path in [home, *home.rglob("*")]:
            mode = stat.S_IMODE(path.stat().st_mode)
            assert mode & 0o077 == 0, f"{path}: {mode:o}"


def test_a_server_that_cannot_start_says_why_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, error = refused(tmp_path, "--port", port)
        assert (code, error) == (4, f"error: port {port} is taken by another program: choose one with --port\n")
    code, error = refused(tmp_path, "--host", "0.0.0.0", "--port", "0")
    assert (code, error.count("\n")) == (4, 1), "others could reach it, and there is nobody to sign in"
    assert "runyard users create" in error
    assert "ssh -L" in error
    (tmp_path / "runyard.db").unlink()
    code, error = refused(tmp_path, RUNYARD_SLOTS="many")
    assert (code, error.startswith("error: RUNYARD_SLOTS: ")) == (2, True)
    (tmp_path / "runyard.db").write_bytes(b"this is no database" * 1000)
    code, error = refused(tmp_path, "--port", "0")
    assert (code, error.count("\n")) == (4, 1), error


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_stops_soon_with_streams_open(tmp_path: Path, number: signal.Signals) -> None:
    with serving(tmp_path / "home") as (process, url):
        async with (
            httpx.AsyncClient(base_url=url, timeout=60) as client,
            client.stream("GET", "/api/v1/stream") as answer,
        ):
            async with connect(url.replace("http", "ws") + "/api/v1/ws") as live:
                await anext(answer.aiter_lines())
                process.send_signal(number)
                with pytest.raises(ConnectionClosed) as closing:
                    await live.recv()
                assert closing.value.rcvd is not None
                assert closing.value.rcvd.code == 1012
            assert await asyncio.to_thread(process.wait, 60) == 0
        assert not (tmp_path / "home" / "server.json").exists()
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def test_no_training_library_is_loaded(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HEAVY_MODULES, str(tmp_path / "home")]
    with serving(tmp_path / "home", command=command) as (process, _):
        process.terminate()
        assert process.communicate()[1] == ""
