"""What is turned away before any route: strangers, and bodies that are too large.

Only this machine's own programs and pages may speak to a server that has no sign-in.

A page of the web can make a browser send requests here: under a name that it has pointed at 127.0.0.1 (DNS rebinding),
which shows in the Host header, or across sites, which shows in the Origin header.
"""

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runyard.server.errors import problem_response

MOST_BODY_BYTES = 2_000_000
UPLOADS = "/api/v1/datasets"
"""Has a limit of its own."""
LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})


class LoopbackOnly:
    """Refuses requests and WebSockets with a foreign Host or Origin."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or (refusal := _refusal(Headers(scope=scope))) is None:
            await self._app(scope, receive, send)
            return
        hint = "speak to the server as 127.0.0.1 or localhost, from this machine"
        await problem_response(403, "foreign_request", refusal, hint=hint)(scope, receive, send)


def _refusal(headers: Headers) -> str | None:
    host = headers.get("host", "")
    name, _, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
    if not name:
        name, port = host, ""
    if name.lower() not in LOOPBACK_NAMES or not (port.isdigit() or not port):
        return "the request's Host is not this machine"
    origin = headers.get("origin")
    if origin is not None and origin.lower() != f"http://{host.lower()}":
        return "the request comes from a page of another site"
    return None


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
