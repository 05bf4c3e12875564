"""Wrappers are forked by a launcher: it may die or hang at any time, and nothing of it stays behind."""

import asyncio
import fcntl
import gc
import json
import os
import random
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from runyard.executors import launching, processes, wrapper
from runyard.executors.base import Handle, Launch, Liveness
from runyard.executors.launching import Child, LauncherError
from runyard.executors.local import LocalExecutor
from runyard.protocol.rundir import RunDir
from runyard.testing.executor_contract import DEAF, SAY, appears, ended, exit_of, is_gone, launch, root, until

__all__ = ["root"]
COUNT = SAY + "open('starts', 'a').write('x')"
SERVER = """
import asyncio, json, os, sys
from pathlib import Path
from runyard.executors.base import Launch
from runyard.executors.local import LocalExecutor

async def serve():
    executor = LocalExecutor({})
    await executor.launch(Launch("job", 1, Path(sys.argv[1]), ["/bin/sleep", "60"], nonce=sys.argv[2]))
    print(executor.launcher, flush=True)
    await asyncio.to_thread(input)

asyncio.run(serve())
"""
FREEZING = f"""
from runyard.executors import launching
from runyard.executors.launching import Child

launching.COMMAND = ["/bin/sh", "-c", 'kill -STOP $$; exec "$@"', "-", *launching.COMMAND]
launching.ANSWER_SECONDS = 60
start = Child.start
def start_frozen(environ):
    child = start(environ)
    print(child.pid, flush=True)
    return child
Child.start = start_frozen
{SERVER}
"""


@pytest.fixture
def executor() -> LocalExecutor:
    return LocalExecutor(dict(os.environ))


def pid_of(root: Path, which: str = "wrapper") -> int:
    process: dict[str, Any] = json.loads((RunDir(root).attempt(1) / "process.json").read_text())
    pid: int = process[which]["pid"]
    return pid


def launcher_of(executor: LocalExecutor) -> int:
    assert executor.launcher is not None
    return executor.launcher


async def started(executor: LocalExecutor, order: Launch) -> Handle:
    handle = await executor.launch(order)
    await appears(order.run_dir / "ready")
    return handle


async def finish(executor: LocalExecutor, handle: Handle) -> None:
    (Path(handle["run_dir"]) / "go").touch()
    assert (await exit_of(executor, handle)).code == 0


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def told(pid: int, what: str) -> list[str]:
    return Path(f"/proc/{pid}/{what}").read_text().rstrip("\0").split("\0")


def opened_by(pid: int) -> set[str]:
    """The files that it has open now."""
    found = set()
    for number in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):  # closed meanwhile
            found.add(os.readlink(f"/proc/{pid}/fd/{number}"))
    return found


async def test_a_wrapper_can_be_told_from_the_launcher(executor: LocalExecutor, root: Path) -> None:
    order = launch(root, DEAF)
    handle = await started(executor, order)
    guardian, trainer = pid_of(root), pid_of(root, "trainer")
    assert {processes.nonce_of(pid) for pid in (guardian, trainer)} == {order.nonce}
    assert processes.nonce_of(launcher_of(executor)) is None
    assert [entry for entry in told(trainer, "environ") if entry.startswith("RUNYARD_")] == [
        f"RUNYARD_NONCE={order.nonce}"
    ]
    assert told(guardian, "cmdline")[1:] == [wrapper.__file__, str(RunDir(root).attempt(1))]
    assert not [part for part in told(launcher_of(executor), "cmdline") if str(root) in part]
    await finish(executor, handle)


async def test_a_wrapper_and_its_trainer_begin_like_any_process(executor: LocalExecutor, root: Path) -> None:
    """In a session of its own, with no descriptor of the launcher, and no signal ignored or held back: not those
    either that the server ignores, because it was started with nohup or in the background of a script."""
    ignored_before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGHUP, signal.SIGQUIT)}
    try:
        handle = await started(executor, launch(root, DEAF))
    finally:
        for number, handler in ignored_before.items():
            signal.signal(number, handler)
    guardian, trainer = pid_of(root), pid_of(root, "trainer")
    assert os.getsid(guardian) == guardian
    folder = RunDir(root).attempt(1)
    kept = {"/dev/null", str(folder / "wrapper.log"), str(folder / "lock")}
    await until(lambda: opened_by(guardian) == kept)  # it closes the trainer's gate once that may begin
    assert int(status(trainer)["SigBlk"], 16) == 0
    ignored = int(status(trainer)["SigIgn"], 16)
    assert not [
        number
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
        if ignored >> (number - 1) & 1
    ]
    await finish(executor, handle)


def test_a_wrapper_still_starts_by_itself(root: Path) -> None:
    """As it will on machines where nobody else is."""
    folder = RunDir(root).attempt(1)
    folder.mkdir(parents=True)
    order = {
        "argv": ["/bin/sh", "-c", "exit 7"], "env": {}, "cwd": str(root), "folders": [], "after": [], "results": "",
        "nonce": "alone", "grace_seconds": 1, "save_seconds": 1, "stop_request": str(root / "stop"),
    }  # fmt: skip
    (folder / "launch.json").write_text(json.dumps(order))
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.dup2(lock.fileno(), 99, inheritable=True)
        command = [sys.executable, "-S", "-E", "-P", wrapper.__file__, str(folder), "99"]
        subprocess.run(command, check=True, pass_fds=[99])
        os.close(99)
    assert json.loads((folder / "exit.json").read_text())["code"] == 7


async def test_wrappers_outlive_a_launcher_and_the_next_is_started(executor: LocalExecutor, root: Path) -> None:
    first = await started(executor, launch(root / "first", DEAF))
    killed = launcher_of(executor)
    os.kill(killed, signal.SIGKILL)
    second = await started(executor, launch(root / "second", DEAF))
    assert launcher_of(executor) != killed
    assert wrapper.stat_fields(killed) is None, "no zombie"
    hearing = asyncio.create_task(executor.ended(first))
    await finish(executor, first)
    async with asyncio.timeout(20):
        await hearing
    await finish(executor, second)


async def test_one_that_hangs_is_ended_and_what_was_asked_of_it_is_not_done(
    executor: LocalExecutor, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await exit_of(executor, await executor.launch(launch(root / "before", COUNT)))
    monkeypatch.setattr(launching, "ANSWER_SECONDS", 0.3)
    frozen = launcher_of(executor)
    os.kill(frozen, signal.SIGSTOP)
    order = launch(root, COUNT)
    with pytest.raises(LauncherError):
        await executor.launch(order)
    assert wrapper.stat_fields(frozen) is None
    assert await executor.find(order) is None
    monkeypatch.undo()
    await exit_of(executor, await executor.launch(order))
    assert (root / "starts").read_text() == "x"


@pytest.mark.parametrize("loss", [ConnectionResetError, TimeoutError])
async def test_one_that_is_lost_after_the_deed_does_it_once(
    executor: LocalExecutor, root: Path, monkeypatch: pytest.MonkeyPatch, loss: type[OSError]
) -> None:
    """Its answer never comes: the attempt's lock tells that there is a wrapper."""
    ask = Child.ask

    def ask_in_vain(child: Child, request: bytes, *descriptors: int) -> dict[str, int]:
        ask(child, request, *descriptors)
        monkeypatch.undo()
        raise loss

    monkeypatch.setattr(Child, "ask", ask_in_vain)
    order = launch(root, COUNT + "\n" + DEAF)
    if loss is TimeoutError:
        with pytest.raises(LauncherError):
            await executor.launch(order)
        assert await executor.find(order)
    handle = await executor.launch(order)
    await appears(root / "ready")
    await finish(executor, handle)
    assert (root / "starts").read_text() == "x"


async def test_kills_at_any_moment_start_nothing_twice_and_lose_nothing(executor: LocalExecutor, root: Path) -> None:
    dice = random.Random(7)
    done = asyncio.Event()

    async def kill() -> None:
        """Not for ever: where a launcher takes longer to start than any of them lives, nothing would come about."""
        for _ in range(40):
            if done.is_set():
                return
            await asyncio.sleep(dice.choice([0.01, 0.1, 0.3]) * dice.random())
            if (pid := executor.launcher) is not None:
                with suppress(ProcessLookupError):  # another thread has just seen it off
                    os.kill(pid, signal.SIGKILL)

    async def start(number: int) -> None:
        order = launch(root / str(number), COUNT)
        async with asyncio.timeout(60):
            while True:
                try:
                    handle = await executor.launch(order)
                    break
                except LauncherError:
                    await asyncio.sleep(dice.uniform(0, 0.1))
        await exit_of(executor, handle)
        assert (order.run_dir / "starts").read_text() == "x"

    killing = asyncio.create_task(kill())
    await asyncio.gather(*(start(number) for number in range(30)))
    done.set()
    await killing


def serve(root: Path, nonce: str, script: str = SERVER) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, str(root), nonce]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("frozen", [False, True])
async def test_nothing_of_a_launcher_stays_when_its_server_is_killed(
    root: Path, executor: LocalExecutor, frozen: bool
) -> None:
    nonce = uuid4().hex  # to kill what has it must hit nothing of another test run
    server = serve(root, nonce)
    assert server.stdout is not None
    pid = int(server.stdout.readline())
    await appears(RunDir(root).attempt(1) / "process.json")
    guardian = pid_of(root)
    assert not is_gone(pid)
    if frozen:
        os.kill(pid, signal.SIGSTOP)
    server.kill()
    server.communicate()
    await until(lambda: is_gone(pid))
    handle = {"run_dir": str(root), "attempt": 1, "nonce": nonce}
    assert (await executor.look(handle)).liveness == Liveness.ALIVE
    assert not is_gone(guardian)
    await executor.stop(handle, "kill")
    await ended(executor, handle)
    await until(lambda: is_gone(guardian))


def is_stopped(pid: int) -> bool:
    fields = wrapper.stat_fields(pid)
    return fields is not None and fields[0] == "T"


async def test_a_launcher_frozen_while_it_starts_keeps_nothing_of_its_server(
    root: Path, executor: LocalExecutor
) -> None:
    """From when it is ready it goes with its server, frozen or not; before that it has been given nothing."""
    server = serve(root, uuid4().hex, FREEZING)
    assert server.stdout is not None
    pid = int(server.stdout.readline())
    order = launch(root, COUNT)
    await until(lambda: (RunDir(root).attempt(1) / "launch.json").exists() and is_stopped(pid))
    await asyncio.sleep(0.2)
    server.kill()
    server.communicate()
    assert wrapper.stat_fields(pid) is not None
    assert await executor.find(order) is None
    os.kill(pid, signal.SIGCONT)
    await until(lambda: is_gone(pid))
    await exit_of(executor, await executor.launch(order))
    assert (root / "starts").read_text() == "x"


async def test_it_ends_with_its_executor(root: Path) -> None:
    executor = LocalExecutor({})
    await exit_of(executor, await executor.launch(launch(root, "pass")))
    pid = launcher_of(executor)
    del executor
    await until(lambda: gc.collect() >= 0 and wrapper.stat_fields(pid) is None)


async def test_a_launcher_gets_no_secret_of_the_server(root: Path) -> None:
    executor = LocalExecutor(dict(os.environ) | {"RUNYARD_DATABASE": "postgresql://hunter2"})
    await exit_of(executor, await executor.launch(launch(root, "pass")))
    assert not [entry for entry in told(launcher_of(executor), "environ") if "hunter2" in entry]
