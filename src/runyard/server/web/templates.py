"""Templates: good jobs kept to start others from."""

from contextlib import suppress

from fastapi import APIRouter, Request, Response

from runyard.domain import yamlfile
from runyard.domain.errors import NotFoundError
from runyard.server.deps import ToSee
from runyard.server.web.frame import Sight, render
from runyard.services import templates

router = APIRouter(prefix="/templates")

PAGE = 30


@router.get("")
async def show(desk: ToSee, request: Request, cursor: str | None = None) -> Response:
    sight = Sight(request, desk.yard.clock(), desk.caller)
    async with desk.read() as session:
        found, following = await templates.page(session, cursor, PAGE)
        whole = []
        for one in found:
            with suppress(NotFoundError):  # deleted a moment ago
                whole.append(await templates.get(session, one.name))
    return render(
        sight,
        "templates.html",
        here="/templates",
        templates=[(one, yamlfile.written(one.spec)) for one in whole],
        following=following,
    )
