"""Keys of programs: shown once, kept as a hash, told apart by their first characters."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

from runyard.db.database import Session
from runyard.db.queries import access, users
from runyard.db.queries import keys as queries
from runyard.db.tables import ApiKey
from runyard.domain.access import Act, Caller, Scope
from runyard.domain.errors import ForbiddenError, InUseError, NotFoundError
from runyard.services import accounts
from runyard.services.sessions import sha256

BEGINNING = "ry_"
PREFIX_LENGTH = 11
MOST = 100
"""Of one user, not counting those that were revoked."""


@dataclass(frozen=True)
class Asked:
    """`expires_at` is None for one that is good until it is revoked."""

    name: str
    scope: Scope
    expires_at: float | None


def is_key(token: str) -> bool:
    return token.startswith(BEGINNING)


async def create(session: Session, caller: Caller, asked: Asked, key_id: str, now: float) -> tuple[ApiKey, str]:
    """A new key of the caller, and its text, which is never to be seen again.

    Raises ForbiddenError where a key would make another that may do as much: one that leaks could not be got rid of.
    """
    if caller.scope != Scope.ADMIN:
        raise ForbiddenError(
            "this key may make no other", hint="sign in with your password, or use a key of scope admin"
        )
    if await queries.count(session, caller.user) >= MOST:
        raise InUseError(f"{caller.user} has {MOST} keys", hint="revoke one that is no longer used")
    text = BEGINNING + secrets.token_urlsafe(32)
    key = ApiKey(
        id=key_id,
        user=caller.user,
        name=asked.name,
        prefix=text[:PREFIX_LENGTH],
        sha256=sha256(text),
        scope=asked.scope.value,
        created_at=now,
        expires_at=asked.expires_at,
    )
    await queries.add(session, key)
    return key, text


async def list_(session: Session, caller: Caller, *, everybodys: bool) -> Sequence[ApiKey]:
    """The caller's own, or the whole tenant's. Raises ForbiddenError."""
    if everybodys:
        caller.require(Act.MANAGE)
    return await queries.page(session, None if everybodys else caller.user)


async def revoke(session: Session, caller: Caller, key_id: str, now: float) -> ApiKey:
    """From now on it opens nothing. Raises NotFoundError; others' keys are there for admins only."""
    key = await queries.get(session, key_id)
    if key is None or (key.user != caller.user and not caller.may(Act.MANAGE)):
        raise NotFoundError(f"there is no key {key_id[:100]!r}", hint="`runyard keys list` shows which there are")
    if key.revoked_at is None:
        key.revoked_at = now
        await access.changed(session)
    return key


async def caller(session: Session, text: str, now: float) -> Caller | None:
    """Whose key it is, while it is good."""
    key = await queries.with_sha256(session, sha256(text))
    if key is None or key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= now):
        return None
    known = await users.known(session, key.user)
    if known is None:
        return None
    found = accounts.as_caller(known)
    return replace(found, scope=Scope(key.scope), via="key", credential=key.id, expires_at=key.expires_at)
