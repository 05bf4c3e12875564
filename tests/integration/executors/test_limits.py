"""What a job gets at most: written into its cgroup before it begins, or it does not begin."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from runyard.executors import cgroups, confinement, wrapper
from runyard.executors.base import Limits
from runyard.executors.local import LocalExecutor
from runyard.protocol.rundir import RunDir
from runyard.testing.executor_contract import SAY, exit_of, launch, root

__all__ = ["root"]
GREEDY = SAY + "kept = [bytearray(1 << 20) for _ in range(512)]"


def has_controllers() -> bool:
    """Do cgroups that are made beside our own have limits?"""
    places = [Path(f"{mount}{wrapper.place()}", "cgroup.subtree_control") for mount in wrapper.CGROUP_MOUNTS]
    return any({"memory", "pids"} <= set(place.read_text().split()) for place in places if place.exists())


@pytest.fixture
def executor() -> LocalExecutor:
    return LocalExecutor(dict(os.environ))


@pytest.fixture
def cgroup() -> Iterator[str]:
    path, error = wrapper.make_cgroup(f"limits-{os.getpid()}")
    if path is None:
        pytest.skip(f"no cgroup here: {error}")
    yield path
    wrapper.remove_quietly(path)


def test_what_is_written_where() -> None:
    assert cgroups.files(Limits()) == {"pids.max": "32768"}
    memory = {"memory.max": str(16 << 30), "memory.swap.max": "0", "memory.oom.group": "1"}
    assert cgroups.files(Limits(16 << 30, 1.5, 100)) == {"pids.max": "100", **memory, "cpu.max": "150000 100000"}


def test_limits_are_in_force_or_it_is_told_why_not(cgroup: str) -> None:
    assert confinement.limit(cgroup, {"cgroup.max.descendants": "7"}) is None
    assert Path(cgroup, "cgroup.max.descendants").read_text().strip() == "7"
    refused = confinement.limit(cgroup, {"cgroup.max.descendants": "many"})
    assert refused is not None
    assert "cgroup.max.descendants" in str(confinement.limit(cgroup, {"cgroup.max.descendants.no": "1"}))
    Path(cgroup, "cgroup.max.descendants").write_text("max")


def test_the_server_makes_way_for_those_of_jobs(tmp_path: Path) -> None:
    place = Path(f"{tmp_path}{wrapper.place()}")
    place.mkdir(exist_ok=True, parents=True)
    (tmp_path / "cgroup.procs").touch()
    (place / "cgroup.procs").write_text("7\n8\n")
    (place / "cgroup.controllers").write_text("cpu memory")
    assert "no controller pids" in str(cgroups.make_way([str(tmp_path)]))
    (place / "cgroup.controllers").write_text("cpuset cpu io memory pids")
    assert cgroups.make_way([str(tmp_path)]) is None
    assert (place / wrapper.SERVERS / "cgroup.procs").read_text() == "8", "one after the other is put there"
    assert (place / "cgroup.subtree_control").read_text() == "+memory +pids +cpu"
    assert cgroups.make_way([str(tmp_path / "nothing")]) == "no cgroup v2 is mounted"


async def test_a_trainer_that_can_not_be_held_to_them_is_not_started(executor: LocalExecutor, root: Path) -> None:
    if has_controllers():
        pytest.skip("here it can be")
    order = replace(launch(root, "open('ran', 'w')"), limits=Limits(1 << 30))
    assert (await exit_of(executor, await executor.launch(order))).code == 127
    assert not (root / "ran").exists()
    said = (RunDir(root).attempt(1) / "stderr.log").read_text()
    assert said.startswith("could not start ")
    assert "limits" in said


async def test_one_that_needs_more_memory_is_ended_with_all_it_started(executor: LocalExecutor, root: Path) -> None:
    if not has_controllers():
        pytest.skip("cgroups here have no limits")
    order = replace(launch(root, GREEDY), limits=Limits(64 << 20))
    record = await exit_of(executor, await executor.launch(order))
    assert record.signal == 9
    assert (record.oom_kills or 0) > 0


def test_a_server_that_can_not_enforce_them_does_not_start(tmp_path: Path) -> None:
    lacking = all(
        "memory" not in place.read_text().split()
        for mount in wrapper.CGROUP_MOUNTS
        if (place := Path(f"{mount}{wrapper.place()}", "cgroup.controllers")).exists()
    )
    if not lacking:
        pytest.skip("here it may be able to, and would put itself elsewhere")
    environment = {**os.environ, "RUNYARD_HOME": str(tmp_path), "RUNYARD_ENFORCE_LIMITS": "true"}
    command = [sys.executable, "-m", "runyard.cli.main", "serve", "--port", "0"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "RUNYARD_ENFORCE_LIMITS" in done.stderr
