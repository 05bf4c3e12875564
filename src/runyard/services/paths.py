"""Whether a path leads out of its folder: decided here for all that is read, sent or removed.

What counts is where a thing lies once every link is followed. A program may put links into its own run folder at any
time, so what was looked at is held open: where an open file lies can't change between the look and the use.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

UNUSABLE = (OSError, ValueError, RuntimeError)
"""Names too long, with NUL or half a character, and links that lead in circles."""


def within(root: Path, name: str | Path) -> Path | None:
    """The real path of a name, unless it leaves the folder; whether there is anything is not told."""
    try:
        path = (root / name).resolve()
        return path if path.is_relative_to(real(root)) else None
    except UNUSABLE:
        return None


def real(folder: Path) -> Path:
    """Where a folder has to be. Its parents are the operator's and may be links; it may not."""
    return folder.parent.resolve() / folder.name


def is_real(path: Path) -> bool:
    """Is no part of it a link?"""
    with suppress(*UNUSABLE):
        return path.resolve() == path
    return False


def opened(root: Path, name: str | Path) -> BinaryIO:
    """A file of the folder, for reading.

    Raises FileNotFoundError, also for what lies outside or is no ordinary file.
    """
    gone = FileNotFoundError(f"there is no file {name} in {root}")
    try:
        descriptor = os.open(root / name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe keeps nobody waiting
    except UNUSABLE:
        raise gone from None
    if stat.S_ISREG(os.fstat(descriptor).st_mode) and _place(descriptor).is_relative_to(real(root)):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    raise gone


@contextmanager
def held(folder: Path) -> Iterator[Path | None]:
    """A way to the folder by which nothing else can be reached, whatever becomes of its name; None if it is not there,
    or a link on its path leads elsewhere."""
    try:
        descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except UNUSABLE:
        yield None
        return
    way = Path("/proc/self/fd", str(descriptor))
    try:
        yield way if _place(descriptor) == folder else None
    except OSError as error:
        if isinstance(error.filename, str):
            error.filename = error.filename.replace(str(way), str(folder), 1)
        raise
    finally:
        os.close(descriptor)


def _place(descriptor: int) -> Path:
    return Path(os.readlink(f"/proc/self/fd/{descriptor}"))
