"""Accounts from the command line: the first one, signing in and out, and what admins do, against the real server."""

import asyncio
import json
import os
import pty
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.integration.cli.conftest import records
from typer.testing import CliRunner, Result

from runyard import datafolder
from runyard.cli.main import app
from runyard.db.database import Database
from runyard.db.queries.audit import Filter
from runyard.domain.errors import InUseError, InvalidError
from runyard.server.instance import Instance, TakenError
from runyard.services import audit
from runyard.settings import Settings
from runyard.testing.live import LiveYard

PASSWORD = "correct horse battery"
SECONDS = 60
pytestmark = pytest.mark.xdist_group("people")


@dataclass
class Shell:
    """The command line of somebody with a configuration folder and a data folder; `url` is RUNYARD_URL."""

    config: Path
    home: Path
    url: str | None = None
    key: str | None = None

    @property
    def environment(self) -> dict[str, str | None]:
        return {
            "RUNYARD_HOME": str(self.home), "RUNYARD_URL": self.url, "RUNYARD_KEY": self.key,
            "RUNYARD_DATABASE_URL": None, "XDG_CONFIG_HOME": str(self.config), "COLUMNS": "200",
        }  # fmt: skip

    def __call__(self, *arguments: object, code: int = 0, said: str = "") -> Result:
        """Run a command; `said` is what stands on its standard input."""
        result = CliRunner().invoke(app, [str(a) for a in arguments], env=self.environment, input=said)
        assert result.exit_code == code, f"{result.exit_code}\n{result.output}"
        assert "Traceback" not in result.output
        assert PASSWORD not in result.output
        return result

    def start(self, *arguments: str, umask: int = -1, **options: Any) -> "subprocess.Popen[bytes]":
        """As a process of its own."""
        environment = {**os.environ, **self.environment}
        return subprocess.Popen(
            [sys.executable, "-m", "runyard.cli.main", *arguments],
            env={name: value for name, value in environment.items() if value is not None}, umask=umask, **options,
        )  # fmt: skip

    @property
    def credentials(self) -> Path:
        return self.config / "runyard" / "credentials.json"

    def kept(self, url: str) -> dict[str, Any]:
        """What is kept for a server."""
        found: dict[str, Any] = json.loads(self.credentials.read_bytes())[url]
        return found


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveYard]:
    """A server with one account: anna, admin and operator."""
    folder = tmp_path_factory.mktemp("yard")
    Shell(folder / "config", folder / "home")("users", "create", "anna", "--password-stdin", said=PASSWORD)
    with LiveYard(folder / "home", {"RUNYARD_DATABASE_URL": ""}) as yard:
        yield yard


@pytest.fixture
def nobody(tmp_path: Path, yard: LiveYard) -> Shell:
    """Somebody on another machine, who is not signed in."""
    return Shell(tmp_path / "config", tmp_path / "home", yard.url)


@pytest.fixture
def anna(nobody: Shell) -> Shell:
    """The admin."""
    nobody("login", "--name", "anna", "--scope", "admin", said=PASSWORD)
    return nobody


@pytest.fixture
def member(anna: Shell, tmp_path: Path) -> Callable[[str], Shell]:
    """`member("ben")` is a new account, signed in."""

    def make(name: str, *options: str) -> Shell:
        anna("users", "create", name, *options, said=PASSWORD)
        shell = Shell(tmp_path / name, anna.home, anna.url)
        shell("login", "--name", name, said=PASSWORD)
        return shell

    return make


# The first account


def test_the_first_account_of_a_data_folder_is_admin_and_operator(tmp_path: Path) -> None:
    shell = Shell(tmp_path / "config", tmp_path / "home")
    first = shell("users", "create", "Anna", "--role", "viewer", said=PASSWORD).stdout
    assert "anna: admin of main, operator, enabled" in first
    assert "The first account" in first
    assert str(shell.home) in first
    [second] = records(shell("users", "create", "ben", "--json", said=PASSWORD))
    assert (second["role"], second["operator"]) == ("member", False)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (shell.home, *shell.home.iterdir())}
    assert not any(mode & 0o077 for mode in modes.values()), modes


def test_an_account_that_was_made_without_a_server_opens_it(tmp_path: Path) -> None:
    shell = Shell(tmp_path / "config", tmp_path / "home")
    shell("users", "create", "anna", said=PASSWORD)
    with LiveYard(shell.home, {"RUNYARD_DATABASE_URL": ""}) as yard:
        shell("login", "--name", "anna", "--scope", "admin", said=PASSWORD)
        entries = records(shell("audit", "--json"))
        made = next(entry for entry in entries if entry["action"] == "create_user")
        assert (made["user"], made["target"], made["details"]["where"]) == ("local", "anna", "in the data folder")
        # While a server runs, it is asked, and asks for a key.
        stranger = Shell(tmp_path / "other", shell.home)
        assert "sign in" in stranger("users", "create", "eve", code=9, said=PASSWORD).stderr
        assert "sign in" in stranger("users", "change", "anna", "--password", code=9, said="my own new one").stderr
        yard.kill()
        # Whoever owns the data folder gets back in.
        shell("users", "change", "anna", "--password", said="my own new one")
        yard.start()
        shell("login", "--name", "anna", code=9, said=PASSWORD)
        shell("login", "--name", "anna", said="my own new one")


def test_the_first_account_of_a_running_server_ends_the_time_without_sign_in(tmp_path: Path) -> None:
    shell = Shell(tmp_path / "config", tmp_path / "home")
    with LiveYard(shell.home, {"RUNYARD_DATABASE_URL": ""}):
        assert "no accounts" in shell("whoami").stdout
        assert "no accounts" in shell("login", "--name", "anna", code=2, said=PASSWORD).stderr
        assert "no accounts" in shell("login", "--key", "ry_any", code=2).stderr
        shell("jobs", "list")
        said = shell("users", "create", "anna", "--role", "member", said=PASSWORD).stdout
        assert "anna: admin of main, operator" in said
        assert "The first account" in said
        refused = shell("jobs", "list", code=9)
        assert refused.stderr.count("\n") == 1
        assert "runyard login" in refused.stderr
        assert shell("users", "create", "eve", code=9, said=PASSWORD).stdout == ""


def test_a_password_is_typed_unseen_and_twice(tmp_path: Path) -> None:
    shell = Shell(tmp_path / "config", tmp_path / "home")
    ours, theirs = pty.openpty()
    child = shell.start("users", "create", "anna", stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    shown = b""
    for prompt in (b"Password of anna: ", b"The same again: "):
        while prompt not in shown:
            shown += os.read(ours, 1000)
        os.write(ours, PASSWORD.encode() + b"\n")
    while b"The first account" not in shown:
        shown += os.read(ours, 1000)
    assert child.wait(SECONDS) == 0
    os.close(ours)
    assert PASSWORD.encode() not in shown


@pytest.mark.parametrize("said", ["", "short", "x" * 201])
def test_a_password_that_is_none_makes_no_account(tmp_path: Path, said: str) -> None:
    shell = Shell(tmp_path / "config", tmp_path / "home")
    assert "Invalid value" in shell("users", "create", "anna", code=2, said=said).stderr
    assert not shell.home.exists()


# Signing in and out


def test_a_key_is_kept_for_its_owner_alone_whatever_the_umask(nobody: Shell, yard: LiveYard) -> None:
    with nobody.start("login", "--name", "anna", umask=0, stdin=subprocess.PIPE) as login:
        login.communicate(PASSWORD.encode(), SECONDS)
    assert login.returncode == 0
    file = nobody.credentials
    assert [stat.S_IMODE(path.stat().st_mode) for path in (nobody.config, file.parent, file)] == [0o700, 0o700, 0o600]
    assert os.listdir(file.parent) == [file.name]
    assert nobody.kept(yard.url)["key"].startswith("ry_")


def test_what_was_open_to_others_is_closed(nobody: Shell) -> None:
    nobody.credentials.parent.mkdir(parents=True, mode=0o755)
    nobody.credentials.write_text("{}")
    nobody.credentials.chmod(0o644)
    nobody("login", "--name", "anna", said=PASSWORD)
    assert stat.S_IMODE(nobody.credentials.stat().st_mode) == 0o600
    assert stat.S_IMODE(nobody.credentials.parent.stat().st_mode) == 0o700


def test_login_makes_a_key_that_ends_and_nothing_else(nobody: Shell, yard: LiveYard) -> None:
    nobody("whoami", code=9)
    shown = nobody("login", "--name", "anna", "--days", "7", said=PASSWORD).output
    kept = nobody.kept(yard.url)
    assert kept["key"] not in shown
    [who] = records(nobody("whoami", "--json"))
    assert (who["user"], who["via"], who["scope"], who["operator"]) == ("anna", "key", "submit", True)
    [made] = [key for key in records(nobody("keys", "list", "--json")) if key["id"] == kept["key_id"]]
    assert made["name"].startswith("login on ")
    assert made["expires_at"] - made["created_at"] == pytest.approx(7 * 86400)
    assert "key of scope admin" in nobody("users", "create", "eve", code=4, said=PASSWORD).stderr


def test_logout_revokes_the_key(nobody: Shell, yard: LiveYard) -> None:
    nobody("login", "--name", "anna", said=PASSWORD)
    stolen = nobody.kept(yard.url)["key"]
    thief = Shell(nobody.config / "elsewhere", nobody.home, yard.url, key=stolen)
    thief("whoami")
    assert "signed out" in nobody("logout").stdout
    assert json.loads(nobody.credentials.read_text()) == {}
    thief("whoami", code=9)
    nobody("whoami", code=9)
    nobody("logout", code=9)


def test_signing_in_again_leaves_one_key(nobody: Shell, yard: LiveYard) -> None:
    nobody("login", "--name", "anna", said=PASSWORD)
    before = nobody.kept(yard.url)
    nobody("login", "--name", "anna", said=PASSWORD)
    assert nobody.kept(yard.url)["key_id"] != before["key_id"]
    states = {line.split("\t")[0]: line.split("\t")[5] for line in nobody("keys", "list").stdout.splitlines()}
    assert states[before["key_id"]] == "revoked"
    assert states[nobody.kept(yard.url)["key_id"]] == "good"


def test_a_key_that_somebody_has_is_forgotten_but_not_revoked(anna: Shell, tmp_path: Path) -> None:
    key = anna("keys", "create", "ci", "--scope", "read").stdout.strip()
    other = Shell(tmp_path / "other", anna.home, anna.url)
    assert key not in other("login", "--key", "-", said=key).output
    assert records(other("whoami", "--json"))[0]["scope"] == "read"
    assert "still good" in other("logout").stdout
    other("whoami", code=9)
    other("login", "--key", key)
    assert "not known" in other("login", "--key", key[:-3] + "abc", code=9).stderr
    other("whoami")


def test_where_the_key_can_not_be_kept_none_is_left_on_the_server(anna: Shell, tmp_path: Path) -> None:
    before = {key["id"] for key in records(anna("keys", "list", "--json"))}
    (tmp_path / "file").write_text("")
    Shell(tmp_path / "file", anna.home, anna.url)("login", "--name", "anna", code=2, said=PASSWORD)
    made = [key for key in records(anna("keys", "list", "--json")) if key["id"] not in before]
    assert [key["revoked_at"] is not None for key in made] == [True]


def test_keys_of_several_servers_lie_side_by_side(anna: Shell, yard: LiveYard) -> None:
    other = yard.url.replace("127.0.0.1", "localhost")
    anna("whoami")
    anna("--url", other, "whoami", code=9)
    anna("login", other, "--name", "anna", said=PASSWORD)
    assert set(json.loads(anna.credentials.read_text())) == {yard.url, other}
    anna("logout", other)
    anna("whoami")


def test_a_wrong_password_and_a_server_that_is_not_there(nobody: Shell) -> None:
    wrong = nobody("login", "--name", "anna", code=9, said="wrong horse battery")
    assert wrong.stderr.count("\n") == 1
    assert "wrong" in wrong.stderr
    nobody("login", "http://127.0.0.1:9", "--name", "anna", code=5, said=PASSWORD)
    nobody("login", "--name", "anna", code=2, said="")
    nobody("login", code=2, said=PASSWORD)
    assert "anna:secret" not in nobody("login", "http://anna:secret@127.0.0.1:9", code=2).output
    assert not nobody.credentials.exists()


def test_a_file_of_keys_that_is_damaged_is_named(nobody: Shell) -> None:
    nobody.credentials.parent.mkdir(parents=True)
    nobody.credentials.write_text('{"http://a": {"key": "ry_secret"')
    refused = nobody("whoami", code=2)
    assert str(nobody.credentials) in refused.stderr
    assert "ry_secret" not in refused.output


def test_the_environment_goes_before_the_file(anna: Shell, member: Callable[[str], Shell]) -> None:
    ben = member("ben-of-the-environment")
    key = ben.kept(str(ben.url))["key"]
    both = Shell(anna.config, anna.home, anna.url, key=key)
    assert records(both("whoami", "--json"))[0]["user"] == "ben-of-the-environment"
    assert "RUNYARD_KEY is set" in both("login", "--name", "anna", said=PASSWORD).stderr


# What admins do


def test_accounts_are_listed_shown_and_changed(anna: Shell, member: Callable[..., Shell]) -> None:
    carl = member("carl@example.org", "--role", "viewer")
    lines = [line.split("\t") for line in anna("users", "list").stdout.splitlines()]
    assert ["carl@example.org", "main", "viewer", "", "enabled", ""] in [line[:6] for line in lines]
    assert "may not" in carl("users", "create", "dora", code=4, said=PASSWORD).stderr
    anna("users", "change", "carl@example.org", "--role", "member", "--subject", "auth0|7")
    [found] = records(anna("users", "show", "carl@example.org", "--json"))
    assert (found["role"], found["subject"]) == ("member", "auth0|7")
    assert "nothing to change" in anna("users", "change", "carl@example.org", code=2).stderr
    anna("users", "change", "carl@example.org", "--disable")
    carl("whoami", code=9)
    anna("users", "change", "carl@example.org", "--enable")
    carl("whoami")
    assert "taken" in anna("users", "create", "carl@example.org", code=4, said=PASSWORD).stderr
    anna("users", "show", "nobody", code=3)
    anna("users", "create", "robot", "--no-password", "--subject", "robot@issuer")


def test_everybody_changes_their_own_password_knowing_the_old_one(member: Callable[[str], Shell]) -> None:
    ida = member("ida")
    assert "may not" in ida("users", "change", "ida", "--password", code=4, said="my own new one").stderr
    assert "wrong" in ida("users", "password", code=9, said="not my old one\nmy own new one\n").stderr
    ida("users", "password", said=f"{PASSWORD}\nmy own new one\n")
    ida("whoami")
    ida("login", "--name", "ida", code=9, said=PASSWORD)
    ida("login", "--name", "ida", said="my own new one")


def test_a_key_is_printed_once_and_can_be_revoked(anna: Shell) -> None:
    key = anna("keys", "create", "ci", "--days", "1").stdout
    assert key.startswith("ry_")
    assert key.count("\n") == 1
    robot = Shell(anna.config / "robot", anna.home, anna.url, key=key.strip())
    robot("jobs", "list")
    assert key.strip() not in anna("keys", "list").stdout
    [listed] = [found for found in records(anna("keys", "list", "--json")) if key.startswith(found["prefix"])]
    anna("keys", "revoke", listed["id"])
    robot("jobs", "list", code=9)
    anna("keys", "revoke", "nothing", code=3)


def test_a_member_sees_own_keys_alone(anna: Shell, member: Callable[[str], Shell]) -> None:
    dora = member("dora")
    assert {key["user"] for key in records(dora("keys", "list", "--json"))} == {"dora"}
    dora("keys", "list", "--all", code=4)
    assert {"anna", "dora"} <= {key["user"] for key in records(anna("keys", "list", "--all", "--json"))}


def test_tenants(anna: Shell, member: Callable[..., Shell]) -> None:
    assert "trainings alone" in anna("tenants", "create", "blue").stdout
    emil = member("emil", "--tenant", "blue", "--role", "admin")
    assert [user["name"] for user in records(emil("users", "list", "--json"))] == ["emil"]
    assert emil("tenants", "list", code=4).stdout == ""
    anna("tenants", "change", "blue", "--scripts")
    assert [tenant["scripts"] for tenant in records(anna("tenants", "list", "--json"))] == [True, True]
    anna("tenants", "create", "blue", code=4)
    anna("tenants", "change", "red", "--scripts", code=3)


def test_quotas_are_set_and_shown_with_what_is_left(anna: Shell, member: Callable[[str], Shell]) -> None:
    fred = member("fred")
    anna("quotas", "set", "--of", "each user", "waiting=20", "gpus=2", "stored_bytes=50GB", "gpu_hours=none")
    anna("quotas", "set", "--of", "fred", "waiting=3")
    shown = [line.split("\t") for line in fred("quotas").stdout.splitlines()]
    assert ["user fred", "waiting", "0", "3", "3"] in shown
    assert ["user fred", "gpus", "0", "2", "2"] in shown
    assert ["user fred", "stored_bytes", "0 B", "50.0 GB", "50.0 GB"] in shown
    assert ["user fred", "gpu_hours", "0", "-", "-"] in shown
    assert [line for line in shown if line[0] == "tenant"]
    assert anna("quotas", "--user", "fred").stdout.splitlines()[0] == "user fred\twaiting\t0\t3\t3"
    fred("quotas", "--user", "anna", code=4)
    fred("quotas", "set", "--of", "fred", "waiting=100", code=4)
    anna("quotas", "set", "--of", "each user", "waiting=none", "gpus=none", "stored_bytes=none")
    assert [limit["of"] for limit in records(anna("quotas", "limits", "--json"))] == ["user fred"]


@pytest.mark.parametrize("amount", ["waiting", "waiting=", "waiting=many", "waiting=-1", "waiting=nan", "apples=3"])
def test_an_amount_that_is_none(anna: Shell, amount: str) -> None:
    assert "Invalid value" in anna("quotas", "set", "--of", "tenant", amount, code=2).stderr


def test_the_audit_log_is_filtered_and_exported(anna: Shell, member: Callable[[str], Shell], tmp_path: Path) -> None:
    gina = member("gina")
    gina("users", "create", "eve", code=4, said=PASSWORD)
    [refused] = records(anna("audit", "--user", "gina", "--refused", "--json"))
    assert (refused["action"], refused["refused"]) == ("create_user", "forbidden")
    done = [line.split("\t") for line in anna("audit", "--user", "gina", "--done").stdout.splitlines()]
    assert {"sign_in", "create_key", "sign_out"} == {line[5] for line in done}
    assert anna("audit", "--user", "gina", "--until", "1h").stdout == ""
    assert len(anna("audit", "--since", "2020-01-01", "--limit", "2").stdout.splitlines()) == 2
    assert "--since" in anna("audit", "--since", "soon", code=2).stderr
    gina("audit", code=4)
    file = tmp_path / "audit.jsonl"
    anna("audit", "--export", file)
    exported = [json.loads(line) for line in file.read_text().splitlines()]
    assert refused in exported
    assert [entry["id"] for entry in exported] == sorted((entry["id"] for entry in exported), reverse=True)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "exists already" in anna("audit", "--export", file, code=2).stderr
    gina("audit", "--export", tmp_path / "mine.jsonl", code=4)
    assert [path.name for path in tmp_path.glob("*mine*")] == []


def test_what_strangers_write_into_the_audit_log_does_not_reach_a_terminal(anna: Shell) -> None:
    anna("login", "--name", "\x1b]0;owned\x07\nanna", code=9, said="wrong horse battery")
    shown = anna("audit", "--action", "sign_in", "--refused", "--limit", "1").stdout
    assert "\x1b" not in shown
    assert "\\x1b]0;owned\\x07\\nanna" in shown
    assert shown.count("\n") == 1


def test_whose_a_job_is(anna: Shell, member: Callable[[str], Shell], tmp_path: Path) -> None:
    job = tmp_path / "job.yaml"
    job.write_text("kind: script\nname: of-hans\ncommand: [sleep, '60']\nresources: {gpus: 1}\n")
    hans = member("hans")
    hans("submit", job)
    assert [line.split("\t")[6] for line in anna("jobs", "list", "--name", "of-hans").stdout.splitlines()] == ["hans"]
    assert "user" in anna("jobs", "show", "of-hans").stdout
    assert records(anna("jobs", "show", "of-hans", "--json"))[0]["user"] == "hans"
    hans("jobs", "cancel", "of-hans")


# The data folder itself


async def test_accounts_of_a_data_folder_on_both_databases(empty_database_url: str, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", database_url=empty_database_url)
    create = partial(asyncio.to_thread, datafolder.create_user, settings)
    first = await create({"name": "anna", "password": PASSWORD})
    second = await create({"name": "ben", "subject": "ben@issuer"})
    assert (first.role, first.operator, second.role, second.operator) == ("admin", True, "member", False)
    changed = await asyncio.to_thread(datafolder.change_user, settings, "anna", {"password": "my own new one"})
    assert changed == first
    with pytest.raises(InUseError, match="taken"):
        await create({"name": "Ben", "password": PASSWORD})
    with pytest.raises(InvalidError) as refused:
        await create({"name": "carl", "password": PASSWORD * 100, "role": "king"})
    assert PASSWORD not in str(refused.value.problems)
    database = Database(empty_database_url)
    async with database.read() as session:
        entries = (await audit.page(session, Filter(), None, 10))[0]
    await database.close()
    assert [(entry.action, entry.target) for entry in entries] == [
        ("change_user", "anna"),
        ("create_user", "ben"),
        ("create_user", "anna"),
    ]
    assert PASSWORD not in str([entry.details for entry in entries])


def test_a_data_folder_that_a_server_has_is_left_alone(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    with Instance(settings.home), pytest.raises(TakenError):
        datafolder.create_user(settings, {"name": "anna", "password": PASSWORD})
    shell = Shell(tmp_path / "config", settings.home)
    with Instance(settings.home):
        refused = shell("users", "create", "anna", code=4, said=PASSWORD)
    assert "is used by another server, which is starting" in refused.stderr
    shell("users", "create", "anna", said=PASSWORD)
