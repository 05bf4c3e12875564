"""The paths that earlier clients call: one table, each row answered by a handler of /api/v1."""

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import wraps
from inspect import signature
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Body, Query, Response
from fastapi.routing import APIRoute
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runyard.domain.errors import NotFoundError
from runyard.domain.lifecycle import FINAL, State
from runyard.domain.listing import Filter
from runyard.schemas.analytics import Comparison, JobAnalytics, Summary
from runyard.schemas.jobs import JobDetail
from runyard.schemas.older import (
    OlderArtifact,
    OlderArtifactAsk,
    OlderJob,
    OlderList,
    OlderLogs,
    OlderQuery,
    OlderSubmission,
    OlderSystem,
)
from runyard.schemas.system import SystemRead
from runyard.server.api import analytics, artifacts, events, failing, jobs, listing, logs, system
from runyard.server.deps import SUCCESSOR, Desk, ToSee, ToSubmit
from runyard.services import listing as lists
from runyard.services import submissions

NEW = "/api/v1"
SINCE = "@1767225600"
"""Seconds since the epoch from which on they are deprecated (RFC 9745): the beginning of 2026."""
Handler = Callable[..., Awaitable[Any]]


@dataclass(frozen=True)
class Older:
    """A path, whose handler answers it and by which operation, and what the answer is turned into."""

    method: str
    path: str
    successor: str
    handler: Handler
    answer: Callable[[Any, Desk], Any] | None = None
    shape: Any = None

    @property
    def name(self) -> str:
        words = ["job" if "{" in word else word for word in self.path.replace("-", "/").split("/") if word]
        return "_".join(["older", self.method.lower(), *words])


async def submit(desk: ToSubmit, response: Response, ask: OlderSubmission, key: jobs.Key = None) -> JobDetail:
    if ask.tenant_id not in (None, desk.caller.tenant):
        raise NotFoundError(f"there is no tenant {ask.tenant_id!r}")
    found = await jobs.submit(desk, response, submissions.spec_of(ask.fields()), key)
    response.status_code = 200
    return found


async def submit_again(desk: ToSubmit, job_id: str) -> JobDetail:
    """One that rests is taken up again; one that waits or runs already stays as it is."""
    found = await jobs.show(desk, job_id)
    if found.state == State.PAUSED:
        return await jobs.resume(desk, job_id)
    return await jobs.retry(desk, job_id) if found.state in FINAL else found


async def job_list(desk: ToSee, query: Annotated[OlderQuery, Query()]) -> OlderList:
    wanted = Filter(query.status, kind=query.model_type, priority=query.priority)
    total, size, found = 0, query.page_size, []
    if query.tenant_id in (None, desk.caller.tenant):
        counts = (await listing.count(desk, wanted)).by_state
        total = sum(counts[state] for state in query.status or State)
        async with desk.read(long=True) as session:
            cursor = await lists.cursor_after(session, wanted, (query.page - 1) * size)
        if cursor is not None or query.page == 1:
            found = (await listing.list_(desk, wanted, cursor=cursor, limit=size)).items
    shown = [OlderJob.of(item, desk.caller.tenant) for item in found]
    return OlderList(jobs=shown, total=total, page=query.page, page_size=size, total_pages=math.ceil(total / size))


async def log_lines(
    desk: ToSee, job_id: str, tail: Annotated[int, Query(ge=0, le=100_000, description="So many last lines.")] = 1000
) -> OlderLogs:
    found = await logs.read(desk, job_id, "all", tail, None, False)
    assert not isinstance(found, Response)
    return OlderLogs(job_id=job_id, logs=found.lines)


async def one_artifact(
    desk: ToSee, job_id: str, ask: Annotated[OlderArtifactAsk | None, Body()] = None
) -> OlderArtifact:
    """Where to download one file of a job; its content is at `download_url`."""
    wanted = ask or OlderArtifactAsk()
    for found in await artifacts.list_(desk, job_id):
        is_model = wanted.artifact_id is None and wanted.path is None and found.kind in ("model", "merged_model")
        if is_model or wanted.artifact_id == found.artifact_id or wanted.path == found.path:
            url = f"{NEW}/artifacts/{found.artifact_id}/content"
            return OlderArtifact(**found.model_dump(), download_url=url)
    raise NotFoundError(f"job {job_id} has no such artifact", hint=f"{NEW}/jobs/{job_id}/artifacts lists what it has")


def as_job(found: JobDetail, desk: Desk) -> OlderJob:
    return OlderJob.of(found, desk.caller.tenant)


def as_system(found: SystemRead, _: Desk) -> OlderSystem:
    return OlderSystem.of(found)


TABLE = (
    Older("POST", "/api/training/execute", "submit_job", submit, as_job, OlderJob),
    Older("GET", "/api/training/status/{job_id}", "get_job", jobs.show, as_job, OlderJob),
    Older("POST", "/api/training/cancel/{job_id}", "cancel_job", jobs.cancel, as_job, OlderJob),
    Older("POST", "/api/training/pause/{job_id}", "pause_job", jobs.pause, as_job, OlderJob),
    Older("POST", "/api/training/resume/{job_id}", "resume_job", jobs.resume, as_job, OlderJob),
    Older("GET", "/api/training/{job_id}/download/model", "download_model", artifacts.model),
    Older("GET", "/api/training/{job_id}/download/logs", "download_logs", artifacts.logs),
    Older("GET", "/api/training/{job_id}/model", "download_model", artifacts.model),
    Older("GET", "/api/training/{job_id}/logs", "download_logs", artifacts.logs),
    Older("GET", "/api/training/{job_id}/analytics", "get_job_analytics", analytics.show, None, JobAnalytics),
    Older("GET", "/api/training/analytics/summary", "get_analytics_summary", analytics.summary, None, Summary),
    Older("GET", "/api/training/analytics/compare", "compare_jobs", analytics.compare, None, Comparison),
    Older("GET", "/api/training/jobs", "list_jobs", job_list, None, OlderList),
    Older("POST", "/api/training/jobs/{job_id}/submit", "retry_job", submit_again, as_job, OlderJob),
    Older("GET", "/api/training/jobs/{job_id}/status", "get_job", jobs.show, as_job, OlderJob),
    Older("POST", "/api/training/jobs/{job_id}/cancel", "cancel_job", jobs.cancel, as_job, OlderJob),
    Older("POST", "/api/training/jobs/{job_id}/download-artifact", "list_artifacts", one_artifact, None, OlderArtifact),
    Older("GET", "/api/jobs", "list_jobs", job_list, None, OlderList),
    Older("GET", "/api/system/status", "get_system", system.show, as_system, OlderSystem),
    Older("POST", "/ai/training/jobs/start", "submit_job", submit, as_job, OlderJob),
    Older("GET", "/ai/training/jobs", "list_jobs", job_list, None, OlderList),
    Older("GET", "/ai/training/jobs/{job_id}", "get_job", jobs.show, as_job, OlderJob),
    Older("DELETE", "/ai/training/jobs/{job_id}", "cancel_job", jobs.cancel, as_job, OlderJob),
    Older("POST", "/ai/training/jobs/{job_id}/retry", "retry_job", jobs.retry, as_job, OlderJob),
    Older("GET", "/ai/training/jobs/{job_id}/logs", "get_logs", log_lines, None, OlderLogs),
    Older("GET", "/ai/training/stats", "get_analytics_summary", analytics.summary, None, Summary),
)
SOCKETS = {"/ws/training/{job_id}": events.job_socket}
NEWER = {
    route.operation_id: route
    for module in (jobs, listing, logs, analytics, artifacts, system)
    for route in module.router.routes
    if isinstance(route, APIRoute)
}


def _router() -> APIRouter:
    router = APIRouter(tags=["older paths"])
    for row in TABLE:
        newer = NEWER[row.successor]
        [method], path = newer.methods or {"GET"}, f"{NEW}{newer.path}"
        options: dict[str, Any] = {"response_model": row.shape}
        if row.shape is None:  # a file, as it is
            options |= {"response_class": Response, "responses": dict(newer.responses)}
        else:
            described = {code: text for code, text in newer.responses.items() if "model" not in text}
            options["responses"] = described | failing(400, 404, 413, 415)
        router.add_api_route(
            row.path,
            _translated(row),
            methods=[row.method],
            operation_id=row.name,
            deprecated=True,
            summary=f"Now {method} {path}",
            description=f"Deprecated: `{method} {path}` is its successor, whose handler answers here, too.",
            openapi_extra={SUCCESSOR: row.successor},
            **options,
        )
    for path, socket in SOCKETS.items():
        router.add_api_websocket_route(path, socket)
    return router


def _translated(row: Older) -> Handler:
    answer = row.answer
    if answer is None:
        return row.handler

    @wraps(row.handler)
    async def endpoint(*args: Any, **given: Any) -> Any:
        return answer(await row.handler(*args, **given), given["desk"])

    endpoint.__signature__ = signature(row.handler).replace(return_annotation=row.shape)  # type: ignore[attr-defined]
    return endpoint


router = _router()


class TellSuccessor:
    """Names, with every answer of an older path, the one that is to be asked instead; with errors, too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start" and (path := successor(scope)) is not None:
                headers = MutableHeaders(scope=message)
                headers["Deprecation"] = SINCE
                headers["Link"] = f'<{path}>; rel="successor-version"'
            await send(message)

        await self._app(scope, receive, tell if scope["type"] == "http" else send)


def successor(scope: Scope) -> str | None:
    """The path to ask instead; None for one that is not old."""
    newer = (getattr(scope.get("route"), "openapi_extra", None) or {}).get(SUCCESSOR)
    if newer is None:
        return None
    known = {name: quote(str(value), safe="") for name, value in scope.get("path_params", {}).items()}
    return f"{NEW}{NEWER[newer].path.format(**known)}"
