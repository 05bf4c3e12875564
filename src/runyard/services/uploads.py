"""A file on its way in: written beside the data sets, hashed as it comes, and gone unless it is kept."""

import errno
import hashlib
import os
import re
import shutil
import unicodedata
from pathlib import Path
from types import TracebackType
from typing import Self

from runyard.domain.errors import DatabaseDownError, InvalidError, NoRoomError, TooLargeError
from runyard.protocol.problems import Problem
from runyard.services.context import Context
from runyard.services.sources import DATA_ENDINGS

LONGEST_NAME = 100
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def safe_name(given: str, field: str = "file") -> str:
    """A file name without folders and odd characters. Raises InvalidError when its ending is none that is read."""
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", given))[-1]
    name = re.sub(r"[^\w .()+-]", "_", last).strip(" .")
    stem, ending = os.path.splitext(name)
    if ending.lower() not in DATA_ENDINGS or not stem:
        message = f"must be the name of a {', '.join(DATA_ENDINGS[:-1])} or {DATA_ENDINGS[-1]} file (got {last[:80]!r})"
        raise InvalidError("the file is of no known format", problems=[Problem(field=field, message=message)])
    return stem[:LONGEST_NAME] + ending.lower()


class Incoming:
    """Takes a file in pieces, in a folder of its own; both are gone at the end unless they are kept."""

    def __init__(self, context: Context, folder: Path, name: str, field: str = "file") -> None:
        """`field` is where the name comes from. Raises InvalidError for one with another ending, and NoRoomError."""
        self.name = safe_name(name, field)
        context.require_room()
        folder.mkdir(parents=True)
        self._context = context
        self._folder = folder
        self._hash = hashlib.sha256()
        self._file = (folder / "incoming").open("xb")
        self._kept = False
        self.size = 0
        self.is_text = True
        """As far as has come: it holds no NUL."""

    @property
    def path(self) -> Path:
        """The file, once it is finished."""
        return self._folder / self.name

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        # A row may name it when an answer of the database got lost, or nobody waited for it: better a folder without
        # a row than a row without its folder.
        is_unsure = isinstance(error, DatabaseDownError) or not isinstance(error, Exception | None)
        if not self._kept or (error is not None and not is_unsure):
            shutil.rmtree(self._folder, ignore_errors=True)

    def write(self, piece: bytes) -> None:
        """Raises TooLargeError and NoRoomError."""
        self.size += len(piece)
        if self.size > self._context.upload_limit:
            raise TooLargeError(
                f"the file is larger than {self._context.upload_limit} bytes",
                hint="set RUNYARD_UPLOAD_LIMIT higher, or open its folder with `runyard serve --allow-path FOLDER`",
            )
        self._context.require_room(len(piece))
        self._hash.update(piece)
        self.is_text = self.is_text and b"\0" not in piece
        try:
            self._file.write(piece)
        except OSError as error:
            raise _no_room(error) from error

    def finish(self, name: str | None = None) -> None:
        """Everything is on the disk; `name`, its ending being optional, is another one for it. Raises NoRoomError."""
        if name:
            ending = Path(self.name).suffix
            self.name = safe_name(name if name.lower().endswith(ending) else name + ending)
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        except OSError as error:
            raise _no_room(error) from error
        (self._folder / "incoming").rename(self.path)

    def keep(self, folder: Path) -> None:
        """Move its folder to its place."""
        self._folder.rename(folder)
        self._folder = folder
        self._kept = True


def _no_room(error: OSError) -> Exception:
    return NoRoomError("the disk is full", hint="delete what is no longer needed") if error.errno in FULL else error
