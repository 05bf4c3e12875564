"""The application: its routes, its errors, and who may speak to it.

The routes are the same for every yard and are put together once; `build` sets those who guard them, and the yard
that they are for, in front.
"""

from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from runyard import __version__
from runyard.domain.errors import ForbiddenError, OverQuotaError, QueueFullError, RunyardError
from runyard.schemas.problems import ProblemDetails
from runyard.server import errors, older
from runyard.server.api import (
    analytics,
    artifacts,
    audit,
    channels,
    curves,
    datasets,
    events,
    failing,
    jobs,
    keys,
    listing,
    logs,
    metrics,
    previews,
    quotas,
    retention,
    samples,
    schedules,
    secrets,
    session,
    setup,
    system,
    templates,
    tenants,
    users,
)
from runyard.server.deps import YARD, Yard
from runyard.server.guard import BodyLimit, KnownNamesOnly, Names, SafeHeaders, SignIn, is_page
from runyard.server.timing import Timed
from runyard.server.web.site import PAGES

TAGS = [
    {"name": "jobs", "description": "Submit, list, show, and ask a job to move."},
    {"name": "live", "description": "All that happens, as pages and as streams with a cursor; the curve."},
    {"name": "logs", "description": "What trainers write."},
    {"name": "analytics", "description": "Figures of one job, of all, side by side, and over time."},
    {"name": "results", "description": "Checkpoints, files, downloads."},
    {"name": "data sets", "description": "Uploads, checked row by row."},
    {"name": "templates", "description": "Jobs with places to fill in, saved in versions and shared in the tenant."},
    {"name": "schedules", "description": "Jobs that are submitted at a time, or by a cron line."},
    {"name": "channels", "description": "Who is told of what happens to jobs, and what became of it."},
    {"name": "retention", "description": "What is removed by itself."},
    {"name": "people", "description": "Accounts, sessions, keys, tenants, quotas, secrets, the audit log."},
    {"name": "system", "description": "The server and its machine."},
    {"name": "older paths", "description": "What earlier clients call; each names its successor."},
]
LOOPBACK = Names()
SCHEMES = {
    "key": {
        "type": "http",
        "scheme": "bearer",
        "description": "A key of `POST /api/v1/keys`, or a token of an issuer.",
    },
    "session": {"type": "apiKey", "in": "cookie", "name": "runyard_session", "description": "`POST /api/v1/session`."},
}


class Routes(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """The framework's description, with the errors, which the routes only refer to, and who may ask."""
        if self.openapi_schema is None:
            described = super().openapi()
            components = described.setdefault("components", {})
            components["securitySchemes"] = SCHEMES
            described["security"] = [{name: []} for name in SCHEMES]
            problem = ProblemDetails.model_json_schema(ref_template="#/components/schemas/{model}")
            components.setdefault("schemas", {}).update(problem.pop("$defs") | {ProblemDetails.__name__: problem})
        assert self.openapi_schema is not None
        return self.openapi_schema


def _routes() -> Routes:
    app = Routes(
        title="Runyard",
        version=__version__,
        summary="One queue, one API, every training job run to the end.",
        openapi_url="/api/v1/openapi.json",
        openapi_tags=TAGS,
        docs_url=None,  # its pages would load scripts from the web
        redoc_url=None,
        responses=failing(400, 401, 403, 422, 429, 503),
    )
    errors.install(app)
    for refusal in (ForbiddenError, QueueFullError, OverQuotaError):
        app.add_exception_handler(refusal, _on_refusal)
    app.add_middleware(BodyLimit)
    app.add_middleware(older.TellSuccessor)
    for module in (
        *(listing, jobs, previews, logs, events, curves, samples, analytics, artifacts),
        *(datasets, templates, schedules, channels, retention, system),
        *(session, setup, users, keys, tenants, quotas, secrets, audit),
    ):
        app.include_router(module.router, prefix="/api/v1")
    app.include_router(channels.sent, prefix="/api/v1")
    app.include_router(system.health)
    app.include_router(older.router)
    app.include_router(metrics.router)
    return app


async def _on_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, RunyardError)
    yard: Yard = request.scope[YARD]
    await yard.note_refusal(request, error.code)
    return errors.as_response(error)


ROUTES = _routes()


def build(yard: Yard, names: Names = LOOPBACK) -> ASGIApp:
    """The application for one yard."""

    async def routes(scope: Scope, receive: Receive, send: Send) -> None:
        scope[YARD] = yard
        app = PAGES if scope["type"] == "http" and is_page(scope["path"]) else ROUTES
        await app(scope, receive, send)

    guarded = KnownNamesOnly(SignIn(routes, yard.gate, yard.note_refusal), names)
    answering = SafeHeaders(ServerErrorMiddleware(guarded, errors.on_anything_else))
    return Timed(answering, yard.scrape.meters, yard.traces)
