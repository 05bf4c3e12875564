"""What trainers wrote to their standard output and error: the end of it, a part of it, or all of it as it comes.

One stream is one text over all attempts, and an earlier attempt's part never changes: an offset into it stays good.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, Literal

from runyard.domain.masks import Mask
from runyard.protocol.rundir import RunDir
from runyard.services import paths

Stream = Literal["stdout", "stderr", "all"]
PIECE_BYTES = 1 << 20
TAIL_BYTES = 8 << 20
LONGEST_LINE_BYTES = 1 << 16
NOTHING = Mask()


class Reader:
    """Reads whole lines on from where it stopped; for both streams, what is there of each in turn.

    `mask` is asked before each look for what must not be shown: a later attempt may be given other secrets.
    """

    def __init__(self, rundir: RunDir, stream: Stream, mask: Callable[[], Mask] = Mask) -> None:
        self._rundir, self._mask = rundir, mask
        self._streams = ("stdout", "stderr") if stream == "all" else (stream,)
        self._positions: dict[Path, int] = {}

    @property
    def offset(self) -> int:
        """Bytes read or skipped."""
        return sum(self._positions.values())

    @property
    def offsets(self) -> dict[str, int]:
        """Where each stream is to be read on from."""
        return {stream: sum(self._positions.get(file, 0) for file in self._files(stream)) for stream in self._streams}

    @property
    def size(self) -> int:
        """Bytes that are there now."""
        return sum(_size(file) for stream in self._streams for file in self._files(stream))

    def at_end(self) -> bool:
        return self.offset >= self.size

    def skip_to(self, offset: int) -> None:
        for stream in self._streams:
            for file in self._files(stream):
                self._positions[file] = min(offset, _size(file))
                offset -= self._positions[file]

    def skip_to_tail(self, lines: int) -> None:
        """Go to where the last lines of each stream begin, 8 MiB before a file's end at most."""
        for stream in self._streams:
            wanted = lines
            for file in reversed(self._files(stream)):
                self._positions[file], found = _tail_start(file, wanted)
                wanted -= found

    def read(self, *, ended: bool) -> list[str]:
        """About the next MiB of each stream; nothing when there is no more now.

        A line that nothing ends yet is left for later, unless it is very long or the job has `ended`.
        """
        return [line for stream in self._streams for line in self._read(self._files(stream), ended=ended)]

    def _read(self, files: Sequence[Path], *, ended: bool) -> list[str]:
        mask = self._mask()
        for file in files:
            position = self._positions.setdefault(file, 0)
            data = _bytes(file, position, PIECE_BYTES, mask)
            if not (ended or file != files[-1]) or len(data) == PIECE_BYTES:
                data = _whole_lines(data, mask.reach)
            self._positions[file] += len(data)
            if data:
                return _lines(data)
        return []

    def _files(self, stream: str) -> list[Path]:
        folders = (self._rundir.attempt(number) for number in self._rundir.attempts())
        return [folder / f"{stream}.log" for folder in folders]


def _tail_start(file: Path, lines: int) -> tuple[int, int]:
    """Where the last lines of a file begin, and how many there are after that place."""
    size = _size(file)
    if not size or lines <= 0:
        return size, 0
    window = LONGEST_LINE_BYTES
    while True:
        start = max(0, size - window)
        data = _bytes(file, start, size - start)
        if start == 0 or data.count(b"\n") > lines or window >= TAIL_BYTES:
            break
        window *= 4
    place = len(data.removesuffix(b"\n"))
    found = 0
    while found < lines and place >= 0:
        place = data.rfind(b"\n", 0, place)
        found += 1
    return start + place + 1, found


def _whole_lines(data: bytes, reach: int) -> bytes:
    """Of a line that is too long, not the last bytes: what comes behind may make them a part of what is covered."""
    if end := data.rfind(b"\n") + 1:
        return data[:end]
    return data[: max(0, len(data) - reach)] if len(data) >= LONGEST_LINE_BYTES else b""


def _lines(data: bytes) -> list[str]:
    return [_shown(line) for line in data.removesuffix(b"\n").split(b"\n")]


def _shown(line: bytes) -> str:
    """As a terminal shows it: a carriage return starts the line again."""
    return line.rstrip(b"\r").rpartition(b"\r")[2].decode(errors="replace")


def covered(file: BinaryIO, offset: int, count: int, mask: Mask) -> bytes:
    """A part of a file; what must not be shown is covered also where it begins before that part, or ends behind it."""
    before = min(offset, mask.reach)
    file.seek(offset - before)
    return mask.hide(file.read(before + count + mask.reach))[before:][:count]


def _bytes(file: Path, offset: int, count: int, mask: Mask = NOTHING) -> bytes:
    try:
        with _opened(file) as opened:
            return covered(opened, offset, count, mask)
    except FileNotFoundError:
        return b""


def _size(file: Path) -> int:
    try:
        with _opened(file) as opened:
            return os.fstat(opened.fileno()).st_size
    except FileNotFoundError:
        return 0


def _opened(file: Path) -> BinaryIO:
    """A file of an attempt, which is two folders below its run."""
    return paths.opened(file.parents[2], file)
