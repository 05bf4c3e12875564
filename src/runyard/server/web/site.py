"""All pages together: their addresses, their static files, and what is shown when one can't be."""

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from runyard.domain.errors import RunyardError
from runyard.server.deps import YARD, Yard
from runyard.server.guard import CALLER
from runyard.server.web import compare, data, job, jobs, menu, new, overview, people, sign_in, templates
from runyard.server.web.frame import STATIC, Sight, render, static_version

FOR_EVER = "public, max-age=31536000, immutable"


class KeptFiles(StaticFiles):
    """`VERSION/name`: what is asked for by an earlier version is there as well, but not to be kept."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        version, _, name = path.partition("/")
        response = await super().get_response(name, scope)
        if version == static_version():
            response.headers["Cache-Control"] = FOR_EVER
        return response


def _pages() -> FastAPI:
    app = FastAPI(title="Runyard", openapi_url=None, docs_url=None, redoc_url=None)
    for module in (overview, jobs, job, menu, compare, new, templates, data, people, sign_in):
        app.include_router(module.router)
    app.mount("/static", GZipMiddleware(KeptFiles(directory=STATIC)))
    app.add_exception_handler(RunyardError, _on_runyard_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(Exception, _on_anything_else)
    return app


async def _on_runyard_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RunyardError)
    return _sorry(request, error.status, error.message, error.hint)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    text = "There is no such page" if error.status_code == 404 else error.detail
    return _sorry(request, error.status_code, text, None)


async def _on_validation_error(request: Request, _: Exception) -> Response:
    return _sorry(request, 422, "The address of this page has a part that can't be used", None)


async def _on_anything_else(request: Request, _: Exception) -> Response:
    return _sorry(request, 500, "The server has a fault; its log says more", None)


def _sorry(request: Request, status: int, message: str, hint: str | None) -> Response:
    yard: Yard = request.scope[YARD]
    sight = Sight(request, yard.clock(), request.scope.get(CALLER))
    return render(sight, "sorry.html", status=status, code=status, message=message, hint=hint)


PAGES = _pages()
