"""Folders that are complete under their name, or not there."""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PARTIAL = ".partial"


@contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
    """A scratch folder that takes the given name, durably, when the block ends well; nothing is left otherwise."""
    scratch = partial(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        yield scratch
        _sync_tree(scratch)
        shutil.rmtree(folder, ignore_errors=True)
        scratch.rename(folder)
        _sync(folder.parent)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def take(source: Path, folder: Path) -> None:
    """Make a finished file or folder the given folder: it is moved there, a file under its own name.

    Whatever fails, the source or the folder is whole. Raises OSError.
    """
    if source.is_dir() and not source.is_symlink():
        _sync_tree(source)
        if _moved(source, folder):
            return
    with written_whole(folder) as scratch:
        if source.is_dir():
            shutil.copytree(source, scratch, dirs_exist_ok=True)
        else:
            _link_or_copy(source.resolve(strict=True), scratch / source.name)
    _remove(source)


def partial(folder: Path) -> Path:
    """The name that a folder has while it is being written or removed."""
    return folder.with_name(f"{PARTIAL}-{folder.name}")


def clear_leftovers(*parents: Path) -> None:
    """Remove what a crash left half-written or half-removed in these folders."""
    for parent in parents:
        if parent.is_dir():
            for leftover in parent.glob(f"{PARTIAL}-*"):
                shutil.rmtree(leftover, ignore_errors=True)


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, by its name there."""
    return {str(path.relative_to(folder)): digest(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def size_bytes(folder: Path) -> int:
    """Bytes in all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _moved(source: Path, folder: Path) -> bool:
    """False if the folder would be on another disk."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    if source.resolve() == folder.resolve():
        return True
    if source.stat().st_dev != folder.parent.stat().st_dev:
        return False
    before = partial(folder)
    shutil.rmtree(before, ignore_errors=True)
    with suppress(FileNotFoundError):
        folder.rename(before)
    try:
        source.rename(folder)
    except OSError as error:
        with suppress(FileNotFoundError):
            before.rename(folder)
        if error.errno == errno.EXDEV:  # two mounts of one disk
            return False
        raise
    _sync(folder.parent)
    shutil.rmtree(before, ignore_errors=True)
    return True


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _remove(source: Path) -> None:
    if source.is_dir() and not source.is_symlink():
        shutil.rmtree(source, ignore_errors=True)
    else:
        source.unlink(missing_ok=True)


def _sync_tree(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file() or path.is_dir():
            _sync(path)
    _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
