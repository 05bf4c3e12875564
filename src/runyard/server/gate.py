"""Who asks: from a key, a token, or the cookie of a session. What is found out is remembered until rights change."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from starlette.requests import HTTPConnection

from runyard.db.database import Database, Session
from runyard.db.queries import access, users
from runyard.db.queries import keys as key_rows
from runyard.domain.access import LOCAL, Caller, Scope
from runyard.domain.errors import ForbiddenError, NotSignedInError, TooManyRequestsError
from runyard.domain.throttle import Failures, Rates
from runyard.server import cookies
from runyard.services import accounts, keys, sessions
from runyard.services.tokens import Tokens, is_token

LOOK_SECONDS = 1.0
"""How long a right that was taken away by another process may still be used."""
USE_SECONDS = 60.0
"""To so much the last use of a key is known."""
MOST_REMEMBERED = 10_000
CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
STRANGERS_PER_SECOND, STRANGERS_BURST = 10.0, 100.0
"""Requests of one address that can't be told whose they are."""
LEAST_BURST = 10.0
REFUSALS_PER_SECOND, REFUSALS_BURST = 0.2, 30.0
HINT = "sign in with `runyard login`, or send a key: Authorization: Bearer ry_…"

Find = Callable[[Session, str, float], Awaitable[Caller | None]]

log = logging.getLogger(__name__)


@dataclass
class Gate:
    """`always` asks who it is even where there are no accounts yet, as on an address that others reach."""

    database: Database
    clock: Callable[[], float]
    always: bool = False
    tokens: Tokens | None = None
    requests_per_second: float = 0.0
    """Of one user, in the long run; 0 for no limit."""
    device_key: bytes = b""
    """Signs what a browser keeps to be known by at the next sign-in."""

    failures: Failures = field(default_factory=Failures)
    _known: dict[str, Caller] = field(default_factory=dict)
    _used: dict[str, float] = field(default_factory=dict)
    """Keys whose last use is to be written down."""
    _noted: dict[str, float] = field(default_factory=dict)
    """When that was done last."""
    _revision: int | None = None
    _is_open: bool | None = None
    """No accounts, so that everybody is let in as the local user."""

    def __post_init__(self) -> None:
        self._strangers = Rates(STRANGERS_PER_SECOND, STRANGERS_BURST)
        self._refusals = Rates(REFUSALS_PER_SECOND, REFUSALS_BURST)
        per_second = self.requests_per_second or 1.0
        self._rates = Rates(per_second, max(LEAST_BURST, 10 * per_second))
        self._changed = asyncio.Event()

    def forget(self) -> None:
        """Somebody's rights may have changed: everybody is asked anew, open feeds too."""
        self._known.clear()
        self._is_open = None
        self._changed.set()
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Hear of changes that other processes make, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self._look()
            except Exception as error:  # noqa: BLE001 - whatever the database's driver raises
                log.warning("can't look who may still come in, and tries again: %s", error)

    @property
    def is_known_to_be_open(self) -> bool:
        return bool(self._is_open)

    async def is_open(self) -> bool:
        """Is everybody let in who reaches the server? Only while there are no accounts."""
        if self._is_open is not None:
            return self._is_open
        asked = self._changed
        async with self.database.read() as session:
            is_open = not self.always and not await accounts.exist(session)
        if asked is self._changed:
            self._is_open = is_open
        return is_open

    async def caller(self, connection: HTTPConnection) -> Caller:
        """Raises NotSignedInError, ForbiddenError, and TooManyRequestsError for one who asks too much."""
        address = client_address(connection)
        try:
            found = await self.identify(connection)
        except NotSignedInError:
            _hold_back(self._strangers, address, self.clock())
            raise
        if self.requests_per_second and found.via != "loopback":
            _hold_back(self._rates, found.credential or found.user, self.clock())
        return found

    async def let_pass(self, connection: HTTPConnection) -> None:
        """To what is for everybody. Raises TooManyRequestsError."""
        if not await self.is_open():
            _hold_back(self._strangers, client_address(connection), self.clock())

    def too_many_refusals(self, address: str) -> bool:
        """The audit log has enough of what was refused to an address: it must not be what fills the disk."""
        return self._refusals.take(address, self.clock()) > 0

    async def identify(self, connection: HTTPConnection) -> Caller:
        """Raises NotSignedInError and ForbiddenError."""
        found = LOCAL if await self.is_open() else await self._find(connection)
        return replace(found, address=client_address(connection))

    async def until_revoked(self, connection: HTTPConnection, caller: Caller) -> None:
        """Comes back once the caller may no longer come in, or may do other things than before."""
        with suppress(NotSignedInError, ForbiddenError, TimeoutError):
            async with asyncio.timeout(None if caller.expires_at is None else caller.expires_at - self.clock()):
                while True:
                    changed = self._changed
                    if await self.identify(connection) != caller:
                        return
                    await changed.wait()

    async def _find(self, connection: HTTPConnection) -> Caller:
        scheme, _, given = connection.headers.get("authorization", "").partition(" ")
        if scheme:
            if scheme.lower() != "bearer" or not given:
                raise NotSignedInError("the header Authorization can't be used", hint=HINT)
            return await self._with_bearer(given.strip())
        if token := cookies.session_token(connection):
            return await self._with_cookie(connection, token)
        raise NotSignedInError("this server asks who you are", hint=HINT)

    async def _with_bearer(self, text: str) -> Caller:
        if keys.is_key(text):
            found = await self._remembered(text, keys.caller)
            self._note_use(found.credential or "")
            return found
        if self.tokens is None or not is_token(text):
            raise NotSignedInError("the key is not known, or no longer good", hint=HINT)
        subject, expires_at = await self.tokens.subject(text)
        async with self.database.read() as session:
            name = await users.with_subject(session, subject)
            known = await users.known(session, name) if name else None
        if known is None:
            raise NotSignedInError(
                "the token is good, but there is no account for whom it is",
                hint="an admin can give an account this subject: `runyard users change NAME --subject SUBJECT`",
            )
        return replace(accounts.as_caller(known), via="token", expires_at=expires_at, scope=Scope.ADMIN)

    async def _with_cookie(self, connection: HTTPConnection, token: str) -> Caller:
        found = await self._remembered(token, sessions.caller)
        if connection.scope["type"] == "http" and connection.scope["method"] in CHANGING:
            cookies.require_own_page(connection, token)
        return found

    async def _remembered(self, text: str, find: Find) -> Caller:
        now = self.clock()
        mark = sessions.sha256(text)
        found = self._known.get(mark)
        if found is None:
            asked = self._changed
            async with self.database.read() as session:
                found = await find(session, text, now)
            # What was read before rights changed is not remembered after: nobody would ask again.
            if found is not None and asked is self._changed:
                if len(self._known) >= MOST_REMEMBERED:
                    self._known.clear()
                self._known[mark] = found
        if found is None or (found.expires_at is not None and found.expires_at <= now):
            raise NotSignedInError("the key or session is not known, or no longer good", hint=HINT)
        return found

    def _note_use(self, key_id: str) -> None:
        """Now and then: it would be a write for every request."""
        now = self.clock()
        if now - self._noted.get(key_id, float("-inf")) >= USE_SECONDS:
            self._noted[key_id] = self._used[key_id] = now

    async def _look(self) -> None:
        async with self.database.read() as session:
            revision = await access.revision(session)
        if revision != self._revision:
            self._revision = revision
            self.forget()
        used, self._used = self._used, {}
        if used:
            async with self.database.write() as session:
                for key_id, at in used.items():
                    await key_rows.note_use(session, key_id, at)


def client_address(connection: HTTPConnection) -> str:
    return connection.client.host if connection.client else "unknown"


def _hold_back(rates: Rates, who: str, now: float) -> None:
    if wait := rates.take(who, now):
        raise TooManyRequestsError("too many requests", wait, hint="wait as long as Retry-After says")
