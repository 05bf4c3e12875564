"""A ZIP made while it is sent: stored, of known length, at constant memory."""

from collections.abc import Iterator
from typing import BinaryIO

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send
from zipstream import ZipStream

from runyard.services.downloads import Bundle

PIECE_BYTES = 1 << 20
CHECKSUMS = "SHA256SUMS"


class ZipResponse(StreamingResponse):
    """Sends a bundle and closes it, however the sending ends; read and summed in worker threads."""

    def __init__(self, bundle: Bundle) -> None:
        zipped = ZipStream(sized=True)
        for member in bundle.members:
            zipped.add(_pieces(member.file, member.size), member.name, size=member.size)
        if bundle.checksums:
            zipped.add(bundle.checksums, CHECKSUMS)
        headers = {"Content-Length": str(len(zipped)), "Content-Disposition": f'attachment; filename="{bundle.name}"'}
        super().__init__(zipped, media_type="application/zip", headers=headers)
        self._bundle = bundle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._bundle.close()


def _pieces(file: BinaryIO, size: int) -> Iterator[bytes]:
    """The first `size` bytes: a file that grows meanwhile is sent as it was."""
    while size > 0:
        piece = file.read(min(PIECE_BYTES, size))
        if not piece:
            raise OSError(f"{file.name} became shorter while it was sent")
        size -= len(piece)
        yield piece
