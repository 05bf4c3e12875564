"""Passwords: argon2's only home."""

import asyncio
import secrets
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from runyard.domain.errors import InvalidError
from runyard.protocol.problems import Problem

SHORTEST, LONGEST = 10, 200
AT_ONCE = 2
"""Each takes 64 MB and some tenths of a second of a processor: strangers must not make us do more."""

_hasher = PasswordHasher()  # argon2id with the parameters of RFC 9106 for 64 MB
_hashing = ThreadPoolExecutor(AT_ONCE, "passwords")


async def hashed(password: str) -> str:
    """What is kept of a password. Raises InvalidError for one that is too short or too long."""
    if not SHORTEST <= len(password) <= LONGEST:
        message = f"must have {SHORTEST} to {LONGEST} characters"
        raise InvalidError("the password can't be used", problems=[Problem(field="password", message=message)])
    return await asyncio.get_running_loop().run_in_executor(_hashing, _hasher.hash, password)


async def matches(kept: str | None, password: str) -> bool:
    """Is it the one that was kept? Takes as long for somebody who has none, or is unknown."""
    return await asyncio.get_running_loop().run_in_executor(_hashing, _matches, kept, password[: LONGEST + 1])


def _matches(kept: str | None, password: str) -> bool:
    try:
        return _hasher.verify(kept or _nobodys(), password) and kept is not None
    except (VerifyMismatchError, VerificationError, InvalidHashError):
        return False


@cache
def _nobodys() -> str:
    return _hasher.hash(secrets.token_hex(16))
