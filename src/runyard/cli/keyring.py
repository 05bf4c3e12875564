"""Keys of those who signed in, kept in a file of the user's own that nobody else can read."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runyard.sdk.credentials import Kept

OTHERS = 0o077
OWNER_ALONE = 0o600
FOLDER_OF_OWNER = 0o700


def kept_for(file: Path, url: str) -> "Kept | None":
    from runyard.sdk import credentials

    return credentials.read(file).get(credentials.address(url))


def keep(file: Path, url: str, new: "Kept | None") -> None:
    """Write a key down, or None to forget the one for this server. Others' keys stay. Raises OSError."""
    from runyard.sdk import credentials

    address = credentials.address(url)
    if new is None and kept_for(file, url) is None:
        return
    with _alone(file.parent):
        kept = credentials.read(file)
        if new is None:
            kept.pop(address, None)
        else:
            kept[address] = new
        _replace(file, credentials.written(kept))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """The folder is there, its owner's alone, and no other command writes into it meanwhile."""
    umask = os.umask(OTHERS)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    finally:
        os.umask(umask)
    folder.chmod(FOLDER_OF_OWNER)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(file: Path, content: bytes) -> None:
    """The old or the new content is there, never a part, and no moment in which others can read it."""
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ALONE)
    try:
        with os.fdopen(descriptor, "wb") as out:
            os.fchmod(out.fileno(), OWNER_ALONE)  # a umask may have taken more away than it should
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)
