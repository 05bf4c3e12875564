"""Data sets by their address: fetched by the server, and then like any other upload."""

import asyncio
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from runyard.domain.errors import InvalidError
from runyard.protocol.problems import Problem
from runyard.services.outbound import Outbound, OutboundError
from runyard.services.uploads import Incoming


def file_name(url: str) -> str:
    """The last part of its path."""
    try:
        return PurePosixPath(unquote(urlsplit(url).path)).name
    except ValueError:
        return ""


def host(url: str) -> str:
    """For the audit log: what is asked of the host may be a secret."""
    return urlsplit(url).hostname or ""


async def fetch(url: str, incoming: Incoming, outbound: Outbound) -> None:
    """Raises InvalidError, TooLargeError and NoRoomError."""
    try:
        async with outbound.get(url) as pieces:
            async for piece in pieces:
                await asyncio.to_thread(incoming.write, piece)
    except OutboundError as error:
        problem = Problem(field="url", message=str(error))
        raise InvalidError("the data can't be fetched from there", problems=[problem]) from None
    await asyncio.to_thread(incoming.finish)
