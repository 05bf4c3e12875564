"""Data sets: upload, fetch, list, show, delete."""

import asyncio
import secrets
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response

from runyard.schemas.datasets import DataSetRead, FetchAsk
from runyard.schemas.page import Page
from runyard.server import multipart
from runyard.server.api import failing
from runyard.server.deps import Cursor, Desk, Limit, ToSee, ToSubmit, new_id
from runyard.services import datasets, fetching
from runyard.services.uploads import Incoming

router = APIRouter(prefix="/datasets", tags=["data sets"])

FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {
                            "type": "string",
                            "format": "binary",
                            "description": "A .jsonl, .csv or .parquet file.",
                        },
                        "name": {"type": "string", "description": "Another name than the file's."},
                    },
                }
            }
        },
    }
}


THERE: dict[int | str, dict[str, Any]] = {
    200: {"description": "There already, with the same name and content", "model": DataSetRead}
}


@router.post(
    "",
    status_code=201,
    operation_id="upload_dataset",
    openapi_extra=FORM,
    responses={**THERE, **failing(413, 507)},
)
async def upload(desk: ToSubmit, request: Request, response: Response) -> DataSetRead:
    """Keep a data set and check it row by row. One with bad rows is kept, too: `report` says which they are."""
    context = desk.yard.context
    with ExitStack() as stack:
        incoming = await multipart.receive_file(request, lambda name: Incoming(context, _arriving(desk), name), stack)
        return await _kept(desk, incoming, response)


@router.post(
    "/fetch", status_code=201, operation_id="fetch_dataset", responses={**THERE, **failing(400, 413, 415, 507)}
)
async def fetch(desk: ToSubmit, ask: FetchAsk, response: Response) -> DataSetRead:
    """Fetch a data set from an address of the public network; then it is one like any other."""
    context = desk.yard.context
    name, field = (ask.name, "name") if ask.name else (fetching.file_name(ask.url), "url")
    with Incoming(context, _arriving(desk), name, field) as incoming:
        await fetching.fetch(ask.url, incoming, context.outbound)
        return await _kept(desk, incoming, response, {"host": fetching.host(ask.url)})


def _arriving(desk: Desk) -> Path:
    return desk.yard.context.datasets / f".incoming-{secrets.token_hex(8)}"


async def _kept(
    desk: Desk, incoming: Incoming, response: Response, origin: Mapping[str, str] | None = None
) -> DataSetRead:
    yard = desk.yard
    async with desk.read() as session:
        dataset, created = await datasets.known(session, incoming), False
    if dataset is None:
        report = await datasets.inspect(incoming, yard.context)
        new = datasets.New(new_id(), desk.caller, yard.clock())
        details = {"name": incoming.name, "sha256": incoming.sha256, **(origin or {})}
        async with desk.write(new.id, details) as session:
            dataset, created = await datasets.keep(session, incoming, report, yard.context, new)
    response.status_code = 201 if created else 200
    response.headers["Location"] = f"/api/v1/datasets/{dataset.id}"
    return DataSetRead.model_validate(dataset)


@router.get("", operation_id="list_datasets")
async def list_(desk: ToSee, cursor: Cursor = None, limit: Limit = 50) -> Page[DataSetRead]:
    """Data sets, newest first."""
    async with desk.read() as session:
        found, following = await datasets.page(session, cursor, limit)
    return Page(items=[DataSetRead.model_validate(item) for item in found], next_cursor=following)


@router.get("/{dataset_id}", operation_id="get_dataset", responses=failing(404))
async def show(desk: ToSee, dataset_id: str) -> DataSetRead:
    async with desk.read() as session:
        return DataSetRead.model_validate(await datasets.get(session, dataset_id))


@router.delete("/{dataset_id}", status_code=204, operation_id="delete_dataset", responses=failing(404, 409))
async def delete(desk: ToSubmit, dataset_id: str) -> None:
    """Delete a data set that no unfinished job needs."""
    async with desk.write(dataset_id) as session:
        dataset = await datasets.delete(session, dataset_id, desk.caller, desk.yard.context)
    folder = (desk.yard.context.home / dataset.path).parent
    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
