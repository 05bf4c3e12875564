"""A WebSocket that sends what is the same for all without making it anew for each.

An ASGI server frames each message for each client, after it went through every layer of the application: several times
what the sending itself takes. With hundreds of open pages the last one would wait for that.
"""

import struct
from typing import Any

from starlette.types import Scope
from starlette.websockets import WebSocketDisconnect
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

EXTENSION = "runyard.wire"
ABNORMAL = 1006
WHOLE_TEXT = 0x81
"""The first byte of a frame (RFC 6455, 5.2): a text message, in one piece, not compressed."""


class Wire(WebSocketsSansIOProtocol):
    """The server's end of a connection, which the application finds in its scope."""

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.close_sent:  # a request that can be answered
            scope: Any = self.scope
            scope["extensions"][EXTENSION] = self

    @property
    def is_full(self) -> bool:
        """Does so much wait to be taken by the client that it should get no more? Raises WebSocketDisconnect."""
        if self.disconnected or self.close_sent or self.transport.is_closing():
            raise WebSocketDisconnect(ABNORMAL)
        return not self.writable.is_set()

    def send_text(self, text: bytes) -> None:
        """Send a message, or keep it until the client takes it."""
        self.transport.writelines((_head(len(text)), text))


def of(scope: Scope) -> Wire:
    """The connection of a request that `listening.config` has taken in."""
    wire: Wire = scope["extensions"][EXTENSION]
    return wire


def _head(length: int) -> bytes:
    if length < 126:
        return struct.pack("!BB", WHOLE_TEXT, length)
    if length < 1 << 16:
        return struct.pack("!BBH", WHOLE_TEXT, 126, length)
    return struct.pack("!BBQ", WHOLE_TEXT, 127, length)
