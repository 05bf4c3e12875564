"""Templates: good jobs kept to start others from."""

from fastapi import APIRouter, Request, Response

from runyard.server.deps import ToSee
from runyard.server.web.forms import as_yaml
from runyard.server.web.frame import Sight, render
from runyard.services import templates

router = APIRouter(prefix="/templates")

PAGE = 30


@router.get("")
async def show(desk: ToSee, request: Request, cursor: str | None = None) -> Response:
    sight = Sight(request, desk.yard.clock(), desk.caller)
    async with desk.read() as session:
        found, following = await templates.page(session, cursor, PAGE)
    async with desk.read() as session:
        whole = [await templates.get(session, one.name) for one in found]
    return render(
        sight,
        "templates.html",
        here="/templates",
        templates=[(one, as_yaml(one.spec)) for one in whole],
        following=following,
    )
