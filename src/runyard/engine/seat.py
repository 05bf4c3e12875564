"""The engine's seat in a data folder: a file that only one living process can hold, with the token of who sat last.

Who gets the seat knows that this one is dead, and need not wait for its lease to run out.
"""

import fcntl
from pathlib import Path
from typing import IO


class Seat:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None

    def take(self) -> str | None:
        """The token of who sat here last, or None while another process sits; taken again by its holder, its own."""
        if self._file is None:
            file = self._path.open("a+")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                return None
            self._file = file
        self._file.seek(0)
        return self._file.read()

    def sign(self, token: str) -> None:
        """Leave a token for who comes next; nothing happens while another sits."""
        if self._file is not None:
            self._file.truncate(0)
            self._file.write(token)
            self._file.flush()

    def leave(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
