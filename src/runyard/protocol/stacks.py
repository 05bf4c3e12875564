"""What a program that hangs is doing: asked by a signal, it writes down the stacks of all its threads."""

import faulthandler
import signal
from pathlib import Path
from typing import TextIO

SIGNAL = signal.SIGUSR1

_files: list[TextIO] = []  # the handler knows only their numbers


def answer(file: Path) -> None:
    """From now on SIGUSR1 adds this program's stacks to a file, even when Python itself does not get to run.

    Programs that it forks do the same. Where there is no folder for the file nothing changes.
    """
    if file.parent.is_dir():
        _files.append(file.open("a"))
        faulthandler.register(SIGNAL, _files[-1], all_threads=True)
