"""Sessions of those who signed in with a password: a random word that the browser keeps, of which we keep a hash."""

import hashlib
import hmac
import secrets
from dataclasses import replace

from runyard.db.database import Session
from runyard.db.queries import access, users
from runyard.db.queries import sessions as queries
from runyard.db.tables import BrowserSession
from runyard.domain.access import Caller
from runyard.services import accounts

LASTS_SECONDS = 14 * 86400


def sha256(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def csrf_token(token: str) -> str:
    """What a page of ours sends beside the cookie, and a page of others can't know."""
    return hashlib.sha256(b"csrf of " + token.encode()).hexdigest()


def is_csrf_token(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(), csrf_token(token).encode())


async def begin(session: Session, user: str, address: str, now: float) -> str:
    """The token of a new session: what a browser brought along is never taken over."""
    token = secrets.token_urlsafe(32)
    new = BrowserSession(
        sha256=sha256(token), user=user, address=address, created_at=now, expires_at=now + LASTS_SECONDS
    )
    await queries.forget_expired(session, now)
    await queries.add(session, new)
    return token


async def caller(session: Session, token: str, now: float) -> Caller | None:
    """Whose session it is, while it lasts."""
    found = await queries.get(session, sha256(token))
    if found is None or found.expires_at <= now:
        return None
    known = await users.known(session, found.user)
    if known is None:
        return None
    signed_in = accounts.as_caller(known)
    return replace(signed_in, via="session", credential=found.sha256, expires_at=found.expires_at)


async def end(session: Session, caller: Caller) -> None:
    if caller.via == "session" and caller.credential:
        await queries.end(session, caller.credential)
        await access.changed(session)
