"""Data sets: upload, list, show, delete."""

import asyncio
import secrets
import shutil
from contextlib import ExitStack

from fastapi import APIRouter, Request, Response

from runyard.schemas.datasets import DataSetRead
from runyard.schemas.page import Page
from runyard.server import multipart
from runyard.server.api import failing
from runyard.server.deps import Cursor, Limit, YardDep, new_id
from runyard.services import datasets
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


@router.post(
    "",
    status_code=201,
    operation_id="upload_dataset",
    openapi_extra=FORM,
    responses={
        200: {"description": "There already, with the same name and content", "model": DataSetRead},
        **failing(413, 507),
    },
)
async def upload(yard: YardDep, request: Request, response: Response) -> DataSetRead:
    """Keep a data set and check it row by row. One with bad rows is kept, too: `report` says which they are."""
    arriving = yard.context.datasets / f".incoming-{secrets.token_hex(8)}"
    with ExitStack() as stack:
        incoming = await multipart.receive_file(request, lambda name: Incoming(yard.context, arriving, name), stack)
        async with yard.database.read() as session:
            dataset, created = await datasets.known(session, incoming), False
        if dataset is None:
            report = await datasets.inspect(incoming)
            async with yard.database.write() as session:
                dataset, created = await datasets.keep(session, incoming, report, yard.context, new_id(), yard.clock())
    response.status_code = 201 if created else 200
    response.headers["Location"] = f"/api/v1/datasets/{dataset.id}"
    return DataSetRead.model_validate(dataset)


@router.get("", operation_id="list_datasets")
async def list_(yard: YardDep, cursor: Cursor = None, limit: Limit = 50) -> Page[DataSetRead]:
    """Data sets, newest first."""
    async with yard.database.read() as session:
        found, following = await datasets.page(session, cursor, limit)
    return Page(items=[DataSetRead.model_validate(item) for item in found], next_cursor=following)


@router.get("/{dataset_id}", operation_id="get_dataset", responses=failing(404))
async def show(yard: YardDep, dataset_id: str) -> DataSetRead:
    async with yard.database.read() as session:
        return DataSetRead.model_validate(await datasets.get(session, dataset_id))


@router.delete("/{dataset_id}", status_code=204, operation_id="delete_dataset", responses=failing(404, 409))
async def delete(yard: YardDep, dataset_id: str) -> None:
    """Delete a data set that no unfinished job needs."""
    async with yard.database.write() as session:
        dataset = await datasets.delete(session, dataset_id, yard.context)
    folder = (yard.context.home / dataset.path).parent
    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
