"""What jobs leave: checkpoints, files, and downloads as ZIP."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import PurePath
from typing import BinaryIO

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse
from starlette.types import Receive, Scope, Send

from runyard.db.database import Session
from runyard.schemas.artifacts import ArtifactRead
from runyard.schemas.jobs import CheckpointRead
from runyard.server.api import failing, sending
from runyard.server.deps import Desk, ToSee
from runyard.server.zips import ZipResponse
from runyard.services import artifacts, downloads
from runyard.services.context import Context
from runyard.services.downloads import Bundle

router = APIRouter(tags=["results"])

ZIPPED = sending("application/zip", "A ZIP, made while it is sent")
FILE = sending("application/octet-stream", "The file; `ETag` and `X-Content-SHA256` are its SHA-256")


class OpenFile(FileResponse):
    """Sends a file that is open, whatever lies under its name by now, and closes it however the sending ends."""

    def __init__(self, file: BinaryIO, name: str, headers: Mapping[str, str]) -> None:
        path = f"/proc/self/fd/{file.fileno()}"
        super().__init__(path, filename=name, media_type="application/octet-stream", headers=headers)
        self._file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._file.close()


@router.get("/jobs/{job_id}/checkpoints", operation_id="list_checkpoints", responses=failing(404))
async def checkpoints(desk: ToSee, job_id: str) -> list[CheckpointRead]:
    """By step; one with `removed_at` was rotated away."""
    async with desk.read() as session:
        rows = await artifacts.checkpoints_of_job(session, job_id)
    return [CheckpointRead.model_validate(row) for row in rows]


@router.get("/jobs/{job_id}/artifacts", operation_id="list_artifacts", responses=failing(404))
async def list_(desk: ToSee, job_id: str) -> list[ArtifactRead]:
    """Files that the job has left, each with its SHA-256."""
    async with desk.read() as session:
        rows = await artifacts.of_job(session, job_id)
    return [ArtifactRead.model_validate(row) for row in rows]


@router.get(
    "/artifacts/{artifact_id}/content",
    operation_id="get_artifact_content",
    response_class=Response,
    responses={**FILE, **failing(404)},
)
async def content(desk: ToSee, request: Request, artifact_id: str) -> Response:
    """One file; parts of it by `Range`."""
    async with desk.read() as session:
        stored = await artifacts.stored(session, artifact_id, desk.yard.context)
    sha256 = stored.artifact.hash_sha256
    headers = {"ETag": f'"{sha256}"', "X-Content-SHA256": sha256}
    if request.headers.get("if-none-match") == headers["ETag"]:
        stored.file.close()
        return Response(status_code=304, headers=headers)
    return OpenFile(stored.file, PurePath(stored.artifact.path).name, headers)


@router.get(
    "/jobs/{job_id}/download/model",
    operation_id="download_model",
    response_class=Response,
    responses={**ZIPPED, **failing(404, 409)},
)
async def model(desk: ToSee, job_id: str) -> Response:
    """The final adapter or model, the merged one where there is one, and `SHA256SUMS` to check them."""
    return await _zip(desk, lambda session, context: downloads.model(session, job_id, context))


@router.get(
    "/jobs/{job_id}/download/checkpoints/{step}",
    operation_id="download_checkpoint",
    response_class=Response,
    responses={**ZIPPED, **failing(404)},
)
async def checkpoint(desk: ToSee, job_id: str, step: int) -> Response:
    """One checkpoint; it is sent whole even when it is rotated away meanwhile."""
    return await _zip(desk, lambda session, context: downloads.checkpoint(session, job_id, step, context))


@router.get(
    "/jobs/{job_id}/download/logs",
    operation_id="download_logs",
    response_class=Response,
    responses={**ZIPPED, **failing(404, 409)},
)
async def logs(desk: ToSee, job_id: str) -> Response:
    """Output, errors and events of every attempt."""
    return await _zip(desk, lambda session, context: downloads.logs(session, job_id, context))


async def _zip(desk: Desk, opening: Callable[[Session, Context], Awaitable[Bundle]]) -> ZipResponse:
    async with desk.read() as session:
        return ZipResponse(await opening(session, desk.yard.context))
