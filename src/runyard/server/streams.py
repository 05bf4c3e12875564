"""Sending the feed to a page or a program: server-sent events and WebSocket, each client at its own pace."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from runyard.server import wire
from runyard.server.feed import Entry

Batches = AsyncIterator[Sequence[Entry]]
Revoked = Callable[[], Coroutine[Any, Any, None]]
STALLED_SECONDS = 60.0
"""A client that takes nothing for so long is left; it can come back with its cursor."""
LAST_WORD_SECONDS = 1.0
RETRY_MILLISECONDS = 1000
ENDED, NOT_ALLOWED, RESTART, TRY_LATER = 1000, 1008, 1012, 1013
"""WebSocket close codes (RFC 6455 and its registry)."""


class EventStream(Response):
    """Server-sent events; the id of each is the cursor that a browser sends back by itself."""

    media_type = "text/event-stream"

    def __init__(self, batches: Batches, cursor: int, revoked: Revoked) -> None:
        """It begins by telling its `cursor`, so that who is cut off before the first entry goes on from there, too.
        `revoked` comes back when its reader may see it no longer; it ends without its end then."""
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._batches, self._cursor, self._revoked = batches, cursor, revoked

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await until_first(self._send_all(send), _gone(receive, "http.disconnect"), self._revoked())

    async def _send_all(self, send: Send) -> None:
        await _send(send, b"retry: %d\nid: %d\n\n" % (RETRY_MILLISECONDS, self._cursor))
        async for batch in self._batches:
            await _send(send, b"".join(map(_event, batch)) or b": nothing new\n\n")
        await send({"type": "http.response.body", "body": b""})


class StoppingError(Exception):
    """The server stops before a stream has come to its end."""


class TextStream(Response):
    """Plain text as it comes. It ends properly only when it is complete, so that a cut is never taken for the end."""

    media_type = "text/plain"

    def __init__(self, texts: AsyncIterator[str], revoked: Revoked) -> None:
        """`revoked` as for the feed."""
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._texts, self._revoked = texts, revoked

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        with contextlib.suppress(StoppingError):
            await until_first(self._send_all(send), _gone(receive, "http.disconnect"), self._revoked())

    async def _send_all(self, send: Send) -> None:
        async for text in self._texts:
            await _send(send, text.encode())
        await send({"type": "http.response.body", "body": b""})


async def serve_socket(websocket: WebSocket, batches: Batches, revoked: Revoked) -> None:
    """Send each entry as a text message.

    Closes with 1000 after a job's end, 1012 when the server stops, and 1008 once `revoked` comes back: who reads it may
    see it no longer.
    """
    await websocket.accept()
    try:
        await until_first(
            _send_messages(websocket, batches),
            _gone(websocket.receive, "websocket.disconnect"),
            _close_when(revoked, websocket),
        )
    except TimeoutError:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORD_SECONDS):
                await websocket.close(TRY_LATER, "took nothing for too long: connect again with ?after=CURSOR")
    except WebSocketDisconnect:
        pass


async def _send_messages(websocket: WebSocket, batches: Batches) -> None:
    code, client = RESTART, wire.of(websocket.scope)
    async for batch in batches:
        for entry in batch:
            while client.is_full:
                async with asyncio.timeout(STALLED_SECONDS):
                    await client.writable.wait()
            client.send_text(entry.text)
            code = ENDED if entry.type == "end" else code
    await websocket.close(code)


async def _close_when(revoked: Revoked, websocket: WebSocket) -> None:
    await revoked()
    await websocket.close(NOT_ALLOWED, "sign in again")


async def until_first(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Run side by side until one returns or fails, then cancel the others."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _gone(receive: Receive, last: str) -> None:
    """Return when the client has left; what it says before is not listened to."""
    while (await receive())["type"] != last:
        pass


def _event(entry: Entry) -> bytes:
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (entry.id, entry.type.encode(), entry.text)


async def _send(send: Send, body: bytes) -> None:
    async with asyncio.timeout(STALLED_SECONDS):
        await send({"type": "http.response.body", "body": body, "more_body": True})
