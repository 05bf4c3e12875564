"""A run folder that a system user works in, though it stays the server's.

The folder is root's, and its group's: who is in the group makes things there, and takes away none of root's (the sticky
bit). So the record of the attempts, by which the server finds processes, and the spec can't be swapped for others.
"""

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from runyard.executors.base import User
from runyard.protocol.rundir import RunDir

WORKED_IN = stat.S_ISVTX | stat.S_ISGID | 0o770
"""With the group's bit what the server writes there later has the right group, too."""
PASSED, READ = 0o710, 0o640


def hand_over(rundir: RunDir, user: User, attempt: int | None = None) -> None:
    """Let a user work in a run folder in which nothing runs, and write down stacks in the folder of an attempt.

    What an earlier user of the folder left there becomes the new one's. Raises OSError.
    """
    if not _belongs_to(rundir, user):
        _give_all(rundir, user)
    if attempt is not None:
        for folder in (rundir.attempt(attempt).parent, rundir.attempt(attempt)):
            _let_group(folder, user, PASSED)
        file = rundir.stacks(attempt)
        file.touch()
        os.chown(file, user.uid, user.gid)
    if rundir.spec.exists():
        _let_group(rundir.spec, user, READ)
    _let_group(rundir.root, user, WORKED_IN)


def let_read(places: Sequence[Path], user: User) -> None:
    """Files of the server's own, each in a folder of its own, and run folders. Raises OSError."""
    for place in places:
        if place.is_dir():
            hand_over(RunDir(place), user)
        else:
            _let_group(place.parent, user, PASSED)
            _let_group(place, user, READ)


def share(file: Path) -> None:
    """Let who works in a run folder read a file that was just written there."""
    if file.parent.stat().st_mode & stat.S_ISGID:
        file.chmod(READ)


def _belongs_to(rundir: RunDir, user: User) -> bool:
    status = rundir.root.stat()
    is_its = status.st_gid == user.gid and stat.S_IMODE(status.st_mode) == WORKED_IN
    try:
        return is_its and rundir.events.lstat().st_uid == user.uid
    except FileNotFoundError:
        return is_its


def _give_all(rundir: RunDir, user: User) -> None:
    """All but what is the server's; nobody else can get there until it is done, since the folder itself comes last."""
    rundir.root.chmod(0o700)
    ours = {path.name for path in (rundir.attempt(1).parent, rundir.spec, rundir.secrets)}
    for entry in os.scandir(rundir.root):
        if entry.name in ours:
            continue
        if entry.is_dir(follow_symlinks=False):
            for _, names, files, folder in os.fwalk(entry.path, topdown=False):
                for name in (*names, *files):
                    _give(name, user, folder)
        _give(entry.path, user)


def _give(name: str, user: User, folder: int | None = None) -> None:
    """Not a file that has a second name, which may be somewhere else; of a link, the link."""
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if stat.S_ISDIR(status.st_mode) or status.st_nlink == 1:
        os.chown(name, user.uid, user.gid, dir_fd=folder, follow_symlinks=False)


def _let_group(path: Path, user: User, mode: int) -> None:
    os.chown(path, -1, user.gid)  # first: it takes the special bits away
    path.chmod(mode)
