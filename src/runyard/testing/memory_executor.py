"""An executor whose processes are only pretended: a test decides what each says and how it ends."""

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runyard.executors.base import ExitRecord, Handle, Launch, Liveness, Look, Stop


@dataclass
class Pretended:
    """One launched trainer. `is_lost` means that it is gone without an exit record."""

    launch: Launch
    is_alive: bool = True
    is_lost: bool = False
    exit: ExitRecord | None = None
    asked: list[Stop] = field(default_factory=list)
    has_begun: bool = False
    """For the test that makes it speak."""


class MemoryExecutor:
    """`processes` by nonce, in the order of their launch; `lines` of events by run folder, as a disk would keep them.

    `is_silent` makes every look unknown.
    """

    name = "memory"

    def __init__(self) -> None:
        self.processes: dict[str, Pretended] = {}
        self.lines: dict[Path, bytearray] = {}
        self.is_silent = False

    def alive(self) -> list[Pretended]:
        return [process for process in self.processes.values() if process.is_alive]

    def say(self, process: Pretended, type_: str, **fields: Any) -> None:
        """Append an event to the file of its run."""
        file = self.lines.setdefault(process.launch.run_dir, bytearray())
        number = file.count(b"\n") + 1
        event = {"n": number, "at": float(number), "attempt": process.launch.attempt, "type": type_, **fields}
        file += json.dumps(event).encode() + b"\n"

    def end(self, process: Pretended, code: int, signal: int | None = None) -> None:
        told = bool({"save", "discard"} & set(process.asked))
        process.is_alive, process.exit = False, ExitRecord(code, signal, 0.0, 1.0, told=told)

    def lose(self, process: Pretended) -> None:
        """Its machine forgot it: no process and no exit record."""
        process.is_alive, process.is_lost = False, True

    async def launch(self, launch: Launch) -> Handle:
        if launch.nonce not in self.processes:
            self.processes[launch.nonce] = Pretended(launch)
        return {"nonce": launch.nonce}

    async def find(self, launch: Launch) -> Handle | None:
        if self.is_silent:
            raise OSError("nobody answers")
        return {"nonce": launch.nonce} if launch.nonce in self.processes else None

    async def look(self, handle: Handle) -> Look:
        process = self.processes[handle["nonce"]]
        if self.is_silent:
            return Look(Liveness.UNKNOWN, detail="nobody answers")
        if process.is_alive:
            return Look(Liveness.ALIVE)
        return Look(Liveness.DEAD, process.exit, "" if process.exit else "it is gone")

    async def ended(self, handle: Handle) -> None:
        return None

    async def read_events(self, handle: Handle, offset: int) -> tuple[list[bytes], int]:
        file = bytes(self.lines.get(self.processes[handle["nonce"]].launch.run_dir, b""))
        return file[offset:].splitlines(), len(file)

    async def stop(self, handle: Handle, how: Stop) -> None:
        process = self.processes[handle["nonce"]]
        process.asked.append(how)
        if how == "kill" and process.is_alive:
            self.end(process, 137, 9)

    async def dump(self, handle: Handle) -> str | None:
        return None

    async def running(self) -> set[str]:
        return {nonce for nonce, process in self.processes.items() if process.is_alive}

    async def remains(self) -> set[str]:
        return set()

    async def sweep(self, nonces: Collection[str]) -> None:
        for nonce in nonces:
            if self.processes[nonce].is_alive:
                self.end(self.processes[nonce], 137, 9)

    async def fetch(self, handle: Handle, path: str) -> Path:
        raise FileNotFoundError(path)
