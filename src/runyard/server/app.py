"""The application: its routes, its errors, and who may speak to it."""

from fastapi import APIRouter, FastAPI

from runyard import __version__
from runyard.server import errors
from runyard.server.api import artifacts, datasets, events, jobs, logs, system
from runyard.server.deps import Yard
from runyard.server.guard import BodyLimit, LoopbackOnly

TAGS = [
    {"name": "jobs", "description": "Submit, list, show, and ask a job to move."},
    {"name": "live", "description": "All that happens, as pages and as streams with a cursor; the curve."},
    {"name": "logs", "description": "What trainers write."},
    {"name": "results", "description": "Checkpoints, files, downloads."},
    {"name": "data sets", "description": "Uploads, checked row by row."},
    {"name": "system", "description": "The server and its machine."},
]


def build(yard: Yard) -> FastAPI:
    app = FastAPI(
        title="Runyard",
        version=__version__,
        summary="One queue, one API, every training job run to the end.",
        openapi_url="/api/v1/openapi.json",
        openapi_tags=TAGS,
        docs_url=None,  # its pages would load scripts from the web
        redoc_url=None,
    )
    app.state.yard = yard
    errors.install(app)
    app.add_middleware(BodyLimit)
    app.add_middleware(LoopbackOnly)
    api = APIRouter(prefix="/api/v1")
    for module in (jobs, logs, events, artifacts, datasets, system):
        api.include_router(module.router)
    app.include_router(api)
    app.include_router(system.health)
    return app
