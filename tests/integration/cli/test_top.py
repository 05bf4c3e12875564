"""`runyard top`: one picture in a pipe; on a terminal it moves, tells when it is old, and comes back."""

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.cli.conftest import SECONDS, Server, invoke, make_server

SLOW = """
import time, runyard.reporting as report
for step in range(1, 1000):
    report.progress(step, 1000)
    report.metric(step, loss=1 / step)
    time.sleep(0.1)
"""


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Server]:
    """A server that may be killed."""
    server = make_server(tmp_path / "home")
    server.start()
    yield server
    server.kill()


class Screen:
    """`runyard top` on a terminal of 100 by 30."""

    def __init__(self, url: str) -> None:
        self.terminal, inside = pty.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        environment = os.environ | {"TERM": "xterm-256color", "RUNYARD_URL": url, "RUNYARD_HOME": "/nowhere"}
        command = [sys.executable, "-m", "runyard.cli.main", "top"]
        before = signal.signal(signal.SIGINT, signal.default_int_handler)  # where it is ignored, a child ignores it too
        self.process = subprocess.Popen(
            command, stdin=inside, stdout=inside, stderr=inside, env=environment, start_new_session=True
        )
        signal.signal(signal.SIGINT, before)
        os.close(inside)

    def shows(self, pattern: str) -> re.Match[str]:
        """Waits until what was written since has this."""
        seen, deadline = "", time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            if select.select([self.terminal], [], [], 0.2)[0]:
                try:
                    seen += os.read(self.terminal, 65536).decode(errors="replace")
                except OSError:  # it has ended
                    break
            plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen)
            if found := re.search(pattern, plain):
                return found
        raise AssertionError(f"{pattern} was not shown: {seen[-3000:]!r}")

    def rest(self) -> str:
        """All that it writes until it has left: who writes to a terminal that nobody reads waits for ever."""
        seen, deadline = b"", time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            if select.select([self.terminal], [], [], 0.2)[0]:
                try:
                    seen += os.read(self.terminal, 65536)
                except OSError:  # nobody has it open any more
                    return seen.decode(errors="replace")
        raise AssertionError(f"it did not leave: {seen[-3000:]!r}")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.terminal)


def test_in_a_pipe_it_is_one_picture(cli: Callable[..., Any]) -> None:
    for arguments in (["top"], ["top", "--once"]):
        lines = cli(*arguments).stdout.splitlines()
        assert re.fullmatch(r"nothing runs or waits(, .*)?|\d+ (running|waiting).*", lines[0])
        assert "processors" in lines[1]


def test_without_a_server_it_says_so(offline: Callable[..., Any]) -> None:
    assert "no server answers" in offline("top", code=5).stderr


def test_it_moves_tells_when_it_is_old_and_comes_back(own: Server, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    (tmp_path / "job.yaml").write_text(f"kind: script\nname: slow one\nfile: {tmp_path}/slow.py\n")
    with contextlib.closing(Screen(own.url)) as screen:
        screen.shows(r"nothing runs or waits\s+● live")
        job = json.loads(invoke(own.url, "submit", tmp_path / "job.yaml", "--json").stdout)["id"]
        first = int(screen.shows(rf"{job}  slow one.* (\d+)/1000 ")[1])
        assert int(screen.shows(rf"1 running[^●]*● live(?s:.*?){job}  slow one.* (?!{first}/)(\d+)/1000 ")[1]) > first
        own.kill()
        screen.shows(r"○ no connection, as of \d\d:\d\d:\d\d; trying again \(.*\)")
        own.start()
        screen.shows(r"1 running[^●]*● live")
        invoke(own.url, "jobs", "cancel", job)
        screen.shows(r"nothing runs or waits")
        os.killpg(screen.process.pid, signal.SIGINT)
        assert "Traceback" not in screen.rest()
        assert screen.process.wait(SECONDS) == 0
