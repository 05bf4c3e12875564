"""Getting in: the page that asks who somebody is."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from runyard.server.deps import ForAnybody
from runyard.server.web.frame import Sight, render

router = APIRouter()


@router.get("/sign-in")
async def show(yard: ForAnybody, request: Request, next: str = "/") -> Response:
    """Whoever is let in without is sent on."""
    onward = next if next.startswith("/") and not next.startswith(("//", "/\\")) else "/"
    if await yard.gate.is_open():
        return RedirectResponse(onward, 303)
    return render(Sight(request, yard.clock()), "sign_in.html", onward=onward)


@router.get("/setup")
async def setup(yard: ForAnybody, request: Request) -> Response:
    """The way of the one-time link that the server has printed; its token is behind the # and stays in the browser."""
    return render(Sight(request, yard.clock()), "setup.html")
