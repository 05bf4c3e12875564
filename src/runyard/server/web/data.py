"""Data sets: what was uploaded, what the check found in it, and which jobs used it."""

import asyncio
from pathlib import Path

from fastapi import APIRouter, Request, Response

from runyard.db.queries import datasets as rows
from runyard.server.deps import ToSee
from runyard.server.web.frame import Sight, render
from runyard.services import datasets, paths

router = APIRouter(prefix="/data")

PAGE, MOST_JOBS, MOST_ROWS, MOST_BYTES, LONGEST_LINE = 50, 20, 6, 200_000, 2000


@router.get("")
async def show(desk: ToSee, request: Request, cursor: str | None = None) -> Response:
    sight = Sight(request, desk.yard.clock(), desk.caller)
    async with desk.read() as session:
        found, following = await datasets.page(session, cursor, PAGE)
    return render(sight, "data.html", here="/data", sets=found, following=following)


@router.get("/{dataset_id}")
async def show_one(desk: ToSee, request: Request, dataset_id: str) -> Response:
    sight = Sight(request, desk.yard.clock(), desk.caller)
    async with desk.read() as session:
        found = await datasets.get(session, dataset_id)
        used = await rows.jobs_of(session, str(desk.yard.context.home / found.path), MOST_JOBS)
        path = desk.yard.context.home / found.path
    rows_ = await asyncio.to_thread(_first_rows, desk.yard.context.datasets, path)
    return render(sight, "data_set.html", here="/data", found=found, report=found.report, used=used, rows=rows_)


def _first_rows(root: Path, path: Path) -> list[str]:
    """As they stand in the file; of one that is no text, none."""
    if path.suffix == ".parquet":
        return []
    try:
        with paths.opened(root, path) as file:
            text = file.read(MOST_BYTES).decode(errors="replace")
    except FileNotFoundError:
        return []
    return [line[:LONGEST_LINE] for line in text.splitlines()[:MOST_ROWS]]
