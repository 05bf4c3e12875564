"""The one-time link of a server on which nobody has an account: who reads the terminal makes the first admin."""

import hmac
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from runyard.services.sessions import sha256

LASTS_SECONDS = 3600.0


@dataclass
class SettingUp:
    """Knows its word by a hash, in memory: it ends with the process, after an hour, or with the first account."""

    sha256: str
    began_at: float
    _is_taken: bool = False

    @classmethod
    def begin(cls, word: str, now: float) -> Self:
        return cls(sha256(word), now)

    def fits(self, word: str, now: float) -> bool:
        is_it = hmac.compare_digest(sha256(word), self.sha256)
        return is_it and self.began_at <= now < self.began_at + LASTS_SECONDS

    @contextmanager
    def taken(self) -> Iterator[bool]:
        """False for all but the first of those who come at once; it is free again if that one fails."""
        if self._is_taken:
            yield False
            return
        self._is_taken = True
        try:
            yield True
        except BaseException:
            self._is_taken = False
            raise


def new_word() -> str:
    """To be shown once, and kept nowhere."""
    return secrets.token_urlsafe(32)


def link(url: str, word: str) -> str:
    """The word stands where browsers send it to nobody, so that no log on the way has it."""
    return f"{url}/setup#{word}"
