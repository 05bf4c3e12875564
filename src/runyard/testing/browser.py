"""The browser of this machine."""

import shutil

NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> str:
    """Where it is. Raises LookupError."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    raise LookupError("there is no Chromium: `make test` installs Debian's, or `apt-get install chromium`")
