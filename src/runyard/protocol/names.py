"""Names of files that come from elsewhere: from a trainer's events, or out of an archive."""

import unicodedata
from pathlib import PureWindowsPath

LONGEST = 1000


def is_plain(name: str) -> bool:
    """Does a relative name lead below the folder that it is put in, on every system, and read as what it is?

    Not with `..`, a root, a drive, a backslash, empty parts, control characters, or half a character.
    """
    if not 0 < len(name) <= LONGEST or "\\" in name or PureWindowsPath(name).anchor or PureWindowsPath(name).drive:
        return False
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
        return False
    # Windows takes dots and blanks off the end of a name, so that more than two names mean the folder above.
    return all(part.strip(" .") for part in name.split("/"))
