"""What happens to every request before any route: strangers are turned away, who asks is found out, headers are set.

A page of the web can make a browser send requests here: under a name that it has pointed at this machine (DNS
rebinding), which shows in the Host header, or across sites, which shows in the Origin header.
"""

import ipaddress
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from urllib.parse import urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runyard.domain.errors import ForbiddenError, NotSignedInError, RunyardError
from runyard.server.errors import as_response, problem_response
from runyard.server.gate import Gate

CALLER = "runyard.caller"
MOST_BODY_BYTES = 2_000_000
UPLOADS = "/api/v1/datasets"
"""Has a limit of its own."""
LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})
HEALTH, SIGN_IN, SET_UP = ("GET", "/health"), ("POST", "/api/v1/session"), ("POST", "/api/v1/setup")
"""What is answered without knowing who asks. Signing in counts wrong passwords itself, and so does the set-up."""
FOR_PROGRAMS = frozenset({"api", "health", "metrics", "ws", "v1", "ai"})
"""How the addresses begin that are not those of pages."""
OPEN_PAGES = frozenset({"sign-in", "setup"})
STATIC = "static"
HEADERS = {
    # Styles of single elements say how long a bar is; no style sheet and no script can be put into a page.
    "Content-Security-Policy": "default-src 'self'; style-src-attr 'unsafe-inline'; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
NUL = b"%00"
HTTPS_ONLY = "max-age=31536000"


@dataclass(frozen=True)
class Names:
    """Under which names the server may be spoken to. An address can't be pointed elsewhere by somebody else's DNS."""

    names: Collection[str] = ()
    addresses: bool = False
    """Under any address, too, not only those of the loopback."""

    def refusal(self, headers: Headers) -> str | None:
        host = headers.get("host", "")
        name, _, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
        if not name:
            name, port = host, ""
        if not self._knows(name.lower()) or not (port.isdigit() or not port):
            return "the request's Host is not this server"
        origin = headers.get("origin")
        if origin is not None and origin.lower().partition("://")[2] != host.lower():
            return "the request comes from a page of another site"
        return None

    def _knows(self, name: str) -> bool:
        if name in LOOPBACK_NAMES or name in self.names:
            return True
        return self.addresses and _is_address(name.strip("[]"))


class KnownNamesOnly:
    """Refuses requests and WebSockets with a foreign Host or Origin, or an address that no database could look up."""

    def __init__(self, app: ASGIApp, names: Names) -> None:
        self._app, self._names = app, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan" and NUL in scope["raw_path"] + scope["query_string"]:
            text = "the address holds the character NUL, which no name here has"
            await problem_response(400, "bad_request", text)(scope, receive, send)
            return
        if scope["type"] == "lifespan" or (refusal := self._names.refusal(Headers(scope=scope))) is None:
            await self._app(scope, receive, send)
            return
        hint = "speak to the server under its own name; RUNYARD_HOSTS gives it others"
        await problem_response(403, "foreign_request", refusal, hint=hint)(scope, receive, send)


def is_page(path: str) -> bool:
    return _beginning(path) not in FOR_PROGRAMS


class SignIn:
    """Finds out who asks, for requests and WebSockets alike, whatever route there is; nobody gets past it unknown."""

    def __init__(self, app: ASGIApp, gate: Gate, refused: Callable[[HTTPConnection, str], Awaitable[None]]) -> None:
        """`refused` is told who was turned away, and why."""
        self._app, self._gate, self._refused = app, gate, refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            connection = HTTPConnection(scope)
            try:
                asked = scope.get("method"), scope["path"]
                if _beginning(scope["path"]) == STATIC:
                    pass  # the same for everybody, and many of them belong to one page
                elif asked == HEALTH or _beginning(scope["path"]) in OPEN_PAGES:
                    await self._gate.let_pass(connection)
                elif asked not in (SIGN_IN, SET_UP):
                    scope[CALLER] = await self._gate.caller(connection)
            except RunyardError as error:
                if isinstance(error, NotSignedInError) and asked[0] in ("GET", "HEAD") and is_page(scope["path"]):
                    await _to_sign_in(scope)(scope, receive, send)
                    return
                if isinstance(error, NotSignedInError | ForbiddenError):
                    await self._refused(connection, error.code)
                await as_response(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)


class SafeHeaders:
    """What browsers are told about every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
                if scope["scheme"] in ("https", "wss"):
                    headers.setdefault("Strict-Transport-Security", HTTPS_ONLY)
            await send(message)

        await self._app(scope, receive, send if scope["type"] == "lifespan" else send_with_headers)


class BodyLimit:
    """Refuses a body larger than any job, with or without its length told before."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == UPLOADS:
            await self._app(scope, receive, send)
            return
        received = 0

        async def receive_some() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > MOST_BODY_BYTES:
                raise HTTPException(413, f"the request is larger than {MOST_BODY_BYTES} bytes")
            return message

        await self._app(scope, receive_some, send)


def _beginning(path: str) -> str:
    return path.split("/", 2)[1] if path.startswith("/") else ""


def _to_sign_in(scope: Scope) -> RedirectResponse:
    """And back to where somebody wanted to go."""
    wanted = scope["path"] + (f"?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else "")
    return RedirectResponse("/sign-in" if wanted == "/" else f"/sign-in?{urlencode({'next': wanted})}", 303)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
