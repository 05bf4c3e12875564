"""What every executor can do, so that the engine need not know where a trainer runs."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Protocol

Handle = dict[str, Any]
"""How an executor finds what it launched again, after a restart too: plain JSON."""

Stop = Literal["save", "discard", "kill"]
"""Ask it to save and leave; ask it to leave; end it and everything it started."""


class LaunchError(Exception):
    """A trainer can't be started, and trying again would not help."""


class Liveness(StrEnum):
    ALIVE = "alive"
    DEAD = "dead"
    UNKNOWN = "unknown"
    """Could not be found out: nothing may be concluded from it."""


@dataclass(frozen=True)
class ExitRecord:
    """How a trainer ended. `code` is 128 + `signal` where a signal ended it. Times are seconds since the epoch.

    `oom_kills` counts the processes that the kernel ended for want of memory meanwhile; None where it doesn't tell.
    `told` if it lived when a wish to stop came to it.
    """

    code: int
    signal: int | None
    started_at: float
    ended_at: float
    oom_kills: int | None = None
    told: bool = False


@dataclass(frozen=True)
class Look:
    """`detail` says in words why a dead one left no exit record, or why nothing could be found out; `restarted` that it
    ended with its machine; `process` is what tells its processes from all others, once they are there."""

    liveness: Liveness
    exit: ExitRecord | None = None
    detail: str = ""
    process: dict[str, Any] | None = None
    restarted: bool = False


@dataclass(frozen=True)
class User:
    """A system user that trainers run as, with a folder of its own."""

    name: str
    uid: int
    gid: int
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        """What tells its programs where their own things are, whatever the server's environment says."""
        home = str(self.home)
        folders = {"XDG_CACHE_HOME": f"{home}/.cache", "HF_HOME": f"{home}/.cache/huggingface", "RUNYARD_CACHE": home}
        return {"HOME": home, "USER": self.name, **folders}


@dataclass(frozen=True)
class Limits:
    """The most that a trainer gets, with all that it starts. `cpus` may be a part of one; a thread counts as a
    process."""

    memory_bytes: int | None = None
    cpus: float | None = None
    processes: int = 32768


@dataclass(frozen=True)
class Launch:
    """One attempt to start. `env` is added to what the executor passes on by itself; `gpus` are indices.

    `secrets` are added, too, for the trainer alone: they lie on no disk and stand in no command line.
    """

    job_id: str
    attempt: int
    run_dir: Path
    argv: Sequence[str]
    nonce: str
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: Path | None = None
    """The run folder unless given."""
    folders: Sequence[Path] = ()
    """Made before it starts."""
    after: Sequence[str] = ()
    """A program that runs when it has ended with code 0, not told to, and left files in `final/`: it then speaks for
    the attempt."""
    gpus: Sequence[int] = ()
    user: User | None = None
    """The server's own unless given."""
    reads: Sequence[Path] = ()
    """Of the server's own files and run folders, those that such a user gets to see, beside the run folder."""
    limits: Limits | None = None
    """It is not started where it can't be held to them."""
    grace_seconds: float = 30
    """From being told to discard and leave until it is killed."""
    save_seconds: float = 600
    """From being told to save and leave until it is killed."""


class Executor(Protocol):
    """Runs trainers so that they outlive the server."""

    name: str

    async def launch(self, launch: Launch) -> Handle:
        """Start a trainer, unless it was started already: a nonce never has two. Raises LaunchError."""

    async def find(self, launch: Launch) -> Handle | None:
        """The handle of a launch that has happened, though nobody may have written it down.

        Raises OSError when that can't be found out.
        """

    async def look(self, handle: Handle) -> Look:
        """Is it alive? Never raises: what can't be found out is unknown."""

    async def ended(self, handle: Handle) -> None:
        """Comes back when its processes may have ended, so that nobody has to ask all the time.

        Only a hint: it may come back at once, and need not come back at all.
        """

    async def read_events(self, handle: Handle, offset: int) -> tuple[list[bytes], int]:
        """Whole lines of events.jsonl from a byte offset on, some at a time, and the offset behind them.

        Offset 0 and no lines for a file that has become shorter: it is to be read from its start again.
        """

    async def stop(self, handle: Handle, how: Stop) -> None:
        """Ask again, or more strongly, as often as wanted; one that has ended is left alone."""

    async def dump(self, handle: Handle) -> str | None:
        """Write down what its processes are doing, with their stacks where they can tell; none of them is disturbed.

        The path of that file in the run folder; None if none of them is there.
        """

    async def running(self) -> set[str]:
        """The nonces of all launches of which a process is still there, whoever launched them."""

    async def remains(self) -> set[str]:
        """The nonces of all launches of which something else than processes is left on the machine."""

    async def sweep(self, nonces: Collection[str]) -> None:
        """End all processes of these launches, and remove what else is left of them."""

    async def fetch(self, handle: Handle, path: str) -> Path:
        """A file of the run folder, on this machine. Raises FileNotFoundError."""
