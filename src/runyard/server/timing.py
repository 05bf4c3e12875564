"""How long requests take, and who follows a feed: measured, and traced, for each route by its template."""

import time

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runyard.server.meters import Meters
from runyard.services.tracing import Tell, Traces

NO_ROUTE = "none"
"""What leads nowhere, or was turned away before that was known: addresses are made up by whoever asks."""
UNTRACED = frozenset({"/health", "/metrics"})
"""Asked for again and again by machines."""
NO_TRACES = Traces()


class Timed:
    """In front of everything; it changes nothing."""

    def __init__(self, app: ASGIApp, meters: Meters, traces: Traces = NO_TRACES) -> None:
        self._app, self._meters, self._traces = app, meters, traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        is_traced = scope["type"] == "http" and scope["path"] not in UNTRACED
        traces = self._traces if is_traced else NO_TRACES
        carried = Headers(scope=scope)
        parent = {name: carried[name] for name in ("traceparent", "tracestate") if name in carried}
        with traces.span(scope.get("method", "WEBSOCKET"), parent=parent) as tell:
            await self._run(scope, receive, send, tell)

    async def _run(self, scope: Scope, receive: Receive, send: Send, tell: Tell) -> None:
        began, followed = time.perf_counter(), ""

        async def send_and_note(message: Message) -> None:
            nonlocal followed
            if kind := _feed(message):
                followed = kind
                self._meters.feeds.labels(kind).inc()
            if message["type"] == "http.response.start":
                self._answered(scope, message["status"], time.perf_counter() - began, tell)
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        finally:
            if followed:
                self._meters.feeds.labels(followed).dec()

    def _answered(self, scope: Scope, status: int, seconds: float, tell: Tell) -> None:
        method, route = scope["method"], template(scope)
        self._meters.answered(method, route, status, seconds)
        told = {"http.request.method": method, "http.route": route, "http.response.status_code": status}
        tell(told, name=f"{method} {route}", failed=status >= 500)


def template(scope: Scope) -> str:
    """Such as /api/v1/jobs/{job_id}."""
    route = scope.get("route")
    if route is None:
        return NO_ROUTE
    included = scope.get("fastapi", {}).get("included_router")
    prefix = getattr(getattr(included, "include_context", None), "prefix", "")
    return prefix + str(getattr(route, "path", NO_ROUTE))


def _feed(message: Message) -> str | None:
    """Which kind of feed begins with a message."""
    if message["type"] == "websocket.accept":
        return "websocket"
    if message["type"] != "http.response.start":
        return None
    is_stream = Headers(raw=message["headers"]).get("content-type", "").startswith("text/event-stream")
    return "sse" if is_stream else None
