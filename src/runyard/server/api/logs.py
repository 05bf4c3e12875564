"""What a trainer wrote to its output and errors."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Response

from runyard.domain.errors import InvalidError
from runyard.domain.lifecycle import FINAL, State
from runyard.protocol.problems import Problem
from runyard.schemas.jobs import LogLines
from runyard.server.api import failing
from runyard.server.deps import Desk, ToSee
from runyard.server.streams import StoppingError, TextStream
from runyard.services import jobs, secrets
from runyard.services.logs import Reader, Stream

router = APIRouter(prefix="/jobs", tags=["logs"])

LOOK_SECONDS = 0.1
STATE_SECONDS = 1.0


@router.get(
    "/{job_id}/logs",
    operation_id="get_logs",
    response_model=LogLines,
    responses={
        200: {
            "description": "Lines; with `follow`, plain text that goes on until the job has ended",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        },
        **failing(404, 409),
    },
)
async def read(
    desk: ToSee,
    job_id: str,
    stream: Annotated[Stream, Query(description="`all` gives each attempt's output, then its errors.")] = "all",
    tail: Annotated[int, Query(ge=0, le=100_000, description="Begin with this many last lines of a stream.")] = 200,
    offset: Annotated[
        int | None, Query(ge=0, le=2**63 - 1, description="Begin at this place of one stream; wins over `tail`.")
    ] = None,
    follow: bool = False,
) -> Response | LogLines:
    """The end of a log, or a part of it, or all of it as it is written."""
    ended = await _ended(desk, job_id)
    context = desk.yard.context
    rundir = context.rundir(job_id)
    await asyncio.to_thread(secrets.require_mask, rundir, context)
    reader = Reader(rundir, stream, partial(secrets.mask, rundir, context))
    if offset is None:
        await asyncio.to_thread(reader.skip_to_tail, tail)
    elif stream == "all":
        message = "counts bytes of one stream: set stream to stdout or stderr"
        raise InvalidError("the request can't be used", problems=[Problem(field="offset", message=message)])
    else:
        await asyncio.to_thread(reader.skip_to, offset)
    if follow:
        return TextStream(_follow(desk, job_id, reader), desk.until_revoked)
    lines = await asyncio.to_thread(_read, reader, ended, whole=offset is None)
    next_offset = None if stream == "all" else reader.offset
    return LogLines(lines=lines, next_offset=next_offset, next_offsets=reader.offsets, ended=ended and reader.at_end())


def _read(reader: Reader, ended: bool, *, whole: bool) -> list[str]:
    """The next piece, or everything up to the end as it is now: a talkative job may write faster than we read."""
    end = reader.size
    lines = reader.read(ended=ended)
    while whole and reader.offset < end and (more := reader.read(ended=ended)):
        lines += more
    return lines


async def _follow(desk: Desk, job_id: str, reader: Reader) -> AsyncIterator[str]:
    """Ends when the job has ended and everything was given. Raises StoppingError when the server stops before."""
    now = asyncio.get_running_loop().time
    ended, looked = False, -STATE_SECONDS
    while not desk.yard.hub.closed:
        if now() - looked >= STATE_SECONDS:
            ended, looked = await _ended(desk, job_id), now()  # before reading: what comes after the end is nothing
        if lines := await asyncio.to_thread(reader.read, ended=ended):
            yield "".join(f"{line}\n" for line in lines)
        elif ended:
            return
        else:
            await asyncio.sleep(LOOK_SECONDS)
    raise StoppingError


async def _ended(desk: Desk, job_id: str) -> bool:
    async with desk.read() as session:
        return State((await jobs.get(session, job_id)).state) in FINAL
