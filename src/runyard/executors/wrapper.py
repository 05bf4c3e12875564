"""Runs one trainer and sees it to its end: `python -S -E -P wrapper.py ATTEMPT_DIR LOCK_FD`.

Standard library only and two files, so that it starts in no time and can be sent to any machine. It belongs to nobody:
the server may come and go. It reads launch.json; writes process.json before the trainer's first instruction and
exit.json when nothing of the trainer is left.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time

TYPE_CHECKING = False  # every import costs milliseconds, before each trainer
if TYPE_CHECKING:
    from typing import Any, NoReturn
if TYPE_CHECKING or __package__:
    from runyard.executors import confinement
else:
    sys.path.append(os.path.dirname(__file__))
    import confinement

PR_SET_CHILD_SUBREAPER = 36
SYS_CLONE3, CLONE_INTO_CGROUP = 435, 1 << 33  # on every architecture
EXIT_STOPPED = 75
GO, UNLIMITED = b"1", b"0"
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
DEFAULTS = (signal.SIGPIPE, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
"""What a trainer does on these is not to depend on how the server was started: `nohup` would have it ignore one."""
CGROUP_MOUNTS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
SERVERS = "runyard.server"
CLEANUP_SECONDS = 10.0
OOM_SCORE = "500"  # when memory runs out, a trainer goes before the server does


def main(folder: str, lock: int, secrets: int | None = None) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    os.set_inheritable(lock, False)  # held until we end: what has it is alive
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    launch = json.loads(read(f"{folder}/launch.json"))
    if secrets is not None:
        with open(secrets, "rb") as file:  # closed before there is a trainer, that it has no descriptor of it
            launch["env"] = json.load(file) | launch["env"]
    started_at, killed_before = time.time(), machine_oom_kills()
    cgroup, cgroup_error = make_cgroup(launch["nonce"])
    limits = launch.get("limits") or {}
    if cgroup and (cgroup_error := confinement.limit(cgroup, limits)):
        remove_quietly(cgroup)
        cgroup = None
    trainer, gate = fork_trainer(folder, launch, cgroup)
    if cgroup and (cgroup_error := put_into(cgroup, trainer)):
        cgroup = None
    process = {
        "nonce": launch["nonce"],
        "boot_id": boot_id(),
        "wrapper": identity(os.getpid()),
        "trainer": identity(trainer),
        "cgroup": cgroup,
        "cgroup_error": cgroup_error,
    }
    write_patiently(f"{folder}/process.json", process, durable=False)
    # Who asks to stop writes the request first and looks for process.json second, so one of us sees the other.
    if not os.path.exists(launch["stop_request"]):
        os.write(gate, GO if cgroup or not limits else UNLIMITED)
    os.close(gate)
    status, told = wait(trainer, launch, cgroup)
    oom = oom_kills(cgroup, killed_before)
    left = end_leftovers(cgroup)
    if status == 0 and not told and not left and has_results(launch):
        status = keep_results(folder, launch)
        left = end_leftovers(None)
    write_exit(folder, status, started_at, left, oom, told=told)


def fork_trainer(folder: str, launch: dict[str, Any], cgroup: str | None) -> tuple[int, int]:
    """A child that becomes the trainer once a byte comes through the gate; if we die before, it just leaves."""
    waiting, gate = os.pipe()
    pid = fork_into(cgroup) if cgroup else os.fork()
    if pid == 0:
        try:
            os.close(gate)
            become_trainer(folder, launch, waiting)
        except BaseException as error:  # noqa: BLE001 - a forked child must never return to its parent's code
            complain(f"could not start {launch['argv'][0]}: {error}\n")
        os._exit(127)
    os.close(waiting)
    return pid, gate


def fork_into(cgroup: str) -> int:
    """A fork whose child begins in the cgroup, if the kernel can do that. To move a process makes all others that fork
    wait until every processor has come by, which takes 10 ms and more."""
    system, python = ctypes.PyDLL(None), ctypes.pythonapi
    try:
        directory = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return os.fork()
    flags, exit_signal, place = 0, 4, 10  # of the eleven fields of struct clone_args
    fields = (ctypes.c_uint64 * 11)()
    fields[flags], fields[exit_signal], fields[place] = CLONE_INTO_CGROUP, signal.SIGCHLD, directory
    python.PyOS_BeforeFork()
    pid: int = system.syscall(SYS_CLONE3, ctypes.byref(fields), ctypes.c_size_t(ctypes.sizeof(fields)))
    if pid == 0:
        python.PyOS_AfterFork_Child()
    else:
        python.PyOS_AfterFork_Parent()
    os.close(directory)
    return pid if pid >= 0 else os.fork()


def become_trainer(folder: str, launch: dict[str, Any], waiting: int) -> NoReturn:
    os.setpgid(0, 0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "stdout.log"), (2, "stderr.log")):
        os.dup2(os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), number)
    confinement.limit_everybody()
    for number in DEFAULTS:
        signal.signal(number, signal.SIG_DFL)
    if launch.get("deaf"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    write_quietly("/proc/self/oom_score_adj", OOM_SCORE)
    word = os.read(waiting, 1)
    if not word:
        os._exit(EXIT_STOPPED)
    if word == UNLIMITED:
        raise OSError("it can't be held to its limits, for want of a cgroup that can")
    if user := launch.get("user"):
        confinement.give_logs(user)
        confinement.become(user)
    for path in launch["folders"]:
        os.makedirs(path, exist_ok=True)
    os.chdir(launch["cwd"])
    os.execvpe(launch["argv"][0], launch["argv"], os.environ | launch["env"])


def wait(trainer: int, launch: dict[str, Any], cgroup: str | None) -> tuple[int, bool]:
    """The trainer's wait status, and whether it was told to stop while it lived, so that code 0 may be only obedience.

    On SIGTERM it is told, and killed when its time is over.
    """
    deadline, told = float("inf"), False
    while (status := reap(trainer)) is None:
        seconds = min(3600.0, deadline - time.monotonic())
        got = signal.sigtimedwait(SIGNALS, max(0.0, seconds))
        if got is not None and got.si_signo == signal.SIGTERM:
            told = told or not has_ended(trainer)
            os.kill(trainer, signal.SIGTERM)  # to it alone: its workers must live while it saves
            deadline = min(deadline, time.monotonic() + allowance(launch))
        elif time.monotonic() >= deadline:
            kill_all(cgroup)
            deadline = time.monotonic() + 1
    return status, told


def has_ended(child: int) -> bool:
    """Ended before we came to collect it."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def has_results(launch: dict[str, Any]) -> bool:
    return bool(launch["after"]) and os.path.isdir(launch["results"]) and any(os.scandir(launch["results"]))


def keep_results(folder: str, launch: dict[str, Any]) -> int:
    """Run what comes after the trainer, in an environment that the job has not touched; its wait status.

    A wish to stop comes too late for it, but has its usual time limit.
    """
    plain = {"argv": launch["after"], "cwd": os.path.dirname(launch["results"]), "env": {}, "deaf": True}
    keeper, gate = fork_trainer(folder, launch | plain, None)
    os.write(gate, GO)
    os.close(gate)
    return wait(keeper, launch, None)[0]


def allowance(launch: dict[str, Any]) -> float:
    """Seconds that the trainer has from now."""
    try:
        discard = read(launch["stop_request"]).strip() == "discard"
    except OSError:
        discard = False
    return float(launch["grace_seconds"] if discard else launch["save_seconds"])


def reap(wanted: int = 0) -> int | None:
    """Collect every child that has ended; the status of the wanted one if it is among them."""
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == wanted:
            found = status


def end_leftovers(cgroup: str | None) -> list[int]:
    """Kill and collect all that the trainer left behind; the pids that would not die."""
    give_up = time.monotonic() + CLEANUP_SECONDS
    while (left := all_below()) and time.monotonic() < give_up:
        kill_all(cgroup)
        signal.sigtimedwait((signal.SIGCHLD,), 0.05)
        reap()
    if cgroup and not left:
        remove_quietly(cgroup)
    return left


def kill_all(cgroup: str | None) -> None:
    """SIGKILL to every descendant: as a subreaper we are the parent of those that ran away, too."""
    if cgroup:
        write_quietly(f"{cgroup}/cgroup.kill", "1")
    for pid in all_below():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def all_below() -> list[int]:
    """Our descendants. Who has no child has none, since orphans become ours; else all of /proc is read."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return []
    return descendants(os.getpid())


def descendants(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (fields := stat_fields(int(name))):
            children.setdefault(int(fields[1]), []).append(int(name))
    found = list(children.get(root, ()))
    for pid in found:
        found.extend(children.get(pid, ()))
    return found


def make_cgroup(nonce: str) -> tuple[str | None, str | None]:
    """A cgroup for one trainer; or none, and why."""
    error = "no cgroup v2 is mounted"
    for mount in CGROUP_MOUNTS:
        if not os.path.exists(f"{mount}/cgroup.procs"):
            continue
        path = f"{mount}{place()}/runyard-{nonce}"
        try:
            os.mkdir(path)
            os.stat(f"{path}/cgroup.kill")
        except OSError as failure:
            error = str(failure)
            remove_quietly(path)
        else:
            return path, None
    return None, error


def put_into(cgroup: str, pid: int) -> str | None:
    """A process that has not begun yet; if it has to stay outside, why."""
    members = f"{cgroup}/cgroup.procs"
    try:
        if str(pid) not in read(members).split():
            put(members, str(pid))
    except OSError as failure:
        remove_quietly(cgroup)
        return str(failure)
    return None


def place() -> str:
    """Where the cgroups of trainers are made: beside the server's, where limits had it go into one of its own."""
    return own_cgroup().removesuffix(f"/{SERVERS}")


def own_cgroup() -> str:
    lines = read("/proc/self/cgroup").splitlines()
    return next((line[3:].rstrip("/") for line in lines if line.startswith("0::")), "")


def stat_fields(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat from the state on (field 3); None if there is no such process."""
    try:
        return read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def identity(pid: int) -> dict[str, int | None]:
    fields = stat_fields(pid)
    return {"pid": pid, "start_ticks": int(fields[19]) if fields else None}


def boot_id() -> str:
    return read("/proc/sys/kernel/random/boot_id").strip()


def oom_kills(cgroup: str | None, before: int | None) -> int | None:
    """How many processes the kernel has ended for want of memory: of the cgroup, which began with none; of the whole
    machine, where that doesn't tell."""
    if (found := counter(f"{cgroup}/memory.events", "oom_kill")) is not None:
        return found
    after = machine_oom_kills()
    return None if before is None or after is None else after - before


def machine_oom_kills() -> int | None:
    return counter("/proc/vmstat", "oom_kill")


def counter(path: str, name: str) -> int | None:
    """The value on the line of a name; None without file or line."""
    try:
        found = [line.split()[1] for line in read(path).splitlines() if line.startswith(f"{name} ")]
    except OSError:
        return None
    return int(found[0]) if found else None


def write_exit(folder: str, status: int, started_at: float, left: list[int], oom: int | None, *, told: bool) -> None:
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
    record = {
        "code": 128 + number if number else os.WEXITSTATUS(status),
        "signal": number,
        "started_at": started_at,
        "ended_at": time.time(),
        "left": left,
        "oom_kills": oom,
        "told": told,
    }
    write_patiently(f"{folder}/exit.json", record, durable=True)


def write_patiently(path: str, content: dict[str, Any], *, durable: bool) -> None:
    """A full disk must not turn a job into a lost one: it is tried again until there is room."""
    while True:
        try:
            return write(path, content, durable=durable)
        except OSError as error:
            if not os.path.isdir(os.path.dirname(path)):
                return None  # the run folder was removed: nobody will read it
            complain(f"can't write {path}, trying again: {error}\n")
            time.sleep(1)


def complain(text: str) -> None:
    """Our log lies on the same disk, and to fail there would be the end of us."""
    try:
        os.write(2, text.encode())
    except OSError:
        return


def write(path: str, content: dict[str, Any], *, durable: bool) -> None:
    folder, name = os.path.split(path)
    temporary = f"{folder}/.{name}.{os.getpid()}"
    with open(temporary, "w") as file:
        json.dump(content, file)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    os.replace(temporary, path)


def read(path: str) -> str:
    with open(path, errors="replace") as file:
        return file.read()


def put(path: str, content: str) -> None:
    with open(path, "w") as file:
        file.write(content)


def write_quietly(path: str, content: str) -> None:
    try:
        put(path, content)
    except OSError:
        return


def remove_quietly(folder: str) -> None:
    try:
        os.rmdir(folder)
    except OSError:
        return


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
