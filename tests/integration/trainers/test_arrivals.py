"""A model that comes slowly from a hub: a small one of our own on this machine."""

import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from runyard.domain.stalls import Signs
from runyard.trainers.language import arrivals

COMMIT = "0" * 40
PIECES, PAUSE = 4, 3.0
PADDING = 1 << 23
"""Numbers: so that it comes in more than one of the pieces in which the hub's library writes."""


class Hub(BaseHTTPRequestHandler):
    """Serves `owner/tiny`; the weights come in pieces."""

    model: Path

    def do_HEAD(self) -> None:
        self._answer(is_body=False)

    def do_GET(self) -> None:
        self._answer(is_body=True)

    def _answer(self, *, is_body: bool) -> None:
        name = self.path.partition("?")[0].rpartition("/")[2]
        file = self.model / name
        if "/resolve/" not in self.path or not file.is_file():
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = file.read_bytes()
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if is_body:
            self._send(content, PIECES if name.endswith(".safetensors") else 1)

    def _send(self, content: bytes, pieces: int) -> None:
        size = -(-len(content) // pieces)
        for start in range(0, len(content), size):
            self.wfile.write(content[start : start + size])
            self.wfile.flush()
            time.sleep(PAUSE if pieces > 1 else 0)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def hub(model: Path, tmp_path: Path) -> Iterator[str]:
    import torch
    from safetensors.torch import load_file, save_file

    large = Path(shutil.copytree(model, tmp_path / "large"))
    [weights] = large.glob("*.safetensors")
    save_file({**load_file(weights), "padding": torch.zeros(PADDING)}, weights, {"format": "pt"})
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Full", (Hub,), {"model": large})) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_what_has_come_is_a_sign_of_progress_while_loading(hub: str, make_run, events, tmp_path: Path) -> None:
    rundir = make_run(model="owner/tiny")
    env = {**os.environ, "HF_ENDPOINT": hub, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
    env |= {"HF_HUB_OFFLINE": "0", "RUNYARD_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "runyard.trainers", str(rundir.root)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    told = [event for event in events(rundir) if event.type == "progress" and event.phase == "loading"]
    arrived = [event.batch for event in told]
    assert len(arrived) >= 2
    assert arrived == sorted(set(arrived))
    signs = Signs("loading")
    for event in told:
        signs.take("progress", event.model_dump())
    assert signs.moves == len(told)


def test_nothing_is_told_while_nothing_comes_and_nothing_once_it_is_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(arrivals, "EVERY_SECONDS", 0.01)
    blobs = tmp_path / "models--owner--tiny" / "blobs"
    heard: list[int] = []
    with arrivals.told("owner/tiny", heard.append):
        time.sleep(0.1)
        assert heard == []
        blobs.mkdir(parents=True)
        (blobs / "sum.incomplete").write_bytes(bytes(3000))
        wait_until(lambda: heard == [2])
        time.sleep(0.1)
        (blobs / "sum.incomplete").write_bytes(bytes(9000))
        wait_until(lambda: heard[-1] == 8)
    (blobs / "more").write_bytes(bytes(9000))
    time.sleep(0.1)
    assert heard == sorted(set(heard))
    assert heard[-1] == 8


def wait_until(holds: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.01)
