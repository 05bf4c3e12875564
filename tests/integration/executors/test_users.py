"""Trainers as another system user: all that executors promise holds, and nothing of the server is theirs."""

import asyncio
import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runyard.executors import handover, users
from runyard.executors.base import Handle, Launch, User
from runyard.executors.local import LocalExecutor
from runyard.executors.users import UsersError
from runyard.protocol.rundir import RunDir
from runyard.testing import users as open_users
from runyard.testing.executor_contract import SAY, ExecutorContract, appears, exit_of, launch
from runyard.testing.users import OTHERS, OURS

pytestmark = pytest.mark.skipif(bool(open_users.lacking()), reason=str(open_users.lacking()))
PYTHON = open_users.python() or sys.executable


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that others can pass; pytest's own are closed to them."""
    folder = Path(tempfile.mkdtemp(prefix="runyard-users-"))
    folder.chmod(0o711)
    before = os.umask(0o077)  # as the server's
    yield folder
    os.umask(before)
    shutil.rmtree(folder)


@pytest.fixture
def root(place: Path) -> Path:
    folder = place / "run"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def user(place: Path) -> User:
    return User("ours", OURS, OURS, place)


class AsUser(LocalExecutor):
    def __init__(self, user: User) -> None:
        super().__init__(dict(os.environ))
        self._user = user

    async def launch(self, launch: Launch) -> Handle:
        argv = [open_users.python() if word == sys.executable else word for word in launch.argv]
        return await super().launch(replace(launch, user=launch.user or self._user, argv=argv))


@pytest.fixture
def executor(user: User) -> LocalExecutor:
    return AsUser(user)


class TestAsAnotherUser(ExecutorContract):
    pass


async def said(executor: LocalExecutor, root: Path, code: str, *args: str, **values: Any) -> Any:
    """What a program as the other user finds, which it prints as JSON."""
    order = replace(launch(root, SAY + code, *args), **values)
    record = await exit_of(executor, await executor.launch(order))
    errors = (RunDir(root).attempt(1) / "stderr.log").read_text()
    assert record.code == 0, errors
    return json.loads((RunDir(root).attempt(1) / "stdout.log").read_text())


async def test_it_is_that_user_alone_and_stays_it(executor: LocalExecutor, root: Path) -> None:
    code = (
        "status = dict(line.split(':\\t', 1) for line in open('/proc/self/status').read().splitlines())\n"
        "import resource\n"
        "print(json.dumps([os.getresuid(), os.getresgid(), os.getgroups(), status['CapEff'], status['CapPrm'],"
        " status['CapAmb'], status['NoNewPrivs'], resource.getrlimit(resource.RLIMIT_CORE)]))"
    )
    nothing = "0" * 16
    expected = [[OURS] * 3, [OURS] * 3, [], nothing, nothing, nothing, "1", [0, 0]]
    assert await said(executor, root, code) == expected


async def test_it_works_in_its_run_folder_and_takes_away_nothing_of_the_server(
    executor: LocalExecutor, root: Path
) -> None:
    """Its record of attempts tells the server which processes to end, and its spec what to start."""
    RunDir(root).spec.write_text('{"kind": "script"}')
    RunDir(root).spec.chmod(0o600)
    RunDir(root).secrets.write_text("sealed")
    RunDir(root).secrets.chmod(0o600)
    code = (
        "print(json.dumps(open('spec.json').read()))\n"
        "pathlib.Path('events.jsonl').write_text('{}')\nos.mkdir('checkpoints')\n"
        "open('/dev/stderr', 'a').write('told')\n"
        "def refused(do, *args):\n"
        "    try: do(*args)\n"
        "    except PermissionError: return\n"
        "    raise SystemExit(f'{do} {args} worked')\n"
        "for name in ('attempts', 'spec.json', 'secrets.sealed'):\n"
        "    refused(os.rename, name, 'mine')\n"
        "for name in ('spec.json', 'secrets.sealed', 'attempts/1/process.json', 'attempts/1/launch.json'):\n"
        "    refused(os.remove, name)\n"
        "    refused(open, name, 'a')\n"
        "for name in ('secrets.sealed', 'attempts/1/process.json', 'attempts/1/launch.json'): refused(open, name)\n"
        "refused(os.listdir, 'attempts/1')\n"
        "refused(os.symlink, '/etc', 'attempts/2')\n"
        "refused(os.chmod, '.', 0o777)\n"
    )
    assert await said(executor, root, code) == '{"kind": "script"}'
    assert (RunDir(root).attempt(1) / "stderr.log").read_text() == "told"
    assert RunDir(root).events.stat().st_uid == OURS


async def test_the_folder_of_another_user_is_closed_to_it(executor: LocalExecutor, root: Path, place: Path) -> None:
    theirs, before = place / "theirs", place / "before"
    for folder in (theirs, before):
        folder.mkdir(mode=0o700)
        (folder / "model.bin").write_text("weights")
    handover.hand_over(RunDir(theirs), User("theirs", OTHERS, OTHERS, place))
    key = place / "secret.key"
    key.write_bytes(b"key")
    key.chmod(0o600)
    code = (
        "def can(do, *args):\n"
        "    try: do(*args)\n"
        "    except PermissionError: return False\n"
        "    return True\n"
        "files = sys.argv[1:]\n"
        "print(json.dumps([[can(open, file), can(open, file, 'a'), can(os.remove, file), can(os.link, file, 'mine')]"
        " for file in files] + [can(os.listdir, os.path.dirname(file)) for file in files]))"
    )
    files = [str(theirs / "model.bin"), str(before / "model.bin"), str(key)]
    assert await said(executor, root, code, *files) == [[False] * 4] * 3 + [False] * 3
    second = place / "second"
    second.mkdir(mode=0o700)
    seen = await said(executor, second, code, str(root / "stdout"), user=User("theirs", OTHERS, OTHERS, place))
    assert seen == [[False] * 4, False], "nor can the other one"


async def test_it_reaches_no_process_of_others(executor: LocalExecutor, root: Path) -> None:
    code = (
        "def can(pid):\n"
        "    try: os.kill(pid, 0)\n"
        "    except PermissionError: return False\n"
        "    return True\n"
        "def sees(pid):\n"
        "    try: open(f'/proc/{pid}/environ').read()\n"
        "    except PermissionError: return False\n"
        "    return True\n"
        "print(json.dumps([(can(pid), sees(pid)) for pid in [os.getppid(), *map(int, sys.argv[1:])]]))"
    )
    stranger = await asyncio.create_subprocess_exec("sleep", "60", user=OTHERS, group=OTHERS, extra_groups=())
    try:
        assert await said(executor, root, code, str(os.getpid()), str(stranger.pid)) == [[False, False]] * 3
    finally:
        stranger.kill()
        await stranger.wait()


async def test_it_reads_the_data_sets_and_runs_that_are_its_jobs(
    executor: LocalExecutor, root: Path, place: Path
) -> None:
    data, parent = place / "datasets" / "one" / "rows.jsonl", place / "parent"
    step = RunDir(parent).checkpoint(3)
    data.parent.mkdir(parents=True, mode=0o700)
    step.mkdir(parents=True)
    for file in (data, step / "adapter.safetensors", RunDir(parent).spec):
        file.write_text("rows")
        file.chmod(0o600)
    parent.chmod(0o700)
    data.parent.parent.chmod(0o711)
    code = "print(json.dumps([open(name).read() for name in sys.argv[1:]]))"
    names = [str(data), str(step / "adapter.safetensors"), str(RunDir(parent).spec)]
    assert await said(executor, root, code, *names, reads=[data, parent]) == ["rows"] * 3
    assert stat.S_IMODE(data.stat().st_mode) == 0o640
    assert data.stat().st_uid == 0


def test_what_an_earlier_user_left_is_handed_over_but_no_link_is_followed(place: Path, user: User) -> None:
    root, outside = place / "old", place / "outside"
    rundir = RunDir(root)
    (rundir.checkpoint(1)).mkdir(parents=True)
    (rundir.checkpoint(1) / "state.pt").write_text("s")
    outside.write_text("the server's")
    (root / "link").symlink_to(outside)
    (root / "same").hardlink_to(outside)
    (rundir.attempt(1)).mkdir(parents=True)
    (rundir.attempt(1) / "process.json").write_text("{}")
    rundir.secrets.write_text("sealed")
    handover.hand_over(rundir, user, attempt=2) if rundir.attempt(2).mkdir() is None else None
    owners = {name: (root / name).lstat().st_uid for name in ("checkpoints/step-000001/state.pt", "link", "same")}
    assert owners == {"checkpoints/step-000001/state.pt": OURS, "link": OURS, "same": 0}
    assert outside.stat().st_uid == root.stat().st_uid == rundir.secrets.stat().st_uid == 0
    assert (rundir.attempt(1) / "process.json").stat().st_uid == 0
    another = User("another", OTHERS, OTHERS, place)
    handover.hand_over(rundir, another)
    assert (rundir.checkpoint(1) / "state.pt").stat().st_uid == OTHERS


@pytest.mark.parametrize("planted", ["link", "folder", "pipe", "link beside"])
async def test_what_it_puts_in_the_place_of_the_wish_to_stop_does_not_keep_it(
    executor: LocalExecutor, root: Path, place: Path, planted: str
) -> None:
    plant = {
        "link": f"os.symlink('{place}/target', 'stop')",
        "folder": "os.makedirs('stop/more')",
        "pipe": "os.mkfifo('stop')",
        "link beside": f"os.symlink('{place}/target', '.stop.{os.getpid()}')",
    }[planted]
    (place / "target").write_text("untouched")
    code = SAY + f"{plant}\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(75))\npathlib.Path('ready').touch()\n"
    handle = await executor.launch(launch(root, code + "while True: time.sleep(0.01)"))
    await appears(root / "ready")
    await executor.stop(handle, "save")
    assert (await exit_of(executor, handle)).code == 75
    assert (place / "target").read_text() == "untouched"


@pytest.mark.parametrize(
    ("names", "part"),
    [
        ({"ml": "no-such-user"}, "no user no-such-user"),
        ({"ml": "root"}, "root"),
        ({"ml": "0"}, "root"),
        ({"ml": str(OURS), "ops": str(OURS)}, "are one user"),
        ({"ml": str(OURS), "ops": f" {OURS}".strip()}, "ml=64101 and ops=64101"),
    ],
)
def test_users_that_can_not_be(place: Path, names: dict[str, str], part: str) -> None:
    with pytest.raises(UsersError, match=part):
        users.of_tenants(names, place, PYTHON)


def test_a_user_gets_a_folder_of_its_own_and_must_reach_it(place: Path) -> None:
    for folder in (place, place / "runs", place / "cache"):
        folder.mkdir(exist_ok=True)
        folder.chmod(0o711)
    found = users.of_tenants({"ml": str(OURS), "ops": str(OTHERS)}, place, PYTHON)
    status = found["ml"].home.stat()
    assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (OURS, 0o700)
    with pytest.raises(UsersError, match="No such file"):
        users.of_tenants({"ml": str(OURS)}, place, "/no/such/python")
    place.chmod(0o700)
    with pytest.raises(UsersError, match=r"Permission denied.*chmod"):
        users.of_tenants({"ml": str(OURS)}, place, PYTHON)


def test_whatever_the_server_lacks_is_named(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(os, "geteuid", lambda: OURS)
        with pytest.raises(UsersError, match="root"):
            users.of_tenants({"ml": str(OURS)}, place, PYTHON)
    monkeypatch.setitem(users.NEEDED, "CAP_OF_TOMORROW", 62)
    with pytest.raises(UsersError, match="lacks CAP_OF_TOMORROW"):
        users.of_tenants({"ml": str(OURS)}, place, PYTHON)
