"""The run folder: everything about one job on one disk.

```
spec.json         what is asked, paths resolved          events.jsonl   the whole history, numbered
progress.json     the newest snapshot                    manifest.json  every final file's size and SHA-256
checkpoints/step-000120/   final/   merged/   tensorboard/
attempts/1/{launch,process,exit}.json, stdout.log, stderr.log, stacks.txt
```
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CHECKPOINT_NAME = re.compile(r"step-(\d{6,})")


@dataclass(frozen=True)
class RunDir:
    """Names of the things in a run folder; nothing is made by asking for a name."""

    root: Path

    @property
    def spec(self) -> Path:
        return self.root / "spec.json"

    @property
    def events(self) -> Path:
        return self.root / "events.jsonl"

    @property
    def progress(self) -> Path:
        return self.root / "progress.json"

    @property
    def manifest(self) -> Path:
        return self.root / "manifest.json"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def final(self) -> Path:
        """The trained adapter or model."""
        return self.root / "final"

    @property
    def merged(self) -> Path:
        return self.root / "merged"

    @property
    def tensorboard(self) -> Path:
        return self.root / "tensorboard"

    @property
    def stop_request(self) -> Path:
        """Holds `save` or `discard`; read by a trainer that got SIGTERM. No file means `save`."""
        return self.root / "stop"

    def attempt(self, number: int) -> Path:
        return self.root / "attempts" / str(number)

    def stacks(self, attempt: int) -> Path:
        """What the processes of an attempt were doing when it was found to be stuck."""
        return self.attempt(attempt) / "stacks.txt"

    def attempts(self) -> list[int]:
        folder = self.root / "attempts"
        return sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit()) if folder.is_dir() else []

    def checkpoint(self, step: int) -> Path:
        return self.checkpoints / f"step-{step:06d}"

    def checkpoint_steps(self) -> list[int]:
        """Steps of the complete checkpoints, oldest first: an unfinished one has another name."""
        if not self.checkpoints.is_dir():
            return []
        matches = (CHECKPOINT_NAME.fullmatch(p.name) for p in self.checkpoints.iterdir() if p.is_dir())
        return sorted(int(m[1]) for m in matches if m)


def write_atomically(path: Path, content: str | bytes, *, durable: bool = True) -> None:
    """Replace a file so that a reader sees the old or the new content, never a part.

    `durable` waits for the disk, so that the content also survives a power cut.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_complete_lines(path: Path, offset: int, limit: int = 1 << 20) -> tuple[list[bytes], int]:
    """Whole lines after a byte offset and the offset behind them; a line still being written is left for later.

    Reads about `limit` bytes at most, but always one whole line where there is one. A missing file has no lines.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            chunk = file.read(limit)
            if chunk and b"\n" not in chunk:
                chunk += file.readline()
    except FileNotFoundError:
        return [], offset
    end = chunk.rfind(b"\n") + 1
    return chunk[:end].splitlines(), offset + end


def read_lines_backwards(path: Path, block: int = 1 << 16) -> Iterator[bytes]:
    """Lines from the last to the first, without reading the whole file."""
    with path.open("rb") as file:
        position = file.seek(0, os.SEEK_END)
        rest = b""
        while position > 0:
            size = min(block, position)
            position -= size
            file.seek(position)
            lines = (file.read(size) + rest).split(b"\n")
            rest = lines[0]
            for line in reversed(lines[1:]):
                if line:
                    yield line
        if rest:
            yield rest
