"""A ZIP made while it is sent: stored, of known length, at constant memory."""

import hashlib
from collections.abc import Iterator, Mapping

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send
from zipstream import ZipStream

from runyard.services.downloads import Bundle, Readable

PIECE_BYTES = 1 << 20
CHECKSUMS = "SHA256SUMS"


class ZipResponse(StreamingResponse):
    """Sends a bundle and closes it, however the sending ends; read and summed in worker threads."""

    def __init__(self, bundle: Bundle) -> None:
        zipped = ZipStream(sized=True)
        digests = {member.name: hashlib.sha256() for member in bundle.members}
        for member in bundle.members:
            pieces = _pieces(member.file, member.size)
            if not bundle.checksums:
                pieces = _summed(pieces, digests[member.name])
            zipped.add(pieces, member.name, size=member.size)
        if CHECKSUMS in digests:
            pass  # the job's own file
        elif bundle.checksums:
            zipped.add(bundle.checksums, CHECKSUMS)
        else:
            zipped.add(_sums(digests), CHECKSUMS, size=sum(map(len, _sums(digests))))
        headers = {"Content-Length": str(len(zipped)), "Content-Disposition": f'attachment; filename="{bundle.name}"'}
        super().__init__(zipped, media_type="application/zip", headers=headers)
        self._bundle = bundle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._bundle.close()


def _summed(pieces: Iterator[bytes], digest: "hashlib._Hash") -> Iterator[bytes]:
    for piece in pieces:
        digest.update(piece)
        yield piece


def _sums(digests: Mapping[str, "hashlib._Hash"]) -> Iterator[bytes]:
    """Of files that nobody summed before: known when they have been sent, and they are sent first."""
    for name, digest in digests.items():
        yield f"{digest.hexdigest()}  {name}\n".encode()


def _pieces(file: Readable, size: int) -> Iterator[bytes]:
    """The first `size` bytes: a file that grows meanwhile is sent as it was."""
    while size > 0:
        piece = file.read(min(PIECE_BYTES, size))
        if not piece:
            raise OSError(f"{file.name} became shorter while it was sent")
        size -= len(piece)
        yield piece
