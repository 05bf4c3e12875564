"""What every executor must do. Subclass it and give it an `executor` fixture."""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runyard.executors import wrapper
from runyard.executors.base import Executor, ExitRecord, Launch, Liveness, Look, Stop
from runyard.protocol.rundir import RunDir

SECONDS = 20.0

SAY = "import os, sys, time, signal, json, pathlib\n"
OBEY = SAY + (
    "def leave(number, frame):\n"
    "    wish = pathlib.Path('stop').read_text()\n"
    "    with open('said', 'a') as file: file.write(wish + '\\n')\n"
    "    if wish in sys.argv[1:]: sys.exit(75)\n"
    "signal.signal(signal.SIGTERM, leave)\n"
    "pathlib.Path('ready').touch()\n"
    "while True: time.sleep(0.01)\n"
)
IGNORE = SAY + (
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "child = os.fork()\n"
    "if child == 0:\n"
    "    os.setsid()\n"
    "    if os.fork(): os._exit(0)\n"
    "    pathlib.Path('escaping').write_text(str(os.getpid()))\n"
    "    os.replace('escaping', 'escaped')\n"
    "    while True: time.sleep(1)\n"
    "os.waitpid(child, 0)\n"
    "while not pathlib.Path('escaped').exists(): time.sleep(0.01)\n"
    "pathlib.Path('ready').touch()\n"
    "while True: time.sleep(1)\n"
)

HANG = SAY + (
    "import faulthandler\n"
    "def spins_for_ever():\n"
    "    while True: pass\n"
    "faulthandler.register(signal.SIGUSR1, open(sys.argv[1], 'a'))\n"
    "pathlib.Path('ready').touch()\n"
    "spins_for_ever()\n"
)
DEAF = SAY + "pathlib.Path('ready').touch()\nwhile not os.path.exists('go'): time.sleep(0.01)\n"


def launch(root: Path, code: str, *args: str, **values: Any) -> Launch:
    argv = [sys.executable, "-S", "-c", code, *args]
    return Launch(job_id="job", attempt=1, run_dir=root, argv=argv, nonce=f"nonce-{time.time_ns()}", **values)


async def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < end, f"{holds} did not come true"
        await asyncio.sleep(0.005)


async def appears(path: Path) -> None:
    await until(path.exists)


def is_gone(pid: int | str) -> bool:
    fields = wrapper.stat_fields(int(pid))
    return fields is None or fields[0] == "Z"


def _holding(text: str, folder: Path, pattern: str) -> list[Path]:
    """The files that have a text in them."""
    return [path for path in folder.glob(pattern) if text.encode() in _content(path)]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # a folder, or of a process that has ended
        return b""


async def ended(executor: Executor, handle: dict[str, Any]) -> Look:
    end = time.monotonic() + SECONDS
    while (look := await executor.look(handle)).liveness != Liveness.DEAD:
        assert time.monotonic() < end, f"still {look}"
        await asyncio.sleep(0.005)
    return look


async def exit_of(executor: Executor, handle: dict[str, Any]) -> ExitRecord:
    look = await ended(executor, handle)
    assert look.exit is not None, look.detail
    return look.exit


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


class ExecutorContract:
    async def test_exit_code_and_times_are_kept(self, executor: Executor, root: Path) -> None:
        before = time.time()
        record = await exit_of(executor, await executor.launch(launch(root, "raise SystemExit(7)")))
        assert (record.code, record.signal) == (7, None)
        assert before <= record.started_at <= record.ended_at <= time.time()

    async def test_a_signal_is_told_from_a_code(self, executor: Executor, root: Path) -> None:
        code = SAY + "os.kill(os.getpid(), signal.SIGKILL)"
        record = await exit_of(executor, await executor.launch(launch(root, code)))
        assert (record.code, record.signal) == (137, 9)

    async def test_a_command_that_is_not_there_ends_with_127_and_says_so(self, executor: Executor, root: Path) -> None:
        order = Launch("job", 1, root, ["/no/such/program"], nonce="n")
        assert (await exit_of(executor, await executor.launch(order))).code == 127
        assert "/no/such/program" in (RunDir(root).attempt(1) / "stderr.log").read_text()

    async def test_it_runs_in_its_folder_and_its_words_are_kept(self, executor: Executor, root: Path) -> None:
        code = SAY + "print(os.getcwd()); print('err', file=sys.stderr); print(sys.stdin.read() == '')"
        await exit_of(executor, await executor.launch(launch(root, code)))
        folder = RunDir(root).attempt(1)
        assert (folder / "stdout.log").read_text() == f"{root}\nTrue\n"
        assert (folder / "stderr.log").read_text() == "err\n"

    @pytest.mark.parametrize(("gpus", "visible"), [((), ""), ((0, 2), "0,2")])
    async def test_it_sees_its_gpus_and_no_others(
        self, executor: Executor, root: Path, gpus: tuple[int, ...], visible: str
    ) -> None:
        code = SAY + "pathlib.Path('environ').write_bytes(pathlib.Path('/proc/self/environ').read_bytes())"
        order = launch(root, code, gpus=gpus, env={"EXTRA": "yes"})
        await exit_of(executor, await executor.launch(order))
        entries = (root / "environ").read_text().rstrip("\0").split("\0")
        environ = dict(entry.split("=", 1) for entry in entries)
        assert environ["CUDA_VISIBLE_DEVICES"] == visible
        assert (environ["EXTRA"], environ["RUNYARD_NONCE"]) == ("yes", order.nonce)

    async def test_secrets_are_in_its_environment_and_nowhere_else(self, executor: Executor, root: Path) -> None:
        """Not in what comes after it, in no file, in no command line, and no open file of its own leads to them."""
        value = f"canary-{time.time_ns()}-" + "x" * 100_000
        code = SAY + (
            "from os import environ\n"
            "pathlib.Path('length').write_text(str(len(environ['MINE'])))\n"
            "places = [f'/proc/self/fd/{number}' for number in os.listdir('/proc/self/fd')]\n"
            "pathlib.Path('open').write_text(' '.join(os.path.realpath(place) for place in places))\n"
            "pathlib.Path('final/x').touch()\n"
            "pathlib.Path('ready').touch()\nwhile not os.path.exists('go'): time.sleep(0.01)"
        )
        after = ["/bin/sh", "-c", "echo ${MINE:-nothing}"]
        order = launch(root, code, secrets={"MINE": value}, folders=[root / "final"], after=after)
        assert value not in repr(order)
        handle = await executor.launch(order)
        await appears(root / "ready")
        shown = await asyncio.to_thread(_holding, value, Path("/proc"), "[0-9]*/cmdline")
        (root / "go").touch()
        assert (await exit_of(executor, handle)).code == 0
        assert not shown
        assert (root / "length").read_text() == str(len(value))
        assert "memfd" not in (root / "open").read_text()
        assert (RunDir(root).attempt(1) / "stdout.log").read_text() == "nothing\n"
        assert not await asyncio.to_thread(_holding, value, root, "**/*")

    async def test_it_may_run_elsewhere_with_folders_made_for_it(self, executor: Executor, root: Path) -> None:
        code = SAY + "print(os.getcwd(), os.path.isdir(sys.argv[1]))"
        order = launch(root, code, str(root / "new"), cwd=root.parent, folders=[root / "new"])
        await exit_of(executor, await executor.launch(order))
        assert (RunDir(root).attempt(1) / "stdout.log").read_text() == f"{root.parent} True\n"

    @pytest.mark.parametrize(("code", "leaves", "ends"), [(0, True, 9), (0, False, 0), (3, True, 3)])
    async def test_what_comes_after_speaks_for_it(
        self, executor: Executor, root: Path, code: int, leaves: bool, ends: int
    ) -> None:
        """Only when it has ended well and has left something; neither its folder nor its variables matter then."""
        text = SAY + f"pathlib.Path('final/x').touch() if {leaves} else None; sys.exit({code})"
        after = ["/bin/sh", "-c", "echo ${MINE:-nothing} $PWD; exit 9"]
        order = launch(root, text, env={"MINE": "x"}, folders=[root / "final"], after=after)
        record = await exit_of(executor, await executor.launch(order))
        assert (record.code, record.told) == (ends, False)
        said = (RunDir(root).attempt(1) / "stdout.log").read_text()
        assert said == (f"nothing {root}\n" if ends == 9 else "")

    @pytest.mark.parametrize("how", ["save", "discard"])
    async def test_nothing_comes_after_one_that_left_because_it_was_told(
        self, executor: Executor, root: Path, how: Stop
    ) -> None:
        """Whatever code it left with: what it has written may be half of it."""
        code = OBEY.replace("sys.exit(75)", "sys.exit(0)") + "\n"
        order = launch(root, "import pathlib; pathlib.Path('final/half').touch()\n" + code, how,
                       folders=[root / "final"], after=["/bin/sh", "-c", "exit 9"])  # fmt: skip
        handle = await executor.launch(order)
        await appears(root / "ready")
        await executor.stop(handle, how)
        record = await exit_of(executor, handle)
        assert (record.code, record.told) == (0, True)

    async def test_one_nonce_never_has_two_trainers(self, executor: Executor, root: Path) -> None:
        order = launch(root, SAY + "open('starts', 'a').write('x'); time.sleep(0.2)")
        handles = await asyncio.gather(*(executor.launch(order) for _ in range(4)))
        assert handles == [handles[0]] * 4
        await exit_of(executor, handles[0])
        assert await executor.launch(order) == handles[0]
        await exit_of(executor, handles[0])
        assert (root / "starts").read_text() == "x"

    async def test_a_launch_is_found_again(self, executor: Executor, root: Path) -> None:
        order = launch(root, "pass")
        assert await executor.find(order) is None
        handle = await executor.launch(order)
        assert await executor.find(order) == handle == json.loads(json.dumps(handle))
        await exit_of(executor, handle)
        assert await executor.find(order) == handle

    async def test_it_is_alive_from_launch_to_end(self, executor: Executor, root: Path) -> None:
        order = launch(root, SAY + "pathlib.Path('ready').touch()\nwhile not os.path.exists('go'): time.sleep(0.01)")
        handle = await executor.launch(order)
        while not (root / "ready").exists():
            assert (await executor.look(handle)).liveness == Liveness.ALIVE
        (root / "go").touch()
        assert (await exit_of(executor, handle)).code == 0

    async def test_asked_to_save_it_reads_so_and_leaves(self, executor: Executor, root: Path) -> None:
        handle = await executor.launch(launch(root, OBEY, "save"))
        await appears(root / "ready")
        await executor.stop(handle, "save")
        assert (await exit_of(executor, handle)).code == 75
        assert (root / "said").read_text() == "save\n"

    async def test_asked_twice_the_stronger_wish_arrives(self, executor: Executor, root: Path) -> None:
        handle = await executor.launch(launch(root, OBEY, "discard"))
        await appears(root / "ready")
        await executor.stop(handle, "save")
        await until(lambda: _content(root / "said") == b"save\n")
        await executor.stop(handle, "discard")
        assert (await exit_of(executor, handle)).code == 75
        assert (root / "said").read_text() == "save\ndiscard\n"

    @pytest.mark.parametrize("how", ["save", "discard", "kill"])
    async def test_asked_before_it_began_it_leaves(self, executor: Executor, root: Path, how: Stop) -> None:
        handle = await executor.launch(launch(root, SAY + "time.sleep(60)"))
        await executor.stop(handle, how)
        assert (await exit_of(executor, handle)).code in (75, 137, 143)

    async def test_an_old_request_does_not_stop_a_new_start(self, executor: Executor, root: Path) -> None:
        RunDir(root).stop_request.write_text("discard")
        assert (await exit_of(executor, await executor.launch(launch(root, "raise SystemExit(3)")))).code == 3

    async def test_one_that_does_not_listen_is_killed_with_all_it_started(self, executor: Executor, root: Path) -> None:
        handle = await executor.launch(launch(root, IGNORE, grace_seconds=0.2))
        await appears(root / "ready")
        await executor.stop(handle, "discard")
        assert (await exit_of(executor, handle)).signal == 9
        assert is_gone((root / "escaped").read_text())

    async def test_one_that_saves_has_longer(self, executor: Executor, root: Path) -> None:
        handle = await executor.launch(launch(root, IGNORE, grace_seconds=0, save_seconds=60))
        await appears(root / "ready")
        await executor.stop(handle, "save")
        await asyncio.sleep(0.2)
        assert (await executor.look(handle)).liveness == Liveness.ALIVE
        await executor.stop(handle, "discard")
        assert (await exit_of(executor, handle)).signal == 9

    async def test_kill_does_not_ask(self, executor: Executor, root: Path) -> None:
        handle = await executor.launch(launch(root, IGNORE))
        await appears(root / "ready")
        await executor.stop(handle, "kill")
        assert (await exit_of(executor, handle)).signal == 9
        assert is_gone((root / "escaped").read_text())

    async def test_what_it_leaves_behind_ends_with_it(self, executor: Executor, root: Path) -> None:
        code = IGNORE.rpartition("while True")[0]
        handle = await executor.launch(launch(root, code))
        assert (await exit_of(executor, handle)).code == 0
        assert is_gone((root / "escaped").read_text())

    async def test_to_stop_one_that_has_ended_is_no_error(self, executor: Executor, root: Path) -> None:
        handle = await executor.launch(launch(root, "pass"))
        await exit_of(executor, handle)
        for how in ("save", "discard", "kill"):
            await executor.stop(handle, how)
        assert (await exit_of(executor, handle)).code == 0

    async def test_one_that_hangs_tells_where(self, executor: Executor, root: Path) -> None:
        handle = await executor.launch(launch(root, HANG, str(RunDir(root).stacks(1))))
        await appears(root / "ready")
        assert await executor.dump(handle) == "attempts/1/stacks.txt"
        told = (await executor.fetch(handle, "attempts/1/stacks.txt")).read_text()
        assert "spins_for_ever" in told
        assert "state R" in told
        assert (await executor.look(handle)).liveness == Liveness.ALIVE
        await executor.stop(handle, "kill")
        await exit_of(executor, handle)

    async def test_one_that_cannot_tell_is_not_disturbed(self, executor: Executor, root: Path) -> None:
        handle = await executor.launch(launch(root, DEAF))
        await appears(root / "ready")
        path = await executor.dump(handle)
        assert path is not None
        told = (await executor.fetch(handle, path)).read_text()
        assert "os.path.exists" in told, "its command"
        assert "state S" in told or "state R" in told
        (root / "go").touch()
        assert (await exit_of(executor, handle)).code == 0
        assert await executor.dump(handle) is None

    async def test_whoever_looks_sees_which_process_it_is(self, executor: Executor, root: Path) -> None:
        handle = await executor.launch(launch(root, DEAF))
        await appears(root / "ready")
        process = (await executor.look(handle)).process
        assert process is not None
        assert process["trainer"]["pid"] > 0
        assert process["boot_id"]
        (root / "go").touch()
        await exit_of(executor, handle)

    async def test_what_still_runs_is_known_and_can_be_swept(self, executor: Executor, root: Path) -> None:
        order = launch(root, IGNORE)
        handle = await executor.launch(order)
        await appears(root / "ready")
        assert order.nonce in await executor.running()
        await executor.sweep({order.nonce})
        await ended(executor, handle)
        await until(lambda: is_gone((root / "escaped").read_text()))
        assert order.nonce not in await executor.running()

    async def test_events_come_in_whole_lines(self, executor: Executor, root: Path) -> None:
        handle = await executor.launch(launch(root, "pass"))
        assert await executor.read_events(handle, 0) == ([], 0)
        RunDir(root).events.write_bytes(b'{"n":1}\n{"n":')
        assert await executor.read_events(handle, 0) == ([b'{"n":1}'], 8)
        assert await executor.read_events(handle, 8) == ([], 8)
        with RunDir(root).events.open("ab") as file:
            file.write(b"2}\n")
        assert await executor.read_events(handle, 8) == ([b'{"n":2}'], 16)
        await exit_of(executor, handle)

    async def test_files_come_from_the_run_folder_alone(self, executor: Executor, root: Path) -> None:
        handle = await executor.launch(launch(root, "open('made', 'w').write('here')"))
        await exit_of(executor, handle)
        assert (await executor.fetch(handle, "made")).read_text() == "here"
        for path in ("missing", "../outside", "/etc/passwd"):
            with pytest.raises(FileNotFoundError):
                await executor.fetch(handle, path)
