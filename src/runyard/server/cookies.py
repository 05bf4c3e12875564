"""Cookies: the session of a browser, and what it is known by when somebody signs in."""

import hashlib
import hmac
import secrets

from starlette.requests import HTTPConnection
from starlette.responses import Response

from runyard.domain.errors import ForbiddenError
from runyard.services import sessions

SESSION, DEVICE = "runyard_session", "runyard_device"
SECURE_PREFIX = "__Host-"
"""A browser keeps such a cookie only from https and sends it nowhere else (RFC 6265bis)."""
CSRF_HEADER = "X-CSRF-Token"
DEVICE_SECONDS = 400 * 86400


def session_token(connection: HTTPConnection) -> str | None:
    return connection.cookies.get(_name(SESSION, connection))


def keep_session(response: Response, connection: HTTPConnection, token: str) -> None:
    _set(response, connection, SESSION, token, sessions.LASTS_SECONDS)


def drop_session(response: Response, connection: HTTPConnection) -> None:
    _set(response, connection, SESSION, "", 0)


def require_own_page(connection: HTTPConnection, token: str) -> None:
    """Raise ForbiddenError unless a page of ours sends the request: others can't read the word that it has to know."""
    if not sessions.is_csrf_token(connection.headers.get(CSRF_HEADER, ""), token):
        raise ForbiddenError(
            f"the request lacks the header {CSRF_HEADER}",
            hint="send `csrf_token` of GET /api/v1/session with every change, or use a key instead of a cookie",
        )


def device(connection: HTTPConnection, user: str, key: bytes) -> str | None:
    """By what a browser is known from which this user has signed in before: it has a count of failures of its own."""
    number, _, signature = connection.cookies.get(_name(DEVICE, connection), "").partition(".")
    is_ours = hmac.compare_digest(_signature(number, user, key).encode(), signature.encode())
    return number if number and is_ours else None


def keep_device(response: Response, connection: HTTPConnection, user: str, key: bytes) -> None:
    number = secrets.token_hex(8)
    _set(response, connection, DEVICE, f"{number}.{_signature(number, user, key)}", DEVICE_SECONDS)


def _signature(number: str, user: str, key: bytes) -> str:
    return hmac.new(key, f"{number} of {user}".encode(), hashlib.sha256).hexdigest()


def _set(response: Response, connection: HTTPConnection, name: str, value: str, seconds: int) -> None:
    response.set_cookie(
        _name(name, connection),
        value,
        max_age=seconds,
        path="/",
        httponly=True,
        samesite="lax",
        secure=is_secure(connection),
    )


def is_secure(connection: HTTPConnection) -> bool:
    return connection.scope["scheme"] in ("https", "wss")


def _name(name: str, connection: HTTPConnection) -> str:
    return SECURE_PREFIX + name if is_secure(connection) else name
