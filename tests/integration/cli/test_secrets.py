"""Secrets from the command line: typed unseen or by standard input; without a server, from the environment."""

import asyncio
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from runyard.cli.main import app
from runyard.sdk.async_client import AsyncClient
from runyard.sdk.client import Client
from runyard.sdk.errors import ApiError

VALUE = "hf_hunter2hunter2"
RUNYARD = [sys.executable, "-m", "runyard.cli.main"]
SECONDS = 60
TELL = "import os, sys\nsys.stdout.write(os.environ['TOKEN'])\n"


@pytest.fixture
def cli(server: Any) -> Callable[..., Result]:
    """With what stands on standard input."""
    url = server.url

    def run(*arguments: str, said: str | None = None, code: int = 0) -> Result:
        environment = {"RUNYARD_URL": url, "RUNYARD_HOME": "/nowhere", "COLUMNS": "200"}
        result = CliRunner().invoke(app, ["secrets", *arguments], env=environment, input=said)
        assert result.exit_code == code, result.output
        assert "hunter2" not in result.output
        return result

    return run


def told(server: Any, tmp_path: Path) -> str:
    """What a script of the server finds in its variable."""
    file = tmp_path / "tell.py"
    file.write_text(TELL.replace("sys.stdout", "open('told', 'w')"))
    job_file = tmp_path / "tell.yaml"
    job_file.write_text(f"kind: script\nfile: tell.py\nworkdir: {tmp_path}\nenv: {{TOKEN: 'secret:TYPED'}}\n")
    environment = {**os.environ, "RUNYARD_URL": server.url, "RUNYARD_HOME": "/nowhere"}
    subprocess.run([*RUNYARD, "submit", str(job_file), "--watch"], env=environment, check=True, timeout=SECONDS)
    return (tmp_path / "told").read_text()


def test_set_list_and_remove(cli: Callable[..., Result]) -> None:
    assert "secret:LISTED" in cli("set", "LISTED", said=VALUE).stdout
    assert cli("list").stdout.startswith("LISTED\tlocal\t")
    assert json.loads(cli("list", "--json").stdout.splitlines()[0])["name"] == "LISTED"
    assert cli("remove", "LISTED").stdout == "removed LISTED\n"
    assert "there is no secret 'LISTED'" in cli("remove", "LISTED", code=3).stderr
    assert "capital letters" in cli("set", "lower", said=VALUE, code=2).stderr
    assert "6 characters" in cli("set", "SHORT", said="abc", code=2).stderr


def test_the_value_is_no_argument(cli: Callable[..., Result]) -> None:
    cli("set", "NAME", "an-argument", code=2)


@pytest.mark.parametrize(
    ("said", "kept"), [(VALUE, VALUE), (VALUE + "\n", VALUE), (VALUE + "\r\n", VALUE), ("two\nlines\n", "two\nlines\n")]
)
def test_the_end_of_one_line_is_no_part_of_it(
    cli: Callable[..., Result], server: Any, tmp_path: Path, said: str, kept: str
) -> None:
    cli("set", "TYPED", said=said)
    assert told(server, tmp_path) == kept


def test_on_a_terminal_it_is_typed_unseen(server: Any, tmp_path: Path) -> None:
    ours, its = pty.openpty()
    environment = {**os.environ, "RUNYARD_URL": server.url}
    process = subprocess.Popen(
        [*RUNYARD, "secrets", "set", "TYPED"],
        env=environment,
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
    )
    os.close(its)
    shown = b""
    while b"Value of TYPED" not in shown:
        shown += os.read(ours, 1000)
    os.write(ours, f"{VALUE}\n".encode())
    try:
        while piece := os.read(ours, 1000):
            shown += piece
    except OSError:  # the terminal is gone with its program
        pass
    os.close(ours)
    assert process.wait(SECONDS) == 0
    assert b"TYPED is set" in shown
    assert b"hunter2" not in shown
    assert told(server, tmp_path) == VALUE


def test_both_clients_can_do_it(server: Any) -> None:
    url = server.url

    async def asynchronously() -> list[str]:
        async with AsyncClient(url) as client:
            await client.set_secret("BY_CLIENT", VALUE)
            return [secret.name for secret in (await client.secrets()).items]

    assert "BY_CLIENT" in asyncio.run(asynchronously())
    with Client(url) as client:
        client.remove_secret("BY_CLIENT")
        with pytest.raises(ApiError, match="BY_CLIENT"):
            client.remove_secret("BY_CLIENT")


def train(tmp_path: Path, value: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    (tmp_path / "tell.py").write_text(TELL)
    (tmp_path / "job.yaml").write_text(f"kind: script\nfile: tell.py\nenv: {{TOKEN: '{value}'}}\n")
    words = [*RUNYARD, "train", str(tmp_path / "job.yaml"), "-o", str(tmp_path / "run")]
    given = {**os.environ, **environment}
    return subprocess.run(words, env=given, capture_output=True, text=True, timeout=SECONDS, check=False)


def test_with_no_server_it_comes_from_the_environment(tmp_path: Path) -> None:
    run = train(tmp_path, "secret:MY_TOKEN", MY_TOKEN=VALUE)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "run" / "attempts" / "1" / "stdout.log").read_text() == VALUE
    assert json.loads((tmp_path / "run" / "spec.json").read_bytes())["env"] == {"TOKEN": "secret:MY_TOKEN"}


def test_with_no_server_one_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    run = train(tmp_path, "secret:MY_TOKEN")
    assert run.returncode == 2
    assert "env.TOKEN: there is no secret MY_TOKEN: set the environment variable MY_TOKEN" in run.stderr
    assert not (tmp_path / "run").exists()
