"""Channels from the command line: a real server tells a real receiver, and dies while it does."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook
from tests.integration.engine.receiver import Received, Receiver, listening
from typer.testing import CliRunner, Result

from runyard.cli.main import app
from runyard.testing.live import LiveYard

Cli = Callable[..., Result]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with listening() as receiver:
        yield receiver


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[LiveYard]:
    with LiveYard(tmp_path / "home", {"RUNYARD_OUTBOUND_HOSTS": "127.0.0.0/8"}) as yard:
        yield yard


@pytest.fixture
def cli(yard: LiveYard) -> Cli:
    def run(*arguments: str, said: str | None = None, code: int = 0) -> Result:
        environment = {"RUNYARD_URL": yard.url, "RUNYARD_HOME": "/nowhere", "COLUMNS": "200"}
        result = CliRunner().invoke(app, ["channels", *arguments], env=environment, input=said)
        assert result.exit_code == code, result.output
        return result

    return run


def script(tmp_path: Path, yard: LiveYard, code: str, **more: Any) -> str:
    file = tmp_path / "work.py"
    file.write_text(code)
    spec = {"kind": "script", "file": str(file), "python": sys.executable, "limits": {"retries": 0}, **more}
    return yard.client.submit(spec).id


def of(receiver: Receiver, type_: str) -> list[Received]:
    return [one for one in receiver.received if json.loads(one.body)["type"] == type_]


def test_from_the_command_line_to_the_receiver(cli: Cli, yard: LiveYard, receiver: Receiver, tmp_path: Path) -> None:
    made = json.loads(cli("add", "hook", "--kind", "webhook", "--json", said=f"{receiver.url}/in\n").stdout)
    assert "whsec_" not in cli("list").stdout
    assert "hook was told" in cli("test", "hook").stdout
    Webhook(made["secret"]).verify(receiver.received[0].body, dict(receiver.received[0].headers))
    receiver.answers = [(500, {})]
    assert "the answer is 500" in cli("test", "hook", code=4).stderr
    job = script(tmp_path, yard, "raise SystemExit(3)")
    yard.wait_for_end(job)
    yard.wait_for(lambda: len(of(receiver, "job.failed")) == 1, "the job's failure to be told")
    assert json.loads(of(receiver, "job.failed")[0].body)["data"]["job"]["id"] == job
    yard.wait_for(lambda: yard.client.deliveries("hook").items[0].status == "delivered", "that to be noted")
    rows = [line.split("\t") for line in cli("deliveries", "hook").stdout.splitlines()]
    assert rows[0][1:4] == ["job.failed", job, "delivered"]
    assert [row[1] for row in rows[1:]] == ["channel.test", "channel.test"]
    cli("resend", rows[0][0])
    yard.wait_for(lambda: len(of(receiver, "job.failed")) == 2, "it to be sent again")
    assert {one.headers["webhook-id"] for one in of(receiver, "job.failed")} == {rows[0][0]}
    new = json.loads(cli("rotate", "hook", "--json").stdout)["secret"]
    cli("test", "hook")
    for secret in (made["secret"], new):
        Webhook(secret).verify(receiver.received[-1].body, dict(receiver.received[-1].headers))
    assert "…: failed\n" in cli("change", "hook", "--on", "failed").stdout
    assert "removed" in cli("remove", "hook").stdout
    assert cli("list").stdout == ""


def test_a_server_that_is_killed_while_it_tells_tells_again(
    cli: Cli, yard: LiveYard, receiver: Receiver, tmp_path: Path
) -> None:
    cli("add", "hook", "--kind", "webhook", "--url", receiver.url)
    receiver.on_receipt = lambda _: yard.kill() if len(receiver.received) == 1 else None
    job = script(tmp_path, yard, "raise SystemExit(3)")
    yard.wait_for(lambda: bool(receiver.received), "the failure to be told")
    assert yard.server is not None
    yard.server.wait()
    yard.start()
    yard.wait_for(lambda: len(receiver.received) == 2, "the failure to be told again")
    first, second = receiver.received
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    assert json.loads(first.body)["data"]["job"]["id"] == job
    yard.wait_for(lambda: yard.client.deliveries("hook").items[0].status == "delivered", "that to be noted")
    assert len(receiver.received) == 2
    assert "hooks" not in (yard.home / "server.log").read_text()
