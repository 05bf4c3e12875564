"""The local executor keeps the contract, and what is its own: wrappers, identities, orphans."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runyard.executors import cgroups, environment, processes, wrapper
from runyard.executors.base import LaunchError, Liveness
from runyard.executors.local import LocalExecutor
from runyard.protocol.rundir import RunDir
from runyard.testing.executor_contract import (
    IGNORE,
    OBEY,
    SAY,
    ExecutorContract,
    appears,
    ended,
    exit_of,
    is_gone,
    launch,
    root,
    until,
)

__all__ = ["root"]
WAIT = SAY + "pathlib.Path('ready').touch()\nwhile not os.path.exists('go'): time.sleep(0.01)\nraise SystemExit(5)"


@pytest.fixture
def executor() -> LocalExecutor:
    return LocalExecutor(dict(os.environ) | {"RUNYARD_DATABASE": "postgresql://hunter2"})


class TestLocalExecutor(ExecutorContract):
    pass


def process_of(root: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((RunDir(root).attempt(1) / "process.json").read_text())
    return content


def rewrite(root: Path, **values: Any) -> None:
    path = RunDir(root).attempt(1) / "process.json"
    path.write_text(json.dumps(process_of(root) | values))


def is_missing(path: str) -> bool:
    return not Path(path).exists()


async def orphan(root: Path) -> None:
    guardian = process_of(root)["wrapper"]["pid"]
    os.kill(guardian, signal.SIGKILL)
    await until(lambda: is_gone(guardian))


async def test_the_servers_secrets_stay_with_the_server(executor: LocalExecutor, root: Path) -> None:
    await exit_of(executor, await executor.launch(launch(root, SAY + "print(dict(os.environ))")))
    assert "hunter2" not in (RunDir(root).attempt(1) / "stdout.log").read_text()
    assert not any("hunter2" in path.read_text() for path in RunDir(root).attempt(1).iterdir())


def test_what_training_needs_is_passed_on_and_no_secret() -> None:
    needed = {"PATH": "/bin", "HF_HOME": "/models", "OMP_NUM_THREADS": "2", "RUNYARD_CACHE": "/cache"}
    secret = ("HF_TOKEN", "HF_HUB_TOKEN", "NVIDIA_API_KEY", "TORCH_PASSWORD", "RUNYARD_DATABASE_URL", "AWS_SECRET")
    assert environment.for_trainer(needed | dict.fromkeys(secret, "hunter2")) == needed


async def test_secrets_come_to_it_again_when_the_launcher_was_lost(executor: LocalExecutor, root: Path) -> None:
    """What they travel in was read by nobody then."""
    code = SAY + "sys.exit(0 if os.environ['MINE'] == 'hunter2' else 1)"
    first, second = root / "first", root / "second"
    for place in (first, second):
        place.mkdir()
    assert (await exit_of(executor, await executor.launch(launch(first, code, secrets={"MINE": "hunter2"})))).code == 0
    assert executor.launcher is not None
    os.kill(executor.launcher, signal.SIGKILL)
    handle = await executor.launch(launch(second, code, secrets={"MINE": "hunter2"}))
    assert (await exit_of(executor, handle)).code == 0


async def test_one_that_ended_by_itself_before_the_wish_came_is_not_told(executor: LocalExecutor, root: Path) -> None:
    """Its wrapper has not yet noticed either: what was done is kept."""
    code = WAIT.replace("SystemExit(5)", "SystemExit(0)")
    after = ["/bin/sh", "-c", "touch kept"]
    order = launch(root, "open('final/x', 'w').close()\n" + code, folders=[root / "final"], after=after)
    handle = await executor.launch(order)
    await appears(root / "ready")
    process = process_of(root)
    os.kill(process["wrapper"]["pid"], signal.SIGSTOP)
    (root / "go").touch()
    await until(lambda: is_gone(process["trainer"]["pid"]))
    await executor.stop(handle, "discard")
    os.kill(process["wrapper"]["pid"], signal.SIGCONT)
    record = await exit_of(executor, handle)
    assert (record.code, record.told) == (0, False)
    assert (root / "kept").exists()


async def test_another_executor_finds_it_alive_and_reads_its_exit(executor: LocalExecutor, root: Path) -> None:
    handle = await executor.launch(launch(root, WAIT))
    await appears(root / "ready")
    second = LocalExecutor({})
    assert (await second.look(handle)).liveness == Liveness.ALIVE
    (root / "go").touch()
    assert (await exit_of(second, handle)).code == 5
    await exit_of(executor, handle)


async def test_no_zombie_is_left(executor: LocalExecutor, root: Path) -> None:
    handle = await executor.launch(launch(root, "pass"))
    await exit_of(executor, handle)
    assert wrapper.stat_fields(process_of(root)["wrapper"]["pid"]) is None


async def test_an_orphan_is_still_alive_can_be_stopped_and_leaves_nothing(executor: LocalExecutor, root: Path) -> None:
    handle = await executor.launch(launch(root, OBEY, "discard"))
    await appears(root / "ready")
    await orphan(root)
    assert (await executor.look(handle)).liveness == Liveness.ALIVE
    await executor.stop(handle, "discard")
    look = await ended(executor, handle)
    assert (look.exit, look.detail) == (None, "its process is gone and left no exit record")
    cgroup = process_of(root)["cgroup"]
    await executor.stop(handle, "kill")
    assert cgroup is None or is_missing(cgroup)


async def test_an_orphan_that_does_not_listen_is_killed_with_all_it_started(
    executor: LocalExecutor, root: Path
) -> None:
    handle = await executor.launch(launch(root, IGNORE))
    await appears(root / "ready")
    process = process_of(root)
    await orphan(root)
    await executor.stop(handle, "kill")
    await ended(executor, handle)
    await until(lambda: is_gone((root / "escaped").read_text()))
    await executor.stop(handle, "kill")
    assert process["cgroup"] is None or is_missing(process["cgroup"])


async def test_a_stranger_with_the_same_number_is_not_touched(executor: LocalExecutor, root: Path) -> None:
    """The record says that the number belonged to an earlier process."""
    handle = await executor.launch(launch(root, WAIT))
    await appears(root / "ready")
    true = process_of(root)
    earlier = {
        which: {**true[which], "start_ticks": true[which]["start_ticks"] - 100} for which in ("wrapper", "trainer")
    }
    rewrite(root, **earlier)
    assert (await executor.look(handle)).liveness == Liveness.DEAD
    await executor.stop(handle, "discard")
    assert not is_gone(true["trainer"]["pid"])
    rewrite(root, **true)
    (root / "go").touch()
    assert (await exit_of(executor, handle)).code == 5


async def test_a_stranger_without_our_nonce_is_not_our_wrapper(executor: LocalExecutor, root: Path) -> None:
    record = {
        "nonce": "other",
        "boot_id": wrapper.boot_id(),
        "wrapper": wrapper.identity(os.getpid()),
        "trainer": wrapper.identity(os.getpid()),
    }
    assert not processes.Process.of(record, "wrapper").is_alive()
    assert processes.Process.of(record, "trainer").is_alive()


async def test_a_restarted_machine_is_told_apart(executor: LocalExecutor, root: Path) -> None:
    handle = await executor.launch(launch(root, WAIT))
    await appears(root / "ready")
    true = process_of(root)
    rewrite(root, boot_id="another")
    look = await executor.look(handle)
    assert (look.liveness, look.restarted) == (Liveness.DEAD, True)
    rewrite(root, **true)
    await executor.stop(handle, "kill")
    await exit_of(executor, handle)


async def test_what_cannot_be_read_is_unknown(executor: LocalExecutor, root: Path) -> None:
    handle = await executor.launch(launch(root, WAIT))
    await appears(root / "ready")
    true = process_of(root)
    (RunDir(root).attempt(1) / "process.json").write_text("{half")
    look = await executor.look(handle)
    assert look.liveness == Liveness.UNKNOWN
    assert "process.json" in look.detail
    (RunDir(root).attempt(1) / "process.json").write_text(json.dumps(true))
    await executor.stop(handle, "kill")
    await exit_of(executor, handle)


async def test_a_folder_of_another_attempt_is_refused(executor: LocalExecutor, root: Path) -> None:
    await exit_of(executor, await executor.launch(launch(root, "pass")))
    with pytest.raises(LaunchError, match="another attempt"):
        await executor.launch(launch(root, "pass"))


async def test_the_cgroup_is_removed_or_its_absence_explained(executor: LocalExecutor, root: Path) -> None:
    await exit_of(executor, await executor.launch(launch(root, "pass")))
    process = process_of(root)
    assert bool(process["cgroup"]) != bool(process["cgroup_error"])
    assert process["cgroup"] is None or is_missing(process["cgroup"])


async def test_a_folder_that_cannot_be_written_is_a_clear_error(executor: LocalExecutor, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(LaunchError, match="can't be started"):
        await executor.launch(launch(blocked, "pass"))


def test_a_cgroup_is_tried_before_it_is_promised() -> None:
    missing = cgroups.missing()
    assert (missing is None) == any(os.access(f"{mount}{wrapper.own_cgroup()}", os.W_OK) and is_version_two(mount)
                                    for mount in wrapper.CGROUP_MOUNTS)  # fmt: skip
    assert not cgroups.of(f"probe-{os.getpid()}")


def is_version_two(mount: str) -> bool:
    return Path(mount, "cgroup.procs").exists()


INTO_A_CGROUP = """
import os, sys
from runyard.executors import wrapper

wrapper.SYS_CLONE3 = int(sys.argv[1])
cgroup, error = wrapper.make_cgroup(f"test-{os.getpid()}")
waiting, gate = os.pipe()
pid = wrapper.fork_into(cgroup)
if pid == 0:
    os.read(waiting, 1)
    os._exit(0 if os.path.basename(cgroup) in wrapper.read("/proc/self/cgroup") else 1)
before = str(pid) in wrapper.read(f"{cgroup}/cgroup.procs").split()
error = wrapper.put_into(cgroup, pid)
os.write(gate, b"1")
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
os.rmdir(cgroup)
print(before, error, code)
"""


@pytest.mark.parametrize(("call", "begins_inside"), [(wrapper.SYS_CLONE3, True), (-1, False)])
def test_a_trainer_is_in_its_cgroup_also_where_the_kernel_has_to_move_it(call: int, begins_inside: bool) -> None:
    """The other number stands for a kernel, or a container's filter of calls, that does not know it."""
    if missing := cgroups.missing():
        pytest.skip(missing)
    command = [sys.executable, "-c", INTO_A_CGROUP, str(call)]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert found == f"{begins_inside} None 0\n"


async def test_a_sweep_leaves_no_cgroup(executor: LocalExecutor, root: Path) -> None:
    order = launch(root, IGNORE)
    handle = await executor.launch(order)
    await appears(root / "ready")
    await executor.sweep({order.nonce})
    await ended(executor, handle)
    assert cgroups.of(order.nonce) == []


async def test_an_end_is_heard_of_by_who_launched_and_by_who_came_later(executor: LocalExecutor, root: Path) -> None:
    handle = await executor.launch(launch(root, WAIT))
    await appears(root / "ready")
    hearing = [asyncio.create_task(each.ended(handle)) for each in (executor, LocalExecutor({}))]
    done, _ = await asyncio.wait(hearing, timeout=0.2)
    assert not done
    (root / "go").touch()
    async with asyncio.timeout(20):
        await asyncio.gather(*hearing)
    assert (await executor.look(handle)).liveness == Liveness.DEAD
    await LocalExecutor({}).ended(handle)


def test_a_cgroup_tells_of_its_own_kills_and_the_machine_only_where_it_does_not(tmp_path: Path) -> None:
    before = wrapper.machine_oom_kills()
    assert wrapper.oom_kills(None, before) == (None if before is None else 0)
    assert wrapper.oom_kills(str(tmp_path), None) is None
    (tmp_path / "memory.events").write_text("low 0\noom 2\noom_kill 2\noom_group_kill 0\n")
    assert wrapper.oom_kills(str(tmp_path), before) == 2


async def test_who_runs_out_of_its_cgroups_memory_is_known_by_it(executor: LocalExecutor, root: Path) -> None:
    """Limited by the test once it runs; needs a cgroup with the memory controller."""
    code = WAIT.rpartition("raise")[0] + "kept = [bytearray(1 << 20) for _ in range(512)]"
    handle = await executor.launch(launch(root, code))
    await appears(root / "ready")
    cgroup = process_of(root)["cgroup"]
    if is_missing(f"{cgroup}/memory.max"):
        await executor.stop(handle, "kill")
        await exit_of(executor, handle)
        pytest.skip("cgroups here don't count memory")
    wrapper.put(f"{cgroup}/memory.max", str(64 << 20))
    wrapper.write_quietly(f"{cgroup}/memory.swap.max", "0")
    (root / "go").touch()
    record = await exit_of(executor, handle)
    assert (record.signal, record.oom_kills) == (9, 1)
