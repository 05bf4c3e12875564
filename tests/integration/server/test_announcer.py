"""The program that sends through Apprise: what it refuses, in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

TRY = """
import sys
from runyard.services.announcer import Guard
from runyard.services.outbound import Outbound
import socket, subprocess, urllib.request, os
guard = Guard(Outbound(tuple(sys.argv[2].split(","))))
sys.addaudithook(guard)
try:
    exec(sys.argv[1])
except PermissionError as error:
    print("refused", guard.refused)
except OSError as error:
    print("tried", guard.refused)
else:
    print("done", guard.refused)
"""
CONNECT = "socket.create_connection((%r, 9), timeout=0.2)"


def attempt(code: str, allowed: str = "") -> str:
    found = subprocess.run([sys.executable, "-P", "-c", TRY, code, allowed], capture_output=True, text=True, timeout=60)
    assert found.stdout, found.stderr
    return found.stdout.strip()


@pytest.mark.parametrize(
    "code",
    [
        *(CONNECT % host for host in ("127.0.0.1", "localhost", "169.254.169.254", "10.0.0.1", "::1", "0x7f.1")),
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53))",
        "socket.socket(socket.AF_UNIX).connect('/var/run/docker.sock')",
        "subprocess.run(['true'])",
        "os.system('true')",
        "open('/etc/passwd')",
        "open('../../etc/passwd')",
        "open('/tmp/written', 'w')",
        "open(os.path.join(sys.prefix, '..', '..', 'etc', 'hostname'))",
        "urllib.request.urlopen('file:///etc/passwd')",
    ],
)
def test_what_is_refused(code: str) -> None:
    assert attempt(code) in ("refused True", "tried True")


def test_what_operators_open_is_reached_by_address_and_by_name() -> None:
    assert attempt(CONNECT % "127.0.0.1", "127.0.0.0/8") == "tried False"
    assert attempt(CONNECT % "localhost", "localhost") == "tried False"
    assert attempt(CONNECT % "127.0.0.1", "localhost") == "refused True"


def test_pythons_own_files_can_be_read() -> None:
    assert attempt("import certifi; open(certifi.where()).read()") == "done False"


def test_an_order_that_names_a_file_is_refused(tmp_path: Path) -> None:
    url = f"slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general?template={tmp_path / 'x.json'}"
    order = json.dumps({"url": url, "allowed": []})
    found = subprocess.run(
        [sys.executable, "-P", "-m", "runyard.services.announcer"],
        input=order,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert json.loads(found.stdout)["error"] == "may not have the option template"
