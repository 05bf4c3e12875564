"""The run folder: everything about one job on one disk.

```
spec.json         what is asked, paths resolved          events.jsonl   the whole history, numbered
progress.json     the newest snapshot                    manifest.json  every final file's size and SHA-256
checkpoints/step-000120/   final/   merged/   tensorboard/
secrets.sealed    what its trainers were given and nobody is shown
attempts/1/{launch,process,exit}.json, stdout.log, stderr.log, stacks.txt
```
"""

import errno
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CHECKPOINT_NAME = re.compile(r"step-(\d{6,})")
LONGEST_LINE, SHOWN_BYTES = 4 << 20, 100
"""Of what is no event; so much of it is told."""


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

    @property
    def secrets(self) -> Path:
        """What its trainers were given and nobody is shown, sealed; the server's alone."""
        return self.root / "secrets.sealed"

    def attempt(self, number: int) -> Path:
        return self.root / "attempts" / str(number)

    def stacks(self, attempt: int) -> Path:
        """What the processes of an attempt were doing when it was found to be stuck."""
        return self.attempt(attempt) / "stacks.txt"

    def attempts(self) -> list[int]:
        folder = self.root / "attempts"
        return sorted({int(p.name) for p in folder.iterdir() if p.name.isdecimal()}) if folder.is_dir() else []

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

    `durable` waits for the disk, so that the content also survives a power cut. Others may write to the folder: what
    they put there is replaced, and no link of theirs is followed.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.unlink(missing_ok=True)
        with temporary.open("xb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_complete_lines(path: Path, offset: int, limit: int = 1 << 20) -> tuple[list[bytes], int]:
    """Whole lines after a byte offset and the offset behind them; a line still being written is left for later.

    Reads about `limit` bytes at most, but always one whole line where there is one. Of a line longer than any event the
    beginning is given, and the rest as further lines: its end may be far, or never come. A missing file has no lines,
    nor has anything else than a file: who writes these lines may have put a link or a pipe in its place.
    """
    try:
        with open(path, "rb", opener=_itself) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return [], offset
            file.seek(offset)
            chunk = file.read(limit)
            if chunk and b"\n" not in chunk:
                chunk += file.readline(LONGEST_LINE)
                if len(chunk) >= LONGEST_LINE and not chunk.endswith(b"\n"):
                    return [chunk[:SHOWN_BYTES]], offset + len(chunk)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ELOOP):
            raise
        return [], offset
    end = chunk.rfind(b"\n") + 1
    return chunk[:end].splitlines(), offset + end


def _itself(path: str, flags: int) -> int:
    """Not what a link leads to; and a pipe that nobody writes to keeps nobody waiting."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


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
