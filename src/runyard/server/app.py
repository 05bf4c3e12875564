"""The application: its routes, its errors, and who may speak to it."""

from typing import Any

from fastapi import APIRouter, FastAPI

from runyard import __version__
from runyard.server import errors
from runyard.server.api import artifacts, datasets, events, failing, jobs, logs, retention, schedules, system
from runyard.server.deps import Yard
from runyard.server.guard import BodyLimit, LoopbackOnly

TAGS = [
    {"name": "jobs", "description": "Submit, list, show, and ask a job to move."},
    {"name": "live", "description": "All that happens, as pages and as streams with a cursor; the curve."},
    {"name": "logs", "description": "What trainers write."},
    {"name": "results", "description": "Checkpoints, files, downloads."},
    {"name": "data sets", "description": "Uploads, checked row by row."},
    {"name": "schedules", "description": "Jobs that are submitted at a time, or by a cron line."},
    {"name": "retention", "description": "What is removed by itself."},
    {"name": "system", "description": "The server and its machine."},
]
FIRST_ERROR_STATUS = 400


class Application(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """The framework's description, with errors under the media type that they are sent with."""
        if self.openapi_schema is None:
            for path in super().openapi()["paths"].values():
                for operation in path.values():
                    for status, response in operation["responses"].items():
                        if int(status) >= FIRST_ERROR_STATUS:
                            response["content"] = {errors.MEDIA_TYPE: response["content"]["application/json"]}
        assert self.openapi_schema is not None
        return self.openapi_schema


def build(yard: Yard) -> FastAPI:
    app = Application(
        title="Runyard",
        version=__version__,
        summary="One queue, one API, every training job run to the end.",
        openapi_url="/api/v1/openapi.json",
        openapi_tags=TAGS,
        docs_url=None,  # its pages would load scripts from the web
        redoc_url=None,
        responses=failing(422, 503),
    )
    app.state.yard = yard
    errors.install(app)
    app.add_middleware(BodyLimit)
    app.add_middleware(LoopbackOnly)
    api = APIRouter(prefix="/api/v1")
    for module in (jobs, logs, events, artifacts, datasets, schedules, retention, system):
        api.include_router(module.router)
    app.include_router(api)
    app.include_router(system.health)
    return app
