"""Trainers on this machine, each under a wrapper of its own that outlives the server."""

import asyncio
import fcntl
import json
import os
import signal
import threading
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from runyard.executors import cgroups, environment, handover, processes, stacks, wrapper
from runyard.executors.base import ExitRecord, Handle, Launch, LaunchError, Liveness, Look, Stop
from runyard.executors.launcher import NONCE_VARIABLE
from runyard.executors.launching import LauncherGoneError, Launching, in_memory
from runyard.executors.processes import Process
from runyard.protocol.rundir import RunDir, read_complete_lines, write_atomically

LAST_BREATH_SECONDS = 1.0  # between a wrapper's exit record, or a kill, and the end
EXIT_FIELDS = ("code", "signal", "started_at", "ended_at", "oom_kills", "told")
THEIR_FAULT = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError)
"""Somebody has removed the run folder, or the job has put something else there; it is stopped all the same."""
EVENTS_AT_ONCE = 1 << 15  # bytes: two hundred lines, which keep the server busy for some hundredths of a second


class LocalExecutor:
    """`environ` is the server's environment; a trainer gets only what it needs of it."""

    name = "local"

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._launcher = Launching(environment.for_trainer(environ))
        self._launching = threading.Lock()
        self._wrappers: dict[str, Process] = {}

    @property
    def launcher(self) -> int | None:
        """The process that starts wrappers, if there is one now."""
        return self._launcher.pid

    async def launch(self, launch: Launch) -> Handle:
        return await asyncio.to_thread(self._launch, launch)

    async def find(self, launch: Launch) -> Handle | None:
        folder = RunDir(launch.run_dir).attempt(launch.attempt)
        happened = (folder / "process.json").exists() or _is_locked(folder)
        return _handle(launch) if happened else None

    async def look(self, handle: Handle) -> Look:
        try:
            return await asyncio.to_thread(self._look, handle)
        except OSError as error:
            return Look(Liveness.UNKNOWN, detail=str(error))

    async def ended(self, handle: Handle) -> None:
        with suppress(OSError):
            pidfd = await asyncio.to_thread(self._wrapper_pidfd, handle)
            if pidfd is not None:
                await _readable(pidfd)

    async def read_events(self, handle: Handle, offset: int) -> tuple[list[bytes], int]:
        path = _events(handle["run_dir"])
        with suppress(FileNotFoundError):
            if os.stat(path).st_size != offset:
                return await asyncio.to_thread(_read_events, Path(path), offset)
        return [], offset

    async def stop(self, handle: Handle, how: Stop) -> None:
        await asyncio.to_thread(_stop, handle, how)

    async def dump(self, handle: Handle) -> str | None:
        return await asyncio.to_thread(_dump, handle)

    async def running(self) -> set[str]:
        return await asyncio.to_thread(_running)

    async def remains(self) -> set[str]:
        return await asyncio.to_thread(cgroups.nonces)

    async def sweep(self, nonces: Collection[str]) -> None:
        for nonce in nonces:
            await asyncio.to_thread(_sweep, nonce)

    async def fetch(self, handle: Handle, path: str) -> Path:
        return await asyncio.to_thread(_inside, Path(handle["run_dir"]), path)

    def _launch(self, launch: Launch) -> Handle:
        """One at a time: a launcher that another thread starts would have our lock for a moment."""
        try:
            with self._launching:
                with suppress(LauncherGoneError):  # its death may have nothing to do with us
                    return self._launch_once(launch)
                return self._launch_once(launch)
        except OSError as error:
            raise LaunchError(f"the trainer can't be started: {error.strerror or error}") from error

    def _launch_once(self, launch: Launch) -> Handle:
        """The wrapper inherits the lock, which is never free between our taking it and the wrapper's end."""
        rundir = RunDir(launch.run_dir)
        folder = rundir.attempt(launch.attempt)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("a") as lock, (folder / "wrapper.log").open("a") as log:
            if _take(lock.fileno()) and not _has_run(folder, launch.nonce):
                rundir.stop_request.unlink(missing_ok=True)
                write_atomically(folder / "launch.json", json.dumps(_order(launch)), durable=False)
                if launch.user is not None:
                    handover.hand_over(rundir, launch.user, launch.attempt)
                    handover.let_read(launch.reads, launch.user)
                with in_memory(launch.secrets) as secrets:
                    guardian = self._launcher.fork(launch.nonce, folder, lock.fileno(), log.fileno(), *secrets)
                self._wrappers[launch.nonce] = guardian
        return _handle(launch)

    def _look(self, handle: Handle) -> Look:
        look = _look(_folder(handle), handle["nonce"])
        if look.liveness == Liveness.DEAD and (last := self._wrappers.pop(handle["nonce"], None)):
            last.wait(LAST_BREATH_SECONDS, self.launcher)
        return look

    def _wrapper_pidfd(self, handle: Handle) -> int | None:
        guardian = self._wrappers.get(handle["nonce"])
        if guardian is None and (record := _read_json(_folder(handle) / "process.json")) is not None:
            guardian = Process.of(record, "wrapper")
        if guardian is None:
            return None
        with guardian.handle() as pidfd:
            return None if pidfd is None else os.dup(pidfd)


async def _readable(pidfd: int) -> None:
    """Until the process has ended; closes the descriptor."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    try:
        loop.add_reader(pidfd, ended.set)
        await ended.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)


def _order(launch: Launch) -> dict[str, Any]:
    """The content of launch.json."""
    devices = {
        "CUDA_VISIBLE_DEVICES": ",".join(map(str, launch.gpus)),
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # CUDA would count the fastest first, the inventory counts by slot
    }
    return {
        "argv": list(launch.argv),
        "env": {"PYTHONUNBUFFERED": "1", **launch.env, **devices, NONCE_VARIABLE: launch.nonce},
        "cwd": str(launch.cwd or launch.run_dir),
        "folders": [str(folder) for folder in launch.folders],
        "after": list(launch.after),
        "results": str(RunDir(launch.run_dir).final),
        "user": launch.user and {"uid": launch.user.uid, "gid": launch.user.gid},
        "limits": launch.limits and cgroups.files(launch.limits),
        "nonce": launch.nonce,
        "grace_seconds": launch.grace_seconds,
        "save_seconds": launch.save_seconds,
        "stop_request": str(RunDir(launch.run_dir).stop_request),
    }


def _look(folder: Path, nonce: str) -> Look:
    if (ended := _read_exit(folder)) is not None:
        return ended
    process = _read_json(folder / "process.json")
    if process is None:
        if _is_locked(folder):
            return Look(Liveness.ALIVE, detail="it is being started")
        detail = "it was never started"
    elif process["nonce"] != nonce:
        return Look(Liveness.DEAD, detail="its folder belongs to another attempt")
    elif Process.of(process, "wrapper").is_alive() or Process.of(process, "trainer").is_alive():
        return Look(Liveness.ALIVE, process=process)
    elif process["boot_id"] != wrapper.boot_id():
        restarted = Look(Liveness.DEAD, detail="the machine was restarted", process=process, restarted=True)
        return _read_exit(folder) or restarted
    else:
        detail = "its process is gone and left no exit record"
    # It may have written the record and left while we looked.
    return _read_exit(folder) or Look(Liveness.DEAD, detail=detail, process=process)


def _read_exit(folder: Path) -> Look | None:
    record = _read_json(folder / "exit.json")
    if record is None:
        return None
    return Look(Liveness.DEAD, ExitRecord(**{name: record[name] for name in EXIT_FIELDS if name in record}))


def _stop(handle: Handle, how: Stop) -> None:
    folder = _folder(handle)
    request = RunDir(Path(handle["run_dir"])).stop_request
    with suppress(*THEIR_FAULT):
        write_atomically(request, "save" if how == "save" else "discard")
        handover.share(request)
    process = _read_json(folder / "process.json")
    if process is None or process["nonce"] != handle["nonce"]:
        return  # a wrapper that has not come so far will see the request
    if how == "kill":
        _kill(process)
    elif not Process.of(process, "wrapper").send(signal.SIGTERM):
        Process.of(process, "trainer").send(signal.SIGTERM)


def _dump(handle: Handle) -> str | None:
    process = _read_json(_folder(handle) / "process.json")
    if process is None or process["nonce"] != handle["nonce"]:
        return None
    rundir = RunDir(Path(handle["run_dir"]))
    file = rundir.stacks(handle["attempt"])
    return str(file.relative_to(rundir.root)) if stacks.dump(file, lambda: _members(process)) else None


def _members(process: dict[str, Any]) -> list[int]:
    """The trainer, then all that it started."""
    if not Process.of(process, "trainer").is_alive():
        return []
    guardian, trainer = process["wrapper"]["pid"], process["trainer"]["pid"]
    started = {*wrapper.descendants(trainer), *processes.with_nonce(process["nonce"])}
    return [trainer, *sorted(started - {guardian, trainer})]


def _kill(process: dict[str, Any]) -> None:
    """End the trainer and all it started; its wrapper, if there, lives on to record it."""
    if process["cgroup"] and process["boot_id"] == wrapper.boot_id():
        wrapper.write_quietly(f"{process['cgroup']}/cgroup.kill", "1")
    Process.of(process, "trainer").send(signal.SIGKILL)
    guardian = Process.of(process, "wrapper")
    alive = guardian.send(signal.SIGCONT)
    processes.kill_with_nonce(process["nonce"], spare=guardian.pid if alive else None)
    if process["cgroup"] and not alive:
        _remove_when_empty(process["cgroup"])


def _running() -> set[str]:
    """Not the one that we may have been started from ourselves."""
    return set(processes.nonces().values()) - {processes.nonce_of(os.getpid())}


def _sweep(nonce: str) -> None:
    places = cgroups.of(nonce)
    for place in places:
        wrapper.write_quietly(f"{place}/cgroup.kill", "1")
    processes.kill_with_nonce(nonce)
    for place in places:
        _remove_when_empty(str(place))


def _remove_when_empty(cgroup: str) -> None:
    give_up = time.monotonic() + LAST_BREATH_SECONDS
    while os.path.exists(cgroup) and time.monotonic() < give_up:
        wrapper.remove_quietly(cgroup)
        time.sleep(0.001)


@lru_cache(1024)
def _events(run_dir: str) -> str:
    """Asked for a hundred times a second for each that runs."""
    return str(RunDir(Path(run_dir)).events)


def _read_events(path: Path, offset: int) -> tuple[list[bytes], int]:
    if path.stat().st_size < offset:
        return [], 0
    return read_complete_lines(path, offset, EVENTS_AT_ONCE)


def _inside(root: Path, path: str) -> Path:
    found = (root / path).resolve(strict=True)
    if not found.is_relative_to(root.resolve()):
        raise FileNotFoundError(f"{path} is not in the run folder")
    return found


def _handle(launch: Launch) -> Handle:
    return {"run_dir": str(launch.run_dir), "attempt": launch.attempt, "nonce": launch.nonce}


def _folder(handle: Handle) -> Path:
    return RunDir(Path(handle["run_dir"])).attempt(handle["attempt"])


def _has_run(folder: Path, nonce: str) -> bool:
    process = _read_json(folder / "process.json")
    if process is not None and process["nonce"] != nonce:
        raise LaunchError("its folder belongs to another attempt; was the database set back?")
    return process is not None


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise OSError(f"{path} can't be read: {error}") from error
    return content


def _is_locked(folder: Path) -> bool:
    try:
        with (folder / "lock").open("a") as lock:
            return not _take(lock.fileno())
    except (FileNotFoundError, NotADirectoryError):
        return False


def _take(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
